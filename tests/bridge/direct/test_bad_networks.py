"""A bad network between direct peers and their bridge: steps go on, each its own."""

import pytest

from tests.support.bridged import stepping, wait_for_progress

CUTS = 10
HEADER_BYTES = 60
"""Of a frame, that its CRC covers."""


def begin(stage):
    """Start everything behind a proxy, and reset."""
    stage.listen(proxied=True)
    stage.environment()
    player = stage.player()
    player.play(1, 2)
    return player


def test_cuts_at_any_instant(stage):
    """All links at once, while somebody steps."""
    player = begin(stage)
    with stepping(player) as progress:
        for _ in range(CUTS):
            stage.proxy.cut()
            wait_for_progress(progress)


@pytest.mark.parametrize("direction", ["to_listener", "to_dialer"])
def test_cuts_after_any_byte_of_a_step(stage, direction):
    """In the midst of frames too."""
    player = begin(stage)
    for size in range(0, 300, 23):
        stage.proxy.cut_after(size, direction)
        for _ in range(3):
            player.step()
    assert stage.proxy.cuts >= 10


def test_segments_of_one_byte(stage):
    """Each byte comes alone."""
    player = begin(stage)
    stage.proxy.degrade(segment_bytes=1)
    for _ in range(10):
        player.step()


def test_latency_and_jitter(stage):
    """Slow, and right."""
    player = begin(stage)
    stage.proxy.degrade(latency_s=0.1, jitter_s=0.05)
    for _ in range(3):
        player.step()


def test_damaged_headers(stage):
    """A damaged header ends the link, and the session goes on over the next one."""
    player = begin(stage)
    for position in range(0, HEADER_BYTES, 7):
        stage.proxy.corrupt(position, "to_dialer")
        for _ in range(2):
            player.step()
    assert stage.proxy.connections > HEADER_BYTES // 7


def test_refused_for_a_while(stage):
    """Nobody listens for as long as it takes, then there is a bridge again."""
    player = begin(stage)
    stage.proxy.refuse()
    stage.proxy.cut()
    with stepping(player) as progress:
        stage.proxy.refuse(False)
        wait_for_progress(progress)


def test_half_closed_link(stage):
    """A stream that ends in one direction is a link that broke."""
    player = begin(stage)
    for direction in ("to_listener", "to_dialer"):
        stage.proxy.half_close(direction)
        for _ in range(2):
            player.step()
