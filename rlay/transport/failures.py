"""Errors of the operating system, translated once into RLay's."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from rlay.errors import (
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    ChannelPermission,
    RLayError,
)

_NO_ROOM = {
    errno.ENOSPC: "the file system is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EMFILE: "this process has too many open files (see ulimit -n)",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOMEM: "there is no memory left to map the file",
    errno.ENOLCK: "the machine has no locks left",
}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FILE = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV}


@contextmanager
def translated(path: str, need_bytes: int | None = None) -> Iterator[None]:
    """Turn an OSError of the body into a :class:`ChannelError`.

    Args:
        path: What the body works on, for the message.
        need_bytes: How much room it asks for.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, RLayError):  # PeerLost and RLayTimeout are OSErrors too
            raise
        raise channel_error(error, path, need_bytes) from error


def channel_error(
    error: OSError, path: str, need_bytes: int | None = None
) -> ChannelError:
    """Return the error of RLay's that says what ``error`` means for a channel."""
    number = error.errno or 0
    if number in _NO_ROOM:
        return ChannelNoSpace(_no_room(number, path, need_bytes))
    if number == errno.ENOENT:
        return ChannelNotFound(f"{path} does not exist")
    if number in _FORBIDDEN:
        return ChannelPermission(
            f"{path} cannot be opened ({os.strerror(number)}); {describe(path)}. "
            f"This process runs as uid {os.geteuid()}: use the same user at both "
            "ends, or name another directory with RLAY_DIR"
        )
    if number in _NOT_A_FILE:
        return ChannelCorrupt(
            f"{path} is not what a channel has there ({os.strerror(number)}); "
            f"{describe(path)}. Remove it by hand if it is not needed"
        )
    return ChannelError(f"{path}: {os.strerror(number) if number else error}")


def _no_room(number: int, path: str, need_bytes: int | None) -> str:
    text = f"no room for {path}: {_NO_ROOM[number]}"
    if number in (errno.ENOSPC, errno.EDQUOT) and need_bytes is not None:
        text += (
            f"; {need_bytes} bytes are needed, {_free_bytes(path)} are free. In "
            "Docker raise --shm-size (64 MB by default), or set RLAY_DIR to a larger "
            "file system in memory"
        )
    return text


def _free_bytes(path: str) -> int | str:
    # A channel has its name only when it is whole: its directory may not be there.
    for _ in range(3):
        path = os.path.dirname(path) or "."
        try:
            space = os.statvfs(path)
        except OSError:
            continue
        return space.f_bavail * space.f_frsize
    return "unknown how many"


def describe(path: str) -> str:
    """Return what ``ls -l`` would say of ``path``, in a few words.

    Where it does not exist, it is the directory in which it would be that matters.
    """
    subject = "it"
    try:
        try:
            facts = os.lstat(path)
        except FileNotFoundError:
            subject = os.path.dirname(path) or "."
            facts = os.lstat(subject)
    except OSError as error:
        return f"{subject} cannot be examined ({error.strerror})"
    return (
        f"{subject} is {stat.filemode(facts.st_mode)}, owner uid {facts.st_uid}, "
        f"gid {facts.st_gid}"
    )
