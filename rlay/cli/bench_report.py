"""What ``rlay bench`` says: tables for people, JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import numpy as np

from rlay.cli.bench_parts import Breakdown
from rlay.cli.bench_rounds import EDGES_US, Figures
from rlay.cli.tables import number, print_table
from rlay.transport.software import SOFTWARE

FORMAT: Final = 1
_WIDE: Final = 100.0
"""From here on a tenth of a microsecond says nothing."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured.

    Attributes:
        what: Was measured, for people.
        machine: This one, for people.
        place: Where the environment is.
        channels: How many were stepped at once.
        observation_space: Of one environment, for people.
        rounds_done: How many rounds.
        rounds_wanted: How many were asked for.
        seconds: How long it was to take.
        single: Figures of one channel alone.
        at_once: Figures of all channels at once; None where there is one.
        message_bytes: Of both messages of a step; None where it is not known.
        breakdown: Where the time goes.
    """

    what: str
    machine: str
    place: str
    channels: int
    observation_space: str
    rounds_done: int
    rounds_wanted: int
    seconds: float
    single: Figures
    at_once: Figures | None
    message_bytes: int | None
    breakdown: Breakdown

    @property
    def whole(self) -> Figures:
        """The figures of what was asked for."""
        return self.at_once or self.single

    def bytes_per_s(self, figures: Figures) -> float | None:
        """Return the payload of both messages per second, of all channels together."""
        if self.message_bytes is None:
            return None
        return self.message_bytes * figures.steps_per_s


# -------------------------------------------------------------------------- for people


def show(report: Report) -> None:
    """Print it."""
    click.echo(f"{report.what}\n{report.machine}")
    if report.rounds_done < report.rounds_wanted:
        click.echo(
            f"Stopped after {report.rounds_done} of {report.rounds_wanted} rounds: "
            "these are the figures so far."
        )
    click.echo()
    _show_figures(report)
    click.echo()
    _show_parts(report.breakdown)
    click.echo()
    _show_cpu(report.whole)
    click.echo()
    for line in _footer(report):
        click.echo(line)


def _show_figures(report: Report) -> None:
    rows = [("one channel", report.single)]
    if report.at_once is not None:
        rows.append((f"{report.channels} channels at once", report.at_once))
    columns = ("", "STEPS/S", "P50 US", "P99 US", "P99.9 US", "MB/S")
    print_table(
        columns,
        [
            (
                name,
                number(figures.steps_per_s),
                _us(figures.p50_us),
                _us(figures.p99_us),
                _us(figures.p999_us),
                _megabytes(report.bytes_per_s(figures)),
            )
            for name, figures in rows
        ],
        numbers=columns[1:],
    )


def _show_parts(breakdown: Breakdown) -> None:
    rows: list[tuple[str, float | None]] = [
        (part.name, part.us) for part in breakdown.parts
    ]
    rows += [("other", breakdown.other_us), ("a step", breakdown.step_us)]
    columns = ("WHERE THE TIME GOES", "US", "OF A STEP")
    print_table(
        columns,
        [(name, _us(us), _percent(us, breakdown.step_us)) for name, us in rows],
        numbers=columns[1:],
    )


def _show_cpu(figures: Figures) -> None:
    print_table(
        ("CPU TIME OF A STEP", "US"),
        [(name, _us(us)) for name, us in figures.cpu_us.items()],
        numbers=("US",),
    )


def _footer(report: Report) -> Sequence[str]:
    parts = report.breakdown.parts
    width = max(len(part.name) for part in parts)
    lines = ["How each is measured:"]
    lines += [f"  {part.name:<{width}}  {part.how}" for part in parts]
    lines += [
        f"  {'other':<{width}}  a step, less all of these",
        f"Each is a median of a step on one channel, over {report.rounds_done} "
        f"alternating round{'s' if report.rounds_done != 1 else ''}; so they need not "
        "add up exactly.",
    ]
    if report.at_once is not None:
        lines.append(
            f"P50 to P99.9 of {report.channels} channels are of a step of all of them "
            "by a ClientVectorEnv; CPU time is that of a step of one environment in it."
        )
    return lines


def _us(value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:,.1f}" if abs(value) < _WIDE else f"{value:,.0f}"


def _percent(us: float | None, whole_us: float) -> str:
    return "-" if us is None else f"{round(100 * us / whole_us)} %"


def _megabytes(bytes_per_s: float | None) -> str:
    return "-" if bytes_per_s is None else f"{bytes_per_s / 1e6:,.2f}"


# ------------------------------------------------------------------------ for programs


def as_dict(report: Report) -> dict[str, Any]:
    """Return it as plain data; docs/guide/measuring.md says what each key means."""
    at_once = report.at_once
    return {
        "format": FORMAT,
        "software": SOFTWARE,
        "machine": report.machine,
        "what": report.what,
        "place": report.place,
        "channels": report.channels,
        "observation_space": report.observation_space,
        "seconds": report.seconds,
        "rounds": report.rounds_done,
        "rounds_wanted": report.rounds_wanted,
        "complete": report.rounds_done == report.rounds_wanted,
        "message_bytes": report.message_bytes,
        "one_channel": _figures(report, report.single),
        "all_channels": None if at_once is None else _figures(report, at_once),
        "breakdown": {
            "step_us": report.breakdown.step_us,
            "parts": {
                part.name: {"us": part.us, "how": part.how}
                for part in report.breakdown.parts
            },
            "other_us": report.breakdown.other_us,
        },
    }


def _figures(report: Report, figures: Figures) -> dict[str, Any]:
    return {
        "steps": figures.steps,
        "steps_per_s": figures.steps_per_s,
        "p50_us": figures.p50_us,
        "p99_us": figures.p99_us,
        "p999_us": figures.p999_us,
        "bytes_per_s": report.bytes_per_s(figures),
        "cpu_us_per_step": figures.cpu_us,
        "latencies": [
            {
                "from_us": float(EDGES_US[index]),
                "to_us": float(EDGES_US[index + 1]),
                "count": int(figures.counts[index]),
            }
            for index in np.flatnonzero(figures.counts)
        ],
    }
