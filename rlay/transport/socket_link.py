"""A link to a bridge that is made again whenever it breaks, without a thread.

Whoever waits drives it: :meth:`SocketLink.pump` sends what waits to be sent, receives
what is there, dials where there is no connection, and never waits longer than it is
told. What was on its way when a connection broke is lost with it: the owner knows what
to send again.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from typing import Final, Protocol

from rlay.errors import ForkedError, RLayError
from rlay.protocol.addresses import Address
from rlay.protocol.constants import CloseReason, PeerState
from rlay.protocol.frames import (
    Frame,
    FrameType,
    pack_frame,
)
from rlay.protocol.link_messages import Ending, Note
from rlay.transport.credentials import Credentials
from rlay.transport.socket_dial import Connection, Dialer, draw_identity
from rlay.transport.socket_stream import Part, Stream

_log = logging.getLogger("rlay.transport.socket")

_NOT_LOOKED_S: Final = 1.0
"""Who looks more rarely than that cannot know for how long nothing came."""
_PING_BODY: Final = bytes(8)
_BYE: Final = Ending(PeerState.CLOSED, CloseReason.CLOSED).encode()
_FAREWELL_S: Final = 2.0
"""How long closing may wait for the network to take the last words."""
_MOST_PARTS: Final = 64
"""Handed to one system call; the limit is 1024."""


class LinkOwner(Protocol):
    """Whom a link serves. It is called from :meth:`SocketLink.pump` only."""

    def link_is_up(self) -> None:
        """Say what has to be said on a new connection."""

    def link_is_down(self) -> None:
        """Take note that what was on its way is lost."""

    def idle(self) -> None:
        """Do what has to be done now and then while nothing comes."""

    def pong(self, body: memoryview) -> None:
        """Take the answer to a PING of one's own."""

    def place(self, frame: Frame) -> memoryview | None:
        """Say where a body goes; see :class:`~rlay.protocol.frames.FrameDecoder`."""

    def deliver(self, frame: Frame, body: memoryview) -> None:
        """Take a frame."""


class SocketLink:
    """Frames to and from a bridge.

    Attributes:
        connection: The one that is there, or None.
        down_since: When it went, on the monotonic clock; None while it is there.
        breaks: How many connections have broken.
    """

    def __init__(
        self,
        address: Address,
        owner: LinkOwner,
        credentials: Credentials | None = None,
    ) -> None:
        """Take note of whom to dial; :meth:`pump` does it.

        Raises:
            AuthError: A token or a certificate cannot be read.
        """
        self.address = address
        self.connection: Connection | None = None
        self.down_since: float | None = time.monotonic()
        self.breaks = 0
        self._owner = owner
        self._dialer = Dialer(
            address, draw_identity(), owner.place, owner.deliver, credentials
        )
        self._queue: deque[Part] = deque()
        self._sending = threading.Lock()
        self._pumping = False
        self._torn = False  # what comes makes no sense any more; sending still works
        self._counts: list[int] = []
        self._closed = self._forked = False
        self._quiet_since = self._looked = self._pinged = 0.0
        self._stream: Stream | None = None

    # ------------------------------------------------------------------ who is there

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self.connection is not None

    @property
    def problem(self) -> str:
        """Why there is no connection, for people."""
        return self._dialer.problem or f"{self.address.endpoint} has not answered yet"

    @property
    def resume_window_s(self) -> float | None:
        """How long a session outlives its link; None where no bridge was met yet."""
        return self._window_s

    _window_s: float | None = None

    def succeeded(self) -> None:
        """Dial again soon, should this connection break: it was of use."""
        self._dialer.succeeded()

    # ---------------------------------------------------------------------- pump

    def pump(self, wait_s: float) -> bool:
        """Do what there is to do; return whether anything came or changed.

        Args:
            wait_s: The longest wait, in seconds.

        Raises:
            AuthError: The bridge could not prove who it is, or we could not.
            VersionMismatch: It speaks another version.
            ForkedError: This is a forked child.
        """
        if self._closed:
            return False
        self._pumping = True
        try:
            if self._torn:
                self._break(None)
            connection = self.connection
            if connection is None:
                return self._dial(wait_s)
            return self._exchange(connection, wait_s)
        finally:
            self._pumping = False

    def _dial(self, wait_s: float) -> bool:
        if self._forked:
            raise ForkedError(
                f"the link to {self.address} belongs to the parent process"
            )
        connection = self._dialer.advance(wait_s)
        if connection is None:
            return False
        self.connection, self._stream = connection, connection.stream
        self._window_s = connection.terms.resume_window_ms / 1000
        self.down_since = None
        self._quiet_since = self._looked = time.monotonic()
        try:
            self._owner.link_is_up()
        except (OSError, RLayError) as error:
            self._break(error)
        except BaseException:
            self._torn = True
            raise
        return True

    def _exchange(self, connection: Connection, wait_s: float) -> bool:
        decoder, stream, counts = connection.decoder, connection.stream, self._counts
        counts.clear()
        try:
            if self._queue and not self._flush(stream):
                stream.wait(wait_s, writing=True)
                self._flush(stream)
                wait_s = 0.0
            stream.read(decoder.buffer(), wait_s, counts)
            count = counts[0]
            if count:
                self._quiet_since = 0.0
                decoder.received(count)
                counts.clear()
                return True
            self._break(ConnectionResetError("the bridge ended the connection"))
        except BlockingIOError:
            self._look(connection)
            return False
        except (OSError, RLayError) as error:
            self._break(error)
        except BaseException:
            # A signal came. If that was after something had been received, nobody knows
            # how much of it was understood.
            self._torn = bool(counts)
            raise
        return True

    def _look(self, connection: Connection) -> None:
        """Take note that nothing came, and do something about it if that is long."""
        now, terms = time.monotonic(), connection.terms
        if not self._quiet_since or now - self._looked > _NOT_LOOKED_S:
            self._quiet_since = self._pinged = now
        self._looked = now
        if now - self._quiet_since >= terms.dead_after_ms / 1000:
            self._break(
                TimeoutError(f"nothing came for {terms.dead_after_ms / 1000:g} s")
            )
        elif now - self._pinged >= terms.heartbeat_ms / 1000:
            self._pinged = now
            self.send_frame(FrameType.PING, _PING_BODY)
        self._owner.idle()

    def _break(self, error: Exception | None) -> None:
        connection, self.connection, self._stream = self.connection, None, None
        self._torn = False
        if connection is None:
            return
        connection.stream.close()
        self._queue.clear()
        self.down_since = time.monotonic()
        self.breaks += 1
        self._dialer.rest()
        if error is not None:
            self._dialer.problem = f"the link to {self.address.endpoint} broke: {error}"
            _log.info("%s; dialing again", self._dialer.problem)
        self._owner.link_is_down()

    # ---------------------------------------------------------------------- sending

    def send(self, parts: list[Part]) -> None:
        """Send, or keep for the next :meth:`pump` what cannot be sent without waiting.

        Does nothing while there is no connection. The parts must stay as they are until
        they are sent.
        """
        stream = self._stream
        if stream is None or self._closed:
            return
        many = len(parts) > _MOST_PARTS
        with self._sending:
            queue = self._queue
            if queue or many:
                queue.extend(parts)
            else:
                self._write(stream, parts, queue)
        if many:
            self._flush(stream)

    def _write(self, stream: Stream, parts: list[Part], queue: deque[Part]) -> None:
        """Send what can be sent without waiting, and put the rest into an empty queue.

        Where a signal comes in between, either nothing was sent and nothing is kept, or
        what was sent is accounted for.
        """
        counts: list[int] = []
        try:
            stream.write(parts, counts)
        except OSError as error:
            self._broken_while_sending(error)
        finally:
            if counts:
                self._keep(parts, counts[0], queue)

    def _keep(self, parts: list[Part], sent: int, queue: deque[Part]) -> None:
        if sent < 0:
            self._broken_while_sending(None)
            return
        for part in parts:
            size = len(part)
            if sent < size:
                queue.append(memoryview(part)[sent:])
                sent = 0
            else:
                sent -= size

    def _broken_while_sending(self, error: OSError | None) -> None:
        # The last words of the bridge may still be there to be read: reading finds out
        # that the connection is gone, once they are read.
        _log.debug("sending to %s failed: %s", self.address.endpoint, error)
        self._queue.clear()
        self._stream = None

    def send_frame(
        self,
        kind: FrameType,
        body: bytes = b"",
        channel: int = 0,
        ids: tuple[int, int] = (0, 0),
        sequence: int = 0,
        publication: int = 0,
    ) -> None:
        """Send a frame with a small body; as :meth:`send`."""
        self.send([pack_frame(kind, body, channel, *ids, sequence, publication)])

    def _flush(self, stream: Stream) -> bool:
        """Send what waits; return whether nothing waits any more."""
        with self._sending:
            while queue := self._queue:
                parts = [queue[index] for index in range(min(len(queue), _MOST_PARTS))]
                later = list(queue)[len(parts) :]
                kept: deque[Part] = deque()
                counts: list[int] = []
                try:
                    stream.write(parts, counts)
                except OSError as error:
                    self._broken_while_sending(error)
                    return True
                finally:
                    if counts:
                        self._keep(parts, counts[0], kept)
                        kept.extend(later)
                        self._queue = kept
                if len(kept) > len(later):
                    return False
        return True

    # ------------------------------------------------------------------- link frames

    def answer(self, frame: Frame, body: memoryview) -> bool:
        """Deal with a frame that concerns the link; return whether it was one.

        Raises:
            RLayError: The bridge says that the link ends, and why.
        """
        kind = frame.type
        if kind is FrameType.PING:
            self.send_frame(FrameType.PONG, bytes(body))
        elif kind is FrameType.PONG:
            self._owner.pong(body)
        elif kind is FrameType.ERROR:
            raise Note.decode(body).error()
        elif kind is FrameType.BYE:
            raise ConnectionResetError("the bridge said goodbye")
        else:
            return kind is FrameType.DRAIN
        return True

    # ----------------------------------------------------------------------- the end

    def close(self) -> None:
        """Send what waits, say goodbye and close. Twice is harmless.

        Another thread that waits in :meth:`pump` comes back from it.
        """
        if self._closed:
            return
        self._closed = True
        self._dialer.close()
        connection, self.connection, self._stream = self.connection, None, None
        if connection is None:
            return
        stream = connection.stream
        if self._forked:
            stream.abandon()
            return
        try:
            self._part(stream)
        except (OSError, RLayError):
            pass  # it is gone, or it says so
        finally:
            stream.shut()
            until = time.monotonic() + _FAREWELL_S
            while self._pumping and time.monotonic() < until:
                time.sleep(0.001)  # another thread is on its way out of recv
            stream.close()

    def _part(self, stream: Stream) -> None:
        """Say the last words, and wait until the bridge has heard them."""
        with self._sending:
            self._queue.append(pack_frame(FrameType.BYE, _BYE))
        until = time.monotonic() + _FAREWELL_S
        while not self._flush(stream):
            if time.monotonic() >= until:
                return
            stream.wait(0.05, writing=True)
        stream.finish()
        if self._pumping:
            return  # the other thread reads what is still to come
        # A connection that is closed with bytes unread takes the last words with it.
        room, counts = memoryview(bytearray(65_536)), [1]
        while counts[-1] and time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                stream.read(room, 0.05, counts)

    def drop(self) -> None:
        """Give the connection back at once, without a word. Twice is harmless."""
        self._closed = True
        self._dialer.close()
        connection, self.connection, self._stream = self.connection, None, None
        if connection is not None:
            connection.stream.close()

    def abandon(self) -> None:
        """Leave the connection to the parent, in a forked child."""
        self._forked = True
        connection, self.connection, self._stream = self.connection, None, None
        if connection is not None:
            connection.stream.abandon()
        self._dialer.abandon()
