"""A link whose other side is the test: it says any frame, and reads what comes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rlay.bridge.link import Link
from rlay.bridge.stream import Stream
from rlay.errors import PeerLost
from rlay.protocol.frames import Frame, FrameDecoder, FrameType, pack_frame
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    LinkTerms,
    ListenerGreeting,
    Role,
)

LIMIT_S = 20.0
IDENTITY = LinkIdentity(Role.BRIDGE, 2, "there", "rlay", LinkCapability.HEARTBEAT)
_OWN = LinkIdentity(Role.BRIDGE, 1, "here", "rlay", LinkCapability.HEARTBEAT)
TERMS = LinkTerms(
    crc=False, heartbeat_ms=2000, dead_after_ms=10_000, resume_window_ms=300_000
)


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the loop run until a condition holds."""
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not so: {what}"
        await asyncio.sleep(0.002)


class Peer:
    """The other side of a link, driven by the test.

    Attributes:
        sock: Its socket, non-blocking.
        frames: What came: header and body of each frame.
    """

    def __init__(self, sock: socket.socket, identity: LinkIdentity) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.frames: list[tuple[Frame, bytes]] = []
        self.ended = False
        self._greeting: DialerGreeting | None = DialerGreeting(
            identity, None, crc=False
        )
        self._answers: list[bytes] = []
        self._decoder = FrameDecoder(lambda frame: None, self._deliver)

    def _deliver(self, frame: Frame, body: memoryview) -> None:
        greeting = self._greeting
        if greeting is None:
            self.frames.append((frame, bytes(body)))
            return
        self._answers.append(greeting.receive(frame, body))
        if greeting.done:
            self._greeting = None

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def say(self, kind: FrameType, body: bytes = b"", *header: int) -> None:
        """Send a frame; the rest of the header as in :func:`pack_frame`."""
        await self.send(pack_frame(kind, body, *header))

    async def receive(self) -> None:
        """Receive once."""
        data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        self.ended = self.ended or not data
        self._decoder.feed(data)

    async def greet(self) -> None:
        """Greet as a dialer without a token."""
        assert self._greeting is not None
        await self.send(self._greeting.start())
        while self._greeting is not None:
            await self.receive()
            if self.ended:
                raise ConnectionError("the link ended while it greeted")
            for answer in self._answers:
                await self.send(answer)
            self._answers.clear()

    async def expect(self, kind: FrameType) -> tuple[Frame, bytes]:
        """Return the next frame of a type; frames before it are dropped."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                while self.frames:
                    frame, body = self.frames.pop(0)
                    if frame.type is kind:
                        return frame, body
                assert not self.ended, f"the link ended, no {kind.name} came"
                await self.receive()

    async def expect_end(self) -> None:
        """Read until the other side has ended the stream."""
        async with asyncio.timeout(LIMIT_S):
            while not self.ended:
                try:
                    await self.receive()
                except ConnectionError:
                    self.ended = True


@asynccontextmanager
async def link_and_peer(
    registry: object,
    *,
    greeted: bool = True,
    peer: LinkIdentity = IDENTITY,
    terms: LinkTerms = TERMS,
    where: str = "127.0.0.1:1",
    on_end: Callable[[Link], None] | None = None,
    on_up: Callable[[Link], None] | None = None,
) -> AsyncIterator[tuple[Link, Peer]]:
    """Give a link that listens, and the test's side of it."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    other = Peer(theirs, peer)
    greeting = ListenerGreeting(_OWN, None, terms)
    link = Link(Stream(loop, ours), greeting, registry, where, dialed=False)  # type: ignore[arg-type]
    if on_end is not None:
        link.on_end = on_end
    if on_up is not None:
        link.on_up = on_up
    try:
        if greeted:
            await other.greet()
            await until(lambda: link.up, "the link is up")
        yield link, other
    finally:
        link.end(PeerLost("the test is over"))
        theirs.close()
