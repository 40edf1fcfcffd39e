"""One connection, plain or TLS: bytes out, bytes in, and never a wait without a limit.

A plain one waits in ``recv`` itself, for at most a slice: that is one system call less
for each step than to poll first. Everything else does not wait at all.
"""

import contextlib
import ipaddress
import os
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any, Final, Protocol

from rlay.transport.waiting import SLICE_S

Part = bytes | memoryview

_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 10_000),
)
"""A dead machine is noticed within 11 s, whether we wait or have sent something."""
_JOINED_BYTES: Final = 16 * 1024
"""A TLS record holds that much: parts that fit go together, in one."""
_TIMEVAL: Final = struct.Struct("@ll")
_WAITS_IN_RECV: Final = hasattr(socket, "MSG_DONTWAIT") and hasattr(
    socket.socket, "sendmsg"
)
_DONTWAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)


class Stream(Protocol):
    """A connection that is being made, or is there.

    Attributes:
        certificate: The peer's, in DER; None without TLS.
        loopback: Whether it stays on this machine.
    """

    certificate: bytes | None
    loopback: bool

    def advance(self, wait_s: float) -> bool:
        """Go on connecting, waiting at most so long; return whether it is there.

        Raises:
            OSError: It failed; ``ssl.SSLError`` is one.
        """

    def read(self, room: memoryview, wait_s: float, counts: list[int]) -> None:
        """Receive into ``room``; append how many bytes, 0 at the end of the stream.

        Where this is broken off by a signal and nothing was appended, nothing was
        received. -1 is appended where nobody knows.

        Raises:
            BlockingIOError: Nothing came within ``wait_s`` seconds.
            OSError: The connection is broken.
        """

    def write(self, parts: Sequence[Part], counts: list[int]) -> None:
        """Send what can be sent without waiting; append how many bytes.

        Broken off by a signal, as :meth:`read`.

        Raises:
            OSError: The connection is broken.
        """

    def wait(self, wait_s: float, *, writing: bool) -> None:
        """Wait until there is something to read, or room to write if asked."""

    def shut(self) -> None:
        """End both directions; who waits in :meth:`read` wakes up."""

    def finish(self) -> None:
        """Say that nothing more will be written."""

    def close(self) -> None:
        """Give the descriptor back. Twice is harmless."""

    def abandon(self) -> None:
        """Give the descriptor back in a forked child; the parent's goes on."""


def begin(
    candidate: tuple[Any, ...], context: ssl.SSLContext | None, host: str
) -> Stream:
    """Begin to connect.

    Args:
        candidate: One of what ``getaddrinfo`` returned.
        context: For TLS; None for a plain connection.
        host: The name that the certificate must have.

    Raises:
        OSError: It failed at once.
    """
    family, kind, protocol, _, place = candidate
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        loopback = _is_loopback(place[0])
        _set_options(sock, loopback)
        with contextlib.suppress(BlockingIOError):
            sock.connect(place)
        if context is None:
            return PlainStream(sock, loopback)
        return TlsStream(sock, loopback, context, host)
    except BaseException:
        sock.close()
        raise


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _set_options(sock: socket.socket, loopback: bool) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted: list[tuple[str, int | bytes]] = [*_KEEPALIVE]
    if loopback:  # BBR paces there: large messages take half as long again
        wanted.append(("TCP_CONGESTION", b"cubic"))
    for name, value in wanted:
        with contextlib.suppress(AttributeError, OSError):  # not every system has them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _wait(sock: socket.socket, wait_s: float, *, reading: bool, writing: bool) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        wanted = (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0)
        poll.register(sock, wanted)
        return bool(poll.poll(max(0.0, wait_s) * 1000))
    reads, writes = [sock] if reading else [], [sock] if writing else []
    return any(select.select(reads, writes, writes, max(0.0, wait_s)))


class PlainStream:
    """A TCP connection; see :class:`Stream`."""

    certificate: bytes | None = None

    def __init__(self, sock: socket.socket, loopback: bool) -> None:
        """Take over a socket that is connecting."""
        self.loopback = loopback
        self._sock = sock
        self._connected = False

    def advance(self, wait_s: float) -> bool:
        """Go on connecting; see :class:`Stream`."""
        if self._connected:
            return True
        if not _wait(self._sock, wait_s, reading=False, writing=True):
            return False
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        self._connected = True
        if _WAITS_IN_RECV:
            seconds, rest = divmod(SLICE_S, 1)
            limit = _TIMEVAL.pack(int(seconds), int(rest * 1e6))
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._sock.setblocking(True)
        return True

    # A signal handler runs when the interpreter comes back from a call. ``extend`` and
    # ``map`` are one call: when the handler runs, the count stands in the list.

    def read(self, room: memoryview, wait_s: float, counts: list[int]) -> None:
        """Receive; see :class:`Stream`."""
        if wait_s >= SLICE_S and _WAITS_IN_RECV:
            counts.extend(map(self._sock.recv_into, (room,)))
            return
        if wait_s > 0 and not _wait(self._sock, wait_s, reading=True, writing=False):
            raise BlockingIOError
        counts.extend(map(self._sock.recv_into, (room,), (0,), (_DONTWAIT,)))

    def write(self, parts: Sequence[Part], counts: list[int]) -> None:
        """Send; see :class:`Stream`."""
        try:
            if _WAITS_IN_RECV:
                counts.extend(map(self._sock.sendmsg, (parts,), ((),), (_DONTWAIT,)))
            else:
                counts.extend(_send_each(self._sock, parts))
        except BlockingIOError:
            counts.append(0)

    def wait(self, wait_s: float, *, writing: bool) -> None:
        """Wait; see :class:`Stream`."""
        _wait(self._sock, wait_s, reading=True, writing=writing)

    def shut(self) -> None:
        """End both directions; see :class:`Stream`."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Say that nothing more will be written; see :class:`Stream`."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give the descriptor back."""
        self._sock.close()

    def abandon(self) -> None:
        """Give the descriptor back in a forked child."""
        self._sock.close()


class TlsStream:
    """A TLS connection; see :class:`Stream`."""

    def __init__(
        self,
        sock: socket.socket,
        loopback: bool,
        context: ssl.SSLContext,
        host: str,
    ) -> None:
        """Take over a socket that is connecting."""
        self.loopback = loopback
        self.certificate: bytes | None = None
        self._plain: PlainStream | None = PlainStream(sock, loopback)
        self._raw = sock
        self._context, self._host = context, host
        self._tls: ssl.SSLSocket | None = None

    @property
    def _sock(self) -> ssl.SSLSocket:
        if self._tls is None:
            raise OSError("the TLS handshake has not begun")
        return self._tls

    def advance(self, wait_s: float) -> bool:
        """Go on connecting; see :class:`Stream`."""
        if self.certificate is not None:
            return True
        if self._tls is None:
            assert self._plain is not None  # noqa: S101 - until the handshake begins
            if not self._plain.advance(wait_s):
                return False
            self._raw.setblocking(False)
            self._tls = self._context.wrap_socket(
                self._raw, server_hostname=self._host, do_handshake_on_connect=False
            )
            self._plain = None
        return self._shake(wait_s)

    def _shake(self, wait_s: float) -> bool:
        tls = self._sock
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            _wait(tls, wait_s, reading=True, writing=False)
            return False
        except ssl.SSLWantWriteError:
            _wait(tls, wait_s, reading=False, writing=True)
            return False
        self.certificate = tls.getpeercert(binary_form=True) or b""
        return True

    def read(self, room: memoryview, wait_s: float, counts: list[int]) -> None:
        """Receive; see :class:`Stream`."""
        tls = self._sock
        if wait_s > 0 and not tls.pending():
            _wait(tls, wait_s, reading=True, writing=False)
        try:
            counts.append(tls.recv_into(room))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # half a record, or none
            raise BlockingIOError from None
        except OSError:
            raise
        except BaseException:
            counts.append(-1)
            raise

    def write(self, parts: Sequence[Part], counts: list[int]) -> None:
        """Send; see :class:`Stream`."""
        try:
            counts.extend(_send_each(self._sock, parts))
        except OSError:
            raise
        except BaseException:
            counts.append(-1)
            raise

    def wait(self, wait_s: float, *, writing: bool) -> None:
        """Wait; see :class:`Stream`."""
        if not self._sock.pending():
            _wait(self._sock, wait_s, reading=True, writing=writing)

    def shut(self) -> None:
        """End both directions; see :class:`Stream`."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls or self._raw, socket.SHUT_RDWR)

    def finish(self) -> None:
        """Say that nothing more will be written; see :class:`Stream`."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls or self._raw, socket.SHUT_WR)

    def close(self) -> None:
        """Give the descriptor back."""
        (self._tls or self._raw).close()

    def abandon(self) -> None:
        """Give the descriptor back in a forked child, without a word to the peer."""
        self.close()


def _send_each(sock: socket.socket, parts: Sequence[Part]) -> tuple[int]:
    """Send one part after the other, small ones together; return how many bytes."""
    if len(parts) > 1 and sum(map(len, parts)) <= _JOINED_BYTES:
        parts = [b"".join(parts)]
    sent = 0
    for part in parts:
        rest = memoryview(part)
        while rest:
            try:
                count = sock.send(rest)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return (sent,)
            sent += count
            rest = rest[count:]
    return (sent,)
