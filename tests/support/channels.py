"""Channels with both ends in the test's own process."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlay.errors import StepTimeout
from rlay.protocol.constants import Kind, Paradigm
from rlay.protocol.greeting import Hello, Welcome
from rlay.transport.credentials import Credentials
from rlay.transport.in_process import InProcessServer
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.peers import Deadline
from rlay.transport.slot_channel import SlotChannel
from rlay.transport.socket_channel import SocketChannel
from rlay.transport.socket_client import SocketClient
from rlay.transport.socket_server import SocketServer
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End
from tests.support.hub import Hub

INCARNATION, SESSION = 0x1122334455667788, 0x99AABBCCDDEEFF00
HELLO = Hello(Paradigm.CLIENT_ENV)
LIMIT_S = 20.0


class ChannelPair:
    """Both ends of a session, as ``rlay.testing.contract.Pair`` has them."""

    def __init__(
        self,
        server: MemServer,
        client: MemClient,
        *,
        capacities: tuple[int, int] = (1024, 1024),
        max_message_bytes: int = 2**30,
        policy: WaitPolicy | None = None,
    ) -> None:
        self.server, self.client = server, client
        self.ends: tuple[SlotChannel, SlotChannel] = connect(
            server, client, capacities, max_message_bytes, policy
        )

    def close(self, end: SlotChannel) -> None:
        (self.client if end is self.ends[0] else self.server).close()

    def lose(self, end: SlotChannel) -> None:
        """Let go of an end's lock, and say nothing."""
        if end is self.ends[0]:
            vanish(self.client)
        else:
            vanish(self.server)


def vanish(end: MemServer | MemClient) -> None:
    """Let go of the lock as the kernel does for a killed process."""
    end._store.release(End.SERVER if isinstance(end, MemServer) else End.CLIENT)


def connect(
    server: Any,
    client: Any,
    capacities: tuple[int, int] = (1024, 1024),
    max_message_bytes: int = 2**30,
    policy: WaitPolicy | None = None,
) -> tuple[Any, Any]:
    """Greet, and return the client's and the server's channel."""
    accepted: list[Any] = []

    def accept() -> None:
        buffer, _ = server.receive_hello(LIMIT_S)
        accepted.append(
            server.accept(
                buffer,
                Welcome(0),
                (INCARNATION, SESSION),
                capacities,
                policy,
                max_message_bytes,
            )
        )

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        ids, welcome = client.greet(HELLO, (0, 0), LIMIT_S)
    finally:
        thread.join(LIMIT_S)
    assert ids == (INCARNATION, SESSION)
    (channel,) = accepted
    assert channel is not None
    return client.attach(welcome, ids, policy), channel


@contextlib.contextmanager
def mapped_pair(
    directory: Path,
    capacity_bytes: int = 1024,
    max_message_bytes: int = 2**30,
    policy: WaitPolicy | None = None,
    name: str = "pair",
) -> Iterator[ChannelPair]:
    """Open both ends of a channel in shared memory."""
    with contextlib.ExitStack() as stack:
        server = MemServer.create(name, directory)
        stack.callback(server.close)
        client = MemClient.open(name, directory)
        stack.callback(client.close)
        yield ChannelPair(
            server,
            client,
            capacities=(capacity_bytes, capacity_bytes),
            max_message_bytes=max_message_bytes,
            policy=policy,
        )


@contextlib.contextmanager
def in_process_pair(
    capacity_bytes: int = 1024,
    max_message_bytes: int = 2**30,
    policy: WaitPolicy | None = None,
) -> Iterator[ChannelPair]:
    """Open both ends of a channel in this process's own memory."""
    with contextlib.ExitStack() as stack:
        server = InProcessServer("pair")
        stack.callback(server.close)
        client = server.client()
        stack.callback(client.close)
        yield ChannelPair(
            server,
            client,
            capacities=(capacity_bytes, capacity_bytes),
            max_message_bytes=max_message_bytes,
            policy=policy,
        )


def patience(channel: SlotChannel, limit_s: float | None = LIMIT_S) -> Deadline:
    """Return patience with the other end of a channel."""
    return Deadline(channel.watch, limit_s, lambda: StepTimeout(f"not in {limit_s} s"))


def send(channel: SlotChannel, sequence: int, payload: bytes = b"") -> None:
    """Send a message that fits its slot."""
    overflow = channel.outgoing[sequence & 1].write(int(Kind.STEP), payload)
    assert overflow is None
    channel.send(sequence)


def receive(channel: SlotChannel) -> tuple[int, bytes]:
    """Receive and take a message; return its sequence and payload."""
    message = channel.receive(patience(channel))
    received = message.sequence, bytes(message.body())
    channel.take()
    return received


def exchange(
    one: SlotChannel, other: SlotChannel, sequence: int, payload: bytes = b""
) -> None:
    """Send a message there and back, and check what arrives."""
    send(one, sequence, payload)
    assert receive(other) == (sequence, payload)
    send(other, sequence, payload)
    assert receive(one) == (sequence, payload)


def say(*words: object) -> None:
    """Print for the test that waits for it; for functions that run in a child."""
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


class SocketPair:
    """Both ends of a session over a hub, as ``contract.Pair`` has them."""

    def __init__(
        self,
        hub: Hub,
        server: SocketServer,
        client: SocketClient,
        capacities: tuple[int, int],
        max_message_bytes: int,
    ) -> None:
        self.hub = hub
        self.server, self.client = server, client
        self.ends = connect(server, client, capacities, max_message_bytes)

    def close(self, end: SocketChannel) -> None:
        (self.client if end is self.ends[0] else self.server).close()

    def lose(self, end: SocketChannel) -> None:
        """Cut an end's link, at a hub that gives it up at once."""
        self.hub.cut_now("client" if end is self.ends[0] else "server")


@contextlib.contextmanager
def socket_pair(
    hub: Hub,
    capacity_bytes: int = 1024,
    max_message_bytes: int = 2**30,
    name: str = "pair",
    scheme: str = "tcp",
    credentials: Credentials | None = None,
) -> Iterator[SocketPair]:
    """Open both ends of a channel at a hub."""
    with contextlib.ExitStack() as stack:
        address = hub.address(name, scheme)
        server = SocketServer.create(address, LIMIT_S, credentials=credentials)
        stack.callback(server.close)
        client = SocketClient.open(address, LIMIT_S, credentials)
        stack.callback(client.close)
        capacities = (capacity_bytes, capacity_bytes)
        yield SocketPair(hub, server, client, capacities, max_message_bytes)
