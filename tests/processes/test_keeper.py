"""The keeper's parts that need no second process."""

import contextlib
import os

from rlay.processes import keeper
from rlay.processes.keeper import (
    TAIL_LINE_CHARACTERS,
    TAIL_LINES,
    Echo,
    LogFile,
    Tail,
)


def test_tail_keeps_the_last_lines():
    """Whatever was written, the last ones are there, and no more than that."""
    tail = Tail()
    tail.add(b"".join(b"line %d\n" % n for n in range(1000)))
    assert tail.lines == [f"line {n}" for n in range(1000 - TAIL_LINES, 1000)]


def test_tail_joins_lines_that_came_in_pieces():
    """A line is whole however it was cut."""
    tail = Tail()
    completed = [line for byte in b"one\ntwo\nth" for line in tail.add(bytes([byte]))]
    assert completed == [b"one", b"two"]
    assert tail.finish() == [b"th"]
    assert tail.lines == ["one", "two", "th"]


def test_tail_without_an_end_of_line_stays_small():
    """A program that never ends its line does not fill the keeper's memory."""
    tail = Tail()
    for _ in range(100):
        tail.add(b"x" * 65_536)
    assert sum(map(len, tail.lines)) <= TAIL_LINES * TAIL_LINE_CHARACTERS
    assert len(tail.finish() or [b""]) == 1


def test_tail_shows_control_characters_as_question_marks():
    """What a program wrote cannot move the cursor of whoever prints it."""
    tail = Tail()
    tail.add("red \x1b[31m bell \a é \xff\n".encode("latin-1"))
    assert tail.lines == ["red ?[31m bell ? \ufffd \ufffd"]


def test_tail_leaves_empty_lines_out():
    """They say nothing, and would push out those that do."""
    tail = Tail()
    tail.add(b"\n\n  \none\n\n")
    assert tail.lines == ["one"]


@contextlib.contextmanager
def stderr_pipe():
    """A pipe in place of this process's stderr; its reading end."""
    reading, writing = os.pipe()
    saved = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield reading
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(reading)


def test_echo_writes_whole_lines_with_its_prefix():
    """Lines of several programs can be told apart."""
    echo = Echo("[a] ")
    with stderr_pipe() as reading:
        echo.add(b"one\ntwo\nth", [b"one", b"two"])
        echo.drain(5.0)
        assert os.read(reading, 100) == b"[a] one\n[a] two\n"


def test_echo_with_empty_prefix_passes_on_every_byte():
    """A progress bar has no whole lines."""
    echo = Echo("")
    with stderr_pipe() as reading:
        echo.add(b"\r 10%", [])
        echo.drain(5.0)
        assert os.read(reading, 100) == b"\r 10%"


def test_echo_without_prefix_is_silent():
    """None shows nothing at all."""
    echo = Echo(None)
    echo.add(b"one\n", [b"one"])
    assert not echo.pending


def test_echo_to_a_reader_that_does_not_read_comes_back():
    """A full pipe never holds up the keeper."""
    echo = Echo("")
    with stderr_pipe():
        echo.add(b"x" * 500_000, [])
        echo.drain(0.1)
    assert echo.pending


def test_echo_without_a_reader_gives_up():
    """A stderr that nobody will read again is not an error."""
    echo = Echo("")
    with stderr_pipe() as reading:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, reading)  # closes the pipe's only reading end
        os.close(null)
        echo.add(b"lost", [])
        echo.drain(5.0)
        echo.add(b"more", [])
    assert not echo.pending


def test_log_file_keeps_everything_and_appends(tmp_path):
    """A second program's output stands behind the first one's."""
    for text in (b"one\n", b"two\n"):
        log = LogFile(str(tmp_path / "log"))
        log.add(text)
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_log_file_that_has_grown_large_makes_room(tmp_path, monkeypatch):
    """Two files at most, so that a disk is not filled."""
    monkeypatch.setattr(keeper, "_LOG_BYTES", 100)
    log = LogFile(str(tmp_path / "log"))
    for number in range(10):
        log.add(b"%d" % number * 60)
    log.close()
    assert (tmp_path / "log").read_bytes() == b"9" * 60
    assert (tmp_path / "log.1").read_bytes() == b"8" * 60
    assert len(list(tmp_path.iterdir())) == 2


def test_log_file_on_a_full_disk_does_no_harm():
    """The program goes on; it is not its fault."""
    log = LogFile("/dev/full")
    log.add(b"lost")
    log.close()
