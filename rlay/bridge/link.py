"""One connection to another machine, or to a direct peer: frames in, frames out."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rlay.bridge.metrics import LinkCounts
from rlay.bridge.sender import Sender
from rlay.bridge.stream import Stream
from rlay.errors import (
    AuthError,
    PeerLost,
    ProtocolError,
    RemoteProtocolError,
    RLayError,
    SlowPeer,
)
from rlay.protocol.constants import CloseReason, PeerState
from rlay.protocol.frames import (
    MAX_BODY_BYTES,
    Frame,
    FrameDecoder,
    FrameType,
    pack_frame,
    pack_header,
)
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    LinkTerms,
    ListenerGreeting,
    Role,
)
from rlay.protocol.link_messages import (
    Announcement,
    Ending,
    Note,
    Opening,
    SlotWords,
)

if TYPE_CHECKING:
    from rlay.bridge.mirror import Mirror
    from rlay.bridge.origin import Origin
    from rlay.bridge.registry import Registry
    from rlay.bridge.session import Session

_log = logging.getLogger("rlay.bridge.link")

WRITE_STALL_S: Final = 10.0
_OPENINGS: Final = (FrameType.OPEN, FrameType.OPENED, FrameType.REFUSED)

Handler = Callable[[Frame, memoryview], None]


class Link:
    """One connection.

    Attributes:
        where: The other side's address, for people.
        peer: Who it is; None before the greeting is done.
        origins: Channels of this machine that were announced here, by number.
        mirrors: Channels of the other machine, by number.
        sessions: Sessions that go over this link, by the number of their channel.
        sender: The outgoing half.
        counts: What is counted.
        ended: Why the link ended; None while it is up.
    """

    def __init__(
        self,
        stream: Stream,
        greeting: DialerGreeting | ListenerGreeting,
        registry: "Registry",
        where: str,
        *,
        dialed: bool,
    ) -> None:
        """Begin to greet.

        Args:
            stream: The connection.
            greeting: Ours.
            registry: Knows the channels.
            where: The other side's address.
            dialed: Whether we are the dialer.
        """
        self.where = where
        self.stream = stream
        self.peer: LinkIdentity | None = None
        self.terms: LinkTerms | None = None
        self.dialed = dialed
        self.origins: dict[int, Origin] = {}
        self.mirrors: dict[int, Mirror] = {}
        self.sessions: dict[int, Session] = {}
        self.sender = Sender(stream.write, stream.wants_room)
        self.counts = LinkCounts()
        self.ended: RLayError | None = None
        self.said_goodbye = CloseReason.NONE
        self.heard_at = time.monotonic()
        self.on_end: Callable[[Link], None] = lambda link: None
        self.on_up: Callable[[Link], None] = lambda link: None
        self._greeting: DialerGreeting | ListenerGreeting | None = greeting
        self._registry = registry
        self._decoder = FrameDecoder(self._place, self._deliver)
        self._flushes = False  # soon
        self._openings: dict[tuple[FrameType, int], bytearray] = {}
        self._last_number = -1 if dialed else 0
        self._handlers = self._make_handlers()
        stream.listen(self.read, self._writable)

    def _make_handlers(self) -> dict[FrameType, Handler]:
        return {
            FrameType.PING: self._on_ping,
            FrameType.PONG: self._on_pong,
            FrameType.DRAIN: self._on_drain,
            FrameType.BYE: self._on_bye,
            FrameType.ERROR: self._on_error,
            FrameType.ANNOUNCE: self._on_announce,
            FrameType.ANNOUNCED: self._on_announced,
            FrameType.WITHDRAW: self._on_withdraw,
            FrameType.REJECT: self._on_reject,
            FrameType.FIND: self._on_find,
            FrameType.NOT_FOUND: self._ignore,
            FrameType.OPEN: self._on_opening,
            FrameType.OPENED: self._on_opening,
            FrameType.REFUSED: self._on_opening,
            FrameType.CLOSE: self._on_close,
            FrameType.RESUME: self._on_resume,
            FrameType.RESUMED: self._on_resumed,
            FrameType.LOST: self._on_lost,
            FrameType.DATA: self._on_data,
            FrameType.TAKEN: self._on_taken,
        }

    def __repr__(self) -> str:
        """Show who it is and how it fares."""
        state = "greeting" if self._greeting else "ended" if self.ended else "up"
        return f"<Link to {self.name} {state}>"

    @property
    def name(self) -> str:
        """The other machine's name and address, for people."""
        return f"{self.peer.machine} ({self.where})" if self.peer else self.where

    @property
    def machine(self) -> str:
        """The other machine's name; its address before the greeting is done."""
        return self.peer.machine if self.peer else self.where

    @property
    def up(self) -> bool:
        """Whether the greeting is done and the link has not ended."""
        return self._greeting is None and self.ended is None

    @property
    def is_local(self) -> bool:
        """Whether the other side is on this machine."""
        host = self.where.rpartition(":")[0].strip("[]")
        return host == "::1" or host.startswith(("127.", "::ffff:127."))

    @property
    def with_bridge(self) -> bool:
        """Whether a bridge is at the other side, and not a direct peer."""
        return self.peer is not None and self.peer.role is Role.BRIDGE

    # ------------------------------------------------------------------------ I/O

    def start(self) -> None:
        """Say the first word, where it is ours."""
        if isinstance(self._greeting, DialerGreeting):
            self.sender.control(self._greeting.start())
            self.flush()

    def flush(self) -> None:
        """Send all that the socket takes."""
        try:
            if self.ended is None:
                self.sender.flush()
        except RLayError as error:
            self.end(error)

    def send(self, session: "Session") -> None:
        """Send what a session has queued.

        Alone on its link it goes at once. Among others it waits for those that were
        rung in the same turn of the loop, and one system call takes them all.

        Raises:
            PeerLost: The connection broke.
            RemoteProtocolError: The message is not sound.
        """
        if len(self.sessions) > 1:
            self.sender.enqueue(session)
        else:
            self.sender.send(session)

    def flush_soon(self) -> None:
        """Send all that the socket takes, once this turn of the loop is over."""
        if len(self.sessions) <= 1:
            self.flush()
        elif not self._flushes:
            self._flushes = True
            self.stream.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushes = False
        self.flush()

    def _writable(self) -> None:
        try:
            if self.ended is None and self.stream.flush_layers():
                self.sender.flush()
        except RLayError as error:
            self.end(error)

    def read(self) -> None:
        """Take what has come."""
        try:
            if self.stream.layers:
                goes_on = self.stream.read_layered(self._decoder.feed)
            else:
                decoder = self._decoder
                goes_on = self.stream.read(decoder.buffer, decoder.received)
            if not goes_on:
                raise self._end_of_stream()
        except RLayError as error:
            self.end(error)
        else:
            self.flush()

    def feed(self, data: bytes) -> None:
        """Take bytes that were read before this link was there."""
        try:
            self._decoder.feed(data)
        except RLayError as error:
            self.end(error)
        else:
            self.flush()

    def _end_of_stream(self) -> RLayError:
        if self._greeting is not None and self.dialed:
            return AuthError(
                f"{self.where} ended the connection before it let us in: it wants a "
                "client certificate or another token, or it is full"
            )
        return PeerLost("the other side ended the connection")

    def end(self, error: RLayError, note: Note | None = None) -> None:
        """End the link. Twice is harmless.

        Args:
            error: Why.
            note: What the other side is told; None to tell it of its own breaches.
        """
        if self.ended is not None:
            return
        self.ended = error
        if self._greeting is not None:
            if self._greeting.farewell:
                self._last_words(self._greeting.farewell)
        elif not self.said_goodbye:
            if note is None and isinstance(error, ProtocolError):
                note = Note.of(error)
            if note is not None:
                self._last_words(pack_frame(FrameType.ERROR, note.encode()))
        self.stream.close()
        self.on_end(self)

    def _last_words(self, frame: bytes) -> None:
        try:
            if self.sender.empty:
                self.stream.write([frame])
        except RLayError:
            pass  # it is gone: nobody hears them

    def bye(self, reason: CloseReason) -> None:
        """Say that the link ends in order, and end it."""
        if self.ended is None:
            self.said_goodbye = reason
            ending = Ending(PeerState.CLOSED, reason)
            self.sender.control(pack_frame(FrameType.BYE, ending.encode()))
            self.flush()
            self.end(PeerLost("we said goodbye"))

    # ------------------------------------------------------------------ heartbeats

    def tick(self, now: float) -> None:
        """Look whether the other side lives, and show it that we do.

        Args:
            now: On the monotonic clock.
        """
        terms, peer = self.terms, self.peer
        if self.ended is not None or terms is None or peer is None:
            return
        stalled = self.sender.stalled_since
        if stalled is not None and now - stalled > WRITE_STALL_S:
            self.end(SlowPeer(f"{self.name} has read nothing for {WRITE_STALL_S:g} s"))
            return
        silent = now - self.heard_at
        if (
            silent * 1000 > terms.dead_after_ms
            and LinkCapability.HEARTBEAT in peer.capabilities
        ):
            self.end(PeerLost(f"nothing came from {self.name} for {silent:.1f} s"))
            return
        self.sender.control(
            pack_frame(FrameType.PING, int(now * 1e9).to_bytes(8, "little"))
        )
        self.flush()

    # ------------------------------------------------------------------ dispatching

    def _place(self, frame: Frame) -> memoryview | None:
        if self._greeting is not None:
            self._greeting.check(frame)  # a stranger's body is not even awaited
        elif frame.type is FrameType.DATA:
            session = self.sessions.get(frame.channel)
            if session is not None:
                return session.place(frame)
        return None

    def _deliver(self, frame: Frame, body: memoryview) -> None:
        if self.ended is not None:
            return
        self.heard_at = time.monotonic()
        if self._greeting is not None:
            self._greet(self._greeting, frame, body)
            return
        handler = self._handlers.get(frame.type)
        if handler is None:
            raise RemoteProtocolError(f"{frame.type.name} came after the greeting")
        handler(frame, body)

    def _greet(
        self,
        greeting: DialerGreeting | ListenerGreeting,
        frame: Frame,
        body: memoryview,
    ) -> None:
        answer = greeting.receive(frame, body)
        if answer:
            self.sender.control(answer)
        if greeting.done:
            self._greeting = None
            self.peer, self.terms = greeting.peer, greeting.terms
            self.sender.crc = self.terms.crc
            self.flush()
            self.on_up(self)

    def _ignore(self, frame: Frame, body: memoryview) -> None:
        """Do nothing: this says nothing to a bridge."""

    def _on_ping(self, frame: Frame, body: memoryview) -> None:
        if len(body) != 8:
            raise RemoteProtocolError(f"a PING of {len(body)} bytes")
        self.sender.control(pack_frame(FrameType.PONG, bytes(body)))

    def _on_pong(self, frame: Frame, body: memoryview) -> None:
        if len(body) == 8:
            sent_s = int.from_bytes(body, "little") / 1e9
            trip_s = time.monotonic() - sent_s
            if 0 <= trip_s < 3600:
                self.counts.round_trips_s.append(trip_s)

    def _on_drain(self, frame: Frame, body: memoryview) -> None:
        _log.info("%s shuts down: it takes no new sessions", self.name)

    def _on_bye(self, frame: Frame, body: memoryview) -> None:
        ending = Ending.decode(body)
        self.said_goodbye = ending.known_reason or CloseReason.CLOSED
        self.end(PeerLost(f"{self.name} said goodbye"))

    def _on_error(self, frame: Frame, body: memoryview) -> None:
        note = Note.decode(body)
        self.end(PeerLost(f"{self.name} ended the link: {note.message!r}"))

    # --------------------------------------------------------------------- channels

    def next_number(self) -> int:
        """Return a number for a channel that is announced here."""
        self._last_number += 2
        return self._last_number

    def _on_announce(self, frame: Frame, body: memoryview) -> None:
        if not frame.channel or frame.channel % 2 == self._last_number % 2:
            raise RemoteProtocolError(f"channel {frame.channel} is not theirs to name")
        self._registry.announced(self, frame.channel, Announcement.decode(body))

    def _on_announced(self, frame: Frame, body: memoryview) -> None:
        self._registry.all_announced(self)

    def _on_withdraw(self, frame: Frame, body: memoryview) -> None:
        ending = Ending.decode(body)
        self._registry.withdrawn(self, frame.channel)
        mirror = self.mirrors.pop(frame.channel, None)
        if mirror is not None:
            mirror.withdrawn(ending)

    def _on_reject(self, frame: Frame, body: memoryview) -> None:
        note = Note.decode(body)
        origin = self.origins.get(frame.channel)
        if origin is not None:
            _log.warning(
                "%s does not take channel %r: %s", self.name, origin.name, note.message
            )

    def _on_find(self, frame: Frame, body: memoryview) -> None:
        self._registry.find(self, frame.sequence, body)

    # --------------------------------------------------------------------- sessions

    def _on_opening(self, frame: Frame, body: memoryview) -> None:
        """Collect the pieces of an OPEN, OPENED or REFUSED, then act on it."""
        key = frame.type, frame.channel
        if frame.offset == 0:
            if len(self._openings) and key not in self._openings:
                largest = sum(map(len, self._openings.values())) + frame.total
                if largest > 2 * MAX_BODY_BYTES + frame.total:
                    raise RemoteProtocolError("too many greetings at once")
            self._openings[key] = bytearray()
        whole = self._openings.get(key)
        if whole is None or len(whole) != frame.offset:
            raise RemoteProtocolError("a piece of a greeting came out of order")
        whole += body
        if not frame.last:
            return
        del self._openings[key]
        opening = Opening.decode(memoryview(whole)[:16])
        ids, payload = (frame.incarnation, frame.session), bytes(whole[16:])
        if frame.type is FrameType.OPEN:
            origin = self.origins.get(frame.channel)
            if origin is None:
                self.send_lost(frame, PeerState.LOST, CloseReason.VANISHED)
            else:
                origin.open(self, frame.channel, ids, opening, payload)
            return
        mirror = self.mirrors.get(frame.channel)
        if mirror is None:
            return
        if frame.type is FrameType.OPENED:
            mirror.opened(ids, opening, payload)
        else:
            mirror.refused(ids, payload)

    def send_opening(
        self,
        kind: FrameType,
        channel: int,
        ids: tuple[int, int],
        opening: Opening,
        payload: bytes,
    ) -> None:
        """Send an OPEN, OPENED or REFUSED, in as many pieces as it takes."""
        whole = opening.encode() + payload
        for offset in range(0, len(whole), MAX_BODY_BYTES):
            piece = whole[offset : offset + MAX_BODY_BYTES]
            head = pack_header(
                kind, channel, *ids, 1, 0, offset, len(whole), len(piece)
            )
            self.sender.control(head + piece)
            self.flush()

    def send_lost(self, frame: Frame, state: PeerState, reason: CloseReason) -> None:
        """Say that the session of a frame is over."""
        ids = frame.incarnation, frame.session
        body = Ending(state, reason).encode()
        self.sender.control(pack_frame(FrameType.LOST, body, frame.channel, *ids))

    def _on_close(self, frame: Frame, body: memoryview) -> None:
        origin = self.origins.get(frame.channel)
        if origin is not None:
            ids = frame.incarnation, frame.session
            origin.client_gone(self, ids, Ending.decode(body))

    def _on_resume(self, frame: Frame, body: memoryview) -> None:
        origin = self.origins.get(frame.channel)
        ids = frame.incarnation, frame.session
        words = SlotWords.decode(body)
        if origin is None or not origin.resume(self, frame.channel, ids, words):
            # Whether the last request was taken is not known any more.
            self.send_lost(frame, PeerState.LOST, CloseReason.LINK_DOWN)

    def _on_resumed(self, frame: Frame, body: memoryview) -> None:
        mirror = self.mirrors.get(frame.channel)
        if mirror is not None:
            ids = frame.incarnation, frame.session
            mirror.resumed(ids, SlotWords.decode(body))

    def _on_lost(self, frame: Frame, body: memoryview) -> None:
        mirror = self.mirrors.get(frame.channel)
        if mirror is not None:
            ids = frame.incarnation, frame.session
            mirror.lost(ids, Ending.decode(body))

    def _on_data(self, frame: Frame, body: memoryview) -> None:
        session = self.sessions.get(frame.channel)
        if session is not None:
            session.data(frame)
        else:
            self._registry.counts.dropped["no session"] += 1

    def _on_taken(self, frame: Frame, body: memoryview) -> None:
        session = self.sessions.get(frame.channel)
        if session is not None:
            session.taken(frame)
