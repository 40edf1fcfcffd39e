"""The picture of ``rlay bench``: where the time goes, and how latencies spread."""

import importlib.util
from typing import Any, Final

import numpy as np

from rlay.cli.bench_parts import Breakdown
from rlay.cli.bench_report import Report
from rlay.cli.bench_rounds import EDGES_US, Figures
from rlay.cli.words import Failed

_SIZE_INCHES: Final = (10.0, 4.5)
_DPI: Final = 120
_COLORS: Final = {
    "environment": "#4c72b0",
    "waking": "#dd8452",
    "copying": "#55a868",
    "bridge": "#8172b3",
    "network": "#c44e52",
    "other": "#aaaaaa",
}


def check_matplotlib() -> None:
    """Say how to get matplotlib, where it is not there.

    Raises:
        Failed: It is not.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise Failed(
            "--plot needs matplotlib, which is not installed. Install it with: "
            'pip install "rlay[plot]", or: pip install matplotlib'
        )


def draw(report: Report, path: str) -> None:
    """Write a picture as PNG.

    Raises:
        Failed: It cannot be written.
    """
    # Figures without pyplot, which would look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    bar, curve = figure.subplots(1, 2, width_ratios=(2, 3))
    _draw_parts(bar, report.breakdown)
    _draw_latencies(curve, report)
    figure.suptitle(f"{report.what}\n{report.machine}", fontsize=8)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise Failed(f"{path!r} cannot be written: {error.strerror}") from error


def _draw_parts(axes: Any, breakdown: Breakdown) -> None:
    """Stack the parts; what is below zero hangs from the line of zero."""
    parts = [(part.name, part.us) for part in breakdown.parts]
    parts.append(("other", breakdown.other_us))
    above = below = 0.0
    for name, us in parts:
        if us is None:
            axes.bar(0, 0, color="white", edgecolor="gray", label=f"{name}: not known")
            continue
        label = f"{name}: {us:,.1f} us"
        bottom = above if us >= 0 else below
        axes.bar(0, us, bottom=bottom, color=_COLORS[name], label=label, width=0.5)
        above, below = above + max(us, 0.0), below + min(us, 0.0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlim(-0.4, 1.6)
    axes.set_xticks([])
    axes.set_ylabel("us of a step")
    axes.set_title(f"where {breakdown.step_us:,.1f} us go (medians)", fontsize=9)
    axes.legend(loc="center right", fontsize=7, frameon=False)


def _draw_latencies(axes: Any, report: Report) -> None:
    _draw_curve(axes, report.single, "one channel")
    if report.at_once is not None:
        _draw_curve(axes, report.at_once, f"{report.channels} channels at once")
    axes.set_xscale("log", subs=(2, 5))
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(_plainly)
    axes.xaxis.set_minor_formatter(_plainly)
    axes.set_xlabel("latency in us")
    axes.set_ylabel("share of steps that take longer")
    axes.set_title("latencies", fontsize=9)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=7, frameon=False)


def _plainly(value: float, position: int) -> str:
    return f"{value:,g}"


def _draw_curve(axes: Any, figures: Figures, name: str) -> None:
    """Draw which share of the calls took longer than so long."""
    total = int(figures.counts.sum())
    longer = 1.0 - np.cumsum(figures.counts) / total
    seen = np.flatnonzero(figures.counts)
    span = slice(seen[0], seen[-1] + 1)
    # The last is none: a logarithm has no place for it.
    shown = np.maximum(longer[span], 0.5 / total)
    axes.step(EDGES_US[1:][span], shown, where="pre", label=name)
