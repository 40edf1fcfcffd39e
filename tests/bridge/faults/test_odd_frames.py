"""Row C7: frames that come twice, late, again, or not at all.

TCP does none of this. It is what another program at the other end might do, so it may
cost the link, but it never costs the chain a step, nor gives it one too many.
"""

import itertools
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlay.protocol.frames import FrameType
from tests.faults.stage import LIMIT_S
from tests.support.bridged import FAST
from tests.support.waiting import wait_until

KINDS = [FrameType.DATA, FrameType.TAKEN, None]
DIRECTIONS = ["to_listener", "to_dialer"]


@pytest.mark.parametrize("how", ["duplicate", "delay", "replay"])
def test_c7_frames_twice_late_or_again(stage_of_either, how):
    """What came before is dropped, what came out of turn is too: the chain is whole."""
    stage = stage_of_either
    player, _ = stage.playing(**FAST)
    strike = getattr(stage.proxy, f"{how}_frame")
    for kind, direction in itertools.product(KINDS, DIRECTIONS):
        strike(kind, direction)
        for _ in range(3):
            player.step()


def test_c7_frames_of_a_session_that_is_over(stage):
    """A replayed request of an older session is not run in the new one."""
    player, chain = stage.playing(steps=1)
    # It is sent again far behind, when the next client's steps are under way.
    stage.proxy.replay_frame(FrameType.DATA, "to_listener", behind=6)
    player.step()
    player.env.close()
    newer = stage.player()
    newer.play(seed=2, steps=10)
    assert chain.stdout.count("step 13 begins") == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_c7_lost_frame_is_made_good_by_the_next_link(stage, direction):
    """Who loses a frame of TCP is broken; but the state is in the slots."""
    player, _ = stage.playing()
    with ThreadPoolExecutor(1) as threads:
        seen = stage.proxy.frames(direction, FrameType.DATA)
        stage.proxy.drop_frame(FrameType.DATA, direction)
        step = threads.submit(player.step)
        while stage.proxy.frames(direction, FrameType.DATA) == seen:
            assert not step.done()
        stage.proxy.cut()
        step.result(LIMIT_S)
    player.step()


def dropped_frames(bridge):
    """Return how many frames a bridge has dropped, by its metrics."""
    address = re.search(r"health at http://(\S+)/readyz", bridge.log)
    assert address is not None, bridge.log
    with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found = re.findall(r"^rlay_dropped_frames_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(float(number) for number in found)


@pytest.mark.parametrize(
    ("direction", "side"), [("to_listener", "far"), ("to_dialer", "near")]
)
def test_c7_dropped_frames_are_counted(stage, direction, side):
    """A message that came a second time shows in the metrics of whoever dropped it."""
    player, _ = stage.playing(health="127.0.0.1:0")
    bridge = getattr(stage, side)
    before = dropped_frames(bridge)
    stage.proxy.duplicate_frame(FrameType.DATA, direction)
    player.step()
    wait_until(lambda: dropped_frames(bridge) == before + 1)
