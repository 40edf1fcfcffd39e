"""One message in memory: its header of 64 bytes, then its payload.

The memory may be half of a mapped slot, or private to a process (a message that
came in parts, a socket's receive buffer); those who read and write messages do
not care.
"""

from collections.abc import Callable
from typing import Any

from rlay.errors import DecodeError
from rlay.protocol.constants import KIND_MASK, MESSAGE_HEADER_BYTES, UINT32_MASK, Kind
from rlay.protocol.slot_layout import (
    INCARNATION_WORD,
    KIND_WORD,
    PART_WORD,
    PARTS_WORD,
    PAYLOAD_BYTES_WORD,
    REWARD_OFFSET,
    SEQUENCE_WORD,
    SESSION_WORD,
    TOTAL_BYTES_WORD,
)


def no_numbers(_: Any) -> Any:
    """Stand in for the codec where there is none.

    Raises:
        LookupError: Always.
    """
    raise LookupError("no codec was compiled for this buffer")


class MessageBuffer:
    """Header and payload of one message.

    Attributes:
        words: The header as sixteen 32-bit words.
        payload: The room behind it.
        reward: The reward's eight bytes as one float64.
        cell: The same eight bytes.
        store_number: Writes a number into the reward's eight bytes and returns its
            type code. The codec sets it: who moves whole messages needs no NumPy.
        load_number: Reads a number of a given type code from there; likewise.
        bound: What the codec compiled for this buffer, or None.
        steady: The codec's short way for steady steps in this buffer, or None.
        steady_reset: The same for steady resets.
    """

    __slots__ = (
        "bound",
        "cell",
        "load_number",
        "payload",
        "reward",
        "steady",
        "steady_reset",
        "store_number",
        "words",
    )

    bound: Any
    steady: Any
    steady_reset: Any
    store_number: Callable[[Any], int]
    load_number: Callable[[int], Any]

    def __init__(self, memory: memoryview) -> None:
        """Cover ``memory``: 64 bytes of header and at least 0 of payload."""
        self.words = memory[:MESSAGE_HEADER_BYTES].cast("I")
        self.payload = memory[MESSAGE_HEADER_BYTES:]
        self.cell = memory[REWARD_OFFSET : REWARD_OFFSET + 8]
        self.reward = self.cell.cast("d")
        self.store_number = no_numbers
        self.load_number = no_numbers
        self.bound = None
        self.steady = None
        self.steady_reset = None

    @classmethod
    def private(cls, capacity_bytes: int) -> "MessageBuffer":
        """Return a buffer over memory of its own."""
        return cls(memoryview(bytearray(MESSAGE_HEADER_BYTES + capacity_bytes)))

    # ------------------------------------------------------------------ header

    def stamp(self, incarnation: int, session: int) -> None:
        """Write the ids that every message of a session carries, and one part.

        They stay in the buffer for the whole session, so that no step pays for
        them.
        """
        words = self.words
        for index in range(len(words)):
            words[index] = 0
        words[INCARNATION_WORD] = incarnation & UINT32_MASK
        words[INCARNATION_WORD + 1] = incarnation >> 32
        words[SESSION_WORD] = session & UINT32_MASK
        words[SESSION_WORD + 1] = session >> 32
        words[PARTS_WORD] = 1

    @property
    def incarnation(self) -> int:
        """The life of the environment that the message belongs to."""
        return self.words[INCARNATION_WORD] | self.words[INCARNATION_WORD + 1] << 32

    @property
    def session(self) -> int:
        """The attachment that the message belongs to."""
        return self.words[SESSION_WORD] | self.words[SESSION_WORD + 1] << 32

    @property
    def sequence(self) -> int:
        """The request that the message is, or answers."""
        return self.words[SEQUENCE_WORD]

    @property
    def kind(self) -> Kind:
        """What the message is.

        Raises:
            DecodeError: There is no such kind.
        """
        number = self.words[KIND_WORD] & KIND_MASK
        try:
            return Kind(number)
        except ValueError:
            raise DecodeError(f"unknown kind of message {number}") from None

    @property
    def part(self) -> tuple[int, int]:
        """Index of this part, and number of parts."""
        return self.words[PART_WORD], self.words[PARTS_WORD]

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole message's payload, where it comes in parts."""
        return self.words[TOTAL_BYTES_WORD] | self.words[TOTAL_BYTES_WORD + 1] << 32

    def set_part(self, part: int, parts: int, part_bytes: int, total: int) -> None:
        """Write which part of a message this is."""
        words = self.words
        words[PART_WORD] = part
        words[PARTS_WORD] = parts
        words[PAYLOAD_BYTES_WORD] = part_bytes
        words[TOTAL_BYTES_WORD] = total & UINT32_MASK
        words[TOTAL_BYTES_WORD + 1] = total >> 32

    def body(self) -> memoryview:
        """Return the payload's bytes that belong to the message.

        Raises:
            DecodeError: The header claims more than there is room for.
        """
        size = self.words[PAYLOAD_BYTES_WORD]
        if size > len(self.payload):
            raise DecodeError(
                f"a payload of {size} bytes in room for {len(self.payload)}"
            )
        return self.payload[:size]

    def write(self, word: int, payload: bytes | memoryview) -> bytes | None:
        """Write kind, flags and a whole payload.

        Returns:
            None, or the payload where it exceeds the room: it must go in parts.
        """
        self.words[KIND_WORD] = word
        if len(payload) > len(self.payload):
            return bytes(payload)
        self.words[PAYLOAD_BYTES_WORD] = len(payload)
        self.payload[: len(payload)] = payload
        return None
