"""Tables: drawn on a terminal, plain aligned lines otherwise."""

import sys
from collections.abc import Sequence
from typing import Final

import click

_GAP: Final = 3
"""Between two columns, and at the edges."""
_LEAST: Final = 8
"""A process id, and a bit."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[str] = (),
    long: Sequence[str] = (),
) -> None:
    """Print a table on stdout.

    Args:
        columns: Their titles.
        rows: Their texts.
        numbers: Titles of the columns that are aligned to the right.
        long: Titles of the columns that are cut where a terminal is too narrow.
    """
    if sys.stdout.isatty():
        _draw(columns, rows, numbers, long)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if title in numbers else cell.ljust(width)
            for title, cell, width in zip(columns, row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _draw(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[str],
    long: Sequence[str],
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in columns:
        table.add_column(
            title,
            justify="right" if title in numbers else "left",
            overflow="ellipsis" if title in long else "fold",
        )
    for row in fitted(columns, rows, long, console.width):
        table.add_row(*map(Text, row))
    console.print(table)


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    long: Sequence[str],
    width: int,
) -> list[list[str]]:
    """Return the rows with texts cut so that each row is one line.

    Args:
        columns: Their titles.
        rows: Their texts.
        long: Titles of the columns that may be cut, all to the same width.
        width: In characters, of the whole.
    """
    widths = {
        title: max(map(len, cells))
        for title, *cells in zip(columns, columns, *rows, strict=True)
    }
    taken = sum(widths[title] for title in columns if title not in long)
    room = width - taken - _GAP * len(columns)
    most = max(_LEAST, room // len(long)) if long else width
    return [
        [
            _cut(cell, most) if title in long else cell
            for title, cell in zip(columns, row, strict=True)
        ]
        for row in rows
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def number(value: float | None) -> str:
    """Return a number for people: digits in groups, ``-`` for none."""
    return "-" if value is None else f"{value:,.0f}"
