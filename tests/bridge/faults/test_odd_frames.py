"""Row C7: frames that come twice, late, again, or not at all.

TCP does none of this. It is what another program at the other end might do, so it may
cost the link, but it never costs the chain a step, nor gives it one too many.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlay.protocol.frames import FrameType
from tests.faults.stage import LIMIT_S
from tests.support.bridged import FAST

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
