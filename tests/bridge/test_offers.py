"""Channels of other machines whose names are taken, or too many, or odd."""

import pytest

from rlay.bridge.ends import BridgeServer
from rlay.errors import ChannelBusy, PeerLost, RemoteProtocolError
from rlay.protocol.constants import CloseReason, ErrorCode, PeerState
from rlay.protocol.frames import FrameType
from rlay.protocol.link_greeting import LinkCapability, LinkIdentity, Role
from rlay.protocol.link_messages import Announcement, Ending, Note
from tests.bridge.machines import meet, mirrored, play, serve
from tests.bridge.peers import link_and_peer, until


def registered(registry, **options):
    """A link to a machine's registry whose other side is the test."""
    return link_and_peer(
        registry, on_up=registry.link_up, on_end=registry.link_ended, **options
    )


def test_name_of_a_channel_of_this_machine_is_refused(channel_directory):
    """The older stays; the note names both machines and the remedy."""

    async def scene(world):
        trainer = world.machine("trainer")
        server = serve(trainer, "pole")
        async with registered(trainer) as (_, peer):
            body = Announcement("pole", 1, machine="sim").encode()
            await peer.say(FrameType.ANNOUNCE, body, 1)
            _, body = await peer.expect(FrameType.REJECT)
            note = Note.decode(body)
            assert note.code == ErrorCode.BUSY
            for word in ("sim", "trainer", "'pole'", "--prefix"):
                assert word in note.message
            assert "attached it at" not in note.message
        server.close()

    play(channel_directory, scene)


def test_direct_peer_is_told_to_take_another_name(channel_directory):
    """It has no bridge that could be given a prefix."""

    async def scene(world):
        trainer = world.machine("trainer")
        server = serve(trainer, "pole")
        identity = LinkIdentity(Role.PEER, 2, "sim", "rlay", LinkCapability.HEARTBEAT)
        async with registered(trainer, peer=identity) as (_, peer):
            body = Announcement("pole", 1, machine="sim").encode()
            await peer.say(FrameType.ANNOUNCE, body, 1)
            _, body = await peer.expect(FrameType.REJECT)
            message = Note.decode(body).message
            assert "sim both have a channel 'pole'" in message
            assert "another name" in message
            assert "--prefix" not in message
        server.close()

    play(channel_directory, scene)


def test_refused_channel_is_mirrored_once_its_name_is_free(channel_directory):
    """The offer stands: nobody has to announce anew."""

    async def scene(world):
        sim, trainer = world.machine("sim"), world.machine("trainer")
        older = serve(trainer, "pole")
        newer = serve(sim, "pole")
        await world.join(trainer, sim)
        await until(lambda: sim.links, "the link is up")
        assert not trainer.mirrors
        older.close()
        await until(lambda: not trainer.origins, "the older one went")
        trainer.tick()
        await mirrored(trainer, "pole")
        newer.close()

    play(channel_directory, scene)


def test_prefix_keeps_names_apart(channel_directory):
    """Two machines have a channel of one name, and both can be used here."""

    async def scene(world):
        sim, trainer = world.machine("sim", prefix="sim-"), world.machine("trainer")
        servers = [serve(trainer, "pole"), serve(sim, "pole")]
        await world.join(trainer, sim)
        await mirrored(trainer, "sim-pole")
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_prefixes_tell_machines_of_one_name_apart_at_a_hub(channel_directory):
    """Each machine puts its own prefix before what it announces."""

    async def scene(world):
        hub = world.machine("hub")
        sims = [world.machine(f"sim{n}", prefix=f"sim{n}-") for n in (1, 2, 3)]
        servers = [serve(sim, "pole") for sim in sims]
        for sim in sims:
            await world.join(hub, sim)
        for n in (1, 2, 3):
            mirror = await mirrored(hub, f"sim{n}-pole")
            assert mirror.machine == f"sim{n}"
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_name_that_its_prefix_makes_too_long_is_not_announced(channel_directory):
    """That channel alone is not shared; the link stays up."""

    async def scene(world):
        sim, trainer = world.machine("sim", prefix="sim-"), world.machine("trainer")
        servers = [serve(sim, "x" * 62), serve(sim, "pole")]
        await world.join(trainer, sim)
        await mirrored(trainer, "sim-pole")
        assert list(trainer.mirrors) == ["sim-pole"]
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_of_two_machines_with_one_name_the_older_stays(channel_directory):
    """The other one is taken when the older has said goodbye."""

    async def scene(world):
        hub, one, two = (world.machine(name) for name in ("hub", "one", "two"))
        servers = [serve(one, "pole"), serve(two, "pole")]
        await world.join(hub, one)
        mirror = await mirrored(hub, "pole")
        await world.join(hub, two)
        assert hub.mirrors["pole"] is mirror
        assert mirror.machine == "one"
        servers[0].close()
        await until(lambda: hub.mirrors.get("pole", mirror) is not mirror, "the other")
        assert hub.mirrors["pole"].machine == "two"
        servers[1].close()

    play(channel_directory, scene)


def test_session_that_waits_for_its_link_is_not_given_to_another_machine(
    channel_directory,
):
    """Another machine with a channel of that name does not end it."""

    async def scene(world):
        hub, one, two = (world.machine(name) for name in ("hub", "one", "two"))
        servers = [serve(one, "pole"), serve(two, "pole")]
        joined = await world.join(hub, one)
        mirror = await mirrored(hub, "pole")
        meeting = await meet(servers[0], hub, "pole")
        await meeting.step()
        await world.join(hub, two)
        await world.cut(joined)
        hub.tick()
        assert mirror.link is None
        await world.join(hub, one)
        await meeting.step()
        assert mirror.machine == "one"
        meeting.client.close()
        for server in servers:
            server.close()

    play(channel_directory, scene)


def test_machine_that_lost_its_directory_is_known_by_its_name(channel_directory):
    """Its bridge has another number now: what waits for it is not held up."""

    async def scene(world):
        hub, sim = world.machine("hub"), world.machine("sim")
        server = serve(sim, "pole")
        joined = await world.join(hub, sim)
        await mirrored(hub, "pole")
        await world.cut(joined)
        sim.close()
        successor = world.machine("sim", id=4711)
        await world.join(hub, successor)
        await mirrored(hub, "pole")
        assert hub.mirrors["pole"].peer_id == 4711
        server.close()

    play(channel_directory, scene)


def test_channels_that_went_while_the_link_was_down_are_given_up(channel_directory):
    """What a machine does not announce any more is not waited for."""

    async def scene(world):
        hub, sim = world.machine("hub"), world.machine("sim")
        server = serve(sim, "pole")
        joined = await world.join(hub, sim)
        await mirrored(hub, "pole")
        await world.cut(joined)
        assert "pole" in hub.mirrors
        server.close()
        await until(lambda: not sim.origins, "it is gone there")
        await world.join(hub, sim)
        await until(lambda: not hub.mirrors, "it is gone here")

    play(channel_directory, scene)


def test_more_offers_than_channels_are_refused_and_forgotten(channel_directory):
    """A flood of announcements takes the memory of as many as are allowed."""

    async def scene(world):
        trainer = world.machine("trainer", max_channels=3)
        async with registered(trainer) as (link, peer):
            for number in range(20):
                body = Announcement(f"pole.{number}", 1).encode()
                await peer.say(FrameType.ANNOUNCE, body, 2 * number + 1)
            for _ in range(17):
                _, body = await peer.expect(FrameType.REJECT)
                assert "--max-channels" in Note.decode(body).message
            assert len(trainer.mirrors) == 3
            assert len(trainer.offers._of_link[link]) == 3

    play(channel_directory, scene)


def test_number_of_another_channel_ends_the_link(channel_directory):
    """A number names one channel in the life of a link."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (link, peer):
            for name in ("one", "two"):
                await peer.say(FrameType.ANNOUNCE, Announcement(name, 1).encode(), 1)
            await peer.expect(FrameType.ERROR)
            assert isinstance(link.ended, RemoteProtocolError)

    play(channel_directory, scene)


def test_announcement_that_comes_twice_changes_nothing(channel_directory):
    """The mirror stays the same one."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            body = Announcement("pole", 1).encode()
            await peer.say(FrameType.ANNOUNCE, body, 1)
            mirror = await mirrored(trainer, "pole")
            await peer.say(FrameType.ANNOUNCE, body, 1)
            await peer.say(FrameType.PING, bytes(8))
            await peer.expect(FrameType.PONG)
            assert trainer.mirrors == {"pole": mirror}

    play(channel_directory, scene)


def test_refused_offer_is_tried_seldom(channel_directory, monkeypatch):
    """Names that stay taken cost next to nothing."""
    tries = []

    def refuse(*_, **__):
        tries.append(1)
        raise ChannelBusy("somebody has it")

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            monkeypatch.setattr(BridgeServer, "create", refuse)
            await peer.say(FrameType.ANNOUNCE, Announcement("pole", 1).encode(), 1)
            await peer.expect(FrameType.REJECT)
            begin = world.loop.time()
            for seconds in range(60):
                trainer.offers.again(begin + seconds)
            assert 1 < len(tries) < 66

    play(channel_directory, scene)


@pytest.mark.parametrize("program", ["rlay serve CartPole-v1", "x" * 200, "ä" * 100])
def test_name_of_the_machine_is_never_cut(channel_directory, program):
    """People read it in the header, and so does the next bridge."""
    machine = "m" * 64

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            said = Announcement("pole", 1, machine=machine, program=program)
            await peer.say(FrameType.ANNOUNCE, said.encode(), 1)
            mirror = await mirrored(trainer, "pole")
            assert mirror.machine == machine
            assert mirror.end.line.program == mirror.end.program

    play(channel_directory, scene)


def test_goodbye_of_a_bridge_ends_its_mirrors(channel_directory):
    """BYE is no broken link: nobody waits for it."""

    async def scene(world):
        trainer = world.machine("trainer")
        async with registered(trainer) as (_, peer):
            await peer.say(FrameType.ANNOUNCE, Announcement("pole", 1).encode(), 1)
            mirror = await mirrored(trainer, "pole")
            ending = Ending(PeerState.CLOSED, CloseReason.DRAINING).encode()
            await peer.say(FrameType.BYE, ending)
            await until(lambda: not trainer.mirrors, "it is gone")
            assert mirror.end.line.reason is CloseReason.DRAINING

    play(channel_directory, scene)


def test_mirror_is_given_up_after_the_window(channel_directory):
    """A link that stays down ends what waits for it."""

    async def scene(world):
        hub, sim = world.machine("hub", window_s=0.1), world.machine("sim")
        server = serve(sim, "pole")
        joined = await world.join(hub, sim)
        mirror = await mirrored(hub, "pole")
        joined[0].end(PeerLost("cut"))
        await until(lambda: not hub.mirrors, "it is given up")
        assert mirror.end.line.reason is CloseReason.LINK_DOWN
        server.close()

    play(channel_directory, scene)
