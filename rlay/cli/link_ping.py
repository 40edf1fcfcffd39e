"""Round trips of a frame to the bridge of an address, beside the channel's own link."""

import contextlib
import secrets
import time
from typing import Final

from rlay.errors import ConnectTimeout, PeerLost
from rlay.protocol.addresses import parse_address
from rlay.protocol.constants import CloseReason, PeerState
from rlay.protocol.frames import Frame, FrameType, pack_frame
from rlay.protocol.link_messages import Ending
from rlay.transport.socket_dial import Connection, Dialer, draw_identity
from rlay.transport.waiting import SLICE_S

_CONNECT_LIMIT_S: Final = 10.0
_REPLY_LIMIT_S: Final = 10.0
_FAREWELL_S: Final = 1.0
_KEPT_S: Final = 3.0
"""A link on which nothing comes from us for some heartbeats is ended by the bridge."""
_TOKEN_BYTES: Final = 8
_ROOM_BYTES: Final = 64 * 1024
_BYE: Final = Ending(PeerState.CLOSED, CloseReason.CLOSED).encode()


class LinkPing:
    """A link of its own, over which frames go to the bridge and back."""

    def __init__(self, address: str) -> None:
        """Take note of where the bridge is; see :meth:`connect`."""
        self._used_s = 0.0
        self._answers: list[tuple[FrameType, bytes]] = []
        self._connection: Connection | None = None
        self._dialer = Dialer(
            parse_address(address, group=True),
            draw_identity(),
            lambda frame: None,
            self._deliver,
        )

    def connect(self) -> None:
        """Connect, if that was not done or is long ago: nobody keeps the link alive.

        Raises:
            ConnectTimeout: The bridge does not greet within 10 s.
            AuthError: It and we do not trust each other.
            VersionMismatch: It speaks another version.
        """
        now = time.monotonic()
        if now - self._used_s > _KEPT_S:
            self.close()
        if self._connection is None:
            self._connection = self._dial(now + _CONNECT_LIMIT_S)

    def _dial(self, until: float) -> Connection:
        while (connection := self._dialer.advance(SLICE_S)) is None:
            if time.monotonic() > until:
                raise ConnectTimeout(
                    f"the bridge of {self._dialer.address} did not greet within "
                    f"{_CONNECT_LIMIT_S:g} s: {self._dialer.problem}"
                )
        return connection

    def close(self) -> None:
        """Leave. Twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._leave(connection)
        self._dialer.close()

    def _leave(self, connection: Connection) -> None:
        """Say goodbye, and wait until the bridge has heard it."""
        room, counts = memoryview(bytearray(_ROOM_BYTES)), [1]
        until = time.monotonic() + _FAREWELL_S
        with contextlib.suppress(OSError):
            connection.stream.write([pack_frame(FrameType.BYE, _BYE)], [])
            connection.stream.finish()
            while counts[-1] and time.monotonic() < until:
                with contextlib.suppress(BlockingIOError):
                    connection.stream.read(room, SLICE_S, counts)
        connection.stream.close()

    def trip(self) -> None:
        """Send a frame that is answered at once, and await the answer.

        Raises:
            PeerLost: There is none within 10 s, or the connection ended.
        """
        token = secrets.token_bytes(_TOKEN_BYTES)
        self._send(pack_frame(FrameType.PING, token))
        until = time.monotonic() + _REPLY_LIMIT_S
        while (FrameType.PONG, token) not in self._answers:
            if time.monotonic() > until:
                raise PeerLost(f"no answer to a PING within {_REPLY_LIMIT_S:g} s")
            self._receive()
        self._answers.clear()
        self._used_s = time.monotonic()

    def _deliver(self, frame: Frame, body: memoryview) -> None:
        if frame.type is FrameType.PING:
            self._send(pack_frame(FrameType.PONG, bytes(body)))
        elif frame.type is FrameType.PONG:
            self._answers.append((frame.type, bytes(body)))

    def _send(self, data: bytes) -> None:
        connection, sent = self._connection, [0]
        if connection is None:
            raise PeerLost("the link of the PINGs is not open")
        try:
            connection.stream.write([data], sent)
        except OSError as error:
            raise PeerLost(f"the link of the PINGs broke: {error}") from error
        if sum(sent) < len(data):  # a frame of some bytes, and one at a time
            raise PeerLost("the link of the PINGs takes no more bytes")

    def _receive(self) -> None:
        connection, counts = self._connection, list[int]()
        if connection is None:
            raise PeerLost("the link of the PINGs is not open")
        try:
            connection.stream.read(connection.decoder.buffer(), SLICE_S, counts)
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerLost(f"the link of the PINGs broke: {error}") from error
        if not counts[0]:
            raise PeerLost("the bridge ended the link of the PINGs")
        connection.decoder.received(counts[0])
