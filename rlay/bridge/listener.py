"""Accepting links: few strangers at a time, for a short time."""

import logging
import os
import socket
import ssl
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from typing import Final

from rlay.bridge.link import Link
from rlay.bridge.stranger_log import StrangerLog
from rlay.bridge.stream import Stream, TlsLayer
from rlay.bridge.tcp import tune
from rlay.bridge.websocket import OriginPolicy, WebSocketFilter
from rlay.errors import AuthError, LocalProtocolError

_log = logging.getLogger("rlay.bridge.listener")

GREETING_LIMIT_S: Final = 5.0
MAX_STRANGERS: Final = 64
_BACKLOG: Final = 128
_PEEK_BYTES: Final = 4
_TLS_HELLO: Final = 0x16
_HTTP: Final = b"G"  # of "GET": nothing else that we know begins with it

MakeLink = Callable[[Stream, str, bytes], Link]
"""Makes a link of a stream, an address, and the digest of our certificate."""


class Listener:
    """One listening socket.

    Attributes:
        address: Where it listens: the port is the real one.
        policy: Which web pages may attach.
        log: Where it is told who is turned away.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: socket.socket,
        make_link: MakeLink,
        *,
        may_accept: Callable[[], bool],
        context: Callable[[], ssl.SSLContext | None],
        digest: Callable[[], bytes],
        policy: OriginPolicy,
        log: StrangerLog,
    ) -> None:
        """Take over a bound socket.

        Args:
            loop: The bridge's.
            sock: Bound, not yet listening.
            make_link: Makes a link of what was accepted.
            may_accept: Whether there is room for one more link.
            context: Returns the TLS context that is in force; None without TLS.
            digest: Returns the digest of our certificate.
            policy: Which web pages may attach.
            log: Where it is told who is turned away.
        """
        self.policy = policy
        self.log = log
        self._loop = loop
        self._sock = sock
        self._make_link = make_link
        self._may_accept = may_accept
        self._context = context
        self._digest = digest
        self._strangers: dict[Stream, _Stranger] = {}
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self.address = address_text(sock.getsockname())
        loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting. Twice is harmless."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    @property
    def strangers(self) -> int:
        """How many have not proved yet who they are."""
        return len(self._strangers)

    def _accept(self) -> None:
        try:
            sock, address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:  # no descriptors: wait for some to be given back
            _log.warning("cannot accept: %s", error.strerror or os.strerror(0))
            self._pause()
            return
        where = address_text(address)
        if len(self._strangers) >= MAX_STRANGERS:
            # Who has something to say does so at once: the oldest is the likeliest
            # never to, and must not keep the others out.
            next(iter(self._strangers.values())).crowded_out()
        if not self._may_accept():
            self.log.refused(where, "there are too many connections", "full")
            sock.close()
            return
        try:
            tune(sock)
            self._greet(Stream(self._loop, sock), where)
        except Exception:
            _log.exception("a fault of this bridge, as it accepted %s", where)
            sock.close()

    def _pause(self) -> None:
        fd = self._sock.fileno()
        self._loop.remove_reader(fd)
        self._loop.call_later(1.0, self._resume)

    def _resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _greet(self, stream: Stream, where: str) -> None:
        stranger = self._strangers[stream] = _Stranger(self, stream, where)
        stranger.timer = self._loop.call_later(GREETING_LIMIT_S, stranger.too_slow)
        stream.listen(stranger.look, lambda: None)

    def known(self, stream: Stream) -> None:
        """Take note that somebody has proved who it is, or is gone."""
        stranger = self._strangers.pop(stream, None)
        if stranger is not None and stranger.timer is not None:
            stranger.timer.cancel()

    def link_for(self, stream: Stream, where: str) -> Link:
        """Make a link of a stream that speaks frames."""
        return self._make_link(stream, where, self._digest() if stream.secure else b"")

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the TLS context that is in force."""
        return self._context()


class _Stranger:
    """Somebody who was accepted and has not greeted yet: what does it speak?"""

    def __init__(self, listener: Listener, stream: Stream, where: str) -> None:
        self._listener = listener
        self._stream = stream
        self._where = where
        self._link: Link | None = None
        self.timer: TimerHandle | None = None

    def too_slow(self) -> None:
        self._refuse(f"it said nothing that we know within {GREETING_LIMIT_S:g} s")

    def crowded_out(self) -> None:
        self._refuse(f"it did not say who it is, and {MAX_STRANGERS} others came")

    def _refuse(self, why: str) -> None:
        self._listener.known(self._stream)
        if self._link is not None:
            self._link.end(AuthError(why))  # which is told where links end
        else:
            self._listener.log.refused(self._where, why, "stranger")
            self._stream.close()

    def look(self) -> None:
        """Look at the first bytes without taking them."""
        try:
            self._look()
        except Exception:
            _log.exception("a fault of this bridge, as it looked at %s", self._where)
            self._refuse("a fault of this bridge")

    def _look(self) -> None:
        try:
            first = self._stream.sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        if not first:
            self._listener.known(self._stream)
            self._stream.close()
            return
        context = self._listener.tls_context()
        if first[0] == _TLS_HELLO:
            if context is None:
                self._refuse("it speaks TLS, and this bridge has no certificate")
                return
            self._stream.layers.append(TlsLayer(context, server=True))
            self._stream.layers.append(FirstByte(self._stream, self._listener.policy))
        elif context is not None:
            self._refuse("it does not speak TLS, and this bridge demands it")
            return
        elif first[:1] == _HTTP:
            self._stream.layers.append(WebSocketFilter(self._listener.policy))
        elif not b"RLFR".startswith(first[:4]):
            self._refuse(f"it does not speak RLay: it began with {first!r}")
            return
        self._become_link()

    def _become_link(self) -> None:
        link = self._link = self._listener.link_for(self._stream, self._where)
        on_end, on_up = link.on_end, link.on_up

        def ended(link: Link) -> None:
            self._listener.known(self._stream)
            on_end(link)

        def up(link: Link) -> None:
            self._listener.known(self._stream)
            for layer in self._stream.layers:
                if isinstance(layer, WebSocketFilter):
                    layer.trust()
            on_up(link)

        link.on_end, link.on_up = ended, up
        link.read()


class FirstByte:
    """Above TLS, where nobody can look without taking: frames, or WebSocket?

    It is gone from the stream when the first byte has told.
    """

    def __init__(self, stream: Stream, policy: OriginPolicy) -> None:
        """Stand on top of a stream's layers."""
        self._stream = stream
        self._policy = policy

    def receive(self, data: bytes) -> Sequence[bytes]:
        """Make place for whoever understands this; return what that makes of it."""
        layers = self._stream.layers
        if layers[-1] is not self:  # more of what came with the first byte
            found = layers[-1]
            return found.receive(data) if isinstance(found, WebSocketFilter) else [data]
        layers.pop()
        if data[:1] != _HTTP:
            return [data]
        websocket = WebSocketFilter(self._policy)
        layers.append(websocket)
        return websocket.receive(data)

    def check(self) -> None:
        """Do nothing: it has told at once."""

    def send(self, data: bytes) -> None:
        """Refuse: who accepts does not speak first."""
        raise LocalProtocolError("the listener has nothing to say yet")

    def data_to_send(self) -> bytes:
        """Return nothing."""
        return b""

    def close(self) -> None:
        """Say nothing."""


def address_text(address: "tuple[object, ...]") -> str:
    """Write a socket's address as HOST:PORT."""
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


__all__ = ["GREETING_LIMIT_S", "MAX_STRANGERS", "Listener", "address_text"]
