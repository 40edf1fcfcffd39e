"""Files in memory: made whole, mapped whole.

Room is taken with ``posix_fallocate`` before anything is mapped: on a full file
system that fails with an error, where a sparse file would kill the process with
SIGBUS at its first write. Pages are faulted in at once, not by the first steps.
"""

import contextlib
import mmap
import os
import sys

from rlay.errors import ChannelCorrupt
from rlay.transport.directory import create_file, open_file
from rlay.transport.failures import translated

_POPULATE = getattr(mmap, "MAP_POPULATE", 0)
_ZEROS = bytes(1 << 20)


def map_fd(fd: int, size_bytes: int) -> memoryview:
    """Map a file shared and writable. The view keeps the mapping alive."""
    mapped = mmap.mmap(fd, size_bytes, flags=mmap.MAP_SHARED | _POPULATE)
    return memoryview(mapped)


def create_mapped(
    directory_fd: int, name: str, path: str, size_bytes: int
) -> memoryview:
    """Make a file of zeros, all its room taken, and map it.

    Raises:
        ChannelNoSpace: There is no room. Nothing is left behind.
        ChannelError: It cannot be made.
    """
    with translated(path, size_bytes):
        fd = create_file(directory_fd, name)
        try:
            _allocate(fd, size_bytes)
            return map_fd(fd, size_bytes)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory_fd)
            raise
        finally:
            os.close(fd)


def _allocate(fd: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size_bytes)
        return
    for start in range(0, size_bytes, len(_ZEROS)):
        os.pwrite(fd, _ZEROS[: size_bytes - start], start)


def open_mapped(
    directory_fd: int, name: str, path: str, least_bytes: int
) -> memoryview:
    """Map an existing file that must be ours alone and at least so large.

    Raises:
        ChannelNotFound: It does not exist.
        ChannelCorrupt: It is shorter, or no plain file.
        ChannelPermission: It is not ours alone.
    """
    fd = open_file(directory_fd, name, path)
    try:
        with translated(path):
            size = os.fstat(fd).st_size
        if size < least_bytes:
            raise ChannelCorrupt(
                f"{path} has {size} bytes, at least {least_bytes} are needed"
            )
        with translated(path):
            return map_fd(fd, size)
    except ValueError:
        raise ChannelCorrupt(f"{path} shrinks while it is being opened") from None
    finally:
        os.close(fd)


def read_only(directory_fd: int, name: str, path: str, limit_bytes: int) -> bytes:
    """Return the first bytes of a file without writing to it or mapping it.

    Raises:
        ChannelNotFound: It does not exist.
        ChannelCorrupt: It is no plain file.
        ChannelPermission: It is not ours alone.
    """
    fd = open_file(directory_fd, name, path, writable=False)
    try:
        with translated(path):
            return os.pread(fd, limit_bytes, 0)
    finally:
        os.close(fd)


if sys.byteorder != "little":  # pragma: no cover - no such machine to test on
    raise ImportError("RLay's slots are little-endian; this machine is not")
