"""The picture of ``rlay bench``."""

import importlib.util

import numpy as np
import pytest

from rlay.cli import main
from rlay.cli.bench_parts import Place, break_down
from rlay.cli.bench_report import Report
from rlay.cli.bench_rounds import EDGES_US, Figures, Turn
from rlay.cli.words import Failed


def report(at_once=True):
    """Return one with a part that is not known, and a rest below zero."""
    counts = np.zeros(len(EDGES_US) - 1, np.int64)
    counts[30:50] = 5
    turn = Turn(100, 1.0, 10.0, 20.0, 30.0, counts)
    rounds = [{"step": turn, "network": Turn(100, 1.0, 12.0, 20.0, 30.0, counts)}]
    figures = Figures.of([turn])
    breakdown = break_down(rounds, Place.ADDRESS)
    assert breakdown.other_us < 0
    return Report(
        what="Something",
        machine="a machine",
        place="address",
        channels=2 if at_once else 1,
        observation_space="Box",
        rounds_done=1,
        rounds_wanted=1,
        seconds=1.0,
        single=figures,
        at_once=figures if at_once else None,
        message_bytes=None,
        breakdown=breakdown,
    )


@pytest.mark.parametrize("at_once", [True, False])
def test_plot_is_a_png(tmp_path, at_once):
    """Whatever its name ends with."""
    pytest.importorskip("matplotlib", reason="needs matplotlib: the extra `plot`")
    from rlay.cli.bench_plot import draw

    path = tmp_path / "picture"
    draw(report(at_once), str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_that_cannot_be_written_says_so(tmp_path):
    """With the reason of the system."""
    pytest.importorskip("matplotlib", reason="needs matplotlib: the extra `plot`")
    from rlay.cli.bench_plot import draw

    with pytest.raises(Failed, match="cannot be written: No such file"):
        draw(report(), str(tmp_path / "missing" / "picture.png"))


def test_plot_without_matplotlib_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    """Exit code 1, before anything is started."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find(name, *rest),
    )
    assert main(["bench", "--plot", str(tmp_path / "picture.png")]) == 1
    assert 'pip install "rlay[plot]"' in capsys.readouterr().err
