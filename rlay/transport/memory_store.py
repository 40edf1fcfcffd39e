"""A channel in this process's own memory."""

import contextlib
import mmap
import threading
from collections.abc import Callable

from rlay.errors import ChannelNotFound
from rlay.protocol.slot_layout import HEADER_FILE_BYTES
from rlay.transport.stores import End


class MemoryStore:
    """A channel within this process, for tests and for single-process use."""

    def __init__(self, name: str) -> None:
        """Make the header's memory."""
        self.name = name
        self.path = f"(memory)/{name}"
        self.header = _anonymous(HEADER_FILE_BYTES)
        self._held: dict[End, threading.Lock] = {end: threading.Lock() for end in End}
        self._slots: dict[int, memoryview] = {}

    def hold(self, end: End) -> bool:
        """Take an end's lock; False where somebody else holds it."""
        return self._held[end].acquire(blocking=False)

    def release(self, end: End) -> None:
        """Leave an end's lock. Twice is harmless."""
        with contextlib.suppress(RuntimeError):
            self._held[end].release()

    def make_probe(self, end: End) -> Callable[[], bool]:
        """Return a function that says whether an end is held."""
        return self._held[end].locked

    def create_slots(self, generation: int, size_bytes: int) -> memoryview:
        """Make the memory of a generation, and drop the one before."""
        self._slots = {generation: _anonymous(size_bytes)}
        return self._slots[generation]

    def open_slots(self, generation: int) -> memoryview:
        """Return the memory of a generation."""
        try:
            return self._slots[generation]
        except KeyError:
            raise ChannelNotFound(f"no generation {generation}") from None

    def busy_text(self, end: End) -> str:
        """Say who holds an end, for a message."""
        return f"channel {self.name!r} has a {end.value} already, in this process"

    def ring_fifo(self, end: End) -> None:
        """Do nothing: both ends are in this process and need no FIFO."""

    def remove(self) -> None:
        """Forget the slots."""
        self._slots = {}

    def close(self) -> None:
        """Do nothing: memory goes with its last view."""


def _anonymous(size_bytes: int) -> memoryview:
    return memoryview(mmap.mmap(-1, size_bytes))
