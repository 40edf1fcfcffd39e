"""Where a channel's memory and locks are: in files, or in this process.

Both kinds of store have the same methods, so that a server and a client are
written once.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol


class End(Enum):
    """An end of a channel; its value is part of file names."""

    SERVER = "server"
    CLIENT = "client"

    @property
    def other(self) -> "End":
        """The end on the other side."""
        return End.CLIENT if self is End.SERVER else End.SERVER


class Store(Protocol):
    """What a server and a client need of the place where their channel is.

    Attributes:
        name: Of the channel.
        path: Where it is, for messages.
        header: Memory of the header file.
    """

    name: str
    path: str
    header: memoryview

    def hold(self, end: End) -> bool:
        """Take an end's lock; False where somebody else holds it."""

    def release(self, end: End) -> None:
        """Leave an end's lock. Twice is harmless."""

    def make_probe(self, end: End) -> Callable[[], bool]:
        """Return a function that says whether an end is held."""

    def create_slots(self, generation: int, size_bytes: int) -> memoryview:
        """Make the memory of a generation, and drop the one before.

        Raises:
            ChannelNoSpace: There is no room. The one before is gone all the same.
        """

    def open_slots(self, generation: int) -> memoryview:
        """Return the memory of a generation.

        Raises:
            ChannelNotFound: There is none.
        """

    def ring_fifo(self, end: End) -> None:
        """Write one byte into the FIFO of an end, if somebody reads it."""

    def remove(self) -> None:
        """Take away the channel's name and files. Twice is harmless."""

    def close(self) -> None:
        """Give back locks, descriptors and memory. Twice is harmless."""
