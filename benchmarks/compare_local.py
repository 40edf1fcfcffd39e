"""What a step costs over RLay and over everything else that does the same, locally.

The environment is in another process of this machine. Once it does nothing and has 16
bytes, once it is CartPole-v1 with its resets.
"""

from __future__ import annotations

from typing import Any

from measure.comparison import CPU, P50, P99, RATE, Comparison, parse, times
from measure.placement import UNPINNED
from measure.rounds import Run

_OURS = "RLay ClientEnv"
_TABLES: dict[str, dict[str, Any]] = {
    "16 bytes, an environment that does nothing": {"environment": "trivial"},
    "CartPole-v1 with resets": {"environment": "CartPole-v1", "episodes": True},
}


def _runs(options: dict[str, Any]) -> list[Run]:
    """Return all rows for one environment."""

    def row(label: str, contender: str, **more: Any) -> Run:
        return Run(label, contender, UNPINNED, {**options, **more})

    unix, tcp = {"transport": "unix"}, {"transport": "tcp"}
    rows = [
        row("in-process", "in-process"),
        row(_OURS, "client-env"),
        row("RLay ServerEnv", "server-env"),
        row("AsyncVectorEnv(1)", "async-vector"),
        row("multiprocessing pipe and pickle", "pipe"),
        row("pyzmq, Unix socket", "pyzmq", **unix),
        row("pyzmq, TCP", "pyzmq", **tcp),
        row("gRPC stream of bytes, Unix socket", "grpc", **unix),
        row("gRPC stream of bytes, TCP", "grpc", **tcp),
        row("gRPC calls with bytes, Unix socket", "grpc", unary=True, **unix),
        row("dm_env_rpc, Unix socket", "dm-env-rpc", **unix),
        row("dm_env_rpc, TCP", "dm-env-rpc", **tcp),
        row("RLMesh, Unix socket", "rlmesh", **unix),
        row("RLMesh, TCP", "rlmesh", **tcp),
        row("ML-Agents, a player in Python", "mlagents"),
        row("rlay 0.0.1 ClientEnv", "rlay-0.0.1"),
    ]
    if options["environment"] == "CartPole-v1":
        rows.append(row("EnvPool(1)", "envpool"))
        return rows
    rows += [
        row("C ping-pong, spin in bursts", "floor", mode="burst"),
        row("C ping-pong, futex only", "floor", mode="futex"),
        row("C ping-pong, spin", "floor", mode="spin"),
    ]
    return rows


def main() -> None:
    """Measure both environments."""
    options = parse("One step of an environment in another process.", rounds=5)
    comparison = Comparison("compare_local", options)
    for title in filter(comparison.wants, _TABLES):
        runs = _runs(_TABLES[title])
        outcome = comparison.measure(runs)
        columns = [P50, P99, RATE, CPU, times(outcome, _OURS)]
        comparison.table(title, runs, outcome, columns)
        comparison.bars(title, outcome)
    comparison.save()


if __name__ == "__main__":
    main()
