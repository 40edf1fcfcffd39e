"""The environments that ``rlay bench`` steps: one alone, or many at once."""

import contextlib
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import gymnasium

from rlay.cli.bench_rounds import Timer, Turn
from rlay.cli.watched_env import WatchedEnv, WatchedVectorEnv
from rlay.errors import LocalProtocolError
from rlay.processes.cpu_time import cpu_time_s
from rlay.protocol.greeting import EnvironmentFacts
from rlay.testing.timed import TAKE_STEP_TIMES

ALGORITHM: Final = "algorithm"
_ACTIONS: Final = 256
"""Enough to be unpredictable, few enough to stay in the cache."""

Pids = Mapping[str, Sequence[int]]
"""Of the processes that were started, by what they are."""


class SteppedEnv(WatchedEnv):
    """An environment that tells what it is, and how long its own steps take."""

    @property
    def facts(self) -> EnvironmentFacts:
        """What the other end said of it.

        Raises:
            LocalProtocolError: It is not connected.
        """
        if self._facts is None:
            raise LocalProtocolError("the environment is not connected")
        return self._facts

    def take_times(self) -> float | None:
        """Return the median of its own step in microseconds, since the last call.

        None where it does not time itself, or was not stepped.
        """
        if TAKE_STEP_TIMES not in self.facts.allow:
            return None
        middle = getattr(self, TAKE_STEP_TIMES)()["p50_us"]
        return None if middle is None else float(middle)


class Processes:
    """CPU time of the processes that were started, and of this one."""

    def __init__(self, pids: Pids) -> None:
        """Count from now on."""
        self._pids = pids
        self._before = self._now()

    def _now(self) -> dict[str, float | None]:
        found: dict[str, float | None] = {ALGORITHM: time.process_time()}
        for name, pids in self._pids.items():
            spent = [cpu_time_s(pid) for pid in pids]
            found[name] = None if None in spent else sum(filter(None, spent))
        return found

    def us_per_step(self, steps: int) -> dict[str, float | None]:
        """Return how much each has used for a step since the beginning."""
        now = self._now()
        return {
            name: None
            if spent is None or (before := self._before[name]) is None
            else (spent - before) * 1e6 / steps
            for name, spent in now.items()
        }


class Single:
    """One environment alone."""

    def __init__(self, env: Callable[[], SteppedEnv], pids: Pids) -> None:
        """Take note of it.

        Args:
            env: Returns it, attached; it may be another one each time.
            pids: Of what was started for it.
        """
        self._env = env
        self._pids = pids
        self._actions = draw_actions(env().action_space)

    @property
    def env(self) -> SteppedEnv:
        """The environment, attached."""
        return self._env()

    def take_turn(self, seconds: float) -> Turn:
        """Step it."""
        timer, env = Timer(), self._env()
        env.reset()
        env.take_times()
        processes = Processes(self._pids)
        timer.steps(env, self._actions, seconds)
        cpu_us = processes.us_per_step(len(timer.durations))
        return timer.turn(environment_us=env.take_times(), cpu_us=cpu_us)

    def example(self) -> tuple[Any, Any]:
        """Return an action, and the transition that it led to."""
        env, action = self._env(), next(self._actions)
        env.reset(seed=0)
        return action, env.step(action)


class AtOnce:
    """Many environments, stepped by a ``ClientVectorEnv``."""

    def __init__(self, envs: Callable[[], WatchedVectorEnv], pids: Pids) -> None:
        """Take note of them; arguments as :class:`Single`."""
        self._envs = envs
        self._pids = pids
        self._actions = draw_actions(envs().action_space)

    def take_turn(self, seconds: float) -> Turn:
        """Step all of them; they reset by themselves, and that is a step too."""
        timer, envs = Timer(), self._envs()
        envs.reset()
        step, actions, count = envs.step, self._actions, envs.num_envs
        processes = Processes(self._pids)
        timer.calls(lambda: step(next(actions)), seconds)
        cpu_us = processes.us_per_step(len(timer.durations) * count)
        return timer.turn(count, cpu_us=cpu_us)


class Alternately:
    """Two ways to the same channels, of which one is open at a time."""

    def __init__(
        self,
        open_single: Callable[[], SteppedEnv],
        open_many: Callable[[], WatchedVectorEnv],
    ) -> None:
        """Open nothing yet."""
        self._open_single, self._open_many = open_single, open_many
        self._single: SteppedEnv | None = None
        self._many: WatchedVectorEnv | None = None

    def single(self) -> SteppedEnv:
        """Return the first of them alone."""
        if self._single is None:
            self.close()
            self._single = self._open_single()
        return self._single

    def many(self) -> WatchedVectorEnv:
        """Return all of them."""
        if self._many is None:
            self.close()
            self._many = self._open_many()
        return self._many

    def close(self) -> None:
        """Leave what is open. Twice is harmless."""
        single, self._single = self._single, None
        many, self._many = self._many, None
        with contextlib.ExitStack() as stack:
            for env in (single, many):
                if env is not None:
                    stack.callback(env.close)


def draw_actions(space: gymnasium.Space[Any]) -> Iterator[Any]:
    """Return actions of a space without end."""
    space = copy.deepcopy(space)
    space.seed(0)
    return itertools.cycle([space.sample() for _ in range(_ACTIONS)])
