"""The measured loops: each step timed by itself with ``perf_counter_ns``."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measure.opened import Opened

# The clock is read for the deadline once in so many steps, where steps are short.
_BATCH = 32
_SHORT_NS = 1_000_000
_LOOPS = 10
_LOOP_TURNS = 20_000


@dataclass(frozen=True)
class Budget:
    """How long to measure: until ``seconds`` have passed or ``steps`` were made."""

    seconds: float
    steps: int


def read_corners(result: Any) -> int:
    """Read two bytes of a frame, the first and the last."""
    frame = result[0]
    return int(frame[0, 0, 0]) + int(frame[-1, -1, -1])


def time_steps(
    opened: Opened, budget: Budget, read: Callable[[Any], Any] | None
) -> tuple[array[int], float]:
    """Step without resets; return each step's nanoseconds and the total seconds."""
    clock = time.perf_counter_ns
    step = opened.step
    durations = array("q")
    note = durations.append
    actions = itertools.cycle(opened.actions)
    began = clock()
    deadline = began + int(budget.seconds * 1e9)
    # The result is bound to a name until the next one replaces it, as in a user's
    # loop: so the last observation is freed only after the next was made.
    batch = 1
    while len(durations) < budget.steps and clock() < deadline:
        for _ in range(batch):
            action = next(actions)
            before = clock()
            result = step(action)
            if read is not None:
                read(result)
            note(clock() - before)
        batch = _BATCH if durations[-1] < _SHORT_NS else 1
    return durations, (clock() - began) / 1e9


def time_episodes(opened: Opened, budget: Budget) -> tuple[array[int], float]:
    """Step, and reset at each episode's end; resets count in the total only."""
    clock = time.perf_counter_ns
    step, reset = opened.step, opened.reset
    durations = array("q")
    note = durations.append
    actions = itertools.cycle(opened.actions)
    began = clock()
    deadline = began + int(budget.seconds * 1e9)
    batch = 1
    while len(durations) < budget.steps and clock() < deadline:
        for _ in range(batch):
            action = next(actions)
            before = clock()
            _, _, terminated, truncated, _ = step(action)
            note(clock() - before)
            if terminated or truncated:
                reset()
        batch = _BATCH if durations[-1] < _SHORT_NS else 1
    return durations, (clock() - began) / 1e9


_READERS = {"": None, "corners": read_corners}


def measure(opened: Opened, spec: dict[str, Any], budget: Budget) -> dict[str, float]:
    """Step as the run wants it, and return what :func:`summarize` makes of it.

    Args:
        opened: What to step.
        spec: What :func:`measure.rounds.Run.spec` made.
        budget: For how long.
    """
    if spec["episodes"] and opened.episodic:
        timed = time_episodes(opened, budget)
    else:
        timed = time_steps(opened, budget, _READERS[spec["read"]])
    return summarize(*timed, opened.envs)


def loop_ns() -> float:
    """Return what one turn of a loop that adds costs here and now, at best.

    Virtual machines change their speed by a factor of two within seconds; this says
    which phase a run met.
    """
    return min(_loop_ns() for _ in range(_LOOPS))


def _loop_ns() -> float:
    total = 0
    before = time.perf_counter_ns()
    for number in range(_LOOP_TURNS):
        total += number
    return (time.perf_counter_ns() - before) / _LOOP_TURNS


def summarize(
    durations: array[int], elapsed_s: float, envs: int = 1
) -> dict[str, float]:
    """Return median and 99th percentile in microseconds, and steps per second.

    Args:
        durations: Of each call, in nanoseconds.
        elapsed_s: Of all of them, in seconds.
        envs: How many environments one call has stepped.
    """
    ordered = sorted(durations)
    count = len(ordered)
    return {
        "p50_us": ordered[count // 2] / 1e3,
        "p99_us": ordered[count * 99 // 100] / 1e3,
        "steps_per_s": count * envs / elapsed_s,
        "steps": count * envs,
        "elapsed_s": elapsed_s,
    }
