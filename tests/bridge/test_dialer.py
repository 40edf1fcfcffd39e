"""Dialing for ever: another address of the same bridge, and what goes wrong."""

import asyncio
import socket
import ssl
import struct
from dataclasses import replace
from typing import Any

import pytest

from rlay.bridge import dialer as module
from rlay.bridge.dialer import Dialer
from rlay.bridge.link import Link
from rlay.bridge.listener import Listener
from rlay.bridge.stranger_log import StrangerLog
from rlay.bridge.websocket import OriginPolicy
from rlay.errors import PeerLost
from rlay.protocol.link_greeting import DialerGreeting, ListenerGreeting
from tests.bridge.peers import IDENTITY, TERMS, until
from tests.bridge.test_dispatcher import Registry

REGISTRY: Any = Registry()
OWN = replace(IDENTITY, id=1, machine="here")


class Door:
    """A listener that lets everybody in.

    Attributes:
        links: What came.
        port: Where it listens.
    """

    def __init__(self, host="127.0.0.1"):
        loop = asyncio.get_running_loop()
        self.links: list[Link] = []
        sock = socket.create_server((host, 0))
        self.port = sock.getsockname()[1]
        self.listener = Listener(
            loop,
            sock,
            self._made,
            may_accept=lambda: True,
            context=lambda: None,
            digest=lambda: b"",
            policy=OriginPolicy((), loopback=True, token=False),
            log=StrangerLog(),
        )

    def _made(self, stream, where, digest):
        greeting = ListenerGreeting(IDENTITY, None, TERMS)
        link = Link(stream, greeting, REGISTRY, where, dialed=False)
        self.links.append(link)
        return link

    def close(self):
        self.listener.close()
        for link in self.links:
            link.end(PeerLost("the test is over"))


def dialing(port, host="127.0.0.1", **options):
    """A dialer, and the links that it made."""
    links: list[Link] = []

    def made(stream, where, digest):
        greeting = DialerGreeting(OWN, None, crc=False)
        links.append(Link(stream, greeting, REGISTRY, where, dialed=True))
        return links[-1]

    options = {"context": lambda: None, "digest_of": lambda der: b"", **options}
    return Dialer(host, port, made, **options), links


async def cancelled(*tasks):
    """Cancel tasks and wait for them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_link_that_ends_is_dialed_again():
    """For ever, and soon."""

    async def run():
        door = Door()
        dialer, links = dialing(door.port)
        task = asyncio.create_task(dialer.run())
        for _ in range(4):
            await until(lambda: links and links[-1].up, "it is up")
            assert dialer.problem == ""
            links.pop().end(PeerLost("cut"))
        await cancelled(task)
        door.close()

    asyncio.run(run())


def test_second_address_of_the_same_bridge_stands_by():
    """Two dialers do not end each other's links in turns."""

    async def run():
        door = Door()
        first, links = dialing(door.port)

        def first_is_up(peer_id):
            return peer_id == IDENTITY.id and links[-1].up

        second, others = dialing(door.port, has_link_to=first_is_up)
        task = asyncio.create_task(first.run())
        await until(lambda: links and links[-1].up, "the first is up")
        other = asyncio.create_task(second.run())
        await until(lambda: others and others[-1].up, "nobody knows yet who it is")
        others[-1].end(PeerLost("superseded"))
        await until(lambda: "already" in second.problem, "it stands by")
        assert second.attempts == 1
        links[-1].end(PeerLost("cut"))
        await cancelled(task)
        await until(lambda: second.attempts == 2, "it takes its place")
        await cancelled(other)
        door.close()

    asyncio.run(run())


@pytest.mark.parametrize("secure", [False, True])
def test_listener_that_hangs_up_in_the_greeting_may_want_tls(secure):
    """Who dials without it is told so, and nobody else."""

    async def run():
        door = socket.create_server(("127.0.0.1", 0))
        door.setblocking(False)
        options = {"context": ssl.create_default_context} if secure else {}
        dialer, _ = dialing(door.getsockname()[1], **options)
        before = dialer.problem
        task = asyncio.create_task(dialer.run())
        caller, _ = await asyncio.get_running_loop().sock_accept(door)
        reset = struct.pack("ii", 1, 0)  # as who has not read everything hangs up
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        caller.close()
        await until(lambda: dialer.problem != before, "it says why there is no link")
        await cancelled(task)
        door.close()
        return dialer.problem

    assert ("give --tls-ca" in asyncio.run(run())) is not secure


def test_fault_does_not_end_the_dialing(caplog):
    """Whatever goes wrong, it is told and tried again."""

    async def run():
        dialer, _ = dialing(1, host="a..b")  # no name: encoding it raises
        task = asyncio.create_task(dialer.run())
        await until(lambda: dialer.attempts > 1, "it is tried again")
        assert not task.done()
        await cancelled(task)

    asyncio.run(run())


def test_address_that_swallows_everything_leaves_time_for_the_next(monkeypatch):
    """A name with two addresses, one of them dead, still gets its link."""
    monkeypatch.setattr(module, "CONNECT_LIMIT_S", 3.0)

    async def run():
        door = Door()
        loop = asyncio.get_running_loop()
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        dead, alive = ("192.0.2.1", 9), ("127.0.0.1", door.port)

        async def getaddrinfo(*_, **__):
            return [(*kind, dead), (*kind, alive)]

        connect = loop.sock_connect

        async def sock_connect(sock, address):
            if address == dead:
                await asyncio.sleep(3600)
            await connect(sock, address)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        dialer, links = dialing(door.port)
        task = asyncio.create_task(dialer.run())
        await until(lambda: links and links[-1].up, "it is up")
        assert dialer.attempts == 1
        await cancelled(task)
        door.close()

    asyncio.run(run())


@pytest.mark.parametrize("fault", [KeyError("a fault"), OSError(5, "a fault")])
def test_fault_at_one_stranger_does_not_end_the_listening(fault, caplog):
    """The next one is let in."""

    async def run():
        unhandled = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: unhandled.append(context)
        )
        door = Door()
        made = door.listener._make_link

        def fail(*_):
            door.listener._make_link = made
            raise fault

        door.listener._make_link = fail
        dialer, links = dialing(door.port)
        task = asyncio.create_task(dialer.run())
        await until(lambda: links and links[-1].up, "the second try is let in")
        assert dialer.attempts == 2
        assert door.listener.strangers == 0
        await cancelled(task)
        door.close()
        assert not unhandled

    asyncio.run(run())
