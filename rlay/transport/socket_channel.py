"""A session over a link to a bridge; see ``Channel`` in :mod:`rlay.transport.base`."""

import threading
from collections.abc import Callable
from typing import Final

from rlay.errors import ForkedError, MessageTooLarge
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    UINT32_MASK,
    Capability,
)
from rlay.protocol.slot_layout import PARTS_WORD, PUBLISHED_WORD, TAKEN_WORD
from rlay.transport.forks import close_in_child
from rlay.transport.slots import SlotReader, SlotWriter, Wait
from rlay.transport.socket_link import SocketLink
from rlay.transport.socket_slots import PrivateSlot, SocketSlots
from rlay.transport.socket_watch import SocketWatch
from rlay.transport.spinning import Spin, WaitPolicy
from rlay.transport.waiting import Patience

_NO_SPIN: Final = WaitPolicy(0)
_UNCHECKED: Final = 32
"""A trickle of bytes must not keep a wait from looking at the clock."""


class SocketChannel:
    """One end of a session in which this process attaches directly."""

    def __init__(
        self,
        name: str,
        link: SocketLink,
        slots: SocketSlots,
        watch: SocketWatch,
        ids: tuple[int, int],
        capabilities: Capability,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Cover the slots of a session.

        Args:
            name: Of the channel.
            link: To the bridge.
            slots: Of the session.
            watch: Says whether the far end lives.
            ids: Incarnation and session.
            capabilities: Of the far end.
            max_message_bytes: Messages that exceed both this and the slot are
                refused, both ways.
        """
        self.name = name
        self.incarnation, self.session = ids
        self.watch = watch
        self.peer_capabilities = capabilities
        self.guard = threading.Lock()
        self.forked = False
        self.max_message_bytes = min(max_message_bytes, UINT32_MASK)
        outgoing, incoming = slots.outgoing, slots.incoming
        policy = WaitPolicy.bridged()
        self._writer = SlotWriter(
            outgoing.memory,
            outgoing.capacity,
            slots.send_published,
            _NO_SPIN,
            _make_wait(link, slots, outgoing, TAKEN_WORD, policy),
        )
        self._reader = SlotReader(
            incoming.memory,
            incoming.capacity,
            slots.send_taken,
            _NO_SPIN,
            _make_wait(link, slots, incoming, PUBLISHED_WORD, policy),
        )
        self._link, self._slots = link, slots
        self.outgoing = self._writer.buffers
        self.incoming = self._reader.buffers
        for buffer in self.outgoing:
            buffer.stamp(*ids)
        self.send: Callable[[int], None] = self._writer.publish
        self.take: Callable[[], None] = self._reader.take
        close_in_child(self)

    def send_parts(self, sequence: int, payload: bytes, patience: Patience) -> None:
        """Send a payload that exceeds the buffer; see ``Channel``."""
        if len(payload) > self.max_message_bytes:
            raise MessageTooLarge(len(payload), self.max_message_bytes)
        self._writer.publish_parts(sequence, payload, patience)

    def receive(self, patience: Patience) -> MessageBuffer:
        """Wait for the next message and return it whole; see ``Channel``."""
        buffer = self._reader.receive(patience)
        if buffer.words[PARTS_WORD] != 1:
            return self._reader.assemble(buffer, self.max_message_bytes, patience)
        return buffer

    def receive_nowait(self) -> bool:
        """Return whether a message, or its first part, is there."""
        if not self._reader.pending:
            self._slots.send_pending()
            while self._link.pump(0.0) and not self._reader.pending:
                pass
        return self._reader.pending

    @property
    def request_taken(self) -> bool:
        """Whether the peer took what was sent last, or may have; see ``Channel``."""
        return self._writer.taken or not self.watch.vouches

    def abandon(self) -> None:
        """Refuse every further use in a forked child."""
        self.forked = True
        self.guard.acquire(blocking=False)


def _make_wait(
    link: SocketLink,
    slots: SocketSlots,
    slot: PrivateSlot,
    index: int,
    policy: WaitPolicy,
) -> Wait:
    """Return a function that drives the link until a word has changed."""
    words, pump = slot.words, link.pump
    look = Spin(policy).until if policy.spin_ns else None

    def wait(expected: int, patience: Patience) -> None:
        def has_changed() -> bool:
            pump(0.0)
            return words[index] != expected

        slots.send_pending()
        if look is not None and look(has_changed):
            return
        slice_s = patience.start()
        unchecked = 0
        while words[index] == expected:
            if pump(slice_s) and unchecked < _UNCHECKED:
                unchecked += 1
                continue
            unchecked = 0
            try:
                slice_s = patience.check()
            except ForkedError:
                raise
            except Exception:
                # The peer may have published, then ended: its last message counts.
                if words[index] == expected:
                    raise
                return

    return wait
