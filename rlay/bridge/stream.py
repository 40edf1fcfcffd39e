"""A socket on the loop: plain, or through layers such as TLS and WebSocket."""

import contextlib
import os
import socket
import ssl
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from rlay.errors import AuthError, PeerLost, SlowPeer

if sys.platform != "win32":
    import fcntl
    import termios

_READ_BYTES: Final = 64 * 1024
_MOST_PENDING_BYTES: Final = 16 * 1024 * 1024
"""Of what layers made: far more than one batch of frames."""
_READS: Final = 8
"""How often one link may be read before the others have their turn."""


class Layer(Protocol):
    """Turns bytes of a socket into bytes of a stream, and back."""

    def receive(self, data: bytes) -> Sequence[bytes]:
        """Take bytes from below; return what came out of them."""

    def check(self) -> None:
        """Raise what ended the stream behind the bytes that :meth:`receive` returned.

        Raises:
            RLayError: As :meth:`receive`.
        """

    def send(self, data: bytes) -> None:
        """Take bytes from above."""

    def data_to_send(self) -> bytes:
        """Return what must go below, once."""

    def close(self) -> None:
        """Say goodbye to the other side, as far as it is there."""


class TlsLayer:
    """TLS over memory, so that the bridge has one way of doing I/O.

    Attributes:
        certificate: The peer's certificate in DER once the handshake is done.
        ready: Whether the handshake is done.
    """

    def __init__(
        self, context: ssl.SSLContext, *, server: bool, hostname: str | None = None
    ) -> None:
        """Begin a handshake."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server,
            server_hostname=hostname,
        )
        self.ready = False
        self.certificate: bytes | None = None
        self._kept: list[bytes] = []
        self._shake()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise AuthError(_tls_text(error)) from error
        self.ready = True
        self.certificate = self._tls.getpeercert(binary_form=True)
        for data in self._kept:
            self._tls.write(data)
        self._kept.clear()

    def receive(self, data: bytes) -> list[bytes]:
        """Take ciphertext; return plain text.

        Raises:
            AuthError: The handshake failed.
            PeerLost: The peer ended the connection, or broke TLS.
        """
        if data:
            self._incoming.write(data)
        if not self.ready:
            self._shake()
            if not self.ready:
                return []
        found: list[bytes] = []
        try:
            while plain := self._tls.read(_READ_BYTES):
                found.append(plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLZeroReturnError) and found:
                return found
            raise PeerLost(_tls_text(error)) from error
        return found

    def check(self) -> None:
        """Do nothing: what follows on the end of TLS is the end of the connection."""

    def send(self, data: bytes | memoryview) -> None:
        """Take plain text; before the handshake is done it is kept.

        Raises:
            PeerLost: The peer ended TLS.
        """
        if not self.ready:
            self._kept.append(bytes(data))
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise PeerLost(_tls_text(error)) from error

    def data_to_send(self) -> bytes:
        """Return ciphertext for the socket."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say that nothing follows, so that the end is not taken for a cut."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()  # it raises: the answer is not awaited


def _tls_text(error: ssl.SSLError) -> str:
    reason = getattr(error, "verify_message", "") or error.reason or str(error)
    return f"TLS failed: {str(reason).lower().replace('_', ' ')}"


class Stream:
    """A non-blocking socket.

    Attributes:
        sock: The socket.
        layers: From the socket upwards; none for plain frames.
        sent: Bytes that the socket took.
        got: Bytes that came.
        paused: Whether nothing is read for now.
    """

    def __init__(self, loop: AbstractEventLoop, sock: socket.socket) -> None:
        """Take over a connected socket."""
        sock.setblocking(False)
        self.loop = loop
        self.sock = sock
        self.layers: list[Layer] = []
        self.sent = self.got = 0
        self._fd = sock.fileno()
        self._pending = b""
        self._ready_to_read: Callable[[], None] = lambda: None
        self._ready_to_write: Callable[[], None] = lambda: None
        self.paused = False
        self._room_wanted = self._writer_on = False

    def listen(
        self, ready_to_read: Callable[[], None], ready_to_write: Callable[[], None]
    ) -> None:
        """Call one of the two whenever the socket is ready for it."""
        self._ready_to_read, self._ready_to_write = ready_to_read, ready_to_write
        self.loop.add_reader(self._fd, ready_to_read)

    def pause(self, seconds: float) -> None:
        """Read nothing for so long."""
        if self._fd < 0 or self.paused:
            return
        self.paused = True
        self.loop.remove_reader(self._fd)
        self.loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self.paused = False
        if self._fd >= 0:
            self.loop.add_reader(self._fd, self._ready_to_read)

    def wants_room(self, wanted: bool) -> None:
        """Say whether to be told when the socket takes more."""
        self._room_wanted = wanted
        self._watch_room()

    def _watch_room(self) -> None:
        watched = self._room_wanted or bool(self._pending)
        if watched is self._writer_on or self._fd < 0:
            return
        self._writer_on = watched
        if watched:
            self.loop.add_writer(self._fd, self._writable)
        else:
            self.loop.remove_writer(self._fd)

    def _writable(self) -> None:
        self._ready_to_write()

    # -------------------------------------------------------------------- reading

    def read(
        self,
        buffer: Callable[[], memoryview],
        behind: Callable[[], memoryview | None],
        received: Callable[[int], None],
    ) -> bool:
        """Receive into two buffers, and say how much; plain sockets only.

        Returns:
            False where the peer has ended the stream.

        Raises:
            PeerLost: The connection broke.
        """
        recv_into, recvmsg_into = self.sock.recv_into, self.sock.recvmsg_into
        for _ in range(_READS):
            room, more = buffer(), behind()
            wanted = len(room)
            try:
                if more is None:
                    size = recv_into(room)
                else:
                    wanted += len(more)
                    size = recvmsg_into((room, more))[0]
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                raise PeerLost(f"the connection broke: {error.strerror}") from error
            if not size:
                return False
            self.got += size
            received(size)
            if self._fd < 0 or self.paused:  # what came ended or paused the link
                return True
            if size < wanted:
                break
        self._look_whether_broken()
        return True

    def _look_whether_broken(self) -> None:
        """Raise if the connection broke behind the bytes that came.

        libuv tells of both at once, and only once: it then stops watching.
        """
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise PeerLost(f"the connection broke: {os.strerror(error)}")

    def read_layered(self, feed: Callable[[bytes], None]) -> bool:
        """Receive through the layers, and feed what comes out; as :meth:`read`."""
        for _ in range(_READS):
            try:
                data = self.sock.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                raise PeerLost(f"the connection broke: {error.strerror}") from error
            if not data:
                return False
            self.got += len(data)
            self.climb(data, 0, feed)
            if self._fd < 0 or self.paused:  # what came ended or paused the link
                return True
            self.flush_layers()
            if len(data) < _READ_BYTES:
                break
        self._look_whether_broken()
        return True

    def climb(self, data: bytes, start: int, feed: Callable[[bytes], None]) -> None:
        """Pass bytes upwards through the layers from ``start`` on.

        Raises:
            RLayError: A layer ends the stream; what came before that was fed.
        """
        chunks: Sequence[bytes] = [data]
        for layer in self.layers[start:]:
            chunks = [out for chunk in chunks for out in layer.receive(chunk)]
        for chunk in chunks:
            feed(chunk)
        for layer in self.layers[start:]:
            layer.check()

    # -------------------------------------------------------------------- writing

    def write(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Give buffers to the socket; return how many bytes it took, 0 if it is full.

        Raises:
            PeerLost: The connection broke.
        """
        if self.layers:
            return self._write_layered(buffers)
        try:
            size = self.sock.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise PeerLost(f"the connection broke: {error.strerror}") from error
        self.sent += size
        return size

    def _write_layered(self, buffers: Sequence[bytes | memoryview]) -> int:
        if not self.flush_layers():
            return 0
        data = b"".join(buffers)
        self.layers[-1].send(data)
        self.flush_layers()
        return len(data)

    def flush_layers(self) -> bool:
        """Give the socket what the layers have made; return whether it took all.

        Raises:
            PeerLost: The connection broke.
        """
        for index in range(len(self.layers) - 1, 0, -1):
            if data := self.layers[index].data_to_send():
                self.layers[index - 1].send(data)
        if self.layers:
            self._pending += self.layers[0].data_to_send()
        if self._pending:
            try:
                size = self.sock.send(self._pending)
            except (BlockingIOError, InterruptedError):
                size = 0
            except OSError as error:
                raise PeerLost(f"the connection broke: {error.strerror}") from error
            self.sent += size
            self._pending = self._pending[size:]
        if len(self._pending) > _MOST_PENDING_BYTES:  # answers that nobody reads
            raise SlowPeer(f"{len(self._pending)} bytes wait for the other side")
        self._watch_room()
        return not self._pending

    @property
    def pending(self) -> bool:
        """Whether bytes that the layers have made wait for the socket."""
        return bool(self._pending)

    def unsent_bytes(self) -> int | None:
        """Return how much the socket took that has not arrived; None if unknown."""
        if self._fd < 0 or not sys.platform.startswith("linux"):
            return None
        count = bytearray(4)
        try:
            fcntl.ioctl(self._fd, termios.TIOCOUTQ, count)
        except OSError:
            return None
        return int.from_bytes(count, sys.byteorder)

    def close(self) -> None:
        """Close the socket. Twice is harmless."""
        if self._fd >= 0:
            self._say_goodbye()
            self.loop.remove_reader(self._fd)
            self.loop.remove_writer(self._fd)
            self._fd = -1
            self.sock.close()

    def _say_goodbye(self) -> None:
        """Send what the layers still have, such as why the other side is refused."""
        with contextlib.suppress(PeerLost):
            for layer in reversed(self.layers):
                layer.close()
                self.flush_layers()

    @property
    def secure(self) -> bool:
        """Whether it goes through TLS."""
        return any(isinstance(layer, TlsLayer) for layer in self.layers)
