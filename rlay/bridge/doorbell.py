"""The FIFO by which a process wakes the bridge: ``bell.<end>`` in the channel.

A byte in it says: look at your slots. How many there are means nothing.
"""

import contextlib
import os
from asyncio import AbstractEventLoop
from collections.abc import Callable

from rlay.transport.failures import translated
from rlay.transport.stores import End

_DRAIN_BYTES = 4096


class Doorbell:
    """One FIFO, read by the loop."""

    def __init__(
        self, loop: AbstractEventLoop, directory_fd: int, path: str, end: End
    ) -> None:
        """Make the FIFO, or take over that of a bridge before this one.

        Args:
            loop: Which waits for rings.
            directory_fd: Descriptor of the channel's directory.
            path: Of the channel, for messages.
            end: Whose bell it is.

        Raises:
            ChannelError: It cannot be made or opened.
        """
        name = f"bell.{end.value}"
        self._loop = loop
        with translated(os.path.join(path, name)):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(name, 0o600, dir_fd=directory_fd)
            # Both ways: with a writer of our own it never comes to an end of file.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(name, flags, dir_fd=directory_fd)

    def listen(self, rung: Callable[[], None]) -> None:
        """Call ``rung`` whenever somebody rings."""
        fd, read = self._fd, os.read

        def ready() -> None:
            try:  # noqa: SIM105 - a context manager costs as much as the call
                read(fd, _DRAIN_BYTES)
            except BlockingIOError:
                pass
            rung()

        self._loop.add_reader(fd, ready)

    def close(self) -> None:
        """Stop listening. Twice is harmless; the FIFO goes with the channel."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            os.close(fd)
