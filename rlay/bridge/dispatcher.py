"""What frames mean once a link is up: who is to act on each of them.

Rule: whatever a peer says, it costs a bounded amount of memory, and a bounded amount
of time before the others have their turn.
"""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rlay.errors import PeerLost, RemoteProtocolError
from rlay.protocol.constants import CloseReason, PeerState
from rlay.protocol.frames import (
    OPENING_BYTES,
    Frame,
    FrameType,
    pack_frame,
)
from rlay.protocol.link_messages import (
    Announcement,
    Ending,
    Note,
    Opening,
    SlotWords,
)

if TYPE_CHECKING:
    from rlay.bridge.link import Link
    from rlay.bridge.registry import Registry

_log = logging.getLogger("rlay.bridge.link")

Handler = Callable[[Frame, memoryview], None]

_COSTLY: Final = frozenset(
    {
        FrameType.ANNOUNCE,
        FrameType.WITHDRAW,
        FrameType.FIND,
        FrameType.OPEN,
        FrameType.OPENED,
        FrameType.CLOSE,
        FrameType.RESUME,
        FrameType.REJECT,
    }
)
"""Frames that touch files, or are told in the log: up to a millisecond each."""
_MOST_AT_ONCE: Final = 4096
"""A link that comes back announces and resumes a thousand channels."""
_PER_SECOND: Final = 200


class Allowance:
    """How many costly frames a peer may send: many at once, fewer for long."""

    def __init__(self, now: float) -> None:
        """Start with all of it."""
        self._left = float(_MOST_AT_ONCE)
        self._at = now

    def spend(self, now: float) -> float:
        """Spend one; return for how many seconds nothing may be read, mostly 0."""
        self._left = min(_MOST_AT_ONCE, self._left + (now - self._at) * _PER_SECOND) - 1
        self._at = now
        return max(0.0, -self._left / _PER_SECOND)


class Greetings:
    """Puts the pieces of an OPEN, OPENED or REFUSED together: one at a time."""

    def __init__(self) -> None:
        """Start with none."""
        self._key: tuple[FrameType, int] | None = None
        self._whole = bytearray()

    def add(self, frame: Frame, body: memoryview) -> memoryview | None:
        """Take a piece; return the whole where it was the last.

        Raises:
            RemoteProtocolError: It does not follow the piece before it.
        """
        key = frame.type, frame.channel
        if frame.offset == 0 and self._key is None:
            self._key = key
        if key != self._key or frame.offset != len(self._whole):
            raise RemoteProtocolError("a piece of a greeting came out of order")
        self._whole += body
        if not frame.last:
            return None
        whole, self._whole, self._key = self._whole, bytearray(), None
        return memoryview(whole)


class Dispatcher:
    """Hands the frames of a link to those who act on them."""

    def __init__(self, link: "Link", registry: "Registry") -> None:
        """Serve ``link``; its greeting is done."""
        self._link = link
        self._registry = registry
        self._greetings = Greetings()
        self._allowance = Allowance(time.monotonic())
        handlers: dict[FrameType, Handler] = {
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
        # Lists: an enumeration's hash is slow.
        self._handlers: list[Handler | None] = [None] * (max(FrameType) + 1)
        self._costly = [False] * len(self._handlers)
        for kind, handler in handlers.items():
            self._handlers[kind] = handler
            self._costly[kind] = kind in _COSTLY

    def deliver(self, frame: Frame, body: memoryview) -> None:
        """Act on a frame.

        Raises:
            RemoteProtocolError: It is not allowed.
        """
        handler = self._handlers[frame.type]
        if handler is None:
            raise RemoteProtocolError(f"{frame.type.name} came after the greeting")
        if self._costly[frame.type]:
            pause_s = self._allowance.spend(time.monotonic())
            if pause_s:
                self._link.pause(pause_s)
        handler(frame, body)

    def _ignore(self, frame: Frame, body: memoryview) -> None:
        """Do nothing: this says nothing to a bridge."""

    def _on_ping(self, frame: Frame, body: memoryview) -> None:
        if len(body) != 8:
            raise RemoteProtocolError(f"a PING of {len(body)} bytes")
        self._link.sender.control(pack_frame(FrameType.PONG, bytes(body)))

    def _on_pong(self, frame: Frame, body: memoryview) -> None:
        if len(body) == 8:
            sent_s = int.from_bytes(body, "little") / 1e9
            trip_s = time.monotonic() - sent_s
            if 0 <= trip_s < 3600:
                self._link.counts.round_trips_s.append(trip_s)

    def _on_drain(self, frame: Frame, body: memoryview) -> None:
        _log.info("%s shuts down: it takes no new sessions", self._link.name)

    def _on_bye(self, frame: Frame, body: memoryview) -> None:
        ending, link = Ending.decode(body), self._link
        link.said_goodbye = ending.known_reason or CloseReason.CLOSED
        link.end(PeerLost(f"{link.name} said goodbye"))

    def _on_error(self, frame: Frame, body: memoryview) -> None:
        note = Note.decode(body)
        self._link.end(PeerLost(f"{self._link.name} ended the link: {note.message!r}"))

    # --------------------------------------------------------------------- channels

    def _on_announce(self, frame: Frame, body: memoryview) -> None:
        if not self._link.is_theirs(frame.channel):
            raise RemoteProtocolError(f"channel {frame.channel} is not theirs to name")
        self._registry.offers.announced(
            self._link, frame.channel, Announcement.decode(body)
        )

    def _on_announced(self, frame: Frame, body: memoryview) -> None:
        self._registry.offers.all_announced(self._link)

    def _on_withdraw(self, frame: Frame, body: memoryview) -> None:
        ending = Ending.decode(body)
        self._registry.offers.withdrawn(self._link, frame.channel)
        mirror = self._link.mirrors.pop(frame.channel, None)
        if mirror is not None:
            mirror.withdrawn(ending)

    def _on_reject(self, frame: Frame, body: memoryview) -> None:
        note = Note.decode(body)
        link = self._link
        origin = link.origins.get(frame.channel)
        if origin is not None:
            _log.warning(
                "%s does not take channel %r: %s", link.name, origin.name, note.message
            )

    def _on_find(self, frame: Frame, body: memoryview) -> None:
        self._registry.questions.answer(self._link, frame.sequence, body)

    # --------------------------------------------------------------------- sessions

    def _on_opening(self, frame: Frame, body: memoryview) -> None:
        """Collect the pieces of an OPEN, OPENED or REFUSED, then act on it."""
        whole = self._greetings.add(frame, body)
        if whole is None:
            return
        opening = Opening.decode(whole)
        ids, payload = (frame.incarnation, frame.session), bytes(whole[OPENING_BYTES:])
        if frame.type is FrameType.OPEN:
            origin = self._link.origins.get(frame.channel)
            if origin is None:
                self._send_lost(frame, PeerState.LOST, CloseReason.VANISHED)
            else:
                origin.open(self._link, frame.channel, ids, opening, payload)
            return
        mirror = self._link.mirrors.get(frame.channel)
        if mirror is None:
            return
        if frame.type is FrameType.OPENED:
            mirror.opened(ids, opening, payload)
        else:
            mirror.refused(ids, payload)

    def _send_lost(self, frame: Frame, state: PeerState, reason: CloseReason) -> None:
        """Say that the session of a frame is over."""
        ids = frame.incarnation, frame.session
        body = Ending(state, reason).encode()
        self._link.sender.control(pack_frame(FrameType.LOST, body, frame.channel, *ids))

    def _on_close(self, frame: Frame, body: memoryview) -> None:
        origin = self._link.origins.get(frame.channel)
        if origin is not None:
            ids = frame.incarnation, frame.session
            origin.client_gone(self._link, ids, Ending.decode(body))

    def _on_resume(self, frame: Frame, body: memoryview) -> None:
        origin = self._link.origins.get(frame.channel)
        ids = frame.incarnation, frame.session
        words = SlotWords.decode(body)
        if origin is None or not origin.resume(self._link, frame.channel, ids, words):
            # Whether the last request was taken is not known any more.
            self._send_lost(frame, PeerState.LOST, CloseReason.LINK_DOWN)

    def _on_resumed(self, frame: Frame, body: memoryview) -> None:
        mirror = self._link.mirrors.get(frame.channel)
        if mirror is not None:
            ids = frame.incarnation, frame.session
            mirror.resumed(ids, SlotWords.decode(body))

    def _on_lost(self, frame: Frame, body: memoryview) -> None:
        mirror = self._link.mirrors.get(frame.channel)
        if mirror is not None:
            ids = frame.incarnation, frame.session
            mirror.lost(ids, Ending.decode(body))

    def _on_data(self, frame: Frame, body: memoryview) -> None:
        session = self._link.sessions.get(frame.channel)
        if session is not None:
            session.data(frame)
        else:
            self._registry.counts.dropped["no session"] += 1

    def _on_taken(self, frame: Frame, body: memoryview) -> None:
        session = self._link.sessions.get(frame.channel)
        if session is not None:
            session.taken(frame)
