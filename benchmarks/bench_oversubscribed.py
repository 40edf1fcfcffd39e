"""More processes than CPUs: 4 clients and 4 backends on 2 CPUs, and an idle pair.

What counts is the total of the four pairs, that no pair starves, and that a pair
that has nothing to do uses nothing. RLay's way of waiting is compared with two
simpler ones, waiting on the futex at once and spinning for 50 us before it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
from typing import Any

from measure import report, strategy
from measure.machine import Others
from measure.placement import UNPINNED
from measure.report import Report, Results, median, number, spread
from measure.rounds import (
    Run,
    RunFailed,
    channel_directory,
    child_environment,
    command,
    sweep,
    wait_until_quiet,
)

_PAIRS = 4
_CPUS = 2
_PAIR_TIMEOUT_S = 120

_QUICK = {"warmup_s": 0.02, "seconds": 0.1, "steps": 10_000_000}
_FULL = {"warmup_s": 1.5, "seconds": 2.0, "steps": 10_000_000}
_IDLE_S = 10.0

_ENVIRONMENTS = {"trivial": False, "CartPole-v1": True, "busy-200us": False}


def _rows(environment: str) -> list[Run]:
    options = {
        "environment": environment,
        "episodes": _ENVIRONMENTS[environment],
        "wait_for_start": True,
    }
    runs = []
    for kind, name in (("client-env", "ClientEnv"), ("server-env", "ServerEnv")):
        for waiting in (strategy.DEFAULT, strategy.FUTEX, strategy.FIXED):
            chosen = {**options, "waiting": waiting}
            runs.append(Run(f"RLay {name}, {waiting}", kind, UNPINNED, chosen))
    runs.append(Run("AsyncVectorEnv(1)", "async-vector", UNPINNED, options))
    runs.append(Run("Pipe and pickle", "pipe", UNPINNED, options))
    return runs


def _start(run: Run, budget: dict[str, Any], directory: str) -> Any:
    spec = {**run.spec(budget), "directory": directory}
    return subprocess.Popen(
        command(spec),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    )


def _together(run: Run, budget: dict[str, Any]) -> dict[str, Any]:
    """Measure ``_PAIRS`` pairs of one contender at the same time."""
    others = Others()
    directories = [channel_directory() for _ in range(_PAIRS)]
    pairs = [_start(run, budget, directory.name) for directory in directories]
    try:
        if any(pair.stdout.readline() != "ready\n" for pair in pairs):
            raise RunFailed(f"{run.label}: a pair did not start")
        for pair in pairs:
            pair.stdin.write("\n")
            pair.stdin.flush()
        outputs = [pair.communicate(timeout=_PAIR_TIMEOUT_S)[0] for pair in pairs]
        if any(pair.returncode != 0 for pair in pairs):
            raise RunFailed(f"{run.label}: a pair ended with an error")
    finally:
        for pair in pairs:
            if pair.poll() is None:
                pair.kill()
                pair.wait()
        for directory in directories:
            directory.cleanup()
    total = _total([json.loads(output) for output in outputs])
    return {**total, "others_cores": others.cores()}


def _total(results: Results) -> dict[str, Any]:
    rates = [result["steps_per_s"] for result in results]
    steps = sum(result["steps"] for result in results)
    cpu_us = sum(result["cpu_us_per_step"] * result["steps"] for result in results)
    return {
        "steps_per_s": sum(rates),
        "fairness": min(rates) / max(rates),
        "p99_us": max(result["p99_us"] for result in results),
        "cpu_us_per_step": cpu_us / steps,
        "pairs": results,
    }


def crowd(out: Report, options: argparse.Namespace, environment: str) -> None:
    """Measure four pairs at once for one environment."""
    runs = report.chosen(_rows(environment), options.only)
    rounds = 1 if options.quick else options.rounds
    order = [run for run in runs for _ in range(rounds)]
    random.Random(options.seed).shuffle(order)
    results: dict[str, Results] = {run.label: [] for run in runs}
    for run in order:
        budget = _QUICK if options.quick else _FULL
        if not options.quick:
            wait_until_quiet(options.quiet_cores)
        results[run.label].append(_together(run, budget))
    headers = ["", "steps/s", "worst/best pair", "worst p99 us", "CPU us/step"]
    rows = [
        [
            label,
            spread(one, "steps_per_s"),
            spread(one, "fairness"),
            spread(one, "p99_us"),
            number(median(one, "cpu_us_per_step")),
        ]
        for label, one in results.items()
    ]
    title = f"{_PAIRS} pairs on {len(os.sched_getaffinity(0))} CPUs, {environment}"
    remark = f"{report.disturbance(results)} {_verdict(results)}"
    out.section(title, headers, rows, remark, results)


def _verdict(results: dict[str, Results]) -> str:
    remarks = []
    for name in ("ClientEnv", "ServerEnv"):
        rates = {
            waiting: median(results[f"RLay {name}, {waiting}"], "steps_per_s")
            for waiting in (strategy.DEFAULT, strategy.FUTEX, strategy.FIXED)
            if f"RLay {name}, {waiting}" in results
        }
        others = [
            rate for waiting, rate in rates.items() if waiting != strategy.DEFAULT
        ]
        if others and strategy.DEFAULT in rates:
            share = rates[strategy.DEFAULT] / max(others)
            remarks.append(
                f"{name}: the default makes {share:.2f} of the better of the others."
            )
    return " ".join(remarks)


def idle(out: Report, options: argparse.Namespace) -> None:
    """Measure what a connected pair uses while nobody steps."""
    chosen = {"idle": True}
    runs = [
        Run("RLay ClientEnv", "client-env", UNPINNED, chosen),
        Run("RLay ServerEnv", "server-env", UNPINNED, chosen),
        Run("AsyncVectorEnv(1)", "async-vector", UNPINNED, chosen),
    ]
    seconds = 0.2 if options.quick else _IDLE_S
    results = sweep(
        report.chosen(runs, options.only),
        rounds=1,
        budget={**_QUICK, "seconds": seconds},
        quiet_cores=float("inf"),
        seed=options.seed,
    )
    rows = [
        [label, *(f"{median(one, key):.3%}" for key in ("here_cores", "there_cores"))]
        for (label, _), one in results.items()
    ]
    headers = ["", "algorithm's process", "environment's process"]
    title = f"An idle pair, share of a core over {seconds:g} s"
    out.section(title, headers, rows, "", report.keyed(results))


def main() -> None:
    """Measure the three environments, then the idle pair."""
    options = report.parser("More processes than CPUs.", rounds=5).parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CPUS])
    out = Report("bench_oversubscribed", options)
    for environment in _ENVIRONMENTS:
        crowd(out, options, environment)
    idle(out, options)
    out.save()


if __name__ == "__main__":
    main()
