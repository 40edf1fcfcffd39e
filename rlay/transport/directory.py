"""The directory where channels live, and opening files in it without being led astray.

Everything is opened relative to a descriptor of a directory that is ours alone,
never through a symbolic link, and is looked at through its own descriptor before
it is used.
"""

import contextlib
import errno
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable
from typing import Final

from rlay.errors import (
    ChannelCorrupt,
    ChannelError,
    ChannelNotFound,
    ChannelPermission,
)
from rlay.transport.failures import channel_error, describe, translated

ENVIRONMENT_VARIABLE: Final = "RLAY_DIR"
HIDDEN_PREFIXES: Final = (".new-", ".gone-")
"""Channels being made, and channels being removed. No channel's name has a dot
in front, so nobody ever attaches to these."""

_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_OPEN_DIRECTORY: Final = (
    os.O_RDONLY | _CLOEXEC | _NOFOLLOW | getattr(os, "O_DIRECTORY", 0)
)
_OPEN_FILE: Final = _CLOEXEC | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
_SWEPT_TRIES: Final = 100
_NAME_IS_TAKEN: Final = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


class _SweptError(Exception):
    """A directory was removed between being made and being opened."""


def default_path() -> str:
    """Return where channels live if nobody says otherwise.

    ``$RLAY_DIR``, else ``/dev/shm/rlay-<uid>`` where there is a ``/dev/shm``, else
    ``rlay-<uid>`` in the temporary directory.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return named
    home = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    return os.path.join(home, _private_name())


def _private_name() -> str:
    return f"rlay-{os.geteuid()}"


class ChannelDirectory:
    """An open directory of channels: ours, and nobody else may look into it.

    Attributes:
        path: Where it is, for messages.
        fd: Its descriptor. Everything is opened relative to it.
    """

    def __init__(self, path: str, fd: int) -> None:
        """Take over an open descriptor that was checked."""
        self.path = path
        self.fd = fd

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None = None, *, create: bool = True
    ) -> "ChannelDirectory":
        """Open, and where wanted make, the directory.

        A directory that is not ours alone (a volume's root, or 0777) is not used
        itself: a sub-directory ``rlay-<uid>`` of mode 0700 in it is.

        Args:
            path: Where; None for :func:`default_path`.
            create: Whether to make what is missing.

        Raises:
            ChannelNotFound: It is missing and was not to be made.
            ChannelPermission: It cannot be opened, or is not ours alone.
            ChannelNoSpace: There is no room, or no descriptor.
        """
        if sys.platform == "win32":
            raise ChannelError(
                "channels in shared memory need Linux or macOS; on Windows attach "
                "through a bridge: tcp://host:port/name"
            )
        named = path or os.environ.get(ENVIRONMENT_VARIABLE)
        where = os.path.abspath(os.fspath(path) if path else default_path())
        if "\0" in where:
            raise ChannelError(f"{where!r} cannot be a directory: it holds a NUL")
        # Who names a directory may name a link to it. Nobody names the default one,
        # and a link in its place was put there by somebody else.
        flags = _OPEN_DIRECTORY & ~_NOFOLLOW if named else _OPEN_DIRECTORY
        if create:
            with translated(where):
                _make_private(where)
        with translated(where):
            fd = os.open(where, flags)
        opened = None
        try:
            with translated(where):
                if _is_private(fd):
                    opened = cls(where, fd)
                    return opened
            return cls._open_within(where, fd, create=create)
        finally:
            if opened is None:
                os.close(fd)

    @classmethod
    def _open_within(
        cls, outer: str, outer_fd: int, *, create: bool
    ) -> "ChannelDirectory":
        name = _private_name()
        where = os.path.join(outer, name)
        with translated(where):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=outer_fd)
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=outer_fd)
        return cls(where, _private_or_closed(fd, where))

    def close(self) -> None:
        """Close the descriptor. Twice is harmless."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)

    def __enter__(self) -> "ChannelDirectory":
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def names(self) -> list[str]:
        """Return the names in it that do not start with a dot, sorted."""
        return sorted(n for n in self._entries() if not n.startswith("."))

    def hidden_names(self) -> list[str]:
        """Return the names of channels being made or being removed, sorted."""
        return sorted(n for n in self._entries() if n.startswith(HIDDEN_PREFIXES))

    def _entries(self) -> list[str]:
        with translated(self.path):
            return os.listdir(self.fd)

    def open_channel(self, name: str) -> int:
        """Open the directory of one channel and return its descriptor.

        Raises:
            ChannelNotFound: There is none.
            ChannelCorrupt: It is a link or a file.
            ChannelPermission: It is not ours alone.
        """
        path = os.path.join(self.path, name)
        with translated(path):
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=self.fd)
        return _private_or_closed(fd, path)

    def make_hidden(self) -> tuple[str, int]:
        """Make an empty directory under a hidden name; return name and descriptor.

        Raises:
            ChannelNoSpace: There is no room, or no descriptor. Nothing is left.
            ChannelPermission: It cannot be made here.
            ChannelNotFound: It is swept away at once, every time.
        """
        for _ in range(_SWEPT_TRIES):
            with contextlib.suppress(_SweptError):
                return self._make_hidden(HIDDEN_PREFIXES[0] + secrets.token_hex(8))
        raise ChannelNotFound(f"{self.path} is swept all the time: nothing stays")

    def _make_hidden(self, name: str) -> tuple[str, int]:
        with translated(os.path.join(self.path, name)):
            os.mkdir(name, 0o700, dir_fd=self.fd)
            try:
                return name, os.open(name, _OPEN_DIRECTORY, dir_fd=self.fd)
            except FileNotFoundError:
                raise _SweptError from None
            except BaseException:
                with contextlib.suppress(OSError):
                    os.rmdir(name, dir_fd=self.fd)
                raise

    def publish(self, hidden: str, name: str) -> bool:
        """Give a hidden directory its name; return False where the name is taken."""
        try:
            os.rename(hidden, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            if error.errno in _NAME_IS_TAKEN:
                return False
            raise channel_error(error, os.path.join(self.path, name)) from error
        return True

    def hide(self, name: str) -> str | None:
        """Take a channel's name away; return the hidden name, None if it was gone."""
        hidden = HIDDEN_PREFIXES[1] + secrets.token_hex(8)
        try:
            os.rename(name, hidden, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise channel_error(error, os.path.join(self.path, name)) from error
        return hidden

    def remove(self, hidden: str, names: Iterable[str] = ()) -> None:
        """Remove a hidden directory and the files in it. Twice is harmless.

        Args:
            hidden: Its name.
            names: Files that are removed even where no descriptor is left to look
                for others.
        """
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(hidden, name), dir_fd=self.fd)
        with contextlib.suppress(OSError):
            os.rmdir(hidden, dir_fd=self.fd)
            return
        with contextlib.suppress(OSError):
            fd = os.open(hidden, _OPEN_DIRECTORY, dir_fd=self.fd)
            try:
                for entry in os.listdir(fd):
                    with contextlib.suppress(OSError):
                        os.unlink(entry, dir_fd=fd)
            finally:
                os.close(fd)
            os.rmdir(hidden, dir_fd=self.fd)


def _make_private(where: str) -> None:
    os.makedirs(os.path.dirname(where), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(where, 0o700)


def _is_private(fd: int) -> bool:
    facts = os.fstat(fd)
    return (
        stat.S_ISDIR(facts.st_mode)
        and facts.st_uid == os.geteuid()
        and not facts.st_mode & 0o077
    )


def _private_or_closed(fd: int, path: str) -> int:
    """Return a directory's descriptor if it is ours alone; else close it and raise."""
    try:
        with translated(path):
            if _is_private(fd):
                return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    raise ChannelPermission(
        f"{path} is not ours alone: {describe(path)}; it must belong to uid "
        f"{os.geteuid()} with mode 0700. Remove it, or name another directory with "
        f"{ENVIRONMENT_VARIABLE}"
    )


def create_file(directory_fd: int, name: str) -> int:
    """Make an empty file of mode 0600 that did not exist; return its descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FILE
    return os.open(name, flags, 0o600, dir_fd=directory_fd)


def open_file(directory_fd: int, name: str, path: str, *, writable: bool = True) -> int:
    """Open a file that must be a plain file of ours alone; return its descriptor.

    Args:
        directory_fd: Descriptor of the channel's directory.
        name: The file's name in it.
        path: The whole path, for messages.
        writable: Whether it is to be written.

    Raises:
        ChannelNotFound: It does not exist.
        ChannelCorrupt: It is a link, a directory, a FIFO or a device.
        ChannelPermission: Somebody else may read or write it.
    """
    flags = (os.O_RDWR if writable else os.O_RDONLY) | _OPEN_FILE
    with translated(path):
        fd = os.open(name, flags, dir_fd=directory_fd)
        try:
            _check_plain(os.fstat(fd), path)
        except BaseException:
            os.close(fd)
            raise
    return fd


def _check_plain(facts: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        raise ChannelCorrupt(
            f"{path} is not a plain file with one name: {describe(path)}. Remove it "
            "by hand if it is not needed"
        )
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise ChannelPermission(
            f"{path} is not ours alone: {describe(path)}; it must belong to uid "
            f"{os.geteuid()} with mode 0600"
        )
