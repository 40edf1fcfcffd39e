"""What a step costs over RLay and over everything else that reaches another machine.

Both machines are this one, loopback TCP is between them. The observations are frames of
84x84x3 bytes, and once 16 bytes.
"""

from __future__ import annotations

from typing import Any

from measure.comparison import CPU, P50, P99, RATE, Comparison, parse, times
from measure.environments import frame_bytes
from measure.placement import UNPINNED
from measure.rounds import Run
from measure.standing import absent

_BRIDGES, _DIRECT = "RLay through two bridges", "RLay direct attach"
_FRAME = "frame-84x84x3"
_TABLES = {
    "Frames of 84x84x3 bytes over loopback TCP": (_FRAME, frame_bytes(_FRAME)),
    "16 bytes over loopback TCP": ("trivial", 16),
}
_LOCAL_ONLY = ("AsyncVectorEnv", "EnvPool", "rlay 0.0.1")


def _runs(environment: str, size: int) -> list[Run]:
    """Return all rows for one size."""

    def row(label: str, contender: str, **more: Any) -> Run:
        options = {"environment": environment, "transport": "tcp", **more}
        return Run(label, contender, UNPINNED, options)

    return [
        row("raw TCP in C", "tcp-floor", reply_bytes=size),
        row("raw TCP in Python", "raw-tcp", reply_bytes=size),
        row(_BRIDGES, "bridges"),
        row(_DIRECT, "direct"),
        row("pyzmq", "pyzmq"),
        row("gRPC stream of bytes", "grpc"),
        row("gRPC calls with bytes", "grpc", unary=True),
        row("dm_env_rpc", "dm-env-rpc"),
        row("RLMesh", "rlmesh"),
        row("ML-Agents, a player in Python", "mlagents"),
        *(absent(label, "this machine only") for label in _LOCAL_ONLY),
    ]


def main() -> None:
    """Measure both sizes."""
    options = parse("One step of an environment on another machine.", rounds=5)
    comparison = Comparison("compare_remote", options)
    for title in filter(comparison.wants, _TABLES):
        runs = _runs(*_TABLES[title])
        outcome = comparison.measure(runs)
        ours = [times(outcome, label) for label in (_BRIDGES, _DIRECT)]
        comparison.table(title, runs, outcome, [P50, P99, RATE, CPU, *ours])
        comparison.bars(title, outcome)
    comparison.save()


if __name__ == "__main__":
    main()
