"""Steps per second of several environments, measured by turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

ROUNDS: Final = 7
ROUND_S: Final = 0.35
_WARM_UP_S: Final = 0.2
_CHUNK: Final = 100
"""Steps between two looks at the clock."""

Run = Callable[[int], None]


def make_cartpole() -> gymnasium.Env[Any, Any]:
    """Make the environment of the demo, in this process."""
    return gymnasium.make("CartPole-v1")


def contest(
    environments: Mapping[str, Any],
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
    clock: Callable[[], float] = time.perf_counter,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return the median of each environment's steps per second.

    The environments take turns within each round, so that a machine that is busy for a
    while slows all of them.

    Args:
        environments: By name; each single, or a vector of one.
        rounds: How many turns each has.
        round_s: How long a turn is, in seconds.
        clock: In seconds.
        on_round: Called with the rounds done and all rounds, before each and at last.
    """
    runs = {name: _runner(env) for name, env in environments.items()}
    for run in runs.values():
        _rate(run, _WARM_UP_S, clock)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds):
        if on_round is not None:
            on_round(done, rounds)
        for name, run in runs.items():
            rates[name].append(_rate(run, round_s, clock))
    if on_round is not None:
        on_round(rounds, rounds)
    return {name: statistics.median(values) for name, values in rates.items()}


def _rate(run: Run, seconds: float, clock: Callable[[], float]) -> float:
    began = clock()
    steps, elapsed = 0, 0.0
    while elapsed < seconds:
        run(_CHUNK)
        steps += _CHUNK
        elapsed = clock() - began
    return steps / elapsed


def _runner(env: Any) -> Run:
    """Return a function that makes so many steps, resets included."""
    env.reset(seed=0)
    if isinstance(env, VectorEnv):
        return _vector_runner(env)
    actions = np.random.default_rng(0).integers(2, size=_CHUNK).tolist()
    step, reset = env.step, env.reset

    def run(steps: int) -> None:
        for action in actions[:steps]:
            _, _, terminated, truncated, _ = step(action)
            if terminated or truncated:
                reset()

    return run


def _vector_runner(envs: VectorEnv[Any, Any, Any]) -> Run:
    # It resets by itself, and counts that as a step.
    actions = np.random.default_rng(0).integers(2, size=(_CHUNK, 1))
    step = envs.step

    def run(steps: int) -> None:
        for action in actions[:steps]:
            step(action)

    return run
