"""Dialers of a bridge that are in the test's own process, and do as they are told."""

from __future__ import annotations

import socket
import ssl

from rlay.errors import PeerLost
from rlay.protocol.frames import Frame, FrameDecoder, FrameType, pack_frame
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
        frames: What came after the greeting and was not asked for yet.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.sock: socket.socket = socket.create_connection((host, port), LIMIT_S)
        self.sent = b""
        self.frames: list[tuple[Frame, bytes]] = []
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
            if greeting.done:
                self.frames.append((frame, bytes(body)))
            else:
                self.send(greeting.receive(frame, body))

        self._decoder = FrameDecoder(lambda frame: None, deliver)
        self.send(greeting.start())
        while not greeting.done:
            self._receive()
        return greeting

    def _receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise PeerLost("the listener ended the connection")
        self._decoder.feed(data)

    def say(self, kind: FrameType, body: bytes = b"", *header: int) -> None:
        """Send a frame; the rest of the header as in ``pack_frame``."""
        self.send(pack_frame(kind, body, *header))

    def expect(self, kind: FrameType) -> tuple[Frame, bytes]:
        """Return the next frame of a type; frames before it are dropped.

        Raises:
            PeerLost: The listener ended the connection before.
        """
        while True:
            while self.frames:
                frame, body = self.frames.pop(0)
                if frame.type is kind:
                    return frame, body
            self._receive()

    def rest(self) -> bytes:
        """Return all that comes until the connection ends, in order or not."""
        data = b""
        try:
            while piece := self.sock.recv(4096):
                data += piece
        except ConnectionResetError:
            pass
        return data
