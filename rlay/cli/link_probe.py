"""A link as short as can be: greet a bridge, ask it something, leave."""

import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rlay.errors import PeerLost, RLayError
from rlay.protocol.frames import Frame, FrameDecoder, FrameType, pack_frame
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    Role,
)
from rlay.protocol.link_messages import Announcement, Note, Question
from rlay.transport.software import SOFTWARE

_QUESTION: Final = 1
_MOST_OTHERS: Final = 1000
"""Frames that are no answer, before we give up."""


class LinkProbe:
    """The dialer's end of a link, over anything that carries bytes.

    Attributes:
        peer: Who answers; None before :meth:`greet`.
    """

    def __init__(
        self, send: Callable[[bytes], object], receive: Callable[[], bytes]
    ) -> None:
        """Speak over two functions.

        Args:
            send: Sends bytes.
            receive: Waits for bytes, with a limit of its own; b"" is the end.
        """
        self.peer: LinkIdentity | None = None
        self._send = send
        self._receive = receive
        self._frames: deque[tuple[Frame, bytes]] = deque()
        self._decoder = FrameDecoder(
            lambda frame: None,
            lambda frame, body: self._frames.append((frame, bytes(body))),
        )

    def greet(self, token: bytes | None, certificate: bytes = b"") -> LinkIdentity:
        """Prove who we are, and let the bridge do the same; return who it is.

        Args:
            token: None where there is none.
            certificate: SHA-256 of the bridge's certificate; empty without TLS.

        Raises:
            AuthError: One of us does not know the token.
            VersionMismatch: There is no version that both speak.
            RemoteProtocolError: It does not speak as it should.
            PeerLost: It ended the connection.
        """
        identity = LinkIdentity(
            Role.PEER,
            secrets.randbits(64) or 1,
            socket.gethostname()[:64],
            SOFTWARE,
            LinkCapability.NONE,
        )
        greeting = DialerGreeting(identity, token, crc=False, certificate=certificate)
        self._send(greeting.start())
        try:
            while not greeting.done:
                frame, body = self._next()
                answer = greeting.receive(frame, memoryview(body))
                if answer:
                    self._send(answer)
        except RLayError:
            if greeting.farewell:
                self._send(greeting.farewell)
            raise
        self.peer = greeting.peer
        return greeting.peer

    def ping(self) -> float:
        """Return how long one frame takes to there and back, in seconds."""
        body = secrets.token_bytes(8)
        began = time.monotonic()
        self._send(pack_frame(FrameType.PING, body))
        self._await(lambda frame, found: (frame.type, found) == (FrameType.PONG, body))
        return time.monotonic() - began

    def find(self, name: str) -> Announcement | Note:
        """Ask for a channel, or a group; return what there is, or why there is not."""
        question = pack_frame(
            FrameType.FIND, Question(name).encode(), sequence=_QUESTION
        )
        self._send(question)
        kinds = (FrameType.ANNOUNCE, FrameType.NOT_FOUND)
        frame, body = self._await(
            lambda frame, _: frame.type in kinds and frame.sequence == _QUESTION
        )
        if frame.type is FrameType.ANNOUNCE:
            return Announcement.decode(body)
        return Note.decode(body)

    def _await(self, is_answer: Callable[[Frame, bytes], bool]) -> tuple[Frame, bytes]:
        for _ in range(_MOST_OTHERS):
            frame, body = self._next()
            if is_answer(frame, body):
                return frame, body
            if frame.type is FrameType.PING:
                self._send(pack_frame(FrameType.PONG, body))
            elif frame.type is FrameType.ERROR:
                raise Note.decode(body).error()
        raise PeerLost(f"{_MOST_OTHERS} frames came, and none of them is an answer")

    def _next(self) -> tuple[Frame, bytes]:
        while not self._frames:
            data = self._receive()
            if not data:
                raise PeerLost("the connection was ended at the other side")
            self._decoder.feed(data)
        return self._frames.popleft()
