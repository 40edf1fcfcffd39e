"""Environments whose own cost is known, so that the rest is the transport's."""

from __future__ import annotations

import math
import time
from typing import Any

import gymnasium
import numpy as np

_FRAME = "frame-"


def _frame_shape(name: str) -> tuple[int, int, int]:
    width, height, channels = map(int, name.removeprefix(_FRAME).split("x"))
    return height, width, channels


def frame_bytes(name: str) -> int:
    """Return the size of the observations of ``frame-WIDTHxHEIGHTxCHANNELS``."""
    return math.prod(_frame_shape(name))


_FRAMES = ("frame-84x84x4", "frame-640x480x3", "frame-1920x1080x3")
FRAME_BYTES = {name: frame_bytes(name) for name in _FRAMES}


class TrivialEnv(gymnasium.Env[Any, Any]):
    """Answer every step with the same 16 bytes and allocate nothing."""

    def __init__(self, info: dict[str, Any] | None = None) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._observation = np.zeros(4, np.float32)
        self._info = {} if info is None else info

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Return the observation of every step."""
        return self._observation, self._info

    def step(self, action: Any) -> Any:
        """Return the same transition, whatever the action."""
        return self._observation, 0.0, False, False, self._info


class InfoEnv(TrivialEnv):
    """Report three scalars and an array in each info, as many environments do."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0
        self._position = np.zeros(3)

    def step(self, action: Any) -> Any:
        """Return a transition with an info that changes at each step."""
        self._steps += 1
        info = {
            "steps": self._steps,
            "score": self._steps * 0.5,
            "alive": True,
            "position": self._position,
        }
        return self._observation, 0.0, False, False, info


class FrameEnv(gymnasium.Env[Any, Any]):
    """Stamp a frame that is kept, so that nearly all of a step is its transport."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._frame = np.ones(shape, np.uint8)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Return the frame as it is."""
        return self._frame, {}

    def step(self, action: Any) -> Any:
        """Write the step's number into the first pixel and return the frame."""
        self._steps = (self._steps + 1) & 255
        self._frame[0, 0, 0] = self._steps
        return self._frame, 0.0, False, False, {}


class BusyEnv(TrivialEnv):
    """Use 200 microseconds of CPU time in each step."""

    def step(self, action: Any) -> Any:
        """Compute, then return the same transition."""
        # CPU time and not the wall clock: a pair that waits for its CPU must not
        # have its work done for it.
        clock = time.thread_time_ns
        until = clock() + 200_000
        while clock() < until:
            pass
        return super().step(action)


def make(name: str) -> gymnasium.Env[Any, Any]:
    """Make one of this module's environments, or one of Gymnasium's by its id."""
    if name == "trivial":
        return TrivialEnv()
    if name == "info":
        return InfoEnv()
    if name == "busy-200us":
        return BusyEnv()
    if name.startswith(_FRAME):
        return FrameEnv(_frame_shape(name))
    return gymnasium.make(name)


def make_vector(name: str, num_envs: int) -> Any:
    """Make many of one of Gymnasium's environments that has a version of arrays."""
    mode = gymnasium.VectorizeMode.VECTOR_ENTRY_POINT
    return gymnasium.make_vec(name, num_envs=num_envs, vectorization_mode=mode)
