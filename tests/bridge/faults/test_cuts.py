"""Rows C1, C2, C8, C11, C14, C15: connections that break, and come twice."""

import os
import statistics
import threading
import time

import pytest

from tests.support.waiting import wait_until

# In a frame: nothing of it, within its header, all of that, within its body.
POSITIONS = [0, 1, 63, 64, 65, 127, 128, 129, 150]


def test_nothing_breaks(stage_of_either):
    """Without a fault the chain is whole, and nothing is left."""
    stage_of_either.playing(steps=200)


def descriptors(bridge):
    """Return how many descriptors a bridge has open."""
    return len(os.listdir(f"/proc/{bridge.running.pid}/fd"))


def median_step_s(player, strikes, strike):
    """Take a step after each strike; return how long the middle one of them took."""
    took = []
    for each in strikes:
        strike(each)
        begin = time.monotonic()
        player.step()
        took.append(time.monotonic() - begin)
    return statistics.median(took)


# ------------------------------------------------------------------------------ C1, C2


def test_c1_reset_between_steps(stage, within):
    """The link is back within half a second, and the next step is the right one."""
    player, _ = stage.playing()
    within(0.5, median_step_s(player, range(5), lambda _: stage.proxy.cut()))


@pytest.mark.parametrize("direction", ["to_listener", "to_dialer"])
@pytest.mark.parametrize("dialer", ["near", "far"])
def test_c1_reset_in_mid_message(stage, within, direction, dialer):
    """Wherever a message is cut, the step runs once, and its own result comes."""
    player, chain = stage.playing(dialer=dialer)
    within(
        0.5,
        median_step_s(
            player,
            POSITIONS,
            lambda position: stage.proxy.cut_after(position, direction),
        ),
    )
    assert chain.stdout.count("begins") == 1 + 1 + 5 + len(POSITIONS)


def test_c1_reset_in_mid_message_of_a_game(stage_of_either):
    """The same where the environment asks."""
    player, _ = stage_of_either.playing()
    for position in POSITIONS:
        for direction in ("to_listener", "to_dialer"):
            stage_of_either.proxy.cut_after(position, direction)
            player.step()


@pytest.mark.parametrize("direction", ["to_listener", "to_dialer", "both"])
def test_c2_half_close(stage, within, direction):
    """A FIN in the middle of everything is a cut like any other."""
    player, _ = stage.playing()
    strike = stage.proxy.half_close
    within(0.5, median_step_s(player, range(3), lambda _: strike(direction)))


# ---------------------------------------------------------------------------------- C8


def test_c8_damaged_byte(stage):
    """A flipped bit anywhere in a frame is noticed, and the link is made anew."""
    # Not a loopback address by its name, so that bodies have a checksum too.
    player, _ = stage.playing(proxy_host="0.0.0.0", insecure=True)
    for position in POSITIONS:
        for direction in ("to_listener", "to_dialer"):
            stage.proxy.corrupt(position, direction)
            player.step()
            player.step()
    # A flip in the last bytes may have met a frame that was dropped anyway.
    wait_until(lambda: stage.proxy.connections > len(POSITIONS))
    assert "damaged" in stage.near.log + stage.far.log


# --------------------------------------------------------------------------------- C14


def test_c14_two_links_between_the_same_bridges(stage):
    """Both dial each other: whichever link breaks, the chain goes on."""
    player, _ = stage.playing(both_dial=True)
    for _ in range(4):
        stage.proxy.cut()
        player.step()
        stage.second_proxy.cut()
        player.step()


def test_c14_newer_link_takes_the_place_of_one_that_hangs(stage):
    """A bridge that comes back is not held up by its own past."""
    player, _ = stage.playing()
    stage.proxy.blackhole()
    stage.near.kill()
    stage.near.options["connect"] = [f"127.0.0.1:{stage.far.port()}"]
    stage.near.start()
    player.step()
    assert "newer link" in stage.far.log
    stage.proxy.heal()
    player.step()


# --------------------------------------------------------------------------------- C15


def flap(stage, seconds):
    """Cut the link every 100 ms for so long, while a player steps."""
    player, _ = stage.playing()
    before = descriptors(stage.near), descriptors(stage.far)
    until = time.monotonic() + seconds
    stop = threading.Event()

    def cut_again():
        while not stop.wait(0.1):
            stage.proxy.cut()

    flapping = threading.Thread(target=cut_again)
    flapping.start()
    steps = 0
    try:
        while time.monotonic() < until:
            player.step()
            steps += 1
    finally:
        stop.set()
        flapping.join()
    assert steps > 10
    stage.proxy.cut()
    player.step()
    wait_until(lambda: descriptors(stage.near) <= before[0])
    wait_until(lambda: descriptors(stage.far) <= before[1])


def test_c15_flapping_link(stage):
    """A cut every 100 ms: there is progress, and nothing piles up."""
    flap(stage, 4)
