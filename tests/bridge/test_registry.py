"""Channels of several machines: where they appear, and what they cost."""

import asyncio
import logging
import shutil
from dataclasses import replace

import pytest

from rlay.bridge.registry import _log as registry_log
from rlay.errors import ChannelClosed, PeerLost
from rlay.protocol.constants import CloseReason, ErrorCode, Paradigm, PeerState
from rlay.protocol.frames import FrameType
from rlay.protocol.greeting import Welcome
from rlay.protocol.link_greeting import Role
from rlay.protocol.link_messages import Announcement, Ending, Note, Opening, Question
from rlay.transport.mem_client import MemClient
from tests.bridge.machines import (
    meet,
    mirrored,
    play,
    same_descriptors,
    serve,
)
from tests.bridge.peers import IDENTITY, link_and_peer, until
from tests.support.channels import HELLO, INCARNATION, SESSION, receive, send


def test_channel_appears_on_the_other_machine(channel_directory):
    """It has the same name there, and a session goes through."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        server = serve(sim, "pole")
        await mirrored(trainer, "pole")
        meeting = await meet(server, trainer, "pole")
        for _ in range(5):
            await meeting.step()
        meeting.client.close()
        server.close()
        await until(lambda: not trainer.mirrors, "the mirror is gone")

    play(channel_directory, scene)


@pytest.mark.parametrize("paradigm", list(Paradigm))
def test_facts_of_a_channel_are_those_of_its_mirror(channel_directory, paradigm):
    """Who opens a mirror reads what the server has said, and that it is a mirror."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        server = serve(sim, "pole", paradigm=paradigm, num_envs=3)
        await world.join(sim, trainer)
        await mirrored(trainer, "pole")
        client = MemClient.open("pole", trainer.root)
        facts = client.facts
        client.close()
        server.close()
        assert (facts.paradigm, facts.num_envs, facts.mirror) == (paradigm, 3, True)

    play(channel_directory, scene)


def test_both_machines_have_channels(channel_directory):
    """Who dials says nothing about who has environments."""

    async def scene(world):
        one, other = world.machine("one"), world.machine("other")
        await world.join(one, other)
        servers = [serve(one, "a"), serve(other, "b")]
        await mirrored(other, "a")
        await mirrored(one, "b")
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_mirror_is_not_announced_again(channel_directory):
    """A hub shows the channels of its machines to none of them."""

    async def scene(world):
        hub = world.machine("hub")
        sims = [world.machine(f"sim{number}") for number in range(3)]
        servers = []
        for number, sim in enumerate(sims):
            await world.join(hub, sim)
            servers.append(serve(sim, f"pole.{number}"))
        for number in range(3):
            await mirrored(hub, f"pole.{number}")
        assert [list(sim.mirrors) for sim in sims] == [[], [], []]
        for number, server in enumerate(servers):
            meeting = await meet(server, hub, f"pole.{number}")
            await meeting.step()
            meeting.client.close()
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_only_shared_channels_are_announced(channel_directory):
    """``--share`` chooses by name."""

    async def scene(world):
        sim = world.machine("sim", share=("a*",))
        trainer = world.machine("trainer")
        await world.join(trainer, sim)
        servers = [serve(sim, "secret"), serve(sim, "apple")]
        await mirrored(trainer, "apple")
        assert list(trainer.mirrors) == ["apple"]
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_server_that_comes_back_at_once_is_announced_anew(channel_directory):
    """Its successor has the name before anybody looked."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        old = serve(sim, "pole")
        first = await mirrored(trainer, "pole")
        old.close()
        new = serve(sim, "pole")
        begin = world.loop.time()
        await until(
            lambda: trainer.mirrors.get("pole", first) is not first, "a new mirror"
        )
        assert world.loop.time() - begin < 10
        meeting = await meet(new, trainer, "pole")
        await meeting.step()
        meeting.client.close()
        new.close()

    play(channel_directory, scene)


def test_session_goes_on_over_the_next_link(channel_directory):
    """A cut is nothing but a pause."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        joined = await world.join(trainer, sim)
        server = serve(sim, "pole")
        await mirrored(trainer, "pole")
        meeting = await meet(server, trainer, "pole")
        for _ in range(20):
            await meeting.step()
            await world.cut(joined)
            joined = await world.join(trainer, sim)
            await meeting.step()
        assert sim.counts.resumes == 20
        meeting.client.close()
        server.close()

    play(channel_directory, scene)


def test_second_link_stands_by(channel_directory):
    """Of two links between two machines one carries a session, then the other."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        first = await world.join(trainer, sim)
        await world.join(sim, trainer)
        server = serve(sim, "pole")
        mirror = await mirrored(trainer, "pole")
        meeting = await meet(server, trainer, "pole")
        await meeting.step()
        carrying = mirror.link
        carrying.end(PeerLost("cut"))
        await meeting.step()
        assert mirror.link is not carrying
        assert first
        meeting.client.close()
        server.close()

    play(channel_directory, scene)


def test_channel_of_a_direct_peer_is_announced(channel_directory):
    """It is a channel of the machine whose bridge holds it, and goes with the peer."""
    direct = replace(IDENTITY, role=Role.PEER)

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        async with link_and_peer(
            sim, peer=direct, on_up=sim.link_up, on_end=sim.link_ended
        ) as (link, peer):
            await peer.say(FrameType.ANNOUNCE, Announcement("game", 2).encode(), 1)
            await mirrored(trainer, "game")
            assert not trainer.mirrors["game"].end.header.check("").num_envs
            ending = Ending(PeerState.CLOSED, CloseReason.CLOSED).encode()
            await peer.say(FrameType.WITHDRAW, ending, 1)
            await until(lambda: not trainer.mirrors, "it is gone there too")
            assert link.up

    play(channel_directory, scene)


def test_question_of_a_direct_peer_is_answered(channel_directory):
    """With the channel, a free member of a group, or what there is instead."""
    direct = replace(IDENTITY, role=Role.PEER)

    async def scene(world):
        sim = world.machine("sim")
        servers = [serve(sim, f"pole.{number}") for number in (10, 9)]
        busy = MemClient.open("pole.9", sim.root)
        async with link_and_peer(
            sim, peer=direct, on_up=sim.link_up, on_end=sim.link_ended
        ) as (_, peer):
            for name, found in (("pole.9", "pole.9"), ("pole.*", "pole.10")):
                question = Question(name).encode()
                await peer.say(FrameType.FIND, question, 0, 0, 0, 7)
                frame, body = await peer.expect(FrameType.ANNOUNCE)
                said = Announcement.decode(body)
                assert (frame.sequence, said.name) == (7, found)
            await peer.say(FrameType.FIND, Question("cart").encode(), 0, 0, 0, 8)
            frame, body = await peer.expect(FrameType.NOT_FOUND)
            note = Note.decode(body)
            assert (frame.sequence, note.code) == (8, ErrorCode.NOT_FOUND)
            assert "['pole.10', 'pole.9']" in note.message
        busy.close()
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_channels_that_come_and_go_leave_nothing(channel_directory):
    """No descriptor, no watch, no entry stays of two hundred of them."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        joined = await world.join(trainer, sim)

        async def once():
            server = serve(sim, "pole")
            await mirrored(trainer, "pole")
            server.close()
            await until(lambda: not (trainer.mirrors or sim.origins), "it is gone")

        await once()
        async with same_descriptors():
            for _ in range(200):
                await once()
        for registry in (sim, trainer):
            assert len(registry._inotify._callbacks) == 1
            assert len(registry._left_alone) <= 1
        assert not joined[0].mirrors
        assert not joined[1].origins
        assert not any(trainer.offers._of_link.values())

    play(channel_directory, scene)


def test_clients_that_come_and_go_leave_nothing(channel_directory):
    """A hundred sessions on one channel cost no descriptor and no watch."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        joined = await world.join(trainer, sim)
        server = serve(sim, "pole")
        mirror = await mirrored(trainer, "pole")

        async def once():
            meeting = await meet(server, trainer, "pole")
            await meeting.step()
            meeting.client.close()
            await until(
                lambda: not (mirror.session or sim.origins["pole"].session), "it left"
            )

        await once()
        async with same_descriptors():
            for _ in range(100):
                await once()
        assert not joined[0].sessions
        assert not joined[1].sessions
        server.close()

    play(channel_directory, scene)


def test_links_that_come_and_go_leave_nothing(channel_directory):
    """Two hundred connections cost no descriptor, no timer, no entry."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        server = serve(sim, "pole")
        await world.cut(await world.join(trainer, sim))
        async with same_descriptors():
            for _ in range(200):
                joined = await world.join(trainer, sim)
                await mirrored(trainer, "pole")
                await world.cut(joined)
        for registry in (sim, trainer):
            assert (registry.links, registry.offers._of_link) == ([], {})
        assert sim.origins["pole"].numbers == {}
        server.close()

    play(channel_directory, scene)


def test_fault_ends_one_channel_and_nothing_else(channel_directory, monkeypatch):
    """It is told once, in full; the other channels go on."""
    told: list[str] = []
    monkeypatch.setattr(
        registry_log, "exception", lambda text, *rest: told.append(text % rest)
    )

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        servers = [serve(sim, "good"), serve(sim, "bad")]
        mirrors = [await mirrored(trainer, name) for name in ("good", "bad")]
        meeting = await meet(servers[0], trainer, "good")
        bad = await meet(servers[1], trainer, "bad")

        def fail():
            raise KeyError("a fault")

        mirrors[1].session.rung = fail
        stepping = asyncio.create_task(bad.step())
        await until(lambda: trainer.mirrors.get("bad") is not mirrors[1], "it is gone")
        with pytest.raises((PeerLost, ChannelClosed)):
            await stepping
        await meeting.step()
        meeting.client.close()
        bad.client.close()
        for server in servers:
            server.close()

    play(channel_directory, scene)
    assert told == ["a fault of this bridge, at 'bad'"]


def test_slow_peer_ends_its_own_link(channel_directory):
    """One that reads nothing while channels come and go does not end the bridge."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        async with link_and_peer(sim, on_up=sim.link_up, on_end=sim.link_ended) as (
            link,
            _,
        ):
            server = serve(sim, "pole")
            await mirrored(trainer, "pole")
            for _ in range(200):
                link.sender.control(bytes(64 * 1024))
            sim.tick()
            second = serve(sim, "cart")
            await mirrored(trainer, "cart")
            assert not link.up
            assert len(sim.links) == 1
            server.close()
            second.close()

    play(channel_directory, scene)


def test_mirror_whose_files_were_removed_is_made_anew(channel_directory):
    """Somebody removed it by hand: the channel is still offered."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        server = serve(sim, "pole")
        first = await mirrored(trainer, "pole")
        shutil.rmtree(first.end.path)
        trainer.tick()
        await until(
            lambda: trainer.mirrors.get("pole", first) is not first, "a new mirror"
        )
        meeting = await meet(server, trainer, "pole")
        await meeting.step()
        meeting.client.close()
        server.close()

    play(channel_directory, scene)


def test_directory_that_was_removed_is_told_once(channel_directory, caplog):
    """Nobody finds a channel any more: the remedy is in the log."""

    async def scene(world):
        sim = world.machine("sim")
        shutil.rmtree(sim.root)
        sim.tick()
        sim.tick()

    play(channel_directory, scene)
    told = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(told) == 1
    assert "was removed" in told[0].getMessage()


def test_client_of_one_machine_meets_a_direct_peer_of_another(channel_directory):
    """Two bridges and a peer without a mapped file: one session, end to end."""
    direct = replace(IDENTITY, role=Role.PEER)

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        await world.join(trainer, sim)
        async with link_and_peer(
            sim, peer=direct, on_up=sim.link_up, on_end=sim.link_ended
        ) as (_, peer):
            await peer.say(FrameType.ANNOUNCE, Announcement("game", 1).encode(), 1)
            await mirrored(trainer, "game")
            client = MemClient.open("game", trainer.root)
            greeting = asyncio.create_task(
                asyncio.to_thread(client.greet, HELLO, (0, SESSION), 20.0)
            )
            await peer.expect(FrameType.OPEN)
            opening = Opening(0, 1024, 1024, 1)
            body = opening.encode() + Welcome(1).encode()
            await peer.say(FrameType.OPENED, body, 1, INCARNATION, SESSION)
            ids, welcome = await greeting
            channel = client.attach(welcome, ids)
            for sequence in (1, 2, 3):
                await asyncio.to_thread(send, channel, sequence, b"request")
                frame, body = await peer.expect(FrameType.DATA)
                assert (frame.sequence, body[64:]) == (sequence, b"request")
                # The same message, sent back as the reply.
                where = (1, INCARNATION, SESSION, sequence, frame.publication)
                await peer.say(FrameType.DATA, body, *where)
                answer = await asyncio.to_thread(receive, channel)
                assert answer == (sequence, b"request")
            client.close()
            frame, _ = await peer.expect(FrameType.CLOSE)
            assert (frame.incarnation, frame.session) == ids

    play(channel_directory, scene)
