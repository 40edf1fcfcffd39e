"""The client end of a channel at a bridge."""

import time
from typing import Final

from rlay.errors import ChannelBusy, RemoteProtocolError
from rlay.protocol.addresses import Address, parse_address
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    CloseReason,
    ErrorCode,
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
    Question,
    SlotWords,
)
from rlay.protocol.refusal import Refusal
from rlay.transport.credentials import Credentials
from rlay.transport.header import ChannelFacts
from rlay.transport.peers import Deadline
from rlay.transport.refusals import refusal_error
from rlay.transport.socket_channel import SocketChannel
from rlay.transport.socket_end import CAPABILITIES, FarEnd, SocketEnd
from rlay.transport.socket_slots import Ids, SocketSlots
from rlay.transport.socket_watch import SocketWatch
from rlay.transport.stores import End

_ASK_FIRST_S: Final = 0.02
_ASK_LAST_S: Final = 0.5
_BUSY_S: Final = 2.0
"""How long a group whose channels are all taken may grow before that is an error."""
_GONE_S: Final = 5.0
"""How long a bridge that is back may take to know the channel of a session again."""


class SocketClient(SocketEnd):
    """Finds a channel at a bridge and greets its server.

    The methods are those of ``MemClient``. :meth:`open` waits for the channel; who may
    not wait makes one and calls :meth:`look` now and then.

    Attributes:
        facts: What the bridge says of the channel, once it is found.
        watch: Says whether the server lives.
    """

    facts: ChannelFacts

    def __init__(
        self, address: Address | str, credentials: Credentials | None = None
    ) -> None:
        """Take note of what to look for.

        Raises:
            ChannelError: It is no address.
            AuthError: A token or a certificate cannot be read.
        """
        if isinstance(address, str):
            address = parse_address(address, group=True)
        super().__init__(address, "client", credentials)
        self.watch = self._watch_server()
        self._question = 0
        self._ask_at = 0.0
        self._ask_pause_s = _ASK_FIRST_S
        self._found = False
        self._missing: Note | None = None
        self._missing_since: float | None = None
        self._busy_since: float | None = None
        self._hello = b""
        self._opened: tuple[Ids, Opening, bytes] | None = None
        self._refusal: Refusal | None = None

    def _watch_server(self) -> SocketWatch:
        watch = SocketWatch(self._link, f"the server of {self.name!r}", self._own)
        self._watch = watch
        return watch

    # -------------------------------------------------------------------- finding

    @classmethod
    def open(
        cls,
        address: Address | str,
        timeout_s: float | None,
        credentials: Credentials | None = None,
    ) -> "SocketClient":
        """Find a channel and hold it, waiting for the bridge and for the channel.

        Args:
            address: Of a channel, or of a group: its first free channel.
            timeout_s: How long to wait, in seconds; None for ever.
            credentials: None for those of the environment variables.

        Raises:
            ConnectTimeout: No bridge, or no such channel there; it says which.
            ChannelBusy: The channel has a client; or all channels of the group have.
            AuthError: The bridge could not prove who it is, or we could not.
            VersionMismatch: It speaks another version.
        """
        client = cls(address, credentials)
        try:
            patience = client._deadline(timeout_s, lambda: client.problem)
            client._wait(client._look_for_it, patience)
        except BaseException:
            client.close()
            raise
        return client

    def look(self) -> bool:
        """Make as much headway as is possible without waiting; return whether found.

        Raises:
            ChannelBusy: As :meth:`open`; AuthError and VersionMismatch too.
            ChannelClosed: This end was closed.
        """
        self._own.check()
        while not self._look_for_it() and self._link.pump(0.0):
            pass
        return self._found

    def rest(self, seconds: float) -> None:
        """Wait so long for the bridge to say something."""
        self._link.pump(seconds)

    @property
    def missing(self) -> bool:
        """Whether the bridge has said that there is no such channel."""
        return self._missing is not None

    @property
    def problem(self) -> str:
        """What is missing, for people."""
        address = self.address
        if not self._link.up:
            return f"no channel {str(address)!r}: {self._link.problem}"
        if self._missing is None:
            return f"the bridge at {address.endpoint} says nothing of {self.name!r}"
        serve = address.name.removesuffix(".*")
        where = str(address).removesuffix(address.name) + serve
        return (
            f"no channel {address.name!r} at the bridge {address.endpoint} "
            f"({self._missing.message}). Start its server there, on the bridge's "
            f"machine or with name={where!r}"
        )

    def _look_for_it(self) -> bool:
        if self._found:
            return True
        if self._link.up and not self._question and time.monotonic() >= self._ask_at:
            self._ask()
        busy = self._busy_since
        if busy is not None and self._missing is not None:
            single = "*" not in self.address.name
            if single or time.monotonic() - busy >= _BUSY_S:
                raise ChannelBusy(f"{self.address}: {self._missing.message}")
        return False

    def _ask(self) -> None:
        self._ask_at = time.monotonic() + self._ask_pause_s
        self._ask_pause_s = min(2 * self._ask_pause_s, _ASK_LAST_S)
        self._question = self._questions = self._questions + 1
        self._link.send_frame(
            FrameType.FIND, Question(self.name).encode(), sequence=self._question
        )

    _questions = 0

    def link_is_up(self) -> None:
        """Look for the channel on a new connection; see ``LinkOwner``."""
        self._question, self._ask_pause_s = 0, _ASK_FIRST_S
        if not (self._found and self.watch.over):
            self._missing_since = None
            self._ask()

    def link_is_down(self) -> None:
        """Forget the channel's number; see ``LinkOwner``."""
        super().link_is_down()
        self._question = 0
        if self._slots is None and not self._hello:
            self._found = False

    def _take_frame(self, frame: Frame, body: memoryview) -> None:
        kind = frame.type
        if kind in (FrameType.ANNOUNCE, FrameType.NOT_FOUND):
            if frame.sequence and frame.sequence == self._question:
                self._question = 0
                if kind is FrameType.ANNOUNCE:
                    self._take_announcement(frame, Announcement.decode(body))
                else:
                    self._take_not_found(Note.decode(body))
        elif frame.channel and frame.channel == self._channel:
            self._take_answer(frame, body)

    def _take_announcement(self, frame: Frame, there: Announcement) -> None:
        self._channel = frame.channel
        self._link.succeeded()
        self._missing = self._busy_since = None
        self.name = there.name
        self.facts = ChannelFacts(Paradigm(there.paradigm), there.num_envs)
        who = f"{there.program or 'unknown program'} on {there.machine or 'a machine'}"
        self.peer = FarEnd(who, there.capabilities)
        self._found = True
        slots = self._slots
        if slots is not None:
            slots.on_channel(frame.channel)
            self._link.send_frame(
                FrameType.RESUME, slots.words().encode(), frame.channel, self._ids
            )
            return
        self.watch.attach()
        if self._hello:
            self._send_open()

    def idle(self) -> None:
        """Ask again for the channel of a session; see ``LinkOwner``."""
        asked = self._channel or self._question or self.watch.over
        if self._found and not asked and time.monotonic() >= self._ask_at:
            self._ask()

    def _take_not_found(self, note: Note) -> None:
        now = time.monotonic()
        self._missing = note
        if self._slots is not None:  # of a session: the bridge may have been restarted
            self._missing_since = self._missing_since or now
            if now - self._missing_since > _GONE_S:
                self.watch.end(PeerState.LOST, CloseReason.LINK_DOWN)
            return
        if note.code == ErrorCode.BUSY:
            self._busy_since = self._busy_since or now
        elif note.code == ErrorCode.NOT_FOUND:
            self._busy_since = None
        elif note.code != ErrorCode.DRAINING:
            raise note.error()

    # ------------------------------------------------------------------- greeting

    def greet(
        self, hello: Hello, ids: Ids, timeout_s: float | None
    ) -> tuple[Ids, Welcome]:
        """Say Hello and wait for the answer; as ``MemClient.greet``."""
        patience = self._patience(timeout_s)
        self.begin_hello(hello, ids)
        return self._receive_welcome(patience)

    def begin_hello(self, hello: Hello, ids: Ids) -> None:
        """Say Hello, without waiting."""
        self._own.check()
        self._hello, self._ids = hello.encode(), ids
        self._opened = self._refusal = None
        if self._channel:
            self._send_open()

    def continue_hello(self) -> bool:
        """Return True: a link takes a long Hello whole.

        Raises:
            PeerLost: The server died meanwhile; see :class:`SocketWatch`.
        """
        self.watch.check()
        return True

    def receive_welcome(self, ids: Ids, timeout_s: float | None) -> tuple[Ids, Welcome]:
        """Wait for the answer to a Hello; as ``MemClient.receive_welcome``."""
        self._own.check()
        return self._receive_welcome(self._patience(timeout_s))

    def _patience(self, timeout_s: float | None) -> Deadline:
        return self._deadline(
            timeout_s,
            lambda: (
                f"channel {str(self.address)!r} is there and its server "
                f"({self.peer.who}) did not answer the greeting"
                if self._link.up
                else self.problem
            ),
        )

    def _receive_welcome(self, patience: Deadline) -> tuple[Ids, Welcome]:
        self._wait(self._is_answered, patience)
        if self._refusal is not None:
            raise refusal_error(self._refusal)
        assert self._opened is not None  # noqa: S101 - it is answered
        ids, _, payload = self._opened
        return ids, Welcome.decode(payload)

    def _is_answered(self) -> bool:
        if self._opened is not None or self._refusal is not None:
            return True
        if self.watch.over:
            self.watch.check()
        return False

    def _send_open(self) -> None:
        self._send_opening(
            FrameType.OPEN, Opening(CAPABILITIES), self._hello, self._ids
        )

    def _take_answer(self, frame: Frame, body: memoryview) -> None:
        kind = frame.type
        if kind in (FrameType.OPENED, FrameType.REFUSED):
            if frame.last and self._answers_us(frame):
                self._take_opened(frame)
        elif kind is FrameType.RESUMED:
            if self._slots is not None and self._is_session(frame):
                self._slots.resume(SlotWords.decode(body))
                self.watch.attach()
        elif kind is FrameType.LOST:
            if self._is_session(frame):
                self._end_session(Ending.decode(body))
        elif kind is FrameType.WITHDRAW:
            self._end_session(Ending.decode(body))
            self._channel, self._found = 0, False
        else:
            raise RemoteProtocolError(f"{kind.name} came to the client of a channel")

    def _answers_us(self, frame: Frame) -> bool:
        ours = self._ids
        theirs = frame.incarnation, frame.session
        return all(
            one in (0, other) for one, other in zip(ours, theirs, strict=True)
        ) and bool(self._hello)

    def _take_opened(self, frame: Frame) -> None:
        opening, payload = self._pieces.split()
        self._hello = b""
        if frame.type is FrameType.REFUSED:
            self._refusal = Refusal.decode(payload)
            return
        ids = frame.incarnation, frame.session
        self.peer = FarEnd(self.peer.who, opening.capabilities)
        self._opened = ids, opening, bytes(payload)
        self._ids = ids
        # From now on there is a session, which the server may speak in at once.
        self._slots = SocketSlots(
            self._link,
            End.CLIENT,
            ids,
            (opening.request_capacity, opening.reply_capacity),
        )
        self._slots.on_channel(self._channel)

    def attach(
        self, welcome: Welcome, ids: Ids, policy: object = None
    ) -> SocketChannel:
        """Return the session that a Welcome speaks of; as ``MemClient.attach``."""
        slots = self._slots
        assert slots is not None  # noqa: S101 - receive_welcome() returned
        return self._begin_session(
            slots,
            self.watch,
            ids,
            min(DEFAULT_MAX_MESSAGE_BYTES, welcome.max_message_bytes),
        )

    def _say_goodbye(self, farewell: bytes) -> None:
        if self._slots is not None or self._hello:
            self._link.send_frame(FrameType.CLOSE, farewell, self._channel, self._ids)
