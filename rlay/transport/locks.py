"""Locks on files: who is alive, proved by the kernel.

An end holds its lock file with ``flock`` for as long as it lives. The kernel lets
go of it when the process dies, however it dies, within milliseconds, and it does
so across containers, where process ids mean nothing. ``flock`` rather than POSIX
locks: those are lost when any descriptor of the file is closed.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

try:
    import fcntl
except ImportError:  # Windows: the package imports, channels in memory do not work
    fcntl = None  # type: ignore[assignment]

from rlay.transport.directory import create_file, open_file
from rlay.transport.failures import translated
from rlay.transport.forks import close_in_child

_ACQUIRE_TRIES: Final = 20
_ACQUIRE_PAUSE_S: Final = 0.0025
"""A look at the lock holds it for a microsecond: 50 ms of tries outlast any look."""

_held_here: dict[tuple[int, int], str] = {}
_held_here_guard: Final = threading.Lock()


class HeldLock:
    """A lock file that this process holds.

    Attributes:
        fd: The descriptor that carries the lock.
    """

    def __init__(self, fd: int, where: str) -> None:
        """Take over a locked descriptor."""
        self.fd = fd
        facts = os.fstat(fd)
        self._key = (facts.st_dev, facts.st_ino)
        with _held_here_guard:
            _held_here[self._key] = where
        close_in_child(self)

    @classmethod
    def acquire(cls, directory_fd: int, name: str, path: str) -> "HeldLock | None":
        """Lock ``name``, making it where it is missing.

        Returns:
            The lock, or None where somebody else holds it for longer than a look
            takes.

        Raises:
            ChannelError: The file cannot be made or opened.
        """
        try:
            fd = create_file(directory_fd, name)
        except FileExistsError:
            fd = open_file(directory_fd, name, path)
        except OSError:
            with translated(path):
                raise
        for attempt in range(_ACQUIRE_TRIES):
            with translated(path):
                if _try_lock(fd, fcntl.LOCK_EX):
                    return cls(fd, _caller())
            if attempt and held_here(fd):
                break
            time.sleep(_ACQUIRE_PAUSE_S)
        os.close(fd)
        return None

    def release(self) -> None:
        """Let go. Twice is harmless."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with _held_here_guard:
                _held_here.pop(self._key, None)
            with contextlib.suppress(OSError):
                os.close(fd)

    def abandon(self) -> None:
        """Close the descriptor in a forked child: the lock is the parent's alone."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            _held_here.pop(self._key, None)
            with contextlib.suppress(OSError):
                os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_probe(fd: int) -> Callable[[], bool]:
    """Return a function that says whether somebody holds the lock file ``fd``.

    A look costs about 1.5 us. It takes a shared lock for that long, so lookers do
    not disturb each other, and who wants the lock tries again.
    """

    def held() -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False

    return held


def held_here(fd: int) -> str | None:
    """Return where this very process took the lock of ``fd``, or None."""
    facts = os.fstat(fd)
    return _held_here.get((facts.st_dev, facts.st_ino))


def _caller() -> str:
    """Return file and line of the first frame outside RLay and Gymnasium."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in ("rlay", "gymnasium"):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown place"
