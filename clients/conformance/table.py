"""Results, and the one table that shows them."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OK, FAILED, CANNOT = "ok", "fail", "cannot"
_SHOWN = {OK: "[green]ok[/]", FAILED: "[bold red]FAIL[/]", CANNOT: "[yellow]-[/]"}


@dataclass(frozen=True)
class Result:
    """One cell.

    Attributes:
        client: Its name.
        place: How it attached.
        case: The row.
        outcome: :data:`OK`, :data:`FAILED` or :data:`CANNOT`.
        reason: Why, but for OK.
        seconds: How long it took.
    """

    client: str
    place: str
    case: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0


def print_table(results: list[Result]) -> None:
    """Print rows of cases, columns of clients; then each reason."""
    columns = list(dict.fromkeys((r.client, r.place) for r in results))
    rows = list(dict.fromkeys(r.case for r in results))
    cells = {(r.client, r.place, r.case): r for r in results}
    table = Table("case", *(f"{client}\n{place}" for client, place in columns))
    for row in rows:
        shown = [cells.get((*column, row)) for column in columns]
        table.add_row(row, *("" if r is None else _SHOWN[r.outcome] for r in shown))
    console = Console(width=max(100, 56 + 12 * len(columns)), highlight=False)
    console.print(table)
    for outcome, title in ((CANNOT, "Cannot run"), (FAILED, "Failed")):
        _print_reasons(console, title, [r for r in results if r.outcome == outcome])
    for column in columns:
        counts = Counter(r.outcome for r in results if (r.client, r.place) == column)
        console.print(
            f"{' '.join(column)}: {counts[OK]} ok, {counts[FAILED]} failed, "
            f"{counts[CANNOT]} cannot"
        )


def _print_reasons(console: Console, title: str, results: list[Result]) -> None:
    if not results:
        return
    console.print(f"\n{title}:", style="bold")
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        key = (result.client, result.place, result.reason)
        grouped.setdefault(key, []).append(result.case)
    for (client, place, reason), names in grouped.items():
        console.print(f"  {client} {place}: {', '.join(names)}", markup=False)
        console.print(f"    {reason}", markup=False)


def write_json(results: list[Result], path: Path) -> None:
    """Write the results for programs."""
    content: dict[str, Any] = {"format": 1, "results": [vars(r) for r in results]}
    path.write_text(json.dumps(content, indent=1) + "\n")
