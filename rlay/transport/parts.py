"""A message that comes in parts, put together in memory of its own."""

from rlay.errors import DecodeError, MessageTooLarge
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import UINT32_MASK
from rlay.protocol.slot_layout import PAYLOAD_BYTES_WORD, SEQUENCE_WORD


class Assembly:
    """The parts of one message that have come so far.

    It outlives a time-out and an interruption between two parts, and between
    copying a part and taking it: who looks again goes on where it stopped.

    Attributes:
        whole: The message; it is whole once :attr:`complete`.
    """

    def __init__(self, first: MessageBuffer, number: int, limit_bytes: int) -> None:
        """Begin with the first part.

        Args:
            first: Its buffer.
            number: Of its publication.
            limit_bytes: A larger message is refused before memory is taken.

        Raises:
            MessageTooLarge: The message exceeds ``limit_bytes``.
            DecodeError: This is no first part.
        """
        index, parts = first.part
        self._parts = parts = max(1, parts)
        body_bytes = len(first.body())
        self._total = total = first.total_bytes if parts > 1 else body_bytes
        if index:
            raise DecodeError(f"part {index} of {parts} came without those before")
        if total > limit_bytes:
            raise MessageTooLarge(total, limit_bytes)
        if parts > max(1, total):
            raise DecodeError(f"{total} bytes cannot come in {parts} parts")
        self.whole = MessageBuffer.private(total)
        self.whole.words[:] = first.words[:]
        self._message = _identity(first)
        self._next = self._done = self._number = 0
        self._copy(first, number)

    @property
    def complete(self) -> bool:
        """Whether the last part has come."""
        return self._next == self._parts

    def has(self, number: int) -> bool:
        """Return whether the part of this publication is the one copied last."""
        return number == self._number

    def continues(self, buffer: MessageBuffer) -> bool:
        """Return whether a buffer holds the next part of this message."""
        return (
            buffer.part == (self._next, self._parts)
            and buffer.total_bytes == self._total
            and _identity(buffer) == self._message
        )

    def add(self, buffer: MessageBuffer, number: int) -> bool:
        """Copy the next part; the part that was copied last is left as it is.

        Returns:
            Whether the part belongs to this message.

        Raises:
            DecodeError: The parts do not sum up.
        """
        if self.has(number):
            return True
        if not self.continues(buffer):
            return False
        self._copy(buffer, number)
        return True

    def _copy(self, buffer: MessageBuffer, number: int) -> None:
        body = buffer.body()
        done = self._done + len(body)
        last = self._next + 1 == self._parts
        if done > self._total or (last and done != self._total):
            raise DecodeError(f"the parts of {self._total} bytes sum up to {done}")
        if not last and not len(body):
            raise DecodeError(f"part {self._next} of {self._parts} is empty")
        self.whole.payload[self._done : done] = body
        if last:
            self.whole.set_part(0, 1, min(done, UINT32_MASK), done)
        self._done, self._next, self._number = done, self._next + 1, number


def _identity(buffer: MessageBuffer) -> bytes:
    """Return sequence, incarnation and session: what all parts have in common."""
    return buffer.words[SEQUENCE_WORD:PAYLOAD_BYTES_WORD].tobytes()
