"""The environments that ``rlay bench`` steps: over one channel, or over several."""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from rlay.cli.bench_rounds import Timer, Turn
from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.client_env import ClientEnv
from rlay.errors import LocalProtocolError
from rlay.processes.cpu_time import cpu_time_s
from rlay.testing.timed import TAKE_STEP_TIMES

ALGORITHM: Final = "algorithm"
_ACTIONS: Final = 256
"""Enough to be unpredictable, few enough to stay in the cache."""


class SteppedEnv(ClientEnv):
    """A ``ClientEnv`` whose session can be used by itself."""

    @property
    def link(self) -> AlgorithmLink:
        """The session.

        Raises:
            LocalProtocolError: There is none.
        """
        if self._link is None:
            raise LocalProtocolError("the environment is not connected")
        return self._link

    def take_times(self) -> float | None:
        """Return the median of its own step in microseconds, since the last call.

        None where it does not time itself, or was not stepped.
        """
        if TAKE_STEP_TIMES not in self.link.facts.allow:
            return None
        middle = getattr(self, TAKE_STEP_TIMES)()["p50_us"]
        return None if middle is None else float(middle)


class Processes:
    """CPU time of the processes that were started, and of this one."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        """Take note of them: process ids by what they are."""
        self._pids = pids
        self._before = self._now()

    def _now(self) -> dict[str, float | None]:
        found: dict[str, float | None] = {ALGORITHM: time.process_time()}
        for name, pids in self._pids.items():
            spent = [cpu_time_s(pid) for pid in pids]
            found[name] = None if None in spent else sum(filter(None, spent))
        return found

    def begin(self) -> None:
        """Count from now on."""
        self._before = self._now()

    def us_per_step(self, steps: int) -> dict[str, float | None]:
        """Return how much each has used for a step since the beginning."""
        now = self._now()
        return {
            name: None
            if spent is None or (before := self._before[name]) is None
            else (spent - before) * 1e6 / steps
            for name, spent in now.items()
        }


class Channels:
    """Environments, each on a channel of its own.

    Attributes:
        envs: The environments.
    """

    def __init__(
        self, envs: Sequence[SteppedEnv], pids: Mapping[str, Sequence[int]]
    ) -> None:
        """Reset all of them.

        Args:
            envs: At least one.
            pids: Of the processes that were started for them, by what they are.
        """
        self.envs = envs
        self._processes = Processes(pids)
        self._actions = [_draw_actions(env) for env in envs]
        for number, env in enumerate(envs):
            env.reset(seed=number)

    def one(self, seconds: float) -> Turn:
        """Step the first of them alone, for a turn."""
        timer, env = Timer(), self.envs[0]
        env.take_times()
        self._processes.begin()
        timer.steps(env, self._actions[0], seconds)
        cpu_us = self._processes.us_per_step(len(timer.durations))
        return timer.turn(environment_us=env.take_times(), cpu_us=cpu_us)

    def all(self, seconds: float) -> Turn:
        """Step all at once, for a turn: send each action, then await the replies."""
        timer, count = Timer(), len(self.envs)
        self._processes.begin()
        timer.calls(self._compile_all(), seconds, self._reset_ended)
        cpu_us = self._processes.us_per_step(len(timer.durations) * count)
        return timer.turn(count, cpu_us=cpu_us)

    def _compile_all(self) -> Callable[[], list[Any]]:
        # No public class steps several channels at once yet.
        links = [env.link for env in self.envs]
        sends = [
            (link.step_send, actions)
            for link, actions in zip(links, self._actions, strict=True)
        ]
        waits = [link.step_wait for link in links]

        def step() -> list[Any]:
            for send, actions in sends:
                send(next(actions))
            return [wait() for wait in waits]

        return step

    def _reset_ended(self, transitions: list[Any]) -> None:
        for env, transition in zip(self.envs, transitions, strict=True):
            if transition[2] or transition[3]:
                env.reset()

    def example(self) -> tuple[Any, Any]:
        """Return an action, and the transition that it led to."""
        action = next(self._actions[0])
        env = self.envs[0]
        transition = env.step(action)
        if transition[2] or transition[3]:
            env.reset()
        return action, transition


def _draw_actions(env: SteppedEnv) -> Iterator[Any]:
    space = copy.deepcopy(env.action_space)
    space.seed(0)
    return itertools.cycle([space.sample() for _ in range(_ACTIONS)])
