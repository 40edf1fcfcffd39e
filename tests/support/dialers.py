"""Dialers of a bridge that are in the test's own process, and do as they are told."""

from __future__ import annotations

import socket
import ssl

from rlay.errors import PeerLost
from rlay.protocol.frames import Frame, FrameDecoder
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    Role,
)

LIMIT_S = 20.0
IDENTITY = LinkIdentity(Role.BRIDGE, 4711, "tests", "tests", LinkCapability.HEARTBEAT)


class RawDialer:
    """One connection to a bridge; a context manager.

    Attributes:
        sock: The socket, or the TLS socket.
        sent: Every byte of ours.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.sock: socket.socket = socket.create_connection((host, port), LIMIT_S)
        self.sent = b""
        if context is not None:
            try:
                self.sock = context.wrap_socket(self.sock, server_hostname=host)
            except BaseException:
                self.sock.close()
                raise

    def __enter__(self) -> RawDialer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)
        self.sent += data

    def greet(self, token: bytes | None, certificate: bytes = b"") -> DialerGreeting:
        """Greet, and return the greeting when it is done.

        Raises:
            PeerLost: The listener ended the connection before.
            RLayError: The greeting failed.
        """
        greeting = DialerGreeting(IDENTITY, token, crc=False, certificate=certificate)

        def deliver(frame: Frame, body: memoryview) -> None:
            if not greeting.done:
                self.send(greeting.receive(frame, body))

        decoder = FrameDecoder(lambda frame: None, deliver)
        self.send(greeting.start())
        while not greeting.done:
            data = self.sock.recv(4096)
            if not data:
                raise PeerLost("the listener ended the connection")
            decoder.feed(data)
        return greeting

    def rest(self) -> bytes:
        """Return all that comes until the connection ends, in order or not."""
        data = b""
        try:
            while piece := self.sock.recv(4096):
                data += piece
        except ConnectionResetError:
            pass
        return data
