"""Rows A7, A8, C3, C4, C15, F3: what takes half a minute, at the usual settings.

Each of them is in another file too, for a shorter time and in more ways.
"""

import faulthandler
import signal
import time

import pytest

from tests.bridge.faults.test_blackholes import runs
from tests.bridge.faults.test_cuts import flap
from tests.bridge.faults.test_killed_bridges import sides
from tests.support.bridged import later, stepping, wait_for_progress
from tests.support.long import LONG

SECONDS = 30.0
pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("which", ["near", "far"])
def test_a7_a8_killed_bridge_is_away_for_half_a_minute(stage, within, which):
    """A7 is the algorithm's own, A8 the other: no error, and on it goes in 3 s."""
    player, _ = stage.playing()
    with stepping(player) as progress:
        for bridge in sides(stage, which):
            bridge.kill()
        with later(SECONDS, lambda: None):
            pass
        for bridge in sides(stage, which):
            bridge.start()
        begin = time.monotonic()
        wait_for_progress(progress)
        within(3, time.monotonic() - begin)


@pytest.mark.parametrize("direction", ["both", "to_near"] if LONG else ["both"])
def test_c3_c4_blackhole_of_half_a_minute(wired, machines, direction):
    """It is noticed meanwhile; the step runs once, and nobody sees an error."""
    player, chain = wired.playing(steps=5)
    machines.blackhole(direction)
    begin = time.monotonic()
    with later(SECONDS, machines.heal):
        player.step()
    assert time.monotonic() - begin >= SECONDS
    assert "is down" in wired.near.log + wired.far.log
    for _ in range(5):
        player.step()
    assert runs(chain) == 11


def test_f3_everything_sleeps_for_half_a_minute(stage):
    """Bridges and environment; afterwards it goes on, resumed where that must be."""
    player, chain = stage.playing()
    processes = [stage.near.running, stage.far.running, chain]
    with stepping(player) as progress:
        for child in processes:
            child.send_signal(signal.SIGSTOP)
        with later(SECONDS, lambda: None):
            pass
        for child in processes:
            child.send_signal(signal.SIGCONT)
        wait_for_progress(progress)


def test_c15_link_that_flaps_for_a_minute(stage):
    """A cut every 100 ms: there is progress, and nothing piles up."""
    faulthandler.cancel_dump_traceback_later()  # it takes longer than a hang may
    flap(stage, 2 * SECONDS)
