"""Rows C3, C4, C5, C16: networks that swallow packets, in network namespaces."""

import time

import pytest

import rlay
from rlay.protocol.frames import FrameType
from tests.support.bridged import FAST, later
from tests.support.long import LONG
from tests.support.waiting import wait_until

# (seconds of blackhole, settings): shorter than death is noticed, and longer; one of
# half a minute is in test_half_minutes.py.
BLACKHOLES = [(1.0, FAST), (3.0, FAST), (5.0, {})]
blackholes = pytest.mark.parametrize(("seconds", "settings"), BLACKHOLES)


def runs(chain, what="begins"):
    """Return how many steps have begun, or ended, in an environment's process."""
    return sum(
        line.startswith("step") and line.endswith(what)
        for line in chain.stdout.splitlines()
    )


@pytest.mark.timeout(120)
@blackholes
@pytest.mark.parametrize("direction", ["both", "to_far", "to_near"])
def test_c3_c4_blackhole_costs_time_only(wired, machines, seconds, settings, direction):
    """A lost reply is sent again and its step not run again; nobody sees an error."""
    player, chain = wired.playing(steps=5, **settings)
    machines.blackhole(direction)
    begin = time.monotonic()
    with later(seconds, machines.heal):
        player.step()
    assert time.monotonic() - begin >= seconds
    for _ in range(5):
        player.step()
    assert runs(chain) == 11


def test_c3_blackhole_is_noticed_at_both_ends(wired, machines, within):
    """At the usual settings, within 12 seconds, though nothing is asked meanwhile."""
    player, _ = wired.playing()
    machines.blackhole()
    begin = time.monotonic()
    wired.near.wait_until_logged("is down")
    within(12, time.monotonic() - begin)
    wired.far.wait_until_logged("is down")
    within(12, time.monotonic() - begin)
    machines.heal()
    player.step()


def test_c3_blackhole_that_outlasts_the_window_is_link_down(wired, machines, within):
    """The step raises, and a reset begins anew once the network is back."""
    player, _ = wired.playing(resume_window_s=1, **FAST)
    machines.blackhole()
    begin = time.monotonic()
    with pytest.raises(rlay.LinkDown) as caught:
        player.step()
    within(FAST["dead_after_s"] + 1, time.monotonic() - begin)
    assert isinstance(caught.value, rlay.EnvLost)
    assert caught.value.executed is None
    machines.heal()
    player.play(seed=2, steps=3)


LOSSES = [(0.01, 100), (0.1, 10), (0.3, 10 if LONG else 3)]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("probability", "steps"), LOSSES)
def test_c5_loss_of_packets(wired, machines, probability, steps):
    """TCP repeats what is lost; the chain is whole, without an error."""
    player, _ = wired.playing()
    machines.lose(probability)
    for _ in range(steps):
        player.step()


def test_c16_heartbeats_keep_an_idle_link_open(stage):
    """Both ends say something at each heartbeat, so that no NAT forgets the link."""
    player, _ = stage.playing(**FAST)

    def beats():
        return min(
            stage.proxy.frames(direction, FrameType.PING)
            for direction in ("to_listener", "to_dialer")
        )

    before, begin = beats(), time.monotonic()
    wait_until(lambda: beats() >= before + 5)
    # The fifth beat comes after at least four intervals; a rate, not a speed.
    assert time.monotonic() - begin >= 3 * FAST["heartbeat_s"]
    assert stage.proxy.connections == 1
    player.step()
