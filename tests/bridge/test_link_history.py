"""What a link inherits from those before it."""

from types import SimpleNamespace

import pytest

from rlay.bridge.link_history import MOST, LinkHistory
from rlay.bridge.metrics import LinkCounts
from rlay.errors import PeerLost


def link(*, dialed=True, where="sim:7450", peer=1):
    """As much of a link as is looked at."""
    return SimpleNamespace(
        dialed=dialed,
        where=where,
        peer=SimpleNamespace(id=peer),
        counts=LinkCounts(),
        ended=PeerLost("it broke"),
        said_goodbye=0,
    )


@pytest.mark.parametrize(
    ("dialed", "where", "peer"), [(True, "sim:7450", 2), (False, "10.0.0.1:999", 1)]
)
def test_link_goes_on_from_the_one_before_it(dialed, where, peer):
    """Known by the address that is dialed, or by the peer that dials."""
    history, old = LinkHistory(), link(dialed=dialed)
    old.counts.resumes = 3
    history.ended(old)
    new = link(dialed=dialed, where=where, peer=peer)
    history.begun(new)
    assert (new.counts.resumes, new.counts.last_error) == (3, "it broke")


def test_link_to_another_peer_begins_with_nothing():
    """Whatever became of the others."""
    history, old = LinkHistory(), link()
    old.counts.resumes = 3
    history.ended(old)
    new = link(where="other:7450")
    history.begun(new)
    assert (new.counts.resumes, new.counts.last_error) == (0, "")


def test_goodbye_is_no_error():
    """An older error stays."""
    history, old = LinkHistory(), link()
    old.counts.last_error = "older"
    old.said_goodbye = 1
    history.ended(old)
    assert old.counts.last_error == "older"


def test_oldest_is_forgotten():
    """A peer that draws a new number for each link takes no more memory."""
    history = LinkHistory()
    for number in range(MOST + 1):
        each = link(where=str(number))
        each.counts.resumes = 1
        history.ended(each)
    assert [history.resumes_of(where) for where in ("0", "1")] == [0, 1]
