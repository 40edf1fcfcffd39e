"""Tables: drawn on a terminal, plain aligned lines otherwise."""

import sys
from collections.abc import Sequence

import click


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()
) -> None:
    """Print a table on stdout.

    Args:
        columns: Their titles.
        rows: Their texts.
        numbers: Titles of the columns that are aligned to the right.
    """
    if sys.stdout.isatty():
        _draw(columns, rows, numbers)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if title in numbers else cell.ljust(width)
            for title, cell, width in zip(columns, row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _draw(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in columns:
        right = title in numbers
        table.add_column(title, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def number(value: float | None) -> str:
    """Return a number for people: digits in groups, ``-`` for none."""
    return "-" if value is None else f"{value:,.0f}"
