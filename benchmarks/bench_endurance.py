"""A million steps: does anything grow?

Looks at the resident memory, the open descriptors and the channel's files of both
processes at the start, at every tenth of the run and at its end, and fits a line.
The first tenth is left out of the line: caches and free lists fill in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from measure import report, strategy
from measure.placement import UNPINNED
from measure.report import Report
from measure.rounds import Run, RunFailed, channel_directory, child_environment

_SAMPLES = 10
_EVERY = 100_000
_QUICK_EVERY = 200
_RUN_TIMEOUT_S = 1800

_ENDS = ("algorithm", "environment")
_RUNS = [
    Run(f"RLay {name}, {words}", kind, UNPINNED, {"environment": environment})
    for kind, name in (("client-env", "ClientEnv"), ("server-env", "ServerEnv"))
    for environment, words in (("trivial", "no info"), ("info", "with info"))
]


def _endure(run: Run, every: int) -> dict[str, Any]:
    with channel_directory() as directory:
        spec = run.spec({"samples": _SAMPLES, "every": every})
        spec = {**spec, "directory": directory, "waiting": strategy.DEFAULT}
        done = subprocess.run(
            [sys.executable, "-m", "measure.endurance", json.dumps(spec)],
            stdout=subprocess.PIPE,
            env=child_environment(),
            text=True,
            timeout=_RUN_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise RunFailed(f"{run.label}: exit code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _slope(samples: list[dict[str, Any]], end: str) -> float:
    """Return the growth of private memory in KiB per million steps."""
    later = samples[1:]
    steps = [sample["steps"] for sample in later]
    memory = [sample[end]["private_kib"] for sample in later]
    return statistics.linear_regression(steps, memory).slope * 1e6


def _row(sample: dict[str, Any]) -> list[str]:
    row = [f"{sample['steps']:,}"]
    for end in _ENDS:
        held = sample[end]
        row += [f"{held['private_kib']:,}", f"{held['shared_kib']:,}"]
        row.append(str(held["descriptors"]))
    return [*row, str(sample["files"])]


def _headers() -> list[str]:
    columns = ["private KiB", "shared KiB", "descriptors"]
    return ["steps", *(f"{end}: {c}" for end in _ENDS for c in columns), "files"]


def endure(out: Report, options: argparse.Namespace, run: Run) -> None:
    """Run one pair and print what it held."""
    every = _QUICK_EVERY if options.quick else options.every
    result = _endure(run, every)
    samples = result["samples"]
    slopes = [f"{_slope(samples, end):+.0f} KiB ({end})" for end in _ENDS]
    remark = (
        f"Growth of private memory per million steps: {', '.join(slopes)}. "
        f"Files left after close: {result['files_after_close']}."
    )
    rows = [_row(sample) for sample in samples]
    out.section(run.label, _headers(), rows, remark, result)


def main() -> None:
    """Measure both ways, without and with info."""
    parser = report.parser("A million steps.", rounds=1)
    parser.add_argument("--every", type=int, default=_EVERY, help="steps per sample")
    options = parser.parse_args()
    out = Report("bench_endurance", options)
    for run in report.chosen(_RUNS, options.only):
        endure(out, options, run)
    out.save()


if __name__ == "__main__":
    main()
