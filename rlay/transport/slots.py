"""The two ends of one slot: publish, wait, take.

The layout and its rules are in :mod:`rlay.protocol.slot_layout`.
"""

from collections.abc import Callable, Iterator

from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    MESSAGE_HEADER_BYTES,
    SLOT_CONTROL_BYTES,
    UINT32_MASK,
)
from rlay.protocol.slot_layout import (
    PUBLISHED_BELL_OFFSET,
    PUBLISHED_BELL_WORD,
    PUBLISHED_OFFSET,
    PUBLISHED_WORD,
    SEQUENCE_WORD,
    TAKEN_BELL_OFFSET,
    TAKEN_BELL_WORD,
    TAKEN_OFFSET,
    TAKEN_WORD,
    buffer_offset,
)
from rlay.transport.ordering import STORES_ARE_ORDERED, make_fence
from rlay.transport.parts import Assembly
from rlay.transport.spinning import WaitPolicy
from rlay.transport.waiting import Patience, make_wait

Ring = Callable[[int], None]
"""Wakes who sleeps on the word at this offset of the slot."""
Wait = Callable[[int, Patience], None]
"""Waits until the word of a slot that the peer writes is no longer this one."""


def _buffers(slot: memoryview, capacity: int) -> tuple[MessageBuffer, MessageBuffer]:
    size = MESSAGE_HEADER_BYTES + capacity
    first, second = (buffer_offset(index, capacity) for index in (0, 1))
    return (
        MessageBuffer(slot[first : first + size]),
        MessageBuffer(slot[second : second + size]),
    )


class SlotWriter:
    """The writing end of a slot.

    Attributes:
        buffers: The two message buffers; a message of sequence s goes into
            ``buffers[s & 1]``.
        publish: Makes the message of a given sequence visible, in the buffer
            that belongs to it, and wakes the reader if it sleeps. The caller has
            made sure that the message before was taken.
    """

    def __init__(
        self,
        slot: memoryview,
        capacity: int,
        ring: Ring,
        policy: WaitPolicy,
        wait: Wait | None = None,
    ) -> None:
        """Cover ``slot``, whose payloads hold ``capacity`` bytes.

        ``wait`` is for ``taken``; None to wait for it as ``policy`` says.
        """
        self.buffers = _buffers(slot, capacity)
        self._words = slot[:SLOT_CONTROL_BYTES].cast("I")
        self._ring = ring
        fence = make_fence()
        self._wait_taken = wait or make_wait(
            slot, TAKEN_OFFSET, TAKEN_BELL_OFFSET, fence, policy
        )
        self.publish = self._compile_publish(ring, fence)

    def _compile_publish(
        self, ring: Ring, fence: Callable[[], None]
    ) -> Callable[[int], None]:
        words, buffers = self._words, self.buffers
        headers = (buffers[0].words, buffers[1].words)
        published, bell, ordered = (
            PUBLISHED_WORD,
            PUBLISHED_BELL_WORD,
            STORES_ARE_ORDERED,
        )

        # Bit 0 of ``published`` says which buffer, the others count. An interruption
        # may skip a count, which does no harm: readers only ask whether it changed.
        count = words[published] & ~1

        def publish(sequence: int) -> None:
            nonlocal count
            index = sequence & 1
            headers[index][SEQUENCE_WORD] = sequence
            count = count + 2 & UINT32_MASK
            if ordered:
                # Without a fence the look at the bell may overtake the store. The
                # window is a few ns; a reader that falls asleep in it looks again
                # when its slice is over.
                words[published] = count | index
            else:
                fence()
                words[published] = count | index
                fence()
            if words[bell]:
                ring(PUBLISHED_OFFSET)

        return publish

    def wake_reader(self) -> None:
        """Wake the reader without a message, so that it looks who is there."""
        self._ring(PUBLISHED_OFFSET)

    @property
    def taken(self) -> bool:
        """Whether the reader has taken all that was published."""
        return self._words[TAKEN_WORD] == self._words[PUBLISHED_WORD]

    def wait_until_taken(self, patience: Patience) -> None:
        """Wait until the reader has taken what was published."""
        words = self._words
        while (taken := words[TAKEN_WORD]) != words[PUBLISHED_WORD]:
            self._wait_taken(taken, patience)

    def parts(self, sequence: int, payload: bytes) -> Iterator[None]:
        """Publish a payload part by part, one each time this is advanced.

        The buffer's header holds kind, flags and reward already. It may be advanced
        once what was published last is :attr:`taken`; at its end the header says
        "one part" again. Where it is left before that, half a message is out and
        stays so: nothing more can be published.
        """
        buffer = self.buffers[sequence & 1]
        room = len(buffer.payload)
        parts = max(1, -(-len(payload) // room))
        whole = memoryview(payload)
        for part in range(parts):
            piece = whole[part * room : (part + 1) * room]
            buffer.payload[: len(piece)] = piece
            buffer.set_part(part, parts, len(piece), len(payload))
            self.publish(sequence)
            yield
        buffer.set_part(0, 1, 0, 0)

    def publish_parts(self, sequence: int, payload: bytes, patience: Patience) -> None:
        """Publish all :meth:`parts`; return when the last one is taken."""
        for _ in self.parts(sequence, payload):
            self.wait_until_taken(patience)


class SlotReader:
    """The reading end of a slot.

    Attributes:
        buffers: The two message buffers.
        receive: Waits for the next message, or part, and returns its buffer. It
            stays the next one until :attr:`take` is called.
        take: Tells the writer that the message was read.
    """

    def __init__(
        self,
        slot: memoryview,
        capacity: int,
        ring: Ring,
        policy: WaitPolicy,
        wait: Wait | None = None,
    ) -> None:
        """Cover ``slot``, whose payloads hold ``capacity`` bytes.

        ``wait`` is for ``published``; None to wait for it as ``policy`` says.
        """
        self.buffers = _buffers(slot, capacity)
        self._words = slot[:SLOT_CONTROL_BYTES].cast("I")
        self._ring = ring
        self._fence = make_fence()
        self._coming: Assembly | None = None
        if wait is None:
            wait = make_wait(
                slot, PUBLISHED_OFFSET, PUBLISHED_BELL_OFFSET, self._fence, policy
            )
        self.receive, self.take = self._compile(wait)

    def _compile(
        self, wait: Wait
    ) -> tuple[Callable[[Patience], MessageBuffer], Callable[[], None]]:
        words, buffers, fence = self._words, self.buffers, self._fence
        published, taken, ordered = PUBLISHED_WORD, TAKEN_WORD, STORES_ARE_ORDERED

        seen = words[taken]

        def receive(patience: Patience) -> MessageBuffer:
            now = words[published]
            if now == seen:
                wait(seen, patience)
                now = words[published]
            if not ordered:
                fence()
            return buffers[now & 1]

        def take() -> None:
            nonlocal seen
            if not ordered:
                fence()
            words[taken] = seen = words[published]

        return receive, take

    @property
    def pending(self) -> bool:
        """Whether a message waits to be taken."""
        return self._words[TAKEN_WORD] != self._words[PUBLISHED_WORD]

    def take_and_ring(self) -> None:
        """Take, and wake a writer who waits for it."""
        self.take()
        self._fence()
        if self._words[TAKEN_BELL_WORD]:
            self._ring(TAKEN_OFFSET)

    @property
    def current(self) -> MessageBuffer:
        """The buffer of the message, or part, that was published last."""
        return self.buffers[self._words[PUBLISHED_WORD] & 1]

    def expects(self, buffer: MessageBuffer) -> bool:
        """Return whether a message begins in ``buffer``, or one in parts goes on."""
        number, coming = self._words[PUBLISHED_WORD], self._coming
        return not buffer.part[0] or (
            coming is not None and (coming.has(number) or coming.continues(buffer))
        )

    def assemble(
        self, first: MessageBuffer, limit_bytes: int, patience: Patience
    ) -> MessageBuffer:
        """Return a message that comes in parts, in memory of its own.

        All parts are taken here; to take once more does no harm in lock step. What
        ``patience`` raises leaves the parts that have come: :attr:`receive` and
        this function go on with them. A first part begins a new message, whatever
        was coming before it.

        Args:
            first: The buffer of a part, as :attr:`receive` returned it.
            limit_bytes: Refuse larger messages before taking memory for them.
            patience: For the parts that are still to come.

        Raises:
            MessageTooLarge: It exceeds ``limit_bytes``. It is not taken.
            DecodeError: The parts do not belong together.
        """
        buffer = first
        while True:
            coming = self._add(buffer, limit_bytes)
            self.take_and_ring()
            if coming.complete:
                self._coming = None
                return coming.whole
            buffer = self.receive(patience)

    def _add(self, buffer: MessageBuffer, limit_bytes: int) -> Assembly:
        number, coming = self._words[PUBLISHED_WORD], self._coming
        if coming is None or not coming.add(buffer, number):
            self._coming = None
            self._coming = coming = Assembly(buffer, number, limit_bytes)
        return coming
