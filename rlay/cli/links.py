"""The links of this machine's bridge, as it tells of them."""

from collections.abc import Iterator
from typing import Any, Final

import click

from rlay.cli.log_lines import one_line
from rlay.cli.tables import number, print_table
from rlay.cli.words import Failed, print_json, where
from rlay.transport.bridge_status import read_status

_COLUMNS: Final = (
    "LINK", "PEER", "STATE", "CHANNELS", "RTT P50", "RTT P99", "RESUMES", "LAST ERROR"
)  # fmt: skip


def show_links(directory: str | None, *, as_json: bool) -> None:
    """Print the links alone.

    Raises:
        Failed: No bridge serves this directory.
    """
    status = read_status(directory)
    if status is None:
        raise Failed(
            f"no bridge serves {where(directory)}, or it has only just begun. Start "
            "one with: rlay bridge"
        )
    if as_json:
        print_json(status)
    else:
        print_links(status)


def print_links(status: dict[str, Any]) -> None:
    """Print what a bridge says of itself."""
    listening = ", ".join(status["listening"])
    click.echo(
        f"bridge {status['pid']}: {status['shared']} shared, {status['mirrored']} "
        f"mirrored; sessions {status['sessions']}, resumes {status['resumes']}, "
        f"reconnects {status['reconnects']}"
        + (f"; listening on {listening}" if listening else "")
        + ("; draining" if status["draining"] else "")
    )
    if status["last_error"]:
        click.echo(f"last error: {one_line(status['last_error'])}")
    rows = list(_rows(status))
    if rows:
        print_table(
            _COLUMNS,
            rows,
            numbers=("CHANNELS", "RTT P50", "RTT P99", "RESUMES"),
            long=("LINK", "PEER", "LAST ERROR"),
        )


def _rows(status: dict[str, Any]) -> Iterator[list[str]]:
    for link in status["links"]:
        kind = "TLS" if link["secure"] else "plain"
        yield [
            ("to " if link["dialed"] else "from ") + link["where"],
            f"{one_line(link['machine'])} ({link['role']}, {kind})",
            "up",
            number(link["channels"]),
            _milliseconds(link["round_trip_p50_s"]),
            _milliseconds(link["round_trip_p99_s"]),
            number(link["resumes"]),
            one_line(link["last_error"]) or "-",
        ]
    for dialed in status["dialed"]:
        if dialed["problem"]:
            problem = one_line(dialed["problem"])
            resumes = number(dialed["resumes"])
            where = f"to {dialed['where']}"
            yield [where, "-", "down", "-", "-", "-", resumes, problem]


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"
