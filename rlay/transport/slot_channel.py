"""A session over two mapped slots."""

import threading
from collections.abc import Callable
from typing import Final

from rlay.errors import ChannelCorrupt, MessageTooLarge
from rlay.protocol import slot_layout as at
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    PAYLOAD_ALIGNMENT,
    PROTOCOL_VERSION,
    SLOTS_MAGIC,
    UINT32_MASK,
    BellKind,
    Holder,
)
from rlay.transport import futex
from rlay.transport.forks import close_in_child
from rlay.transport.header import EndLine
from rlay.transport.peers import PeerWatch
from rlay.transport.slots import SlotReader, SlotWriter
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End, Store
from rlay.transport.waiting import Patience

_PARTS: Final = at.PARTS_WORD


def make_ring(
    memory: memoryview, slot_offset: int, line: EndLine, store: Store, end: End
) -> Callable[[int], None]:
    """Return the function that wakes the other end.

    Args:
        memory: The file in which the slot lies.
        slot_offset: Where the slot begins.
        line: What the other end says of itself: how it wants to be woken.
        store: Knows its FIFO.
        end: The other end.
    """
    base = futex.address_of(memory, slot_offset) if futex.AVAILABLE else 0

    def ring(offset: int, _memory: memoryview = memory) -> None:
        kind = line.bell
        if kind == BellKind.FUTEX and base:
            futex.wake(base + offset)
        elif kind == BellKind.FIFO:
            store.ring_fifo(end)

    return ring


class SlotGeometry:
    """Where the two slots lie in a file of slots."""

    def __init__(self, request_capacity: int, reply_capacity: int) -> None:
        """Compute offsets and size from the capacities, all in bytes."""
        self.request_capacity = request_capacity
        self.reply_capacity = reply_capacity
        self.request_offset = at.SLOTS_HEADER_BYTES
        self.reply_offset, self.file_bytes = at.slots_file_offsets(
            request_capacity, reply_capacity
        )

    def write(self, memory: memoryview, generation: int) -> None:
        """Fill the head of a new file; the magic comes last."""
        words = memory[:64].cast("I")
        words[at.SLOTS_VERSION_OFFSET // 4] = PROTOCOL_VERSION
        words[at.SLOTS_GENERATION_OFFSET // 4] = generation
        for offset, value in (
            (at.SLOTS_REQUEST_OFFSET_OFFSET, self.request_offset),
            (at.SLOTS_REPLY_OFFSET_OFFSET, self.reply_offset),
        ):
            words[offset // 4] = value & UINT32_MASK
            words[offset // 4 + 1] = value >> 32
        words[at.SLOTS_REQUEST_CAPACITY_OFFSET // 4] = self.request_capacity
        words[at.SLOTS_REPLY_CAPACITY_OFFSET // 4] = self.reply_capacity
        memory[: len(SLOTS_MAGIC)] = SLOTS_MAGIC

    @classmethod
    def read(
        cls,
        memory: memoryview,
        generation: int,
        path: str,
        size_bytes: int | None = None,
    ) -> "SlotGeometry":
        """Return the geometry of an existing file, every number checked.

        Args:
            memory: Its head, or all of it.
            generation: That it must have.
            path: For messages.
            size_bytes: Of the file; None where ``memory`` is all of it.

        Raises:
            ChannelCorrupt: It is no file of slots, or of another generation.
        """
        words = memory[:64].cast("I")
        if bytes(memory[: len(SLOTS_MAGIC)]) != SLOTS_MAGIC:
            raise ChannelCorrupt(f"{path} holds no slots (no magic)")
        found = words[at.SLOTS_GENERATION_OFFSET // 4]
        geometry = cls(
            words[at.SLOTS_REQUEST_CAPACITY_OFFSET // 4],
            words[at.SLOTS_REPLY_CAPACITY_OFFSET // 4],
        )
        claimed = [
            words[offset // 4] | words[offset // 4 + 1] << 32
            for offset in (at.SLOTS_REQUEST_OFFSET_OFFSET, at.SLOTS_REPLY_OFFSET_OFFSET)
        ]
        if (
            found != generation
            or words[at.SLOTS_VERSION_OFFSET // 4] != PROTOCOL_VERSION
            or claimed != [geometry.request_offset, geometry.reply_offset]
            or geometry.request_capacity % PAYLOAD_ALIGNMENT
            or geometry.reply_capacity % PAYLOAD_ALIGNMENT
            or not geometry.request_capacity
            or not geometry.reply_capacity
            or geometry.file_bytes > (len(memory) if size_bytes is None else size_bytes)
        ):
            raise ChannelCorrupt(f"the head of {path} is not sound")
        return geometry


class SlotChannel:
    """One end of a session over the two slots of a generation; see ``Channel``."""

    def __init__(
        self,
        store: Store,
        memory: memoryview,
        geometry: SlotGeometry,
        end: End,
        peer: EndLine,
        watch: PeerWatch,
        ids: tuple[int, int],
        *,
        policy: WaitPolicy | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Cover the mapped slots.

        Args:
            store: Where the channel is.
            memory: The file of slots.
            geometry: Where they lie in it.
            end: Which end this is.
            peer: What the other end says of itself.
            watch: Says whether it lives.
            ids: Incarnation and session.
            policy: How to wait; None for the default.
            max_message_bytes: Messages that exceed both this and the slot are
                refused, both ways.
        """
        self.name = store.name
        self.incarnation, self.session = ids
        self.watch = watch
        self.peer_capabilities = peer.capabilities
        self.guard = threading.Lock()
        self.forked = False
        # The header of a whole message has 32 bits for its size.
        self.max_message_bytes = min(max_message_bytes, UINT32_MASK)
        if policy is None:
            bridged = peer.holder == Holder.BRIDGE
            policy = WaitPolicy.bridged() if bridged else WaitPolicy.default()
        request = (geometry.request_offset, geometry.request_capacity)
        reply = (geometry.reply_offset, geometry.reply_capacity)
        outgoing, incoming = (request, reply) if end is End.CLIENT else (reply, request)

        def slot(place: tuple[int, int]) -> memoryview:
            return memory[place[0] : place[0] + at.slot_bytes(place[1])]

        self._writer = SlotWriter(
            slot(outgoing),
            outgoing[1],
            make_ring(memory, outgoing[0], peer, store, end.other),
            policy,
        )
        self._reader = SlotReader(
            slot(incoming),
            incoming[1],
            make_ring(memory, incoming[0], peer, store, end.other),
            policy,
        )
        self.outgoing = self._writer.buffers
        self.incoming = self._reader.buffers
        for buffer in self.outgoing:
            buffer.stamp(*ids)
        self.send: Callable[[int], None] = self._writer.publish
        self.take: Callable[[], None] = self._reader.take
        self.receive = _compile_receive(self._reader, self.max_message_bytes)
        close_in_child(self)

    def send_parts(self, sequence: int, payload: bytes, patience: Patience) -> None:
        """Send a payload that exceeds the buffer; see ``Channel``."""
        if len(payload) > self.max_message_bytes:
            raise MessageTooLarge(len(payload), self.max_message_bytes)
        self._writer.publish_parts(sequence, payload, patience)

    def receive_nowait(self) -> bool:
        """Return whether a message, or its first part, is there."""
        return self._reader.pending

    @property
    def request_taken(self) -> bool:
        """Whether the peer took what was sent last, or may have; see ``Channel``."""
        return self._writer.taken or not self.watch.vouches

    def wake_peer(self) -> None:
        """Wake the peer without a message, so that it sees our goodbye at once."""
        self._writer.wake_reader()

    def abandon(self) -> None:
        """Refuse every further use in a forked child."""
        self.forked = True
        self.guard.acquire(blocking=False)


def _compile_receive(
    reader: SlotReader, limit_bytes: int
) -> Callable[[Patience], MessageBuffer]:
    # It does not know the channel: without a cycle of references the slots' memory
    # goes with the last user, not with the next run of the garbage collector.
    receive_part, assemble = reader.receive, reader.assemble

    def receive(patience: Patience) -> MessageBuffer:
        buffer = receive_part(patience)
        if buffer.words[_PARTS] != 1:
            return assemble(buffer, limit_bytes, patience)
        return buffer

    return receive
