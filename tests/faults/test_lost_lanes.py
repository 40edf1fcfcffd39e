"""Lanes of a vector whose backends die: the others go on, and the lanes come back.

Each lane is a hash chain in a process of its own, so that a step that was lost, or run
twice, in any lane shows in all that follows.
"""

import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import rlay
from rlay.testing.environments import HashChainEnv, chain_hash
from rlay.transport.inspection import clean, list_channels
from tests.faults.chains import FaultyChain, Plan, say
from tests.faults.stage import LIMIT_S, Within
from tests.support.children import Child, Children
from tests.support.threads import Background
from tests.support.vectors import MODES
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(90)

VICTIM = 1
RAISED_S = 1.0
HANG_S = 60.0
ALL_BACK_S = 10.0


def serve_lane(name: str, plan: Plan) -> None:
    """Serve one hash chain."""
    with rlay.ServerBackend(FaultyChain(plan), name=name) as backend:
        say("serving")
        backend.run()


class Fleet:
    """Processes that serve ``n.0``, ``n.1`` ..., and a vector over them.

    Attributes:
        children: By the number of the lane.
    """

    def __init__(self, children: Children, lanes: int) -> None:
        self.lanes = lanes
        self._children = children
        self.children: dict[int, Child] = {}
        self.envs: Any = None
        self.striker: Any = None
        self._states: list[bytes] = []
        self._steps = 0

    def serve(self, lane: int, plan: Plan | None = None) -> Child:
        """Start the process of a lane."""
        child = self._children.start(serve_lane, f"n.{lane}", plan or [], forever=True)
        self.children[lane] = child
        return child

    def attach(self, **options: Any) -> Any:
        """Make the vector, over all lanes."""
        for lane in range(self.lanes):
            if lane not in self.children:
                self.serve(lane)
        names = [f"n.{lane}" for lane in range(self.lanes)]
        wait_until(lambda: sorted(view.name for view in list_channels()) == names)
        options = {"connect_timeout": LIMIT_S, **options}
        self.envs = rlay.ClientVectorEnv("n", self.lanes, **options)
        assert list(self.envs.channels) == names
        return self.envs

    def reset(self, **options: Any) -> Any:
        """Reset the vector, and remember where each lane is."""
        observations, infos = self.envs.reset(**options)
        self._states = [row.tobytes() for row in observations]
        return observations, infos

    def step(self, *, except_for: int | None = None) -> Any:
        """Step the vector; assert that all lanes but one went on from their states."""
        self._steps += 1
        actions = np.array([(self._steps + lane) % 256 for lane in range(self.lanes)])
        transition = self.envs.step(actions)
        chain = HashChainEnv()
        for lane, row in enumerate(transition[0]):
            if lane != except_for:
                action = chain.action_bytes(actions[lane])
                expected = chain_hash(self._states[lane], [action])
                assert row.tobytes() == expected, f"lane {lane}"
            self._states[lane] = row.tobytes()
        return transition

    def state(self, lane: int) -> bytes:
        """Return the last observation of a lane."""
        return self._states[lane]

    def play(self, steps: int = 3) -> None:
        """Reset, and take some steps in all lanes."""
        self.reset(seed=5)
        for _ in range(steps):
            self.step()

    def kill_in_step(self) -> None:
        """Kill the victim once it is in the step after the third; see ``plan``."""
        victim = self.children[VICTIM]

        def strike() -> None:
            victim.wait_until_printed("step 4 begins")
            victim.kill()

        self.striker = Background(strike)

    def close(self) -> None:
        """Close the vector, and remove what those who were killed have left."""
        if self.envs is not None:
            self.envs.close()
        clean()


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest, children: Children, channel_directory: Any
) -> Iterator[Fleet]:
    """Three lanes, not served yet; the vector is closed at the test's end."""
    made = Fleet(children, getattr(request, "param", 3))
    yield made
    made.close()


HANGS: Plan = [["step", 4, "sleep", HANG_S]]
"""The lane hangs in its fourth step, so that it is killed in the middle of it."""


def lose_the_victim(fleet: Fleet, **options: Any) -> None:
    """Play three steps, and have the victim killed in the fourth, which comes next."""
    fleet.serve(VICTIM, HANGS)
    fleet.attach(**options)
    fleet.play()
    fleet.kill_in_step()


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


def killed_at(fleet: Fleet) -> float:
    """Return about when the victim was killed: the striker ends right after it."""
    fleet.striker.outcome()
    return time.monotonic()


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


def come_back_by_themselves(fleet: Fleet) -> None:
    """Step until the lane is not truncated any more, each step right in the others."""

    def back() -> bool:
        return not fleet.step(except_for=VICTIM)[3].any()

    wait_until(back, ALL_BACK_S, "the lane is back")


def come_back_by_mask(fleet: Fleet) -> None:
    """Reset the lane, as the algorithm must, until there is an environment again."""
    mask = np.array([lane == VICTIM for lane in range(fleet.lanes)])

    def back() -> bool:
        _, infos = fleet.reset(options={"reset_mask": mask})
        return "rlay" not in infos

    wait_until(back, ALL_BACK_S, "the lane is back")


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
    assert not fleet.step(except_for=VICTIM)[3].any()
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
