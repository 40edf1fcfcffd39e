"""Whether two environments return the same, to the last bit."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Event:
    """What one call returned.

    Attributes:
        name: "reset" or "step".
        values: Names and values of what was returned.
    """

    name: str
    values: dict[str, Any]


def trajectory(env: Any, steps: int, seed: int) -> list[Event]:
    """Step an environment with seeded actions, resetting it after each episode.

    Args:
        env: A ``gymnasium.Env`` with a ``Discrete`` action space.
        steps: How many steps.
        seed: Of the actions, and of the resets.
    """
    actions = np.random.default_rng(seed).integers(env.action_space.n, size=steps)
    events = [_reset(env, seed)]
    for step, action in enumerate(actions):
        names = ("observation", "reward", "terminated", "truncated", "info")
        values = dict(zip(names, env.step(int(action)), strict=True))
        events.append(Event("step", values))
        if values["terminated"] or values["truncated"]:
            events.append(_reset(env, seed + 1 + step))
    return events


def _reset(env: Any, seed: int) -> Event:
    observation, info = env.reset(seed=seed)
    return Event("reset", {"observation": observation, "info": info})


def first_difference(expected: Iterable[Event], actual: Iterable[Event]) -> str | None:
    """Return where two trajectories differ for the first time, None if nowhere."""
    steps = 0
    for one, other in zip(expected, actual, strict=False):
        steps += one.name == "step"
        if one.name != other.name:
            return f"at step {steps}, a {other.name} came instead of a {one.name}"
        for name, value in one.values.items():
            found = other.values[name]
            if not same(value, found):
                return (
                    f"at step {steps}, the {name} of the {one.name} is {found!r} "
                    f"({_kind(found)}) instead of {value!r} ({_kind(value)})"
                )
    return None


def same(one: Any, other: Any) -> bool:
    """Return whether two values are of one type and hold the same bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray | np.generic):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and (
            one.tobytes() == other.tobytes()
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one.hex() == other.hex() or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"{kind} of {value.dtype}" if isinstance(value, np.ndarray) else kind
