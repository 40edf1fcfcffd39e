"""The pictures of the comparisons, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OURS = "RLay"
_OUR_COLOUR, _THEIR_COLOUR = "#1f6fb4", "#b0b0b0"
_INCHES_WIDE, _INCHES_A_BAR, _INCHES_A_PANEL = 9.0, 0.26, 4.2
_DOTS_PER_INCH = 120


class NoPlots(Exception):
    """matplotlib is not installed."""


@dataclass(frozen=True)
class Bars:
    """A panel with one bar for each contender.

    Attributes:
        title: Above it.
        unit: Below it.
        values: The length of each bar, and where a mark stands beyond it.
    """

    title: str
    unit: str
    values: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Lines:
    """A panel with one line for each contender, both axes logarithmic."""

    title: str
    across: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def check() -> None:
    """Say before a long measurement that there will be no picture.

    Raises:
        NoPlots: There is no matplotlib.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise NoPlots("--plot needs matplotlib: pip install 'rlay[bench]'") from None


def _ours(label: str) -> bool:
    return label.startswith(_OURS)


def _draw_bars(axes: Any, panel: Bars) -> None:
    labels = list(panel.values)
    places = range(len(labels))
    lengths = [panel.values[label][0] for label in labels]
    marks = [panel.values[label][1] for label in labels]
    colours = [_OUR_COLOUR if _ours(label) else _THEIR_COLOUR for label in labels]
    axes.barh(places, lengths, color=colours)
    axes.plot(marks, places, "|", color="black", markersize=8)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(panel.unit)
    axes.grid(axis="x", alpha=0.3)


def _draw_lines(axes: Any, panel: Lines, colours: Sequence[Any]) -> None:
    axes.set_prop_cycle(color=colours)
    for label, points in panel.lines.items():
        across, along = zip(*points, strict=True)
        width = 2.2 if _ours(label) else 1.0
        style = "-" if _ours(label) else "--"
        axes.plot(across, along, style, marker="o", linewidth=width, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(panel.across)
    axes.set_ylabel(panel.unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw(path: Path, panels: Sequence[Bars | Lines]) -> None:
    """Draw panels below each other into a PNG file.

    Raises:
        NoPlots: There is no matplotlib.
    """
    check()
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    heights = [
        1.0 + _INCHES_A_BAR * len(panel.values)
        if isinstance(panel, Bars)
        else _INCHES_A_PANEL
        for panel in panels
    ]
    figure, rows = pyplot.subplots(
        len(panels),
        1,
        figsize=(_INCHES_WIDE, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for (axes,), panel in zip(rows, panels, strict=True):
        axes.set_title(panel.title)
        if isinstance(panel, Bars):
            _draw_bars(axes, panel)
        else:
            _draw_lines(axes, panel, mpl.colormaps["tab20"].colors)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    pyplot.close(figure)
