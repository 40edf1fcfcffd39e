"""The ping-pong over TCP that bridges are held to."""

import pytest

from rlay.cli import raw_tcp as raw_tcp_module
from rlay.cli.machines import NotStarted
from rlay.cli.raw_tcp import raw_tcp


@pytest.mark.parametrize("sizes", [(1, 1), (200_000, 3_000_000)])
def test_raw_tcp_answers_each_request(sizes):
    """Of any sizes; its other end is gone afterwards, in order."""
    with raw_tcp(*sizes) as connection:
        for _ in range(3):
            connection.trip()
        child = connection.child
        assert child.poll() is None
    ending = child.poll()
    assert ending is not None
    assert ending.code in (0, -15)  # the connection ended, or it was told


def test_raw_tcp_whose_other_end_fails_says_why(monkeypatch):
    """With its last lines, and without waiting for it."""
    monkeypatch.setattr(raw_tcp_module, "_MODULE", "rlay.cli.no_such_module")
    with (
        pytest.raises(NotStarted, match=r"(?s)exited with code 1.*no_such_module"),
        raw_tcp(1, 1),
    ):
        pass
