"""What is set on every TCP connection, where the system has it."""

import contextlib
import socket
from typing import Final

_OPTIONS: Final = (
    ("TCP_NODELAY", 1),
    # Both are needed to notice a machine that is gone: keepalive while nothing is on
    # the way, the user time-out while something is.
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 10_000),
)


def tune(sock: socket.socket) -> None:
    """Set the options; what a system does not have is left out."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        number = getattr(socket, name, None)
        if number is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, number, value)
    congestion = getattr(socket, "TCP_CONGESTION", None)
    if congestion is not None and _is_loopback(sock):
        # BBR, the default of some systems, paces even where there is no network.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, congestion, b"cubic")


def _is_loopback(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        host = str(sock.getpeername()[0])
        return host == "::1" or host.startswith(("127.", "::ffff:127."))
    return False
