"""Lanes of a vector whose backends die: the others go on, and the lanes come back."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import rlay
from tests.faults.fleet import (
    RAISED_S,
    VICTIM,
    Fleet,
    come_back_by_mask,
    come_back_by_themselves,
    killed_at,
    lose_the_victim,
)
from tests.faults.stage import Within
from tests.support.children import Children
from tests.support.threads import Background
from tests.support.vectors import MODES

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest, children: Children, channel_directory: Any
) -> Iterator[Fleet]:
    """Three lanes, not served yet; the vector is closed at the test's end."""
    made = Fleet(children, getattr(request, "param", 3))
    yield made
    made.close()


def test_raise_names_the_lane_and_reset_attaches_to_a_new_one(
    fleet: Fleet, within: Within
):
    """The step raises at once; the vector is usable: reset() takes what is there."""
    lose_the_victim(fleet)
    with pytest.raises(rlay.EnvLost) as caught:
        fleet.step()
    within(RAISED_S, time.monotonic() - killed_at(fleet))
    assert caught.value.lanes == (VICTIM,)
    assert caught.value.executed is None
    assert fleet.envs.channels[VICTIM] is None
    with pytest.raises(ResetNeeded):
        fleet.step()
    fleet.serve(VICTIM)
    fleet.play()


@pytest.mark.parametrize(
    ("fleet", "mode"),
    [(8, MODES[0]), *((3, mode) for mode in MODES[1:])],
    ids=[mode.name for mode in MODES],
    indirect=["fleet"],
)
def test_truncate_reports_the_lane_and_the_others_go_on(fleet: Fleet, mode: Any):
    """The others' results of that very step arrive; within ten seconds all run."""
    lose_the_victim(fleet, on_lane_lost="truncate", autoreset_mode=mode)
    before = fleet.state(VICTIM)
    observations, rewards, terminations, truncations, infos = fleet.step(
        except_for=VICTIM
    )
    assert truncations.tolist() == [lane == VICTIM for lane in range(fleet.lanes)]
    assert not terminations.any()
    assert rewards[VICTIM] == 0.0
    assert observations[VICTIM].tobytes() == before
    assert "ended without a goodbye" in infos["rlay"]["lost"][VICTIM]
    assert infos["rlay"]["executed"][VICTIM] is None
    if mode is AutoresetMode.SAME_STEP:
        assert infos["final_obs"][VICTIM].tobytes() == before
    fleet.serve(VICTIM)
    if mode is AutoresetMode.DISABLED:
        come_back_by_mask(fleet)
    else:
        come_back_by_themselves(fleet)
    for _ in range(5):
        assert not fleet.step()[3].any()


@pytest.mark.parametrize("mode", MODES[:2], ids=lambda mode: mode.name)
def test_wait_truncates_once_and_waits_for_a_new_environment(fleet: Fleet, mode: Any):
    """No step is made up: the next one waits, and the lane begins an episode."""
    lose_the_victim(fleet, on_lane_lost="wait", autoreset_mode=mode)

    def serve_again() -> None:
        fleet.striker.outcome()
        time.sleep(0.3)
        fleet.serve(VICTIM)

    server = Background(serve_again)
    _, _, _, truncations, infos = fleet.step(except_for=VICTIM)
    assert truncations.tolist() == [lane == VICTIM for lane in range(fleet.lanes)]
    assert infos["_rlay"].tolist() == truncations.tolist()
    _, _, _, truncations, infos = fleet.step(except_for=VICTIM)
    # In SAME_STEP an observation of a new episode comes with the end of one before.
    assert truncations[VICTIM] == (mode is AutoresetMode.SAME_STEP)
    assert "_rlay" not in infos
    server.outcome()
    for _ in range(3):
        fleet.step()


def test_wait_gives_up_after_connect_timeout_and_can_be_tried_again(fleet: Fleet):
    """The message says which lane; nothing was sent to the others."""
    lose_the_victim(fleet, on_lane_lost="wait", connect_timeout=5.0)
    fleet.step(except_for=VICTIM)
    with pytest.raises(rlay.ConnectTimeout, match=f"lane {VICTIM} within 5.0 s"):
        fleet.step()
    fleet.serve(VICTIM).wait_until_printed("serving")
    fleet.step(except_for=VICTIM)
    fleet.step()


def test_channel_that_is_new_takes_the_place_of_a_lost_one(fleet: Fleet):
    """Lanes are elastic: any free channel of the group will do."""
    lose_the_victim(fleet, on_lane_lost="truncate")
    fleet.step(except_for=VICTIM)
    fleet.serve(17)
    come_back_by_themselves(fleet)
    assert fleet.envs.channels[VICTIM] == "n.17"


def test_backend_that_says_goodbye_leaves_its_lane(fleet: Fleet):
    """A machine that shuts down in good order is a lost lane like another."""
    fleet.attach(on_lane_lost="truncate")
    fleet.play()
    fleet.children[VICTIM].send_signal(signal.SIGTERM)
    fleet.children[VICTIM].wait(exit_code=None)
    _, _, _, truncations, infos = fleet.step(except_for=VICTIM)
    assert truncations[VICTIM]
    assert "closed" in infos["rlay"]["lost"][VICTIM]
    assert infos["rlay"]["executed"][VICTIM] == False  # noqa: E712 - a NumPy bool


def test_all_lanes_lost_waits_for_one(fleet: Fleet):
    """With nobody left no transitions are made up: the step waits, with a bound."""
    fleet.attach(on_lane_lost="truncate", connect_timeout=5.0)
    fleet.play()
    for child in fleet.children.values():
        child.kill()
    assert fleet.envs.step(np.zeros(3, np.int64))[3].all()
    with pytest.raises(rlay.ConnectTimeout):
        fleet.envs.step(np.zeros(3, np.int64))
    fleet.serve(VICTIM).wait_until_printed("serving")
    truncations = fleet.envs.step(np.zeros(3, np.int64))[3]
    assert truncations.tolist() == [lane != VICTIM for lane in range(fleet.lanes)]
