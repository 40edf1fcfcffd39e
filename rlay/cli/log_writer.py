"""Writing a log without ever being held up by it.

Rule 1: who logs never waits: not for a pipe that nobody reads, not for a full disk.
Rule 2: what repeats is told once and counted: many strangers are not as many lines.
Rule 3: what was not written is counted, and the count is written.
"""

import contextlib
import copy
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TextIO, TypeAlias

WINDOW_S: Final = 10.0
_MOST_WARNINGS: Final = 10
_MOST_OTHERS: Final = 50
"""Lines of one kind within one window; 64 channels may all change at once."""
_MOST_WAITING: Final = 2000
_LOOK_S: Final = 1.0
_GOODBYE_S: Final = 1.0

_Waiting: TypeAlias = "queue.Queue[logging.LogRecord | None]"


@dataclass(slots=True)
class _Window:
    """What was told of one kind of record since ``began``."""

    began: float
    told: set[str] = field(default_factory=set)
    folded: int = 0
    last: logging.LogRecord | None = None


class Folding:
    """Decides what is told, and what is counted instead. Knows no clock."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        """Count in windows of so many seconds."""
        self._window_s = window_s
        self._windows: dict[tuple[int, str], _Window] = {}

    def take(self, record: logging.LogRecord, now: float) -> list[logging.LogRecord]:
        """Return what is to be written now, in order; perhaps nothing."""
        told = self.due(now)
        key = record.levelno, str(getattr(record, "template", record.msg))
        text = record.getMessage()
        window = self._windows.setdefault(key, _Window(now))
        most = _MOST_WARNINGS if record.levelno >= logging.WARNING else _MOST_OTHERS
        if text in window.told or len(window.told) >= most:
            window.folded += 1
            window.last = record
            return told
        window.told.add(text)
        return [*told, record]

    def due(self, now: float, *, at_end: bool = False) -> list[logging.LogRecord]:
        """Return a record for each kind whose window is over and that was counted."""
        found = []
        for key, window in list(self._windows.items()):
            if not at_end and now - window.began < self._window_s:
                continue
            del self._windows[key]
            if window.last is not None:
                summary = copy.copy(window.last)
                summary.repeats = window.folded
                summary.repeats_s = now - window.began
                found.append(summary)
        return found


class LogWriter(logging.Handler):
    """Writes records in a thread of its own."""

    def __init__(
        self,
        stream: TextIO,
        formatter: logging.Formatter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            stream: Where lines go. An error of it is not told: there is nowhere to.
            formatter: Makes lines.
            clock: Of the windows.
        """
        super().__init__()
        self.setFormatter(formatter)
        self._stream = stream
        self._clock = clock
        self._folding = Folding()
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(
            _MOST_WAITING
        )
        self._unwritten = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; never wait."""
        try:
            told = copy.copy(record)
            # What the arguments say now is meant: they may change until it is written.
            told.template, told.msg, told.args = record.msg, record.getMessage(), None
        except Exception:  # as every handler of the standard library
            self.handleError(record)
            return
        try:
            self._waiting.put_nowait(told)
        except queue.Full:
            self._unwritten += 1

    def close(self) -> None:
        """Write what is left, for a second at most. Twice is harmless."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(_GOODBYE_S)
        super().close()

    def _run(self) -> None:
        while True:
            try:
                record = self._waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                self._write(self._folding.due(self._clock()))
                continue
            if record is None:
                self._write(self._folding.due(self._clock(), at_end=True))
                return
            self._write(self._folding.take(record, self._clock()))
            if self._unwritten:
                self._tell_unwritten()

    def _write(self, records: list[logging.LogRecord]) -> None:
        for record in records:
            with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
                self._stream.write(self.format(record) + "\n")
        if records:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def _tell_unwritten(self) -> None:
        count, self._unwritten = self._unwritten, 0
        text = "%d lines of this log were not written: nobody took them"
        record = logging.LogRecord(
            "rlay", logging.WARNING, __file__, 0, text, (count,), None
        )
        self._write([record])


def configure(
    stream: TextIO, formatter: logging.Formatter, *, verbose: bool = False
) -> LogWriter:
    """Send the log of RLay, and of asyncio, to a stream.

    Args:
        stream: Such as stderr.
        formatter: Makes lines.
        verbose: Also what matters only when something is wrong.
    """
    writer = LogWriter(stream, formatter)
    for name, level in (
        ("rlay", logging.DEBUG if verbose else logging.INFO),
        ("asyncio", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers = [writer]
        logger.propagate = False
        logger.setLevel(level)
    return writer
