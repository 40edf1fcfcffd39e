"""What the scripts ``compare_*.py`` share: options, rotation, tables, pictures."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import plots, report, venvs
from measure.report import Report, Results, median, number, spread
from measure.rotation import Outcome, Patience, rotate
from measure.rounds import Run

Column = tuple[str, Callable[[Results], str]]
"""A header, and what makes a cell of a contender's rounds."""

_FULL = {"warmup_s": 0.15, "seconds": 0.5, "steps": 200_000}
_QUICK = {"warmup_s": 0.01, "seconds": 0.03, "steps": 100}
# In all tables of a script together; then it takes what it gets.
_PATIENCE_S = 60.0


def parse(description: str, rounds: int) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = report.parser(description, rounds)
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what was measured"
    )
    parser.add_argument(
        "--peers",
        type=Path,
        default=venvs.DEFAULT_DIRECTORY,
        metavar="DIRECTORY",
        help="the virtual environments of make_peers.py (%(default)s)",
    )
    parser.add_argument(
        "--tables", metavar="REGEX", default="", help="only those whose titles match"
    )
    options = parser.parse_args()
    if options.plot is not None:
        try:
            plots.check()
        except plots.NoPlots as error:
            parser.error(str(error))
    return options


class Comparison:
    """Measures tables one after the other, prints them, and draws them at the end."""

    def __init__(self, script: str, options: argparse.Namespace) -> None:
        """Print what a reader must know of the machine and the versions."""
        # So that what was started ends with the script, as on Ctrl-C.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        self.quick: bool = options.quick
        self._options = options
        self._patience = Patience(_PATIENCE_S)
        self._report = Report(script, options, {"peers": venvs.versions(options.peers)})
        self._panels: list[plots.Bars | plots.Lines] = []

    def wants(self, title: str) -> bool:
        """Return whether the table of this title is to be measured."""
        return re.search(self._options.tables, title) is not None

    def measure(self, runs: Sequence[Run], seconds: float | None = None) -> Outcome:
        """Measure all runs whose labels are wanted.

        Args:
            runs: The rows.
            seconds: Of each round, where the usual time does not do.
        """
        options = self._options
        budget: dict[str, Any] = dict(_QUICK if options.quick else _FULL)
        if seconds is not None and not options.quick:
            budget["seconds"] = seconds
        return rotate(
            report.chosen(runs, options.only),
            rounds=1 if options.quick else options.rounds,
            budget=budget,
            quiet_cores=float("inf") if options.quick else options.quiet_cores,
            patience=self._patience,
            peers=options.peers,
            seed=options.seed,
        )

    def table(
        self,
        title: str,
        runs: Sequence[Run],
        outcome: Outcome,
        columns: Sequence[Column],
    ) -> None:
        """Print one table, in the order of the runs, and keep it for the JSON file.

        Who was not measured has the reason in the place of the figures.
        """
        rows = []
        for run in report.chosen(runs, self._options.only):
            results = outcome.results.get((run.label, run.placement))
            if results:
                cells = [make(results) for _, make in columns]
            else:
                reason = outcome.reasons.get(run.label, "no result")
                cells = [reason.replace("|", "/"), *[""] * (len(columns) - 1)]
            rows.append([run.label, *cells])
        if not rows:  # --only has left none
            return
        headers = ["", *(header for header, _ in columns)]
        remark = report.disturbance(outcome.results) if outcome.results else ""
        kept = {"runs": report.keyed(outcome.results), "reasons": outcome.reasons}
        self._report.section(title, headers, rows, remark, kept)

    def bars(self, title: str, outcome: Outcome) -> None:
        """Draw the medians of a table as bars, with the 99th percentiles."""
        values = {
            label: (median(results, "p50_us"), median(results, "p99_us"))
            for (label, _), results in outcome.results.items()
        }
        if values:
            words = "microseconds of a step: median, and | 99th percentile"
            self._panels.append(plots.Bars(title, words, values))

    def lines(
        self,
        title: str,
        axes: tuple[str, str],
        lines: Mapping[str, Sequence[tuple[float, float]]],
    ) -> None:
        """Draw a line for each contender."""
        drawn = {label: points for label, points in lines.items() if points}
        if drawn:
            self._panels.append(plots.Lines(title, *axes, drawn))

    def save(self) -> None:
        """Write the JSON file and the picture, where they were asked for."""
        self._report.save()
        if self._options.plot is not None and self._panels:
            plots.draw(self._options.plot, self._panels)


def rate_of(outcome: Outcome, label: str) -> float | None:
    """Return the median of the steps per second of a contender, if it was measured."""
    for (name, _), results in outcome.results.items():
        if name == label:
            return median(results, "steps_per_s")
    return None


def times(outcome: Outcome, label: str) -> Column:
    """Return a column: how many times the steps per second of a row one row makes."""
    ours = rate_of(outcome, label)

    def cell(results: Results) -> str:
        if ours is None:
            return ""
        return number(ours / median(results, "steps_per_s"))

    return f"{label}: times the steps/s", cell


def _cpu(results: Results) -> str:
    if any("cpu_us_per_step" not in result for result in results):
        return ""
    return number(median(results, "cpu_us_per_step"))


P50: Column = ("p50 us", lambda results: spread(results, "p50_us"))
P99: Column = ("p99 us", lambda results: number(median(results, "p99_us")))
RATE: Column = ("steps/s", lambda results: spread(results, "steps_per_s"))
CPU: Column = ("CPU us/step", _cpu)
