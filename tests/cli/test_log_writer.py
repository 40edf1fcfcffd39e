"""A log that is never in the way, and that no stranger can flood."""

import io
import logging
import os
import threading

import pytest

from rlay.cli.log_lines import TextLines
from rlay.cli.log_writer import WINDOW_S, Folding, LogWriter
from tests.support.waiting import wait_until


def record(text, *args, level=logging.WARNING):
    return logging.LogRecord("rlay.bridge", level, "x.py", 1, text, args, None)


def texts(records):
    return [
        each.getMessage() + (f" +{each.repeats}" if hasattr(each, "repeats") else "")
        for each in records
    ]


# ------------------------------------------------------------------------- folding


def test_what_repeats_is_told_once_and_counted():
    """The count comes when the window is over, once."""
    folding = Folding()
    assert texts(folding.take(record("refused %s", "a"), 0.0)) == ["refused a"]
    for number in range(812):
        assert folding.take(record("refused %s", "a"), number / 100) == []
    assert folding.due(WINDOW_S - 0.1) == []
    assert texts(folding.due(WINDOW_S)) == ["refused a +812"]
    assert folding.due(100.0) == []


def test_what_repeats_is_told_again_after_its_window():
    """Behind the count of the last one."""
    folding = Folding()
    folding.take(record("refused %s", "a"), 0.0)
    folding.take(record("refused %s", "a"), 1.0)
    told = folding.take(record("refused %s", "a"), 11.0)
    assert texts(told) == ["refused a +1", "refused a"]


def test_changes_of_one_kind_are_told_each():
    """As long as they differ and are few."""
    folding = Folding()
    for name in "abc":
        assert len(folding.take(record("link to %s is up", name), 0.0)) == 1


@pytest.mark.parametrize(("level", "most"), [(logging.WARNING, 10), (logging.INFO, 50)])
def test_d7_strangers_of_many_names_are_no_flood(level, most):
    """Thousands in one window make a few lines and one count."""
    folding = Folding()
    told = [
        line
        for number in range(5000)
        for line in folding.take(record("refused %s", number, level=level), 0.001)
    ]
    assert len(told) == most
    assert texts(folding.due(20.0)) == [f"refused 4999 +{5000 - most}"]


def test_kinds_do_not_hide_each_other():
    """A flood of one leaves the others visible."""
    folding = Folding()
    for number in range(100):
        folding.take(record("refused %s", number), 0.0)
    assert texts(folding.take(record("link to %s is down", "sim"), 0.0)) == [
        "link to sim is down"
    ]


def test_single_lines_have_no_count():
    """Nothing is said twice."""
    folding = Folding()
    folding.take(record("once"), 0.0)
    assert folding.due(100.0) == []


def test_at_the_end_everything_counted_is_told():
    """Also where the window is not over."""
    folding = Folding()
    folding.take(record("x"), 0.0)
    folding.take(record("x"), 1.0)
    assert texts(folding.due(2.0, at_end=True)) == ["x +1"]


# --------------------------------------------------------------------------- writer


def test_record_is_written_as_it_was():
    """What its arguments say later does not count."""
    stream = io.StringIO()
    writer = LogWriter(stream, TextLines())
    names = ["a"]
    writer.emit(record("names %s", names))
    names.append("b")
    writer.close()
    assert stream.getvalue().endswith("WARNING names ['a']\n")


def test_count_is_written_although_nothing_else_happens():
    """By the writer's own clock."""
    now = [0.0]
    stream = io.StringIO()
    writer = LogWriter(stream, TextLines(), clock=lambda: now[0])
    writer.emit(record("x"))
    writer.emit(record("x"))
    wait_until(lambda: stream.getvalue().count("\n") == 1)
    now[0] = 11.0
    wait_until(lambda: "(+1 in 11 s)" in stream.getvalue())
    writer.close()


def test_f9_stream_that_nobody_reads_holds_nobody_up():
    """F9: a full pipe; what is not written is counted when it is read again."""
    reading, writing = os.pipe()
    with open(writing, "w") as stream:
        writer = LogWriter(stream, TextLines())
        for number in range(10_000):  # each of a kind of its own, so nothing is folded
            writer.emit(record(f"{number} " + "x" * 500))
        found = bytearray()

        def read() -> None:
            while data := os.read(reading, 65_536):
                found.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: b"were not written" in found)
        writer.close()
    reader.join()
    os.close(reading)


def test_f9_stream_that_is_gone_does_no_harm():
    """F9: EPIPE is told to nobody, and logging goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = open(writing, "w")  # noqa: SIM115 - it cannot be flushed any more
    writer = LogWriter(stream, TextLines())
    writer.emit(record("x"))
    writer.close()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_record_that_cannot_be_formatted_does_no_harm(capsys, monkeypatch):
    """A mistake in a log call is not the bridge's end."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    writer = LogWriter(io.StringIO(), TextLines())
    writer.emit(record("%d", "no number"))
    writer.close()
