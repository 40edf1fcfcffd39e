"""Memory and calls that kill their process at a chosen point, as SIGKILL may."""

import fcntl
import itertools
import mmap
import os
import signal
from collections.abc import Iterator
from typing import Any, cast

from rlay.transport.slots import SlotReader, SlotWriter


class CrashPoint:
    """Counts what passes, and kills the process just before one of them."""

    def __init__(self, crash_at: int) -> None:
        self.passed = 0
        self._crash_at = crash_at

    def pass_by(self) -> None:
        if self.passed == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


class FatalView:
    """A memoryview whose every store is a crash point; long ones have two halves."""

    def __init__(self, view: memoryview, point: CrashPoint) -> None:
        self._view, self._point = view, point

    def __getitem__(self, key: Any) -> Any:
        return self._view[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._point.pass_by()
        if isinstance(key, slice):
            target = self._view[key]
            half = len(target) // 2
            target[:half] = value[:half]
            self._point.pass_by()
            target[half:] = value[half:]
        else:
            self._view[key] = value

    def __len__(self) -> int:
        return len(self._view)

    def __bytes__(self) -> bytes:
        return bytes(self._view)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)


def make_stores_fatal(point: CrashPoint) -> None:
    """Make every store into a slot a crash point, in this process for good.

    The ends' closures are compiled anew over memory that counts; without this call
    nothing in them knows of it.
    """
    start_writer, start_reader = SlotWriter.__init__, SlotReader.__init__

    def start_fatal_writer(self: Any, slot: memoryview, *rest: Any) -> None:
        start_writer(self, slot, *rest)
        _wrap(self, point)
        self.publish = self._compile_publish(self._ring, lambda: None)

    def start_fatal_reader(self: Any, slot: memoryview, *rest: Any) -> None:
        start_reader(self, slot, *rest)
        _wrap(self, point)
        wait = self.receive.__closure__[_cell(self.receive, "wait")].cell_contents
        self.receive, self.take = self._compile(wait)

    # Not by assignment: a type checker minds that.
    for end, start in (
        (SlotWriter, start_fatal_writer),
        (SlotReader, start_fatal_reader),
    ):
        setattr(end, "__init__", start)  # noqa: B010


def _cell(function: Any, name: str) -> int:
    return int(function.__code__.co_freevars.index(name))


def _wrap(end: Any, point: CrashPoint) -> None:
    end._words = FatalView(end._words, point)
    if isinstance(end, SlotWriter):
        for buffer in end.buffers:
            buffer.words = cast(memoryview, FatalView(buffer.words, point))
            buffer.payload = cast(memoryview, FatalView(buffer.payload, point))


_CALLS: tuple[tuple[Any, str], ...] = (
    (os, "mkdir"),
    (os, "open"),
    (os, "posix_fallocate"),
    (os, "rename"),
    (os, "unlink"),
    (os, "rmdir"),
    (os, "close"),
    (fcntl, "flock"),
    (mmap, "mmap"),
)


def make_calls_fatal(point: CrashPoint) -> None:
    """Make every call that makes or removes files a crash point, for good."""
    for owner, name in _CALLS:
        setattr(owner, name, _counting(getattr(owner, name), point))


def _counting(original: Any, point: CrashPoint) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        point.pass_by()
        return original(*args, **options)

    return call


def crash_points(limit: int = 2000) -> Iterator[int]:
    """Count up; a test stops when the child outlives its crash point.

    Raises:
        AssertionError: It never does.
    """
    yield from itertools.islice(itertools.count(), limit)
    raise AssertionError(f"more than {limit} crash points")
