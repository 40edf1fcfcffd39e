"""WebSocket between socket and frames: for browsers, and engines without raw sockets.

The binary messages, joined, are the stream of frames; their borders mean nothing, so
each piece goes on as it comes and no message is ever put together here.

Rule 1: a web page may attach only if its origin is allowed: any page that is looked at
on this machine can dial 127.0.0.1.
Rule 2: a stranger is read 16 KiB of, and no more; see :meth:`WebSocketFilter.trust`.
"""

import http
import logging
import re
from collections.abc import Sequence
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from rlay.errors import AuthError, PeerLost, RemoteProtocolError, RLayError

SUBPROTOCOL: Final = "rlay.1"
MAX_MESSAGE_BYTES: Final = 1024 * 1024
MAX_STRANGER_BYTES: Final = 16 * 1024
"""Of the request, whose cookies may be long, and of the greeting."""
_SENT_BYTES: Final = 32 * 1024
"""Of one message that we send: some engines refuse more than 64 KiB by default."""

# What pages on this machine have. A page from a file says "null", as does any page that
# hides where it is from: see OriginPolicy.
_OF_THIS_MACHINE: Final = re.compile(
    r"file://|https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?",
    re.IGNORECASE,
)
_HIDDEN: Final = "null"

# The library tells of every connection; the bridge has lines of its own for that.
_silent = logging.Logger("rlay.bridge.websocket", logging.CRITICAL + 1)


class OriginPolicy:
    """Which web pages may attach."""

    def __init__(self, allowed: Sequence[str], *, loopback: bool, token: bool) -> None:
        """Decide by what the bridge was told.

        Args:
            allowed: Origins, such as ``https://play.example``; ``*`` is any. Where
                there are some, they are all.
            loopback: Whether the listener is reached from this machine alone.
            token: Whether a token is demanded.
        """
        self._allowed = frozenset(origin.lower().rstrip("/") for origin in allowed)
        self._loopback = loopback
        self._token = token

    def accepts(self, origin: str | None) -> bool:
        """Return whether a page of this origin may attach.

        None is no page: browsers always say an origin, other programs never.
        """
        if origin is None or "*" in self._allowed:
            return True
        if self._allowed:
            return origin.lower() in self._allowed
        if not self._loopback:
            return False
        if origin == _HIDDEN:
            # A page from a file, or a frame in which a page of anybody's hides. Only
            # the first can know the token.
            return self._token
        return _OF_THIS_MACHINE.fullmatch(origin) is not None


class WebSocketFilter:
    """The listener's end of one WebSocket: bytes of a socket in, bytes of frames out.

    Attributes:
        open: Whether the handshake is done.
    """

    def __init__(self, policy: OriginPolicy) -> None:
        """Begin with the request, which has not been read yet."""
        self.open = False
        self._policy = policy
        self._protocol = ServerProtocol(
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            extensions=None,  # no compression: frames are not repetitive, and bombs are
            max_size=MAX_MESSAGE_BYTES,
            logger=_silent,
        )
        self._error: RLayError | None = None
        self._unread_bytes = MAX_STRANGER_BYTES
        self._trusted = False

    def trust(self) -> None:
        """Read on without limit: the peer has proved who it is."""
        self._trusted = True

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes from the socket; return pieces of the stream of frames.

        Whatever it raises, :meth:`data_to_send` has what the peer is still to get.

        Raises:
            AuthError: Its page may not attach, or it says too much for a stranger.
            RemoteProtocolError: It does not speak WebSocket as it should, or sent text.
            PeerLost: It said goodbye.
        """
        self.check()
        self._count(len(data))
        self._protocol.receive_data(data)
        found, error = self._events()
        self._error = error or self._failure()
        if not found:
            self.check()
        return found

    def check(self) -> None:
        """Raise what came behind the bytes that :meth:`receive` returned, if anything.

        Raises:
            RLayError: As :meth:`receive`.
        """
        if self._error is not None:
            raise self._error

    def _events(self) -> tuple[list[bytes], RLayError | None]:
        """Return pieces of the stream, and what ends it."""
        found = []
        for event in self._protocol.events_received():
            error = None
            if isinstance(event, Request):
                error = self._answer(event)
            elif isinstance(event, Frame):
                if event.opcode in (Opcode.BINARY, Opcode.CONT):
                    if event.data:
                        found.append(bytes(event.data))
                else:
                    error = self._control(event)
            if error is not None:
                return found, error
        return found, None

    def send(self, data: bytes | memoryview) -> None:
        """Take bytes of the stream of frames."""
        if self._error is not None or not self.open:
            return  # the peer is not there any more, and receive() has said so
        view = memoryview(data).cast("B")
        for begin in range(0, len(view), _SENT_BYTES):
            self._protocol.send_binary(view[begin : begin + _SENT_BYTES])

    def close(self) -> None:
        """Say goodbye, if there is anybody to say it to. Twice is harmless."""
        if self.open and self._error is None:
            self._error = PeerLost("the WebSocket was closed by us")
            self._protocol.send_close(CloseCode.GOING_AWAY)

    def data_to_send(self) -> bytes:
        """Return what must go to the socket, once."""
        return b"".join(self._protocol.data_to_send())

    # ----------------------------------------------------------------------- within

    def _count(self, size_bytes: int) -> None:
        if self._trusted:
            return
        self._unread_bytes -= size_bytes
        if self._unread_bytes < 0:
            if self.open:
                self._protocol.fail(CloseCode.POLICY_VIOLATION)
            self._error = AuthError(
                f"it sent {MAX_STRANGER_BYTES} bytes over WebSocket without proving "
                "who it is"
            )
            raise self._error

    def _answer(self, request: Request) -> RLayError | None:
        """Accept the handshake; or say why not, to the peer too."""
        protocol = self._protocol
        if protocol.eof_sent:  # what came behind the request made an end already
            return self._failure() or RemoteProtocolError("it went on after a request")
        origins = request.headers.get_all("Origin")
        origin = ", ".join(origins) if origins else None
        if not self._policy.accepts(origin):
            text = f"pages of {origin!r} may not attach here"
            answer = protocol.reject(http.HTTPStatus.FORBIDDEN, text + "\n")
            protocol.send_response(answer)
            return AuthError(f"{text}; to allow them: --allow-origin {origin}")
        answer = protocol.accept(request)
        protocol.send_response(answer)
        self.open = answer.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS
        if self.open:
            return None
        if answer.status_code == http.HTTPStatus.UPGRADE_REQUIRED:
            return RemoteProtocolError("it speaks HTTP, and asked for no WebSocket")
        return RemoteProtocolError(
            f"its WebSocket handshake is wrong: {protocol.handshake_exc} (the "
            f"subprotocol is {SUBPROTOCOL})"
        )

    def _control(self, frame: Frame) -> RLayError | None:
        """Return what a frame that holds no data ends, if anything."""
        if frame.opcode is Opcode.TEXT:
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "binary messages only")
            return RemoteProtocolError(
                "it sent a text message: frames go in binary ones (in a browser: "
                "send(ArrayBuffer))"
            )
        if frame.opcode is Opcode.CLOSE:
            return PeerLost(f"it closed the WebSocket ({self._protocol.close_rcvd})")
        return None

    def _failure(self) -> RLayError | None:
        """Return what the library found wrong, if anything."""
        protocol = self._protocol
        if protocol.parser_exc is not None:
            return RemoteProtocolError(f"it broke WebSocket: {protocol.parser_exc}")
        if protocol.handshake_exc is not None:
            return RemoteProtocolError(f"no WebSocket: {protocol.handshake_exc}")
        return None
