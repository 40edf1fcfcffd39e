"""Lanes in processes of their own, one of which is killed in the middle of a step.

Each lane is a hash chain, so that a step that was lost, or run twice, in any lane shows
in all that follows.
"""

import time
from contextlib import suppress
from typing import Any

import numpy as np

import rlay
from rlay.testing.environments import HashChainEnv, chain_hash
from rlay.transport.inspection import clean, list_channels
from tests.faults.chains import FaultyChain, Plan, say
from tests.faults.stage import LIMIT_S
from tests.support.children import Child, Children
from tests.support.threads import Background
from tests.support.waiting import wait_until

VICTIM = 1
RAISED_S = 1.0
HANG_S = 60.0
ALL_BACK_S = 10.0


def serve_lane(name: str, plan: Plan) -> None:
    """Serve one hash chain."""
    with rlay.ServerBackend(FaultyChain(plan), name=name) as backend:
        say("serving")
        backend.run()


def play_lane(name: str, plan: Plan) -> None:
    """Let one hash chain ask for decisions."""
    say("playing")
    rlay.ClientBackend(FaultyChain(plan), name=name, connect_timeout=LIMIT_S).run()


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


class Games(Fleet):
    """Processes that play ``game.0``, ``game.1`` ..., and their trainer.

    Who comes later has no number, and finds the place that is free.
    """

    def serve(self, lane: int, plan: Plan | None = None) -> Child:
        """Start the game of a lane."""
        later = self.envs is not None and self.envs.connected
        name = "game" if later else f"game.{lane}"
        child = self._children.start(play_lane, name, plan or [], forever=True)
        self.children[lane] = child
        if later:
            child.wait_until_printed("playing")
        return child

    def attach(self, **options: Any) -> Any:
        """Make the vector, and wait for all games."""
        options = {"connect_timeout": LIMIT_S, **options}
        self.envs = rlay.ServerVectorEnv("game", self.lanes, **options)
        for lane in range(self.lanes):
            if lane not in self.children:
                self.serve(lane)
        wait_until(self._all_joined, LIMIT_S)
        assert list(self.envs.channels) == [f"game.{n}" for n in range(self.lanes)]
        return self.envs

    def _all_joined(self) -> bool:
        with suppress(rlay.ConnectTimeout):  # it may be short, for what comes later
            self.envs.wait_until_connected()
        return bool(self.envs.connected)


HANGS: Plan = [["step", 4, "sleep", HANG_S]]
"""The lane hangs in its fourth step, so that it is killed in the middle of it."""


def lose_the_victim(fleet: Fleet, **options: Any) -> None:
    """Play three steps, and have the victim killed in the fourth, which comes next."""
    fleet.serve(VICTIM, HANGS)
    fleet.attach(**options)
    fleet.play()
    fleet.kill_in_step()


def killed_at(fleet: Fleet) -> float:
    """Return about when the victim was killed: the striker ends right after it."""
    fleet.striker.outcome()
    return time.monotonic()


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
