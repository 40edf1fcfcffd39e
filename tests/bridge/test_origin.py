"""A channel of this machine, opened for clients elsewhere."""

import asyncio
from dataclasses import replace

import pytest

from rlay.protocol.constants import CloseReason, ErrorCode, PeerState
from rlay.protocol.frames import FrameType
from rlay.protocol.greeting import Welcome
from rlay.protocol.link_messages import Announcement, Ending, Opening
from rlay.protocol.refusal import Refusal
from rlay.transport.mem_client import MemClient
from tests.bridge.machines import play, serve
from tests.bridge.peers import IDENTITY, link_and_peer, until
from tests.support.channels import HELLO, INCARNATION, SESSION

IDS = (INCARNATION, SESSION)
OTHER = replace(IDENTITY, id=3, machine="other")


def registered(registry, **options):
    """A link to a machine's registry whose other side is the test."""
    return link_and_peer(
        registry, on_up=registry.link_up, on_end=registry.link_ended, **options
    )


async def channel_of(peer):
    """Return the number of the next channel that is announced."""
    frame, _ = await peer.expect(FrameType.ANNOUNCE)
    return frame.channel


async def say_hello(peer, channel, ids=(0, SESSION)):
    """Say OPEN."""
    body = Opening(0).encode() + HELLO.encode()
    await peer.say(FrameType.OPEN, body, channel, *ids)


def accept(server):
    """Accept the next client, in a thread of the server's."""
    buffer, _ = server.receive_hello(20.0)
    return server.accept(buffer, Welcome(0), IDS, (1024, 1024))


async def opened(server, peer, channel):
    """Begin a session; return what OPENED said, and the server's end."""
    await say_hello(peer, channel)
    end = await asyncio.to_thread(accept, server)
    frame, body = await peer.expect(FrameType.OPENED)
    assert (frame.incarnation, frame.session) == IDS
    return Opening.decode(body), end


async def refused(peer):
    """Return what REFUSED says."""
    _, body = await peer.expect(FrameType.REFUSED)
    return Refusal.decode(body[16:])


def test_open_begins_a_session(channel_directory):
    """OPENED tells the sizes of the slots and their generation."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            opening, _ = await opened(server, peer, await channel_of(peer))
            assert opening.request_capacity >= 1024
            assert opening.generation == 1
            assert sim.origins["pole"].session.ids == IDS
        server.close()

    play(channel_directory, scene)


def test_channel_is_free_for_local_clients_between_sessions(channel_directory):
    """The bridge holds the client end only while somebody elsewhere has it."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            channel = await channel_of(peer)
            MemClient.open("pole", sim.root).close()
            await opened(server, peer, channel)
            assert sim.origins["pole"].occupied
            ending = Ending(PeerState.CLOSED, CloseReason.CLOSED).encode()
            await peer.say(FrameType.CLOSE, ending, channel, *IDS)
            await until(lambda: not sim.origins["pole"].occupied, "it is free")
            MemClient.open("pole", sim.root).close()
        server.close()

    play(channel_directory, scene)


def test_busy_channel_names_its_holder(channel_directory):
    """A second machine is told who has it, in words of the first one's user."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with (
            registered(sim) as (_, first),
            registered(sim, peer=OTHER) as (
                _,
                second,
            ),
        ):
            await opened(server, first, await channel_of(first))
            await say_hello(second, await channel_of(second))
            refusal = await refused(second)
            assert refusal.code == ErrorCode.BUSY
            assert "a client on there" in refusal.message
            assert sim.origins["pole"].session.ids == IDS
        server.close()

    play(channel_directory, scene)


def test_session_whose_link_is_down_is_not_given_to_another_machine(
    channel_directory,
):
    """It waits for its own machine, which may open the channel anew."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, first):
            await opened(server, first, await channel_of(first))
        origin = sim.origins["pole"]
        await until(lambda: origin.session and not origin.session.link, "it is down")
        async with registered(sim, peer=OTHER) as (_, second):
            await say_hello(second, await channel_of(second))
            assert (await refused(second)).code == ErrorCode.BUSY
        async with registered(sim) as (_, again):
            await opened(server, again, await channel_of(again))
        server.close()

    play(channel_directory, scene)


def test_close_of_the_client_before_does_not_end_the_next_opening(channel_directory):
    """It comes late, and says whom it means."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            channel = await channel_of(peer)
            await say_hello(peer, channel)
            ending = Ending(PeerState.LOST, CloseReason.VANISHED).encode()
            await peer.say(FrameType.CLOSE, ending, channel, 1, 2)
            await asyncio.to_thread(accept, server)
            await peer.expect(FrameType.OPENED)
        server.close()

    play(channel_directory, scene)


def test_close_before_the_answer_ends_the_opening(channel_directory):
    """A client that gave up lets go of the channel."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            channel = await channel_of(peer)
            await say_hello(peer, channel)
            ending = Ending(PeerState.LOST, CloseReason.VANISHED).encode()
            await peer.say(FrameType.CLOSE, ending, channel, 0, SESSION)
            await until(lambda: not sim.origins["pole"].occupied, "it is free")
        server.close()

    play(channel_directory, scene)


def test_draining_bridge_opens_nothing(channel_directory):
    """It says so: the client may come again later."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            channel = await channel_of(peer)
            sim.draining = True
            await say_hello(peer, channel)
            assert (await refused(peer)).code == ErrorCode.DRAINING
        server.close()

    play(channel_directory, scene)


@pytest.mark.parametrize("ids", [(1, 2), (0, 0), IDS])
def test_resume_of_a_session_that_is_not_there_is_lost(channel_directory, ids):
    """Nobody knows what became of the last request."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            channel = await channel_of(peer)
            await peer.say(FrameType.RESUME, bytes(16), channel, *ids)
            frame, body = await peer.expect(FrameType.LOST)
            assert (frame.incarnation, frame.session) == ids
            assert Ending.decode(body).known_reason is CloseReason.LINK_DOWN
        server.close()

    play(channel_directory, scene)


def test_server_that_dies_while_it_greets_is_withdrawn(channel_directory):
    """The channel goes, and with it whoever waits for an answer."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (_, peer):
            channel = await channel_of(peer)
            await say_hello(peer, channel)
            await until(lambda: server.client_waits, "the Hello is there")
            server.close()
            frame, body = await peer.expect(FrameType.WITHDRAW)
            assert frame.channel == channel
            assert Ending.decode(body).known_reason is CloseReason.CLOSED

    play(channel_directory, scene)


def test_late_link_of_a_session_is_ended_by_the_newer_one(channel_directory):
    """Bytes that are still under way on it must not be written any more."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole")
        async with registered(sim) as (old, first):
            await opened(server, first, await channel_of(first))
            async with registered(sim, peer=OTHER) as (new, second):
                channel = await channel_of(second)
                await second.say(FrameType.RESUME, bytes(16), channel, *IDS)
                await second.expect(FrameType.RESUMED)
                assert (old.up, new.up) == (False, True)
        server.close()

    play(channel_directory, scene)


def test_announcement_says_what_the_header_says(channel_directory):
    """Paradigm, program and machine are those of the server."""

    async def scene(world):
        sim = world.machine("sim")
        server = serve(sim, "pole", program="rlay serve")
        async with registered(sim) as (_, peer):
            _, body = await peer.expect(FrameType.ANNOUNCE)
            said = Announcement.decode(body)
            found = (said.name, said.paradigm, said.machine, said.program)
            assert found == ("pole", 1, "sim", "rlay serve")
        server.close()

    play(channel_directory, scene)
