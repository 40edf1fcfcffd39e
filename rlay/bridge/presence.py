"""One bridge for each directory of channels, known by a number that outlives it."""

import contextlib
import os
import secrets
from typing import Final

from rlay.errors import ChannelBusy
from rlay.transport.bridge_status import PRESENCE_FILE
from rlay.transport.directory import ChannelDirectory
from rlay.transport.failures import translated
from rlay.transport.locks import HeldLock

_DIGITS: Final = 16


class Presence:
    """Holds the file that says that a bridge is here, and its number.

    Attributes:
        id: The number: the same for the next bridge, if this one is killed.
    """

    def __init__(self, directory: ChannelDirectory) -> None:
        """Take the place of the bridge of a directory.

        Raises:
            ChannelBusy: There is one already.
            ChannelError: The file cannot be made.
        """
        self._directory = directory
        path = os.path.join(directory.path, PRESENCE_FILE)
        lock = HeldLock.acquire(directory.fd, PRESENCE_FILE, path)
        if lock is None:
            raise ChannelBusy(
                f"another bridge serves the channels in {directory.path}; give this "
                "one another directory with --directory or RLAY_DIR"
            )
        self._lock = lock
        with translated(path):
            text = os.pread(lock.fd, _DIGITS, 0)
            self.id = _number_in(text)
            if not self.id:
                self.id = secrets.randbits(64) or 1
                os.pwrite(lock.fd, b"%016x" % self.id, 0)

    def leave(self) -> None:
        """Remove the file and let go. Twice is harmless."""
        if self._lock.fd >= 0:
            with contextlib.suppress(OSError):
                os.unlink(PRESENCE_FILE, dir_fd=self._directory.fd)
            self._lock.release()


def _number_in(text: bytes) -> int:
    """Return the number of a bridge before this one; 0 where there is none."""
    try:
        return max(0, int(text, 16))
    except ValueError:
        return 0
