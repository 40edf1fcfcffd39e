"""How fast a learner gets its steps when it does learn.

A small actor-critic in numpy learns CartPole-v1 over eight lanes: 32 steps of all, then
one update. What is timed is such an iteration, learning included.
"""

from __future__ import annotations

from typing import Any

from measure.comparison import (
    CPU,
    P50,
    P99,
    RATE,
    Comparison,
    parse,
    times,
)
from measure.placement import UNPINNED
from measure.report import number
from measure.rounds import Run

_LANES = 8
_OURS = "RLay, 1 channel"
# Long enough that the learner's returns say that it learns.
_SECONDS = 4.0


def _runs() -> list[Run]:
    options = {"environment": "CartPole-v1", "num_envs": _LANES, "learns": True}

    def row(label: str, contender: str, **more: Any) -> Run:
        return Run(label, contender, UNPINNED, {**options, **more})

    half = {"channels": 2, "num_envs": _LANES // 2}
    return [
        row("SyncVectorEnv, in-process", "sync-vector"),
        row("AsyncVectorEnv", "async-vectors"),
        row("EnvPool", "envpool"),
        row(_OURS, "lanes"),
        row("RLay, 2 channels", "lanes", **half),
        row("RLay, a channel for each lane", "lanes", channels=_LANES, num_envs=1),
        row("RLay, two bridges, 1 channel", "lanes", bridged=True),
    ]


def main() -> None:
    """Let every contender learn for a while, in turn."""
    options = parse("Steps per second of a learner.", rounds=5)
    comparison = Comparison("compare_training", options)
    runs = _runs()
    outcome = comparison.measure(runs, seconds=_SECONDS)
    learned = (
        "mean return at the end",
        lambda results: number(results[-1]["mean_return"]),
    )
    columns = [RATE, P50, P99, CPU, times(outcome, _OURS), learned]
    title = f"An actor-critic on {_LANES} lanes of CartPole-v1; an iteration is timed"
    comparison.table(title, runs, outcome, columns)
    comparison.bars(title, outcome)
    comparison.save()


if __name__ == "__main__":
    main()
