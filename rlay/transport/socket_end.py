"""What both ends of a channel at a bridge have in common."""

from collections.abc import Callable
from typing import Final

from rlay.errors import ConnectTimeout, DecodeError
from rlay.protocol.addresses import Address
from rlay.protocol.constants import Capability, CloseReason, PeerState
from rlay.protocol.frames import (
    MAX_BODY_BYTES,
    OPENING_BYTES,
    Frame,
    FrameType,
    pack_header,
)
from rlay.protocol.link_messages import Ending, Opening
from rlay.transport.credentials import Credentials
from rlay.transport.forks import close_in_child
from rlay.transport.peers import Deadline, OwnEnd
from rlay.transport.socket_channel import SocketChannel
from rlay.transport.socket_link import SocketLink
from rlay.transport.socket_slots import Ids, SocketSlots
from rlay.transport.socket_stream import Part
from rlay.transport.socket_watch import SocketWatch

CAPABILITIES: Final = Capability.RECORDS
"""There is nothing to be rung at the other end of a socket."""


class FarEnd:
    """What is known of the other end, for people and for the codec.

    Attributes:
        who: In a few words.
        capabilities: What it can do.
    """

    def __init__(self, who: str, capabilities: int) -> None:
        """Keep both."""
        self.who = who
        self.capabilities = Capability(capabilities)


class Assembled:
    """An OPEN, OPENED or REFUSED that comes in pieces.

    Attributes:
        whole: All of it, once the last piece has come.
    """

    def __init__(self) -> None:
        """Await a first piece."""
        self.whole = memoryview(b"")
        self._next = 0

    def place(self, frame: Frame) -> memoryview:
        """Return where a piece goes.

        Raises:
            DecodeError: It does not follow the one before.
        """
        if not frame.offset:
            self.whole = memoryview(bytearray(frame.total))
        elif frame.offset != self._next or frame.total != len(self.whole):
            raise DecodeError(
                f"a piece at {frame.offset} came in place of {self._next}", "$.offset"
            )
        self._next = end = frame.offset + frame.body_bytes
        return self.whole[frame.offset : end]

    def split(self) -> tuple[Opening, memoryview]:
        """Return prefix and payload.

        Raises:
            DecodeError: It is too short for a prefix.
        """
        return Opening.decode(self.whole), self.whole[OPENING_BYTES:]


class SocketEnd:
    """One end of a channel at a bridge.

    Attributes:
        address: Of the channel; a client's may be that of a group.
        name: Of the channel.
        peer: The other end.
    """

    def __init__(
        self, address: Address, what: str, credentials: Credentials | None
    ) -> None:
        """Take note of the bridge; nothing is dialed yet.

        Raises:
            AuthError: A token or a certificate cannot be read.
        """
        self.address = address
        self.name = address.name
        self.peer = FarEnd("nobody", 0)
        self._own = OwnEnd(f"the {what} end of channel {str(address)!r}")
        self._link = SocketLink(address, self, credentials)
        self._channel = 0  # its number on the present connection; 0: none
        self._ids: Ids = (0, 0)
        self._slots: SocketSlots | None = None
        self._watch: SocketWatch | None = None
        self._pieces = Assembled()
        self._closed = False
        close_in_child(self)

    # --------------------------------------------------------------------- waiting

    def _deadline(
        self, timeout_s: float | None, missing: Callable[[], str]
    ) -> Deadline:
        def error() -> ConnectTimeout:
            return ConnectTimeout(f"{missing()} (within {timeout_s:.3g} s)")

        return Deadline(self._own, timeout_s, error).running()

    def _wait(self, done: Callable[[], bool], patience: Deadline) -> None:
        slice_s = patience.start()
        while not done():
            if not self._link.pump(slice_s):
                slice_s = patience.check()

    # ---------------------------------------------------------- frames of the session

    def place(self, frame: Frame) -> memoryview | None:
        """Say where a body goes; see ``LinkOwner``."""
        slots = self._slots
        if frame.type is FrameType.DATA:
            return None if slots is None else slots.place(frame)
        if frame.type in (FrameType.OPEN, FrameType.OPENED, FrameType.REFUSED):
            return self._pieces.place(frame)
        return None

    def deliver(self, frame: Frame, body: memoryview) -> None:
        """Take a frame; see ``LinkOwner``."""
        kind, slots = frame.type, self._slots
        if kind is FrameType.DATA:
            if slots is not None:
                slots.take_data(frame)
        elif kind is FrameType.TAKEN:
            if slots is not None:
                slots.take_taken(frame)
        elif not self._link.answer(frame, body):
            self._take_frame(frame, body)

    def _take_frame(self, frame: Frame, body: memoryview) -> None:
        raise NotImplementedError

    def _is_session(self, frame: Frame) -> bool:
        slots = self._slots
        return slots is not None and slots.is_ours(frame)

    def _end_session(self, ending: Ending) -> None:
        if self._watch is not None:
            # A session that is to be resumed may have gone on unseen.
            sure = self._slots is None or self._slots.attached
            self._watch.end(ending.state, ending.reason, sure=sure)

    def link_is_up(self) -> None:
        """Say what has to be said on a new connection; see ``LinkOwner``."""
        raise NotImplementedError

    def idle(self) -> None:
        """Do what has to be done now and then; see ``LinkOwner``."""

    def pong(self, body: memoryview) -> None:
        """Take the answer to a PING; see ``LinkOwner``."""

    def link_is_down(self) -> None:
        """Take note that what was on its way is lost; see ``LinkOwner``."""
        self._channel = 0
        if self._slots is not None:
            self._slots.attached = False
        if self._watch is not None:
            self._watch.detach()

    def _begin_session(
        self,
        slots: SocketSlots,
        watch: SocketWatch,
        ids: Ids,
        max_message_bytes: int,
    ) -> SocketChannel:
        self._slots, self._watch, self._ids = slots, watch, ids
        slots.on_channel(self._channel)
        if not self._channel:  # the link broke in between
            slots.attached = False
            watch.detach()
        return SocketChannel(
            self.name,
            self._link,
            slots,
            watch,
            ids,
            self.peer.capabilities,
            max_message_bytes,
        )

    def _send_opening(
        self, kind: FrameType, opening: Opening, payload: bytes, ids: Ids
    ) -> None:
        """Send an OPEN, OPENED or REFUSED, in pieces where it is long."""
        whole = opening.encode() + payload
        view, parts = memoryview(whole), list[Part]()
        for offset in range(0, len(whole), MAX_BODY_BYTES):
            piece = view[offset : offset + MAX_BODY_BYTES]
            parts.append(
                pack_header(
                    kind, self._channel, *ids, 0, 0, offset, len(whole), len(piece)
                )
            )
            parts.append(piece)
        self._link.send(parts)

    # ------------------------------------------------------------------------ the end

    def close(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Say goodbye and let go. Twice is harmless; a forked child's is too.

        A thread that waits with this end gets ChannelClosed within 0.1 s.
        """
        if self._closed:
            return
        self._closed = True
        self._own.close()
        try:
            if self._channel:
                if self._slots is not None:
                    self._slots.tell_taken()
                self._say_goodbye(Ending(PeerState.CLOSED, reason).encode())
        finally:
            self._link.close()

    def _say_goodbye(self, farewell: bytes) -> None:
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""
        return self._closed

    def abandon(self) -> None:
        """Leave everything to the parent, in a forked child."""
        self._link.abandon()
        self._channel = 0

    def __del__(self) -> None:
        """Give the connection back where nobody closed this end."""
        if not self.__dict__.get("_closed", True):
            self._link.drop()
