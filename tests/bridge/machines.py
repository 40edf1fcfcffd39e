"""Machines in one loop: registries with real channels, joined by real links.

The programs at the channels' ends are threads of the test: they block, the loop does
not.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rlay.bridge.link import Link
from rlay.bridge.registry import Registry
from rlay.bridge.stream import Stream
from rlay.errors import PeerLost
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    ListenerGreeting,
    Role,
)
from rlay.transport.directory import ChannelDirectory
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from tests.bridge.peers import TERMS, until
from tests.support.channels import ChannelPair, exchange

Joined = tuple[Link, Link]


class World:
    """Some machines, each with a directory of channels and a registry.

    Attributes:
        loop: In which they all live.
    """

    def __init__(self, root: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self._root = root
        self._machines: dict[str, Registry] = {}
        self._directories: list[ChannelDirectory] = []
        self._links: list[Link] = []
        self._numbers = 0

    def machine(self, name: str, *, id: int = 0, **options: Any) -> Registry:
        """Make a machine; options as those of a Registry."""
        path = self._root / name
        path.mkdir(mode=0o700, exist_ok=True)
        directory = ChannelDirectory.open(path)
        self._directories.append(directory)
        self._numbers += 1
        identity = LinkIdentity(
            Role.BRIDGE, id or self._numbers, name, "rlay", LinkCapability.HEARTBEAT
        )
        defaults: dict[str, Any] = {
            "share": ("*",),
            "prefix": "",
            "window_s": 300.0,
            "max_channels": 64,
            "max_slot_bytes": 2**20,
        }
        made = Registry(self.loop, directory, identity, **{**defaults, **options})
        self._machines[name] = made
        made.scan()
        return made

    async def join(self, listener: Registry, dialer: Registry) -> Joined:
        """Join two machines by a link; return both of its ends."""
        one, other = socket.socketpair()
        self._numbers += 1
        ends = (
            Link(
                Stream(self.loop, one),
                ListenerGreeting(listener.identity, None, TERMS),
                listener,
                f"10.0.0.1:{self._numbers}",
                dialed=False,
            ),
            Link(
                Stream(self.loop, other),
                DialerGreeting(dialer.identity, None, crc=False),
                dialer,
                "10.0.0.2:7450",
                dialed=True,
            ),
        )
        for link, registry in zip(ends, (listener, dialer), strict=True):
            link.on_up, link.on_end = registry.link_up, registry.link_ended
        self._links += ends
        ends[1].start()
        await until(lambda: all(link.up for link in ends), "the link is up")
        return ends

    async def cut(self, joined: Joined) -> None:
        """Break a link without a goodbye."""
        joined[0].end(PeerLost("cut"))
        await until(lambda: joined[1].ended, "the other end saw it")

    def close(self) -> None:
        """End everything, in order; no file may be left."""
        for link in self._links:
            link.stream.close()
            if link.ended is None:
                link.end(PeerLost("the test is over"))
        for registry in self._machines.values():
            registry.close()
        for directory in self._directories:
            directory.close()
            if os.path.isdir(directory.path):
                os.rmdir(directory.path)


def play(root: Path, scene: Callable[[World], Any]) -> None:
    """Run a scene: a coroutine function of a world."""

    async def run() -> None:
        unhandled: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        world = World(root)
        try:
            await scene(world)
        finally:
            world.close()
            await asyncio.sleep(0)
        assert not unhandled, "no callback of the loop raises"

    asyncio.run(run())


def serve(registry: Registry, name: str, **options: Any) -> MemServer:
    """Make a channel on a machine."""
    return MemServer.create(name, registry.root, **options)


async def mirrored(registry: Registry, name: str) -> Any:
    """Wait until a machine has a mirror of this name over a link; return it."""

    def ready() -> Any:
        mirror = registry.mirrors.get(name)
        return mirror if mirror is not None and mirror.link is not None else None

    await until(ready, f"{name} is mirrored")
    return registry.mirrors[name]


async def meet(server: MemServer, registry: Registry, name: str) -> "Meeting":
    """Open a mirror for a client on a machine, and begin a session."""
    client = await asyncio.to_thread(MemClient.open, name, registry.root)
    try:
        pair = await asyncio.to_thread(ChannelPair, server, client)
    except BaseException:
        client.close()
        raise
    return Meeting(pair)


class Meeting:
    """A session through the bridges.

    Attributes:
        pair: Its two ends.
        client: The client's end of the channel.
    """

    def __init__(self, pair: ChannelPair) -> None:
        self.pair = pair
        self.client = pair.client
        self._sequence = 0

    async def step(self, payload: bytes = b"step") -> None:
        """Send a request and its reply, and check both."""
        self._sequence += 1
        one, other = self.pair.ends
        await asyncio.to_thread(exchange, one, other, self._sequence, payload)


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def same_descriptors() -> AsyncIterator[None]:
    """Assert that as many descriptors are open afterwards, at once or soon."""
    before = descriptors()
    yield
    await until(lambda: descriptors() <= before, f"{before} descriptors are open")
