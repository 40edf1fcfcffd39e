"""A blocking TCP ping-pong of a step's bytes: what bridges on one machine are held to.

Usage of the other end: ``python -m rlay.cli.raw_tcp PORT REQUEST_BYTES REPLY_BYTES``.
It connects to this machine's port, and answers each request with a reply until the
connection ends.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Final

from rlay.cli.machines import NotStarted
from rlay.processes.child import ChildProcess, StartFailed

_START_LIMIT_S: Final = 30.0
_LOOK_S: Final = 0.2
_REPLY_LIMIT_S: Final = 10.0
_LOOPBACK: Final = "127.0.0.1"
_MODULE: Final = "rlay.cli.raw_tcp"


def tune(sock: socket.socket) -> None:
    """Send at once; and without BBR, which paces even on loopback."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(AttributeError, OSError):  # not every system has it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def receive_exactly(sock: socket.socket, room: memoryview) -> None:
    """Fill ``room``.

    Raises:
        EOFError: The other end is gone.
    """
    filled = 0
    while filled < len(room):
        size = sock.recv_into(room[filled:])
        if not size:
            raise EOFError("the other end of the raw connection is gone")
        filled += size


class RawTcp:
    """The end that asks.

    Attributes:
        child: The process of the other end.
    """

    def __init__(
        self, child: ChildProcess, sock: socket.socket, sizes: tuple[int, int]
    ) -> None:
        """Take over a connection.

        Args:
            child: The process of the other end.
            sock: Leads to it.
            sizes: Of a request and of a reply, in bytes.
        """
        self.child = child
        self._sock = sock
        self._request = bytes(sizes[0])
        self._room = memoryview(bytearray(sizes[1]))

    def trip(self) -> None:
        """Send a request and receive its reply."""
        self._sock.sendall(self._request)
        receive_exactly(self._sock, self._room)


@contextlib.contextmanager
def raw_tcp(request_bytes: int, reply_bytes: int) -> Iterator[RawTcp]:
    """Start the other end in a process of its own, on loopback.

    Raises:
        NotStarted: That is not possible here.
    """
    sizes = (request_bytes, reply_bytes)
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server((_LOOPBACK, 0)))
            port = listener.getsockname()[1]
            words = ["-m", _MODULE, *map(str, (port, *sizes))]
            child = ChildProcess.start([sys.executable, *words], echo=None)
            stack.callback(child.end)
            sock = stack.enter_context(_accept(listener, child))
        except (OSError, StartFailed) as error:
            raise NotStarted(f"the raw TCP connection: {error}") from error
        tune(sock)
        sock.settimeout(_REPLY_LIMIT_S)
        yield RawTcp(child, sock, sizes)


def _accept(listener: socket.socket, child: ChildProcess) -> socket.socket:
    listener.settimeout(_LOOK_S)
    until = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0]
        ending = child.poll()
        if ending is not None:
            raise NotStarted(f"the other end of raw TCP {ending.with_lines()}")
    raise NotStarted(f"the other end of raw TCP did not come in {_START_LIMIT_S:g} s")


def answer(port: int, request_bytes: int, reply_bytes: int) -> None:
    """Be the other end, until the connection ends."""
    room, reply = memoryview(bytearray(request_bytes)), bytes(reply_bytes)
    with socket.create_connection((_LOOPBACK, port), timeout=_START_LIMIT_S) as sock:
        tune(sock)
        sock.settimeout(None)
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                receive_exactly(sock, room)
                sock.sendall(reply)


if __name__ == "__main__":
    answer(*map(int, sys.argv[1:]))
