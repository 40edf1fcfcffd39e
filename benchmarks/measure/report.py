"""Medians over rounds, Markdown tables, the JSON file, and the shared options."""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import machine
from measure.rounds import Run

Results = list[dict[str, Any]]


def over_rounds(results: Results, key: str) -> tuple[float, float, float]:
    """Return median, lowest and highest of ``key`` over the rounds."""
    values = [result[key] for result in results]
    return statistics.median(values), min(values), max(values)


def median(results: Results, key: str) -> float:
    """Return the median of ``key`` over the rounds."""
    return over_rounds(results, key)[0]


def number(value: float) -> str:
    """Format with three significant digits at least, and thousands separated."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.1 or value == 0 else f"{value:.2f}"


def spread(results: Results, key: str) -> str:
    """Format a median with the lowest and the highest round."""
    middle, low, high = over_rounds(results, key)
    if len(results) == 1:
        return number(middle)
    return f"{number(middle)} ({number(low)}..{number(high)})"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table; the first column is left-aligned, the others right."""
    marks = ["---"] + ["---:"] * (len(headers) - 1)
    lines = [headers, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def disturbance(results: dict[Any, Results]) -> str:
    """Say how much of the CPUs other programs used, and how many runs were repeated."""
    every = [result for one in results.values() for result in one]
    others = [result["others_cores"] for result in every]
    repeats = sum(result.get("attempts", 1) - 1 for result in every)
    return (
        f"{len(every)} runs; other programs used {statistics.median(others):.2f} "
        f"(at most {max(others):.2f}) cores during a run; {repeats} repetitions."
    )


class Report:
    """Prints sections as they come and keeps them for the JSON file."""

    def __init__(
        self,
        script: str,
        options: argparse.Namespace,
        also: dict[str, str] | None = None,
    ) -> None:
        """Print what a reader must know of the machine.

        Args:
            script: Its name.
            options: Of its command line.
            also: What to print after it, in the same way.
        """
        self._path = options.json
        self._content: dict[str, Any] = {
            "script": script,
            "machine": {**machine.describe(), **(also or {})},
            "options": {
                key: str(value) if isinstance(value, Path) else value
                for key, value in vars(options).items()
            },
            "sections": [],
        }
        print(f"# {script}\n")
        for name, value in self._content["machine"].items():
            print(f"- {name}: {value}")

    def section(
        self,
        title: str,
        headers: Sequence[str],
        rows: Sequence[Sequence[str]],
        remark: str,
        results: Any,
    ) -> None:
        """Print one table and keep it with its raw results."""
        print(f"\n## {title}\n\n{table(headers, rows)}\n\n{remark}", flush=True)
        self._content["sections"].append(
            {
                "title": title,
                "headers": list(headers),
                "rows": [list(row) for row in rows],
                "remark": remark,
                "results": results,
            }
        )

    def save(self) -> None:
        """Write the JSON file, if one was asked for."""
        if self._path is not None:
            self._path.write_text(json.dumps(self._content, indent=1) + "\n")


def keyed(results: dict[Any, Results]) -> list[dict[str, Any]]:
    """Return a sweep's results in a form that JSON can hold."""
    return [
        {"label": label, "placement": placement, "rounds": one}
        for (label, placement), one in results.items()
    ]


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every script has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds, help="runs of each row")
    made.add_argument(
        "--quick", action="store_true", help="one short round, to see that it works"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    made.add_argument("--seed", type=int, default=0, help="of the order of the runs")
    made.add_argument(
        "--only", metavar="REGEX", default="", help="only rows whose names match"
    )
    made.add_argument(
        "--quiet-cores",
        type=float,
        default=0.2,
        metavar="CORES",
        help="repeat a run during which other programs used more than this",
    )
    return made


def chosen(runs: Sequence[Run], pattern: str) -> list[Run]:
    """Return the runs whose label matches the regular expression."""
    return [run for run in runs if re.search(pattern, run.label)]
