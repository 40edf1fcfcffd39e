"""How many steps of CartPole-v1 per second there are over 1 to 256 lanes.

RLay has its lanes on one channel, on one channel for each CPU, and on a channel each;
here and behind two bridges; and with Gymnasium's CartPole of arrays behind it. Far
away, where a step of one lane waits for the network, many lanes wait for it together.
"""

from __future__ import annotations

from typing import Any

from measure.comparison import (
    CPU,
    P50,
    P99,
    RATE,
    Column,
    Comparison,
    parse,
    rate_of,
)
from measure.placement import UNPINNED
from measure.report import Results, median, number
from measure.rotation import Outcome
from measure.rounds import Run

_LANES = (1, 8, 64, 256)
_QUICK_LANES = (1, 2)
_PROCESSES = 2
_FAR_S, _FAR_LANES, _QUICK_FAR_LANES = 0.02, 64, 8
_SYNC, _ASYNC = "SyncVectorEnv", "AsyncVectorEnv"
_SLOW_START = {"connect_timeout_s": 120.0}
# So many processes are as far as it is of use on a few CPUs.
_CHANNELS_MAX = 64


def _runs(lanes: int) -> list[Run]:
    """Return all rows for one number of lanes."""
    options = {"environment": "CartPole-v1", "num_envs": lanes, **_SLOW_START}

    def row(label: str, contender: str, **more: Any) -> Run:
        return Run(label, contender, UNPINNED, {**options, **more})

    rows = [
        row(_SYNC, "sync-vector"),
        row(_ASYNC, "async-vectors"),
        row("EnvPool", "envpool"),
        row("Gymnasium's CartPole of arrays", "vectorised"),
        row("RLay, 1 channel", "lanes"),
        row("RLay, 1 channel, CartPole of arrays", "lanes", vectorised=True),
        row("RLay, two bridges, 1 channel", "lanes", bridged=True),
        row(
            "RLay, two bridges, 1 channel, CartPole of arrays",
            "lanes",
            bridged=True,
            vectorised=True,
        ),
    ]
    if lanes > _PROCESSES:
        half = {"channels": _PROCESSES, "num_envs": lanes // _PROCESSES}
        words = f"{_PROCESSES} channels"
        rows.append(row(f"RLay, {words}", "lanes", **half))
        rows.append(row(f"RLay, two bridges, {words}", "lanes", bridged=True, **half))
    if 1 < lanes <= _CHANNELS_MAX:
        each = {"channels": lanes, "num_envs": 1}
        rows.append(row("RLay, a channel for each lane", "lanes", **each))
    return rows


def _far_runs(lanes: int) -> list[Run]:
    """Return the rows of one lane and of many, with a late network before them."""

    def row(channels: int, num_envs: int) -> Run:
        words = "1 channel" if channels == 1 else f"{channels} channels"
        options = {
            "environment": "CartPole-v1",
            "bridged": True,
            "latency_s": _FAR_S,
            "channels": channels,
            "num_envs": num_envs,
            **_SLOW_START,
        }
        label = f"RLay, {channels * num_envs} lanes on {words}"
        return Run(label, "lanes", UNPINNED, options)

    return [row(1, 1), *(row(lanes // each, each) for each in (lanes, 8, 1))]


def _measure_far(comparison: Comparison, lanes: int) -> None:
    runs = _far_runs(lanes)
    title = f"{1000 * _FAR_S:.0f} ms away in each direction"
    if comparison.wants(title):
        outcome = comparison.measure(runs)
        columns = [RATE, P50, P99, CPU, _of(outcome, runs[0].label)]
        comparison.table(title, runs, outcome, columns)


def _of(outcome: Outcome, label: str) -> Column:
    """Return a column: the steps per second of each row as a multiple of one row's."""
    base = rate_of(outcome, label)

    def cell(results: Results) -> str:
        return number(median(results, "steps_per_s") / base) if base else ""

    return f"times {label}", cell


def main() -> None:
    """Measure all numbers of lanes, and draw a line for each contender."""
    options = parse("Steps per second by the number of lanes.", rounds=3)
    comparison = Comparison("compare_lanes", options)
    lines: dict[str, list[tuple[float, float]]] = {}
    for lanes in _QUICK_LANES if options.quick else _LANES:
        title = f"Lanes: {lanes}"
        if not comparison.wants(title):
            continue
        runs = _runs(lanes)
        outcome = comparison.measure(runs)
        bases = [_of(outcome, label) for label in (_SYNC, _ASYNC)]
        columns = [RATE, P50, P99, CPU, *bases]
        comparison.table(title, runs, outcome, columns)
        for run in runs:
            rate = rate_of(outcome, run.label)
            if rate is not None:
                lines.setdefault(run.label, []).append((lanes, rate))
    _measure_far(comparison, _QUICK_FAR_LANES if options.quick else _FAR_LANES)
    axes = ("lanes", "steps per second of all lanes")
    comparison.lines("CartPole-v1, steps per second by lanes", axes, lines)
    comparison.save()


if __name__ == "__main__":
    main()
