"""What a step costs when the environment is in another process of this machine.

Three parts: a trivial environment of 16 bytes, CartPole-v1 with its resets, and
frames of three sizes. In each, RLay, its peers and the C floor alternate in one
shuffled sweep.
"""

from __future__ import annotations

import argparse
from typing import Any

from measure import report
from measure.environments import FRAME_BYTES
from measure.placement import TWO_CPUS, available
from measure.report import Report, Results, median, number, spread
from measure.rounds import Run, sweep

_QUICK = {"warmup_s": 0.02, "seconds": 0.05, "steps": 200}
_FULL = {"warmup_s": 1.5, "seconds": 0.7, "steps": 200_000}

_IN_PROCESS = "in-process"
_ASYNC = "AsyncVectorEnv(1)"


def _contenders(place: str, **options: Any) -> list[Run]:
    """Return RLay both ways and the peers for one environment."""
    return [
        Run(_IN_PROCESS, "in-process", place, options),
        Run("RLay ClientEnv", "client-env", place, options),
        Run("RLay ServerEnv", "server-env", place, options),
        Run(_ASYNC, "async-vector", place, options),
        Run("Pipe and pickle", "pipe", place, options),
    ]


def _floors(place: str) -> list[Run]:
    modes = {"burst": "spin in bursts", "futex": "futex only"}
    if place == TWO_CPUS:
        modes["spin"] = "spin"
    return [
        Run(f"C ping-pong, {words}", "floor", place, {"mode": mode})
        for mode, words in modes.items()
    ]


def trivial(out: Report, options: argparse.Namespace) -> None:
    """Measure the environment of 16 bytes in three placements."""
    places = options.place
    runs: list[Run] = []
    for place in places:
        runs += _contenders(place)
        as_int = {"int_actions": True}
        runs.append(Run("RLay ClientEnv, int action", "client-env", place, as_int))
        runs += _floors(place)
    results = _sweep(runs, options)
    headers = ["", "p50 us", "p99 us", "steps/s", "adds us", "times AsyncVectorEnv"]
    for place in places:
        rows = []
        base = results.get((_IN_PROCESS, place))
        peer = results.get((_ASYNC, place))
        for (label, where), one in results.items():
            if where != place:
                continue
            rate = median(one, "steps_per_s")
            rows.append(
                [
                    label,
                    spread(one, "p50_us"),
                    spread(one, "p99_us"),
                    number(rate),
                    _difference(one, base),
                    number(rate / median(peer, "steps_per_s")) if peer else "",
                ]
            )
        _section(out, f"16 bytes, trivial environment, {place}", headers, rows, results)


def cartpole(out: Report, options: argparse.Namespace) -> None:
    """Measure CartPole-v1 with a reset at the end of each episode."""
    places = options.place
    runs: list[Run] = []
    for place in places:
        runs += _contenders(place, environment="CartPole-v1", episodes=True)
    results = _sweep(runs, options)
    headers = ["", "steps/s", "of in-process", "p50 us", "p99 us"]
    for place in places:
        rows = []
        base = results.get((_IN_PROCESS, place))
        for (label, where), one in results.items():
            if where == place:
                rate = median(one, "steps_per_s")
                share = rate / median(base, "steps_per_s") if base else None
                rows.append(
                    [
                        label,
                        spread(one, "steps_per_s"),
                        f"{share:.1%}" if share else "",
                        spread(one, "p50_us"),
                        number(median(one, "p99_us")),
                    ]
                )
        _section(out, f"CartPole-v1 with resets, {place}", headers, rows, results)


def _frame_runs(environment: str, place: str) -> list[Run]:
    size = {"environment": environment}
    view = {**size, "copy": False}
    view_read = {**view, "read": "corners"}
    runs = _contenders(place, **size)
    runs.append(Run("RLay ClientEnv, copy=False", "client-env", place, view))
    label = "RLay ClientEnv, copy=False, reads 2 bytes"
    runs.append(Run(label, "client-env", place, view_read))
    for memory, words in (
        ("fresh", "into a fresh array"),
        ("kept", "into a kept array"),
        ("none", "not copied out"),
    ):
        floor = {"bytes": FRAME_BYTES[environment], "memory": memory}
        runs.append(Run(f"C ping-pong, {words}", "floor", place, floor))
    return runs


def sizes(out: Report, options: argparse.Namespace) -> None:
    """Measure frames of three sizes and compare them with the C floor."""
    headers = ["", "p50 us", "p99 us", "steps/s", "adds us", "times C ping-pong"]
    for environment in FRAME_BYTES:
        for place in options.place:
            results = _sweep(_frame_runs(environment, place), options)
            base = results.get((_IN_PROCESS, place))
            floor = results.get(("C ping-pong, into a fresh array", place))
            rows = [
                [
                    label,
                    spread(one, "p50_us"),
                    number(median(one, "p99_us")),
                    number(median(one, "steps_per_s")),
                    _difference(one, base),
                    _ratio(one, floor),
                ]
                for (label, _), one in results.items()
            ]
            _section(out, f"{environment} uint8, {place}", headers, rows, results)


def _difference(one: Results, base: Results | None) -> str:
    if base is None:
        return ""
    return number(median(one, "p50_us") - median(base, "p50_us"))


def _ratio(one: Results, base: Results | None) -> str:
    if base is None:
        return ""
    return number(median(one, "p50_us") / median(base, "p50_us"))


def _sweep(runs: list[Run], options: argparse.Namespace) -> dict[Any, Results]:
    return sweep(
        report.chosen(runs, options.only),
        rounds=1 if options.quick else options.rounds,
        budget=_QUICK if options.quick else _FULL,
        quiet_cores=float("inf") if options.quick else options.quiet_cores,
        seed=options.seed,
    )


def _section(
    out: Report,
    title: str,
    headers: list[str],
    rows: list[list[str]],
    results: dict[Any, Results],
) -> None:
    remark = report.disturbance(results)
    out.section(title, headers, rows, remark, report.keyed(results))


_PARTS = {"trivial": trivial, "cartpole": cartpole, "sizes": sizes}


def main() -> None:
    """Run the chosen parts and print their tables."""
    parser = report.parser("Steps of an environment in another process.", rounds=7)
    parser.add_argument("--part", choices=_PARTS, action="append", help="only this")
    parser.add_argument(
        "--place", choices=available(), action="append", help="only this placement"
    )
    options = parser.parse_args()
    options.place = options.place or available()
    out = Report("bench_local", options)
    for name in options.part or _PARTS:
        _PARTS[name](out, options)
    out.save()


if __name__ == "__main__":
    main()
