"""What both ends of a channel in memory have in common."""

import secrets
from collections.abc import Iterator

from rlay.protocol import slot_layout as at
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    GREETING_SLOT_BYTES,
    HEADER_BYTES,
    MAX_GREETING_BYTES,
    Capability,
    CloseReason,
    Kind,
    PeerState,
)
from rlay.transport import futex
from rlay.transport.forks import close_in_child
from rlay.transport.header import ChannelHeader, EndLine
from rlay.transport.peers import OwnEnd
from rlay.transport.slot_channel import make_ring
from rlay.transport.slots import SlotReader, SlotWriter
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End, Store
from rlay.transport.waiting import Patience, own_bell_kind

CAPABILITIES = (
    Capability.FIFO
    | Capability.RECORDS
    | (Capability.FUTEX if futex.AVAILABLE else Capability.NONE)
)
GREETING_SEQUENCE = 1
_NO_SPIN = WaitPolicy(0)


def draw_id() -> int:
    """Return a random 64-bit number that is not 0: an incarnation, or a session."""
    return secrets.randbits(64) or 1


class MemEnd:
    """One end: its lock, its line in the header, and both greeting slots.

    Attributes:
        name: Of the channel.
        header: Of the channel.
        line: What this end says of itself.
        peer: What the other end says of itself.
    """

    def __init__(self, store: Store, end: End) -> None:
        """Cover the header of ``store``; its magic was checked."""
        self.name = store.name
        self._store = store
        self._end = end
        self._cover(store.header)
        self._closed = False
        self._forked = False
        self._own = OwnEnd(f"the {end.value} end of channel {self.name!r}")
        close_in_child(self)

    def _cover(self, header: memoryview) -> None:
        self.header = ChannelHeader(header)
        server, client = self.header.server, self.header.client
        self.line: EndLine = server if self._end is End.SERVER else client
        self.peer: EndLine = client if self._end is End.SERVER else server

    def _greeting_slots(self) -> tuple[SlotWriter, SlotReader]:
        memory, capacity = self._store.header, at.greeting_capacity()
        places = (at.REQUEST_GREETING_OFFSET, at.REPLY_GREETING_OFFSET)
        outgoing, incoming = places if self._end is End.CLIENT else places[::-1]
        other = self._end.other

        def slot(place: int) -> memoryview:
            return memory[place : place + GREETING_SLOT_BYTES]

        return (
            SlotWriter(
                slot(outgoing),
                capacity,
                make_ring(memory, outgoing, self.peer, self._store, other),
                _NO_SPIN,
            ),
            SlotReader(
                slot(incoming),
                capacity,
                make_ring(memory, incoming, self.peer, self._store, other),
                _NO_SPIN,
            ),
        )

    def _announce(self, program: str | None = None) -> None:
        self.line.announce(own_bell_kind(), CAPABILITIES, program)

    def _greeting(
        self, writer: SlotWriter, kind: Kind, payload: bytes, ids: tuple[int, int]
    ) -> Iterator[None]:
        """Say a greeting in steps; advance it whenever the last one is taken."""
        if not writer.taken:
            yield
        buffer = writer.buffers[GREETING_SEQUENCE & 1]
        buffer.stamp(*ids)
        overflow = buffer.write(int(kind), payload)
        if overflow is None:
            writer.publish(GREETING_SEQUENCE)
        else:
            yield from writer.parts(GREETING_SEQUENCE, overflow)

    def _send_greeting(
        self,
        writer: SlotWriter,
        kind: Kind,
        payload: bytes,
        ids: tuple[int, int],
        patience: Patience,
    ) -> None:
        for _ in self._greeting(writer, kind, payload, ids):
            writer.wait_until_taken(patience)

    def _receive_greeting(
        self, reader: SlotReader, patience: Patience
    ) -> MessageBuffer:
        """Return the next whole greeting, in memory of its own, and take it.

        What a dead peer left half-said is skipped.
        """
        while True:
            buffer = reader.receive(patience)
            if reader.expects(buffer):
                return reader.assemble(buffer, MAX_GREETING_BYTES, patience)
            reader.take_and_ring()

    def close(
        self,
        reason: CloseReason = CloseReason.CLOSED,
        state: PeerState = PeerState.CLOSED,
    ) -> None:
        """Say goodbye and let go. Twice is harmless; a forked child's is too.

        A thread that waits with this end gets ChannelClosed within 0.1 s.

        Args:
            reason: Why.
            state: CLOSED, or LOST where a bridge says it of the far end.
        """
        if self._closed:
            return
        self._closed = True
        self._own.close()
        try:
            if not self._forked:
                self.line.say(state, reason)
                self._say_goodbye()
        finally:
            # Only now: whoever finds the lock free must find the goodbye too.
            self._store.release(self._end)
            self._forget()
            self._store.close()

    def _say_goodbye(self) -> None:
        """Wake the peer, so that it sees the goodbye at once."""

    def _forget(self) -> None:
        """Let go of the memory; what the header said last can still be read."""
        page = bytes(self._store.header[:HEADER_BYTES])
        self._cover(memoryview(bytearray(page)))

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""
        return self._closed

    def abandon(self) -> None:
        """Leave everything to the parent, in a forked child."""
        self._forked = True
