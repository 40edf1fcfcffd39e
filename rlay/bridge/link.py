"""One connection to another machine, or to a direct peer: frames in, frames out."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rlay.bridge.dispatcher import Dispatcher
from rlay.bridge.metrics import LinkCounts
from rlay.bridge.sender import Sender
from rlay.bridge.stream import Stream
from rlay.errors import (
    AuthError,
    PeerLost,
    ProtocolError,
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
    Ending,
    Note,
    Opening,
)

if TYPE_CHECKING:
    from rlay.bridge.mirror import Mirror
    from rlay.bridge.origin import Origin
    from rlay.bridge.registry import Registry
    from rlay.bridge.session import Session

_log = logging.getLogger("rlay.bridge.link")

WRITE_STALL_S: Final = 10.0
_WE_SAID_GOODBYE: Final = "we said goodbye"


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
        self.heard_at = self._beat_at = self._stalled_at = time.monotonic()
        self._unsent = 0
        self.on_end: Callable[[Link], None] = lambda link: None
        self.on_up: Callable[[Link], None] = lambda link: None
        self._greeting: DialerGreeting | ListenerGreeting | None = greeting
        self._registry = registry
        self._wakefulness = registry.wakefulness
        self._decoder = FrameDecoder(self._place, self._deliver)
        self._flushes = False  # soon
        self._last_number = -1 if dialed else 0
        self._dispatch = Dispatcher(self, registry).deliver
        stream.listen(self.read, self._writable)

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
        self._wakefulness.sent()
        if len(self.sessions) > 1:
            self.sender.enqueue(session)
        else:
            self.sender.send(session)

    def flush_soon(self) -> None:
        """Send all that the socket takes, once this turn of the loop is over."""
        if len(self.sessions) <= 1:
            self.flush()
        else:
            self.flush_later()

    def flush_later(self) -> None:
        """As :meth:`flush_soon`, and never now: what comes next may be in the way."""
        if not self._flushes:
            self._flushes = True
            self.stream.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushes = False
        self.flush()

    def _writable(self) -> None:
        try:
            if self.ended is None and self.stream.flush_layers():
                self.sender.flush()
                self._wakefulness.sent()
        except Exception as error:
            self.end(self._known(error))

    def read(self) -> None:
        """Take what has come."""
        stream, decoder = self.stream, self._decoder
        got = stream.got
        try:
            if stream.layers:
                goes_on = stream.read_layered(decoder.feed)
            else:
                goes_on = stream.read(decoder.buffer, decoder.behind, decoder.received)
        except Exception as error:
            self.end(self._known(error))
            return
        if not goes_on:
            self.end(self._end_of_stream())
        else:
            if stream.got != got:  # a large frame may take long to come whole
                self.heard_at = time.monotonic()
                if self.sessions:
                    self._wakefulness.received()
            self.flush()

    def feed(self, data: bytes) -> None:
        """Take bytes that were read before this link was there."""
        try:
            self._decoder.feed(data)
        except Exception as error:
            self.end(self._known(error))
        else:
            self.flush()

    def pause(self, seconds: float) -> None:
        """Read nothing for so long: the peer asks for more than its share."""
        self.stream.pause(seconds)

    def _known(self, error: Exception) -> RLayError:
        """Return an error of the link; one of this program's is told in full."""
        if isinstance(error, RLayError):
            return error
        _log.exception("a fault of this bridge ends the link to %s", self.name)
        return PeerLost(f"a fault of this bridge: {error!r}")

    def _end_of_stream(self) -> RLayError:
        if self._greeting is not None and self.dialed:
            return AuthError(
                f"{self.where} ended the connection before it let us in: it wants a "
                "client certificate or another token, or it is full"
            )
        if self.said_goodbye:
            return PeerLost(_WE_SAID_GOODBYE)
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
        try:
            self.on_end(self)
        except Exception:
            _log.exception("a fault of this bridge, at the end of %r", self)

    def _last_words(self, frame: bytes) -> None:
        try:
            if self.sender.empty:
                self.stream.write([frame])
        except RLayError:
            pass  # it is gone: nobody hears them

    @property
    def flushed(self) -> bool:
        """Whether the socket took all that was to be sent."""
        return self.sender.empty and not self.stream.pending

    def say_goodbye(self, reason: CloseReason) -> None:
        """Say that the link ends in order: the other side then ends it.

        Who ended it first could take with it what the other side has not read.
        """
        if self.ended is None and not self.said_goodbye:
            self.said_goodbye = reason
            ending = Ending(PeerState.CLOSED, reason)
            self.sender.control(pack_frame(FrameType.BYE, ending.encode()))
            self.flush()

    def bye(self, reason: CloseReason) -> None:
        """Say that the link ends in order, and end it."""
        self.say_goodbye(reason)
        self.end(PeerLost(_WE_SAID_GOODBYE))

    # ------------------------------------------------------------------ heartbeats

    @property
    def heartbeat_s(self) -> float:
        """How often we say something, as the listener wants it."""
        return self.terms.heartbeat_ms / 1000 if self.terms else math.inf

    def tick(self, now: float) -> None:
        """Look whether the other side lives, and show it that we do.

        Args:
            now: On the monotonic clock.
        """
        terms, peer = self.terms, self.peer
        if self.ended is not None or terms is None or peer is None:
            return
        if now - self._beat_at < self.heartbeat_s:
            return
        self._beat_at = now
        if self._is_stalled(now):
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

    def _is_stalled(self, now: float) -> bool:
        """Return whether the peer has taken nothing for too long.

        Over a slow network the socket may take nothing for minutes, while what it
        took before arrives.
        """
        since = self.sender.stalled_since
        unsent = self.stream.unsent_bytes()
        if since is None or (unsent is not None and unsent < self._unsent):
            self._stalled_at = now
        self._unsent = 0 if unsent is None else unsent
        return since is not None and now - max(since, self._stalled_at) > WRITE_STALL_S

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
        if self._greeting is not None:
            self._greet(self._greeting, frame, body)
            return
        self._dispatch(frame, body)

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
            if self.ended is None:
                self.on_up(self)

    # --------------------------------------------------------------------- channels

    def is_theirs(self, channel: int) -> bool:
        """Return whether the other side may give a channel this number."""
        return channel != 0 and channel % 2 != self._last_number % 2

    def next_number(self) -> int:
        """Return a number for a channel that is announced here."""
        self._last_number += 2
        return self._last_number

    def send_opening(
        self,
        kind: FrameType,
        channel: int,
        ids: tuple[int, int],
        opening: Opening,
        payload: bytes,
    ) -> None:
        """Send an OPEN, OPENED or REFUSED, in as many pieces as it takes."""
        whole = memoryview(opening.encode() + payload)

        def pieces() -> Iterator[bytes]:
            for offset in range(0, len(whole), MAX_BODY_BYTES):
                piece = whole[offset : offset + MAX_BODY_BYTES]
                head = pack_header(
                    kind, channel, *ids, 1, 0, offset, len(whole), len(piece)
                )
                yield head + piece

        self.sender.control_in_pieces(pieces(), len(whole))
        self.flush()
