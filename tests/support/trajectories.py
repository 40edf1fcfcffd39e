"""Seeded runs of an environment, recorded call by call and compared bit by bit."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import gymnasium

from tests.support.equality import assert_identical

STEPS = 1000
_SEED = 123
_EXTRA_RESET_EVERY = 251
"""A reset in mid-episode, with a seed, so that long episodes have some as well."""

Trajectory = list[tuple[str, Any]]


def actions_of(env: gymnasium.Env[Any, Any], count: int = STEPS) -> list[Any]:
    """Return seeded samples of the action space."""
    space = copy.deepcopy(env.action_space)
    space.seed(_SEED)
    return [space.sample() for _ in range(count)]


def record(env: gymnasium.Env[Any, Any], actions: list[Any]) -> Trajectory:
    """Run ``actions`` with resets: seeded, in mid-episode, and after each end.

    Returns:
        For each call what was called and a deep copy of what it returned.
    """
    calls: Trajectory = []

    def add(call: str, result: Any) -> None:
        calls.append((call, copy.deepcopy(result)))

    add(f"reset(seed={_SEED})", env.reset(seed=_SEED))
    for index, action in enumerate(actions):
        if index and index % _EXTRA_RESET_EVERY == 0:
            add(f"reset(seed={index})", env.reset(seed=index))
        transition = env.step(action)
        add(f"step {index}", transition)
        if transition[2] or transition[3]:
            add("reset()", env.reset())
    return calls


Reference = tuple[list[Any], Trajectory, str | None]


def run_twice(make: Callable[[], gymnasium.Env[Any, Any]]) -> Reference:
    """Run an environment twice in this process.

    Returns:
        The actions, the first run, and how the second differed from it, or None.
    """
    runs = []
    actions: list[Any] = []
    for _ in range(2):
        env = make()
        actions = actions_of(env)
        runs.append(record(env, actions))
        env.close()
    return actions, runs[0], difference(runs[1], runs[0])


@functools.lru_cache(maxsize=12)  # a family, for both paradigms
def reference(name: str) -> Reference:
    """Run a registered environment twice in this process, once for all tests."""
    return run_twice(functools.partial(gymnasium.make, name))


def difference(actual: Trajectory, expected: Trajectory) -> str | None:
    """Return the first difference between two trajectories, or None."""
    for number, (one, other) in enumerate(zip(actual, expected, strict=False)):
        try:
            assert one[0] == other[0], f"{one[0]} was called, expected {other[0]}"
            assert_identical(one[1], other[1])
        except AssertionError as error:
            return f"call {number}, {other[0]}: {error}"
    if len(actual) != len(expected):
        return f"{len(actual)} calls, expected {len(expected)}"
    return None
