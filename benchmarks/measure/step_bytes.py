"""Steps as bytes, for the peers that carry bytes and leave the rest to their users.

It is the least that works: fixed fields, no info, no check. RLay does more in a step.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from measure import environments

_RESET, _STEP = b"r", b"s"
# What is asked, and the action or the seed.
_REQUEST = struct.Struct("<cq")
# Reward, terminated, truncated; the observation follows.
_HEAD = struct.Struct("<d??")

HEAD_BYTES = _HEAD.size


def answer(env: Any, request: bytes) -> tuple[bytes, Any]:
    """Run a request, and return the head of the reply and the observation."""
    kind, number = _REQUEST.unpack(request)
    if kind == _STEP:
        observation, reward, terminated, truncated, _ = env.step(number)
        return _HEAD.pack(reward, terminated, truncated), observation
    observation, _ = env.reset(seed=number)
    return _HEAD.pack(0.0, False, False), observation


class BytesEnv:
    """The near end of an environment whose steps are exchanged as bytes."""

    def __init__(self, name: str, exchange: Callable[[bytes], tuple[Any, Any]]) -> None:
        """Take note of the way.

        Args:
            name: Of the environment; its observation space is agreed beforehand.
            exchange: Sends a request and returns head and observation of the reply.
        """
        space = environments.make(name).observation_space
        self._dtype, self._shape = space.dtype, space.shape
        self._exchange = exchange

    def _observation(self, data: Any) -> Any:
        return np.frombuffer(data, self._dtype).reshape(self._shape)

    def reset(self, seed: int | None = None) -> Any:
        """Reset the environment at the far end."""
        _, data = self._exchange(_REQUEST.pack(_RESET, seed or 0))
        return self._observation(data), {}

    def step(self, action: Any) -> Any:
        """Step the environment at the far end."""
        head, data = self._exchange(_REQUEST.pack(_STEP, action))
        reward, terminated, truncated = _HEAD.unpack(head)
        return self._observation(data), reward, terminated, truncated, {}
