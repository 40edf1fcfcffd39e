"""A table of the faults after a run.

``pytest -p tests.support.fault_table -m fault``
"""

from collections import defaultdict
from typing import Any

import pytest

from tests.support.fault_rows import Row, rows, rows_of

_ENDS = ("passed", "failed", "error", "skipped")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a line for each row: its bound, the slowest test, and how they ended."""
    reports: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for end in _ENDS:
        for report in terminalreporter.getreports(end):
            name = report.nodeid.rpartition("::")[2].partition("[")[0]
            for row_name in rows_of(name):
                reports[row_name].append((end, report))
    terminalreporter.section("faults")
    terminalreporter.line(f"{'row':4} {'result':26} {'slowest':>8}  fault (bound)")
    for row in rows().values():
        terminalreporter.line(_line(row, reports[row.name]))


def _line(row: Row, reports: list[tuple[str, Any]]) -> str:
    bound = f" ({row.bound})" if row.bound else ""
    if not reports:
        result = row.bound.partition(":")[0] if row.listed_only else "not in this run"
        return f"{row.name:4} {result:26} {'':>8}  {row.fault}{bound}"
    counts = {end: sum(each == end for each, _ in reports) for end in _ENDS}
    result = ", ".join(f"{count} {end}" for end, count in counts.items() if count)
    slowest = max(report.duration for _, report in reports)
    reasons = {_reason(report) for end, report in reports if end == "skipped"}
    skipped = f" [{'; '.join(sorted(reasons))}]" if reasons else ""
    return f"{row.name:4} {result:26} {slowest:7.2f}s  {row.fault}{bound}{skipped}"


def _reason(report: pytest.TestReport) -> str:
    where = report.longrepr
    return str(where[2]) if isinstance(where, tuple) else "skipped"
