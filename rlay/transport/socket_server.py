"""The server end of a channel at a bridge."""

import time
from dataclasses import replace
from typing import Final

from rlay.errors import ChannelBusy, ProtocolError, RemoteProtocolError
from rlay.protocol.addresses import Address, parse_address
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    CloseReason,
    ErrorCode,
    Kind,
    Paradigm,
    PeerState,
)
from rlay.protocol.frames import Frame, FrameType
from rlay.protocol.greeting import Hello, Welcome
from rlay.protocol.link_messages import (
    Announcement,
    Ending,
    Note,
    Opening,
    SlotWords,
)
from rlay.protocol.refusal import Refusal
from rlay.protocol.slot_layout import slot_capacity
from rlay.transport.credentials import Credentials
from rlay.transport.header import program_text
from rlay.transport.refusals import refusal_code
from rlay.transport.socket_channel import SocketChannel
from rlay.transport.socket_dial import machine_name
from rlay.transport.socket_end import CAPABILITIES, FarEnd, SocketEnd
from rlay.transport.socket_slots import Ids, SocketSlots
from rlay.transport.socket_watch import SocketWatch
from rlay.transport.stores import End

_CHANNEL: Final = 1
"""The dialer's numbers are odd, and there is but one."""
_ANNOUNCED: Final = b"announce"
"""A PING behind the ANNOUNCE: the PONG comes after a REJECT would have come."""
_ANNOUNCE_AGAIN_S: Final = 0.5
_TAKEN_S: Final = 30.0
"""How long a bridge may take our own old link for alive, and its name for taken."""


class SocketServer(SocketEnd):
    """Announces a channel to a bridge, and greets one client after the other.

    The methods are those of ``MemServer``. While nobody is in a session, a bridge that
    is gone is dialed for ever.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        paradigm: Paradigm = Paradigm.CLIENT_ENV,
        num_envs: int = 0,
        program: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """Take note of what to announce; arguments as :meth:`create`."""
        if isinstance(address, str):
            address = parse_address(address)
        super().__init__(address, "server", credentials)
        self._announcement = Announcement(
            address.name,
            int(paradigm),
            num_envs,
            int(CAPABILITIES),
            machine_name(),
            program_text() if program is None else program,
        )
        self._announced = False  # on the present connection
        self._was_announced = False  # ever
        self._announce_at = 0.0
        self._rejection: Note | None = None
        self._rejected_since: float | None = None
        self._hello: tuple[Frame, bytes] | None = None
        self._generation = 0

    # ------------------------------------------------------------------ announcing

    @classmethod
    def create(
        cls,
        address: Address | str,
        timeout_s: float | None,
        *,
        paradigm: Paradigm = Paradigm.CLIENT_ENV,
        num_envs: int = 0,
        program: str | None = None,
        credentials: Credentials | None = None,
    ) -> "SocketServer":
        """Announce a channel, waiting for the bridge.

        Args:
            address: Of the channel.
            timeout_s: How long to wait for the bridge, in seconds; None for ever.
            paradigm: Which end holds the environment.
            num_envs: Environments in one message; 0 where it is not known yet.
            program: What people see of this end; None for the command line.
            credentials: None for those of the environment variables.

        Raises:
            ConnectTimeout: No bridge answered; it says why.
            ChannelBusy: A living server has the name.
            AuthError: The bridge could not prove who it is, or we could not.
            VersionMismatch: It speaks another version.
        """
        server = cls(
            address,
            paradigm=paradigm,
            num_envs=num_envs,
            program=program,
            credentials=credentials,
        )
        try:
            patience = server._deadline(timeout_s, server._missing)
            server._wait(server._is_announced, patience)
        except BaseException:
            server.close()
            raise
        return server

    def _missing(self) -> str:
        if self._link.up:
            return f"the bridge at {self.address.endpoint} does not answer"
        return f"channel {str(self.address)!r} has no bridge: {self._link.problem}"

    def _is_announced(self) -> bool:
        self._check_rejection()
        return self._announced

    def _check_rejection(self) -> None:
        """Raise what a rejection stands for, unless it may go by.

        Raises:
            ChannelBusy: Somebody else has the name; or as the note says.
        """
        note = self._rejection
        if note is None:
            return
        busy = note.code == ErrorCode.BUSY
        since = self._rejected_since
        patient = busy and self._was_announced and since is not None
        if patient and since is not None and time.monotonic() - since < _TAKEN_S:
            return
        self._rejection = None
        text = f"{self.address}: {note.message}"
        raise ChannelBusy(text) if busy else note.error()

    def link_is_up(self) -> None:
        """Announce the channel on a new connection; see ``LinkOwner``."""
        self._announce()

    def link_is_down(self) -> None:
        """Take note that nobody finds us; see ``LinkOwner``."""
        super().link_is_down()
        self._announced = False
        self._hello = None

    def idle(self) -> None:
        """Announce the channel again where the name was taken; see ``LinkOwner``."""
        if self._rejection is not None and time.monotonic() >= self._announce_at:
            self._announce()

    def _announce(self) -> None:
        self._announce_at = time.monotonic() + _ANNOUNCE_AGAIN_S
        self._channel = _CHANNEL
        self._rejection = None
        if self._slots is not None:
            self._slots.on_channel(_CHANNEL)
        self._link.send_frame(FrameType.ANNOUNCE, self._announcement.encode(), _CHANNEL)
        self._link.send_frame(FrameType.PING, _ANNOUNCED)

    def _take_frame(self, frame: Frame, body: memoryview) -> None:
        kind = frame.type
        if frame.channel != _CHANNEL:
            return  # a bridge may announce channels of its own: we want none
        if kind is FrameType.REJECT:
            self._take_rejection(Note.decode(body))
        elif kind is FrameType.OPEN:
            if frame.last:
                self._take_open(frame)
        elif kind is FrameType.RESUME:
            self._take_resume(frame, SlotWords.decode(body))
        elif kind in (FrameType.CLOSE, FrameType.LOST):
            self._take_close(frame, Ending.decode(body))
        else:
            raise RemoteProtocolError(f"{kind.name} came to the server of a channel")

    def pong(self, body: memoryview) -> None:
        """Take note that the bridge knows the channel; see ``LinkOwner``."""
        if bytes(body) == _ANNOUNCED and self._rejection is None and self._link.up:
            self._announced = self._was_announced = True
            self._rejected_since = None
            self._link.succeeded()

    def _take_rejection(self, note: Note) -> None:
        self._rejection = note
        self._channel = 0
        if self._rejected_since is None:
            self._rejected_since = time.monotonic()

    def _take_open(self, frame: Frame) -> None:
        opening, payload = self._pieces.split()
        self.peer = FarEnd("a client at the bridge", opening.capabilities)
        self._hello = frame, bytes(payload)
        if self._watch is not None:
            self._watch.supersede()

    def _take_close(self, frame: Frame, ending: Ending) -> None:
        if self._is_session(frame):
            self._end_session(ending)
        elif self._hello is not None and _same(frame, self._hello[0]):
            self._hello = None

    def _take_resume(self, frame: Frame, theirs: SlotWords) -> None:
        slots, watch = self._slots, self._watch
        if not self._is_session(frame) or slots is None or watch is None or watch.over:
            # Not VANISHED: nobody knows whether its last request was run.
            farewell = Ending(PeerState.LOST, CloseReason.LINK_DOWN).encode()
            ids = frame.incarnation, frame.session
            self._link.send_frame(FrameType.LOST, farewell, _CHANNEL, ids)
            return
        self._link.send_frame(
            FrameType.RESUMED, slots.words().encode(), _CHANNEL, self._ids
        )
        slots.resume(theirs)
        watch.attach()

    # -------------------------------------------------------------------- greeting

    def client_watch(self) -> SocketWatch:
        """Return a watch of the client that is there now."""
        return SocketWatch(
            self._link, f"the client of channel {str(self.address)!r}", self._own
        )

    @property
    def client_waits(self) -> bool:
        """Whether a client has said Hello."""
        if not self.closed and self._hello is None:
            self._link.pump(0.0)
        return self._hello is not None

    def receive_hello(
        self, timeout_s: float | None = None
    ) -> tuple[MessageBuffer, Hello]:
        """Wait for a client and return what it says; as ``MemServer.receive_hello``.

        Raises:
            ChannelBusy: Somebody took the name while the bridge was gone.
            AuthError: The bridge takes us no more; VersionMismatch too.
        """
        self._own.check()
        patience = self._deadline(timeout_s, lambda: f"no client came to {self.name!r}")
        while True:
            self._wait(self._has_hello, patience)
            assert self._hello is not None  # noqa: S101 - there is one
            (frame, payload), self._hello = self._hello, None
            buffer = MessageBuffer.private(len(payload))
            buffer.stamp(frame.incarnation, frame.session)
            buffer.write(int(Kind.HELLO), payload)
            try:
                return buffer, Hello.decode(payload)
            except ProtocolError as error:
                self.refuse(buffer, Refusal(refusal_code(error), str(error)))

    def _has_hello(self) -> bool:
        self._check_rejection()
        return self._hello is not None

    def refuse(self, hello: MessageBuffer, refusal: Refusal) -> None:
        """Tell a client that it is not taken.

        Raises:
            ChannelClosed: This end was closed.
        """
        self._own.check()
        if self._channel:
            ids = hello.incarnation, hello.session
            self._send_opening(
                FrameType.REFUSED, Opening(CAPABILITIES), refusal.encode(), ids
            )

    def accept(
        self,
        hello: MessageBuffer,
        welcome: Welcome,
        ids: Ids,
        capacities: tuple[int, int],
        policy: object = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> SocketChannel | None:
        """Make the slots of a session, and tell the client; as ``MemServer.accept``.

        Returns:
            This end of the session, or None where the client is gone already.

        Raises:
            ChannelClosed: This end was closed.
        """
        self._own.check()
        if not self._channel or self._hello is not None:
            return None
        self._generation += 1
        request, reply = map(slot_capacity, capacities)
        slots = SocketSlots(self._link, End.SERVER, ids, (request, reply))
        watch = self.client_watch()
        channel = self._begin_session(slots, watch, ids, max_message_bytes)
        welcome = replace(
            welcome, generation=self._generation, max_message_bytes=max_message_bytes
        )
        opening = Opening(CAPABILITIES, request, reply, self._generation)
        self._send_opening(FrameType.OPENED, opening, welcome.encode(), ids)
        return channel

    def _say_goodbye(self, farewell: bytes) -> None:
        self._link.send_frame(FrameType.WITHDRAW, farewell, self._channel)


def _same(one: Frame, other: Frame) -> bool:
    return (one.incarnation, one.session) == (other.incarnation, other.session)
