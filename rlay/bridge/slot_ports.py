"""One slot of this machine, mirrored: read towards a link, or written from one.

The state is in the slot's own words, so a bridge may be killed between any two lines
and its successor goes on from there:

Rule 1: ``published`` of both slots of a direction has the same value, once the message
is there. So a message is known by that word, and is never published twice.
Rule 2: ``taken`` of the near slot is set when the far reader has taken, never before.
Rule 3: the far slot is written only where its last message was taken.
"""

import struct
from collections.abc import Callable
from typing import Final

from rlay.bridge.fault_points import ARMED, reach
from rlay.bridge.metrics import Counts
from rlay.errors import RemoteProtocolError
from rlay.protocol import slot_layout as at
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, SLOT_CONTROL_BYTES
from rlay.protocol.frames import Frame
from rlay.transport.ordering import STORES_ARE_ORDERED, make_fence

Ring = Callable[[int], None]
_IDS: Final = struct.Struct("<QQ")
_HALF: Final = 1 << 30
_COUNT_MASK: Final = (1 << 31) - 1
_PUBLISHED, _TAKEN = at.PUBLISHED_WORD, at.TAKEN_WORD


def is_newer(publication: int, than: int) -> bool:
    """Return whether a word ``published`` is later than another: 31 bits, wrapping."""
    return 0 < ((publication >> 1) - (than >> 1)) & _COUNT_MASK < _HALF


class _SlotPort:
    """A slot's words and buffers.

    Attributes:
        words: The control words.
        capacity: Room for payload, in bytes.
    """

    def __init__(self, slot: memoryview, capacity: int, ring: Ring) -> None:
        """Cover a slot; ``ring`` wakes who sleeps on a word of it."""
        self.capacity = capacity
        self.words = slot[:SLOT_CONTROL_BYTES].cast("I")
        size = MESSAGE_HEADER_BYTES + capacity
        starts = (at.buffer_offset(0, capacity), at.buffer_offset(1, capacity))
        self._buffers = [slot[start : start + size] for start in starts]
        self._headers = [
            buffer[:MESSAGE_HEADER_BYTES].cast("I") for buffer in self._buffers
        ]
        self._ring = ring
        self._fence = None if STORES_ARE_ORDERED else make_fence()

    @property
    def published(self) -> int:
        """The word ``published``."""
        return self.words[_PUBLISHED]

    @property
    def taken(self) -> int:
        """The word ``taken``."""
        return self.words[_TAKEN]

    @property
    def last_sequence(self) -> int:
        """The sequence of the message that was published last; 0 before the first."""
        published = self.words[_PUBLISHED]
        return self._headers[published & 1][at.SEQUENCE_WORD] if published else 0


class Outlet(_SlotPort):
    """The slot that somebody on this machine writes and the bridge reads.

    Attributes:
        queued: The publication that was queued last for sending.
        sent: The publication that was sent whole last.
    """

    def __init__(self, slot: memoryview, capacity: int, ring: Ring) -> None:
        """Cover a slot, and raise its bell for good."""
        super().__init__(slot, capacity, ring)
        self.words[at.PUBLISHED_BELL_WORD] = 1
        self.queued = self.sent = self.words[_TAKEN]

    def has_news(self) -> bool:
        """Return whether there is a message that was not queued yet, and queue it."""
        published = self.words[_PUBLISHED]
        if published == self.queued or published == self.words[_TAKEN]:
            return False
        self.queued = published
        return True

    @property
    def unsent(self) -> bool:
        """Whether the last message was not sent whole, and nobody has taken it."""
        published = self.words[_PUBLISHED]
        return published not in (self.sent, self.words[_TAKEN])

    def repeat(self, known: int) -> bool:
        """Go back to what the far slot has, so that the rest is sent again.

        Args:
            known: The word ``published`` of the far slot.

        Returns:
            Whether the last publication must be sent.
        """
        published = self.words[_PUBLISHED]
        self.queued = self.sent = published
        if published == self.words[_TAKEN] or published == known:
            return False
        self.queued = self.sent = self.words[_TAKEN]
        return self.has_news()

    def message_bytes(self) -> int:
        """Return the size of the queued message, header included.

        Raises:
            RemoteProtocolError: It claims more than there is room for.
        """
        payload = self._headers[self.queued & 1][at.PAYLOAD_BYTES_WORD]
        if payload > self.capacity:
            raise RemoteProtocolError(
                f"a message of {payload} bytes in a slot for {self.capacity}"
            )
        return MESSAGE_HEADER_BYTES + payload

    @property
    def sequence(self) -> int:
        """The sequence of the queued message."""
        return self._headers[self.queued & 1][at.SEQUENCE_WORD]

    def message(self) -> memoryview:
        """Return the queued message.

        Its bytes stay as they are until the far reader has taken it.

        Raises:
            RemoteProtocolError: It claims more than there is room for.
        """
        if self._fence is not None:
            self._fence()
        return self._buffers[self.queued & 1][: self.message_bytes()]

    def mark_taken(self, publication: int) -> None:
        """Take note that the far reader has taken a publication."""
        words = self.words
        if publication == words[_PUBLISHED] and words[_TAKEN] != publication:
            words[_TAKEN] = publication
            if self._fence is not None:
                self._fence()
            if words[at.TAKEN_BELL_WORD]:
                self._ring(at.TAKEN_OFFSET)

    def mark_answered(self) -> None:
        """Take note that the far end has said something that implies a taking."""
        if self.sent == self.words[_PUBLISHED]:
            self.mark_taken(self.sent)


class Inlet(_SlotPort):
    """The slot that the bridge writes and somebody on this machine reads.

    Attributes:
        told: The publication of which the far end was last told that it is taken.
        coming: The publication of which pieces have come; -1 where there is none.
    """

    def __init__(
        self,
        slot: memoryview,
        capacity: int,
        ring: Ring,
        ids: tuple[int, int],
        counts: Counts,
    ) -> None:
        """Cover a slot, and raise its bell for good."""
        super().__init__(slot, capacity, ring)
        self._ids = _IDS.pack(*ids)
        self.words[at.TAKEN_BELL_WORD] = 1
        self._counts = counts
        self.told = self.words[_TAKEN]
        self.coming = -1
        self._filled = 0

    def place(self, frame: Frame) -> memoryview | None:
        """Return where a piece of a message is to lie, None where it is dropped.

        Raises:
            RemoteProtocolError: It would overwrite a message that nobody took, or has
                no room, or does not follow the piece before it.
        """
        words = self.words
        if not is_newer(frame.publication, words[_PUBLISHED]):
            self._counts.dropped["stale"] += 1
            return None
        if words[_TAKEN] != words[_PUBLISHED]:
            raise RemoteProtocolError(
                f"publication {frame.publication} came before "
                f"{words[_PUBLISHED]} was taken"
            )
        if (
            not MESSAGE_HEADER_BYTES
            <= frame.total
            <= (MESSAGE_HEADER_BYTES + self.capacity)
        ):
            raise RemoteProtocolError(
                f"a message of {frame.total} bytes in a slot for {self.capacity}"
            )
        if frame.offset == 0:
            self.coming, self._filled = frame.publication, 0
        elif (frame.publication, frame.offset) != (self.coming, self._filled):
            raise RemoteProtocolError(
                f"a piece at {frame.offset} came after {self._filled} bytes"
            )
        buffer = self._buffers[frame.publication & 1]
        return buffer[frame.offset : frame.offset + frame.body_bytes]

    def filled(self, frame: Frame) -> bool:
        """Take note that a piece lies in its place; return whether it was the last.

        Raises:
            RemoteProtocolError: The message's own header says otherwise.
        """
        self._filled = frame.offset + frame.body_bytes
        if self._filled != frame.total:
            return False
        index = frame.publication & 1
        own = self._buffers[index][at.INCARNATION_OFFSET : at.PAYLOAD_BYTES_OFFSET]
        payload_bytes = self._headers[index][at.PAYLOAD_BYTES_WORD]
        if own != self._ids or MESSAGE_HEADER_BYTES + payload_bytes != frame.total:
            raise RemoteProtocolError("a message's header differs from its frame's")
        return True

    def publish(self, publication: int) -> None:
        """Show the message to its reader, and wake it."""
        words = self.words
        self.coming = -1
        if self._fence is not None:
            self._fence()
        words[_PUBLISHED] = publication
        if ARMED:
            reach("message.published")
        if self._fence is not None:
            self._fence()
        if words[at.PUBLISHED_BELL_WORD]:
            self._ring(at.PUBLISHED_OFFSET)

    def wake(self) -> None:
        """Wake the reader without a message, so that it looks who is there."""
        self._ring(at.PUBLISHED_OFFSET)

    def untold(self) -> int | None:
        """Return what was taken and the far end does not know; note it as told."""
        taken = self.words[_TAKEN]
        if taken != self.words[_PUBLISHED] or taken == self.told:
            return None
        self.told = taken
        return taken
