"""How the rate of steps falls with the size of the observation, over everything.

Frames of 16 bytes to 6 MB from an environment in another process of this machine, which
does nothing but stamp its frame.
"""

from __future__ import annotations

from typing import Any

from measure.comparison import CPU, P50, P99, RATE, Comparison, parse, rate_of, times
from measure.environments import frame_bytes
from measure.placement import UNPINNED
from measure.rounds import Run

_OURS = "RLay ClientEnv"
_FRAMES = ("frame-16x16x4", "frame-84x84x4", "frame-640x480x3", "frame-1920x1080x3")
_SIZES = {"trivial": 16, **{name: frame_bytes(name) for name in _FRAMES}}


def _runs(environment: str, size: int) -> list[Run]:
    """Return all rows for one size."""

    def row(label: str, contender: str, **more: Any) -> Run:
        options = {"environment": environment, "transport": "unix", **more}
        return Run(label, contender, UNPINNED, options)

    return [
        row("in-process", "in-process"),
        row(_OURS, "client-env"),
        row("RLay ClientEnv, copy=False", "client-env", copy=False),
        row("AsyncVectorEnv(1)", "async-vector"),
        row("multiprocessing pipe and pickle", "pipe"),
        row("pyzmq, Unix socket", "pyzmq"),
        row("gRPC stream of bytes, Unix socket", "grpc"),
        row("dm_env_rpc, Unix socket", "dm-env-rpc"),
        row("RLMesh, Unix socket", "rlmesh"),
        row("ML-Agents, a player in Python", "mlagents"),
        row("rlay 0.0.1 ClientEnv", "rlay-0.0.1"),
        row("C ping-pong, spin in bursts", "floor", bytes=size),
    ]


def main() -> None:
    """Measure all sizes, and draw a line for each contender."""
    options = parse("Steps per second by the size of the observation.", rounds=3)
    comparison = Comparison("compare_sizes", options)
    lines: dict[str, list[tuple[float, float]]] = {}
    for environment, size in _SIZES.items():
        title = f"{size:,} bytes"
        if not comparison.wants(title):
            continue
        runs = _runs(environment, size)
        outcome = comparison.measure(runs)
        columns = [P50, P99, RATE, CPU, times(outcome, _OURS)]
        comparison.table(title, runs, outcome, columns)
        for run in runs:
            rate = rate_of(outcome, run.label)
            if rate is not None:
                lines.setdefault(run.label, []).append((size, rate))
    axes = ("bytes of an observation", "steps per second")
    comparison.lines("Steps per second by size", axes, lines)
    comparison.save()


if __name__ == "__main__":
    main()
