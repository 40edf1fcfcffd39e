"""A channel of another machine, held here for its clients."""

import asyncio
import os

import pytest

from rlay.errors import (
    ChannelBusy,
    ChannelNoSpace,
    Draining,
    EnvLost,
    PeerLost,
    RLayError,
)
from rlay.protocol.constants import CloseReason, ErrorCode, Kind, PeerState
from rlay.protocol.frames import FrameType
from rlay.protocol.greeting import Welcome
from rlay.protocol.link_messages import Announcement, Ending, Opening, SlotWords
from rlay.protocol.refusal import Refusal
from rlay.transport.mem_client import MemClient
from tests.bridge.machines import mirrored, play
from tests.bridge.peers import link_and_peer, until
from tests.support.channels import HELLO, INCARNATION, SESSION

IDS = (INCARNATION, SESSION)


def registered(registry, **options):
    """A link to a machine's registry whose other side is the test."""
    return link_and_peer(
        registry, on_up=registry.link_up, on_end=registry.link_ended, **options
    )


async def offered(registry, peer, number=1):
    """Announce a channel; return its mirror."""
    await peer.say(FrameType.ANNOUNCE, Announcement("pole", 1).encode(), number)
    return await mirrored(registry, "pole")


def greeting(registry):
    """Open the mirror as a client and greet, in a thread; return both."""
    client = MemClient.open("pole", registry.root)

    def greet():
        try:
            return client.greet(HELLO, (0, SESSION), 20.0)
        except RLayError as error:
            return error

    return client, asyncio.create_task(asyncio.to_thread(greet))


async def say_opened(peer, ids=IDS, capacities=(1024, 1024), number=1):
    """Say OPENED."""
    opening = Opening(0, capacities[0], capacities[1], 1)
    body = opening.encode() + Welcome(1).encode()
    await peer.say(FrameType.OPENED, body, number, *ids)


def test_hello_is_passed_on_and_answered(channel_directory):
    """OPEN has the ids that the client drew, OPENED makes the slots."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            mirror = await offered(trainer, peer)
            client, task = greeting(trainer)
            frame, body = await peer.expect(FrameType.OPEN)
            assert (frame.incarnation, frame.session) == (0, SESSION)
            assert body[16:] == HELLO.encode()
            await say_opened(peer)
            assert (await task)[0] == IDS
            assert mirror.session.capacities == (1024, 1024)
            client.close()
            frame, body = await peer.expect(FrameType.CLOSE)
            assert (frame.incarnation, frame.session) == IDS
            assert Ending.decode(body).state == PeerState.CLOSED

    play(channel_directory, scene)


@pytest.mark.parametrize(
    ("code", "kind"), [(ErrorCode.BUSY, ChannelBusy), (ErrorCode.DRAINING, Draining)]
)
def test_refusal_is_passed_on(channel_directory, code, kind):
    """The client raises what the far server, or its bridge, has said."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            await offered(trainer, peer)
            client, task = greeting(trainer)
            await peer.expect(FrameType.OPEN)
            body = Opening(0).encode() + Refusal(int(code), "no").encode()
            await peer.say(FrameType.REFUSED, body, 1, 0, SESSION)
            assert isinstance(await task, kind)
            client.close()

    play(channel_directory, scene)


def test_draining_bridge_begins_no_session(channel_directory):
    """Its own clients are told so; nothing is asked of the far side."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            await offered(trainer, peer)
            trainer.draining = True
            client, task = greeting(trainer)
            error = await task
            assert isinstance(error, Draining)
            assert "trainer" in str(error)
            client.close()

    play(channel_directory, scene)


@pytest.mark.parametrize("parts", [False, True])
def test_hello_is_asked_again_over_the_next_link(channel_directory, parts):
    """Also where it came in parts, which are not in their slot any more."""
    payload = bytes(100_000) if parts else HELLO.encode()

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            await offered(trainer, peer)
            client = MemClient.open("pole", trainer.root)
            client._hello = client._greeting(
                client._writer, Kind.HELLO, payload, (0, SESSION)
            )
            client._hello_waits = False
            await until(client.continue_hello, "the Hello is said")
            whole = 0
            while whole < 16 + len(payload):
                frame, body = await peer.expect(FrameType.OPEN)
                whole += len(body)
        async with registered(trainer) as (_, peer):
            await offered(trainer, peer)
            frame, body = await peer.expect(FrameType.OPEN)
            assert frame.total == 16 + len(payload)
            assert frame.session == SESSION
            client.close()

    play(channel_directory, scene)


def test_answer_to_a_client_that_is_gone_closes_its_session(channel_directory):
    """The far server must not wait for somebody who left."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            mirror = await offered(trainer, peer)
            await say_opened(peer)
            frame, _ = await peer.expect(FrameType.CLOSE)
            assert (frame.incarnation, frame.session) == IDS
            assert mirror.session is None

    play(channel_directory, scene)


@pytest.mark.parametrize("capacities", [(1, 1024), (0, 1024), (1024, 1000)])
def test_sizes_that_no_slot_has_are_refused(channel_directory, capacities):
    """Before memory is taken; the client is told, and so is the far side."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            mirror = await offered(trainer, peer)
            client, task = greeting(trainer)
            await peer.expect(FrameType.OPEN)
            await say_opened(peer, capacities=capacities)
            assert isinstance(await task, RLayError)
            await peer.expect(FrameType.CLOSE)
            assert mirror.session is None
            client.close()

    play(channel_directory, scene)


@pytest.mark.parametrize("capacities", [(2**21, 1024), (1024, 2**30)])
def test_slots_that_are_too_large_are_a_refusal_with_the_remedy(
    channel_directory, capacities
):
    """A peer takes no more memory than it is allowed, and the link stays up."""

    async def scene(world):
        trainer = world.machine("trainer", max_slot_bytes=2**20)
        async with registered(trainer) as (link, peer):
            mirror = await offered(trainer, peer)
            client, task = greeting(trainer)
            await peer.expect(FrameType.OPEN)
            await say_opened(peer, capacities=capacities)
            error = await task
            assert isinstance(error, ChannelNoSpace)
            assert f"{max(capacities)} bytes, and 1048576 are the limit" in str(error)
            assert "on trainer: raise its --max-slot-bytes" in str(error)
            await peer.expect(FrameType.CLOSE)
            assert mirror.session is None
            assert not [name for name in os.listdir(mirror.end.path) if "slots" in name]
            assert link.up
            client.close()

    play(channel_directory, scene)


def test_slots_that_find_no_room_are_a_clear_refusal(channel_directory, monkeypatch):
    """ENOSPC here ends no link and leaves nothing; the client is told."""

    def full(*_):
        raise ChannelNoSpace("no room for 4096 bytes")

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (link, peer):
            mirror = await offered(trainer, peer)
            monkeypatch.setattr(mirror.end, "make_slots", full)
            client, task = greeting(trainer)
            await peer.expect(FrameType.OPEN)
            await say_opened(peer)
            assert isinstance(await task, ChannelNoSpace)
            await peer.expect(FrameType.CLOSE)
            assert link.up
            client.close()

    play(channel_directory, scene)


async def in_session(registry, peer):
    """Begin a session; return the mirror and its client."""
    mirror = await offered(registry, peer)
    client, task = greeting(registry)
    await peer.expect(FrameType.OPEN)
    await say_opened(peer)
    await task
    return mirror, client


def test_session_is_resumed_over_the_next_link(channel_directory):
    """RESUME has its ids; once RESUMED comes it goes on. Twice is harmless."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            mirror, client = await in_session(trainer, peer)
        assert mirror.end.line.state == PeerState.LINK_DOWN
        async with registered(trainer) as (_, peer):
            await offered(trainer, peer, number=9)
            frame, _ = await peer.expect(FrameType.RESUME)
            assert (frame.channel, frame.incarnation, frame.session) == (9, *IDS)
            assert mirror.session.link is None
            for _ in range(2):
                words = SlotWords(0, 0, 0, 0).encode()
                await peer.say(FrameType.RESUMED, words, 9, *IDS)
            await until(lambda: trainer.counts.resumes == 2, "it goes on")
            assert mirror.end.line.state == PeerState.ALIVE
            client.close()

    play(channel_directory, scene)


def test_session_that_the_far_side_does_not_know_is_lost(channel_directory):
    """The client is told, and a new channel is there for the next one."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            mirror, client = await in_session(trainer, peer)
            body = Ending(PeerState.LOST, CloseReason.LINK_DOWN).encode()
            await peer.say(FrameType.LOST, body, 1, *IDS)
            await until(
                lambda: trainer.mirrors.get("pole", mirror) is not mirror, "a new one"
            )
            with pytest.raises(PeerLost):
                client.watch.check()
            client.close()

    play(channel_directory, scene)


@pytest.mark.parametrize("ids", [(1, SESSION), (INCARNATION, 1)])
def test_words_of_another_session_change_nothing(channel_directory, ids):
    """LOST, RESUMED and OPENED of a session that is not there are left alone."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (link, peer):
            mirror, client = await in_session(trainer, peer)
            session = mirror.session
            body = Ending(PeerState.LOST, CloseReason.VANISHED).encode()
            await peer.say(FrameType.LOST, body, 1, *ids)
            await peer.say(FrameType.RESUMED, bytes(16), 1, *ids)
            await say_opened(peer, ids)
            await peer.say(FrameType.PING, bytes(8))
            await peer.expect(FrameType.PONG)
            assert mirror.session is session
            assert link.up
            client.close()

    play(channel_directory, scene)


def test_withdrawn_channel_tells_a_client_that_waits(channel_directory):
    """One that has no answer yet gets one, and does not wait for its own time."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            await offered(trainer, peer)
            client, task = greeting(trainer)
            await peer.expect(FrameType.OPEN)
            body = Ending(PeerState.LOST, CloseReason.VANISHED).encode()
            await peer.say(FrameType.WITHDRAW, body, 1)
            assert isinstance(await task, EnvLost | PeerLost)
            assert not trainer.mirrors
            client.close()

    play(channel_directory, scene)
