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
from collections.abc import Iterator
from typing import Any, Final

try:
    import fcntl
except ImportError:  # Windows: the package imports, channels in memory do not work
    fcntl = None  # type: ignore[assignment]

from rlay.errors import ChannelClosed
from rlay.transport.directory import create_file, open_file
from rlay.transport.failures import translated
from rlay.transport.forks import close_in_child

_ACQUIRE_TRIES: Final = 20
_ACQUIRE_PAUSE_S: Final = 0.0025
"""A look holds the lock for a microsecond, or until its thread has the GIL again: 50 ms
of tries outlast that."""

_held_here: dict[tuple[int, int], str] = {}
"""Where this process took each lock that it holds, by device and inode."""


class HeldLock:
    """A lock file that this process holds.

    Attributes:
        fd: The descriptor that carries the lock; -1 once it was let go.
    """

    def __init__(self, fd: int, where: str) -> None:
        """Take over a locked descriptor."""
        self.fd = fd
        self._key = _identity(fd)
        _held_here[self._key] = where
        close_in_child(self)

    @classmethod
    def acquire(cls, directory_fd: int, name: str, path: str) -> "HeldLock | None":
        """Lock ``name``, making it where it is missing.

        Args:
            directory_fd: Descriptor of the channel's directory.
            name: The file's name in it.
            path: The whole path, for messages.

        Returns:
            The lock, or None where somebody else holds it for longer than a look
            takes.

        Raises:
            ChannelError: The file cannot be made, opened or locked.
        """
        fd = _open_or_make(directory_fd, name, path)
        try:
            with translated(path):
                if _outlast_looks(fd):
                    return cls(fd, _caller())
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def release(self) -> None:
        """Let go. Twice is harmless."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            _held_here.pop(self._key, None)
            with contextlib.suppress(OSError):
                os.close(fd)

    def abandon(self) -> None:
        """Close the descriptor in a forked child: the lock is the parent's alone."""
        self.release()


def lock_directory(fd: int, path: str) -> bool:
    """Lock a channel's directory, through its descriptor, until that is closed.

    Who takes a dead channel's name away holds this lock, so that nobody does it
    twice. The lock files are not for that: a server's is held by a living server
    alone, or a client would believe a dead one alive.

    Returns:
        False where somebody else holds it.
    """
    with translated(path):
        return _outlast_looks(fd)


def _open_or_make(directory_fd: int, name: str, path: str) -> int:
    with translated(path):
        try:
            return create_file(directory_fd, name)
        except FileExistsError:
            return open_file(directory_fd, name, path)


def _outlast_looks(fd: int) -> bool:
    """Try to lock for as long as a look may be in the way."""
    for _ in range(_ACQUIRE_TRIES):
        if _try_lock(fd, fcntl.LOCK_EX):
            return True
        # Looks share the lock, who holds it does not: then it is of no use to wait.
        if not _try_lock(fd, fcntl.LOCK_SH):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(_ACQUIRE_PAUSE_S)
    return False


@contextlib.contextmanager
def kept_free(fd: int, path: str) -> Iterator[bool]:
    """Keep a lock file free until the end of the block, as a long look does.

    Who wants the lock tries again for 50 ms: the block is to be short.

    Gives:
        Whether it is free; if not, nothing is kept.
    """
    with translated(path):
        free = _try_lock(fd, fcntl.LOCK_SH)
    try:
        yield free
    finally:
        if free:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Probe:
    """Says whether somebody holds a lock file.

    A look costs about 2 us. It takes a shared lock for that long, so lookers do
    not disturb each other, and who wants the lock tries again.
    """

    def __init__(self, fd: int, path: str) -> None:
        """Take over a descriptor of the lock file; ``path`` is for messages."""
        self._fd = fd
        self._path = path
        # A number that was closed may soon be another file's: a look at that could
        # take its lock away. So nobody closes during a look.
        self._guard = threading.Lock()
        close_in_child(self)

    def __call__(self) -> bool:
        """Look.

        Raises:
            ChannelClosed: :meth:`close` was called.
            ChannelError: The system could not tell.
        """
        with self._guard:
            if self._fd < 0:
                raise ChannelClosed(f"this end of {self._path} was closed meanwhile")
            with translated(self._path):
                if not _try_lock(self._fd, fcntl.LOCK_SH):
                    return True
                fcntl.flock(self._fd, fcntl.LOCK_UN)
                return False

    def close(self) -> None:
        """Close the descriptor. Twice is harmless."""
        with self._guard:
            self._close()

    def abandon(self) -> None:
        """Close the descriptor in a forked child, where nobody lets go of the guard."""
        self._guard = threading.Lock()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


def held_here(fd: int) -> str | None:
    """Return where this very process took the lock of ``fd``, or None."""
    return _held_here.get(_identity(fd))


def _caller() -> str:
    """Return file and line of the first frame outside RLay and Gymnasium."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in ("rlay", "gymnasium"):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown place"
