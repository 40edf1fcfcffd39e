r"""Environments whose own time is known; ``rlay bench`` serves them.

An environment that runs elsewhere can be timed only there. :func:`timed` makes one
that times its own steps; whoever uses it may ask for the times, if they are served
with it::

    rlay serve rlay.testing.timed:timed --kwargs '{"target": "CartPole-v1"}' \
        --allow take_step_times --name cartpole
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlay.envs.sources import EnvironmentSource, load_target

__all__ = ["TAKE_STEP_TIMES", "TimedEnv", "TrivialEnv", "timed"]

TAKE_STEP_TIMES: Final = "take_step_times"
"""The method of :class:`TimedEnv` that is to be allowed."""
_SHAPE: Final = (16,)
_DTYPE: Final = "uint8"
_MOST_TIMES: Final = 200_000


class TrivialEnv(gymnasium.Env[NDArray[Any], Any]):
    """Answers every step with the same array, and does nothing else.

    Attributes:
        observation_space: A Box of the shape and dtype that were given.
        action_space: ``Discrete(2)``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (as Gymnasium's)

    def __init__(self, shape: Sequence[int] = _SHAPE, dtype: str = _DTYPE) -> None:
        """Make the environment.

        Args:
            shape: Of an observation.
            dtype: Of an observation.
        """
        kind: Any = np.dtype(dtype)
        self.observation_space = gymnasium.spaces.Box(0, 1, tuple(shape), kind.type)
        self.action_space = gymnasium.spaces.Discrete(2)
        # Not zeros: those may be one page of the system's, always in the cache.
        self._observation = np.ones(tuple(shape), kind)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return the observation of every step.

        Args:
            seed: Not used.
            options: Not used.

        Returns:
            observation: Ones.
            info: Empty.
        """
        return self._observation, {}

    def step(
        self, action: Any
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Return the same transition, whatever the action.

        Args:
            action: Not used.

        Returns:
            observation: Ones, the same object each time.
            reward: 0.0.
            terminated: False.
            truncated: False.
            info: Empty.
        """
        return self._observation, 0.0, False, False, {}


class TimedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Times each step of the environment in it."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment."""
        super().__init__(env)
        self._times_ns: deque[int] = deque(maxlen=_MOST_TIMES)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment, and note how long that took.

        Args:
            action: Passed on.

        Returns:
            What the environment returns.
        """
        before = time.perf_counter_ns()
        transition = self.env.step(action)
        self._times_ns.append(time.perf_counter_ns() - before)
        return transition

    def take_step_times(self) -> dict[str, Any]:
        """Return how long the steps since the last call took, and forget them.

        Returns:
            ``steps``, how many there are (the last 200,000 at most), and ``p50_us``,
            their median in microseconds, or None where there are none.
        """
        times = list(self._times_ns)
        self._times_ns.clear()
        middle = statistics.median(times) / 1e3 if times else None
        return {"steps": len(times), "p50_us": middle}


def timed(
    target: str | None = None,
    obs_shape: Sequence[int] = _SHAPE,
    obs_dtype: str = _DTYPE,
) -> TimedEnv:
    """Make an environment that times its own steps.

    Args:
        target: A Gymnasium id, ``module:ID`` or ``module:callable``; None for a
            :class:`TrivialEnv`.
        obs_shape: Of the trivial environment's observation.
        obs_dtype: Of the trivial environment's observation.

    Raises:
        ChannelError: There is nothing of the target's name.
        TypeError: It is no single environment.
    """
    if target is None:
        return TimedEnv(TrivialEnv(obs_shape, obs_dtype))
    source = EnvironmentSource(load_target(target))
    if source.vector:
        raise TypeError(f"{target!r} is a vector environment, not a single one")
    return TimedEnv(source.make())
