"""One connection: how it begins, how it lives, how it ends."""

import asyncio
import time
from dataclasses import replace

import pytest

from rlay.bridge.link import WRITE_STALL_S, Link
from rlay.errors import PeerLost, SlowPeer
from rlay.protocol.constants import CloseReason
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_greeting import LinkCapability
from rlay.protocol.link_messages import Ending, Opening
from tests.bridge.peers import IDENTITY, TERMS, link_and_peer, until
from tests.bridge.test_dispatcher import Registry


def test_peer_is_known_once_it_has_greeted():
    """``on_up`` is called, and the link has a name for people."""
    ups: list[Link] = []

    async def run():
        async with link_and_peer(Registry(), on_up=ups.append) as (link, _):
            assert ups == [link]
            assert link.name == "there (127.0.0.1:1)"
            assert link.with_bridge
            assert link.is_local

    asyncio.run(run())


def test_link_that_ends_while_it_says_welcome_is_never_up(monkeypatch):
    """Who is gone before the last word of the greeting is announced to nobody."""
    ups: list[Link] = []
    ends: list[Link] = []

    async def run():
        async with link_and_peer(
            Registry(), greeted=False, on_up=ups.append, on_end=ends.append
        ) as (link, peer):
            broken = PeerLost("the connection broke")

            def write(buffers):
                if b"WELCOME" in seen:
                    raise broken
                return real(buffers)

            seen, real, greet = [], link.sender._write, link._greet

            def watched(greeting, frame, body):
                if frame.type is FrameType.PROOF:
                    seen.append(b"WELCOME")
                greet(greeting, frame, body)

            link.sender._write = write
            monkeypatch.setattr(link, "_greet", watched)
            greeting = asyncio.create_task(peer.greet())
            with pytest.raises(ConnectionError):
                await greeting
            assert link.ended is broken
            assert (ups, ends) == ([], [link])

    asyncio.run(run())


def test_silent_bridge_is_given_up():
    """Nothing for longer than ``dead_after_ms`` ends the link."""

    async def run():
        async with link_and_peer(Registry()) as (link, _):
            link.heard_at -= 11
            link.tick(time.monotonic() + 3)
            assert isinstance(link.ended, PeerLost)
            assert "nothing came" in str(link.ended)

    asyncio.run(run())


def test_silent_direct_peer_is_left_to_tcp():
    """One without heartbeats may compute for as long as it likes."""

    async def run():
        silent = replace(IDENTITY, capabilities=LinkCapability.NONE)
        async with link_and_peer(Registry(), peer=silent) as (link, _):
            link.heard_at -= 1000
            link.tick(time.monotonic() + 3)
            assert link.up

    asyncio.run(run())


def test_bytes_of_a_frame_that_is_not_whole_count_as_life():
    """Over a slow network a large frame takes longer than ``dead_after_ms``."""

    async def run():
        async with link_and_peer(Registry()) as (link, peer):
            link.heard_at -= 1000
            frame = pack_frame(FrameType.PING, bytes(8))
            got = link.stream.got
            await peer.send(frame[:20])
            await until(lambda: link.stream.got == got + 20, "it came in part")
            link.tick(time.monotonic() + 3)
            assert link.up

    asyncio.run(run())


def test_heartbeats_come_as_often_as_the_terms_say():
    """The listener's terms count, not this program's settings."""

    async def run():
        terms = replace(TERMS, heartbeat_ms=500)
        async with link_and_peer(Registry(), terms=terms) as (link, peer):
            begin = time.monotonic()
            for tenth in range(1, 21):
                link.tick(begin + tenth / 10)
            pings = [await peer.expect(FrameType.PING) for _ in range(3)]
            assert len(pings) == 3
            assert link.heartbeat_s == 0.5

    asyncio.run(run())


def test_round_trips_are_measured():
    """The answer to a PING says how long it took."""

    async def run():
        async with link_and_peer(Registry()) as (link, peer):
            link.tick(time.monotonic() + 3)
            await peer.expect(FrameType.PING)
            stamp = int(time.monotonic() * 1e9).to_bytes(8, "little")
            await peer.say(FrameType.PONG, stamp)
            await until(lambda: link.counts.round_trips_s, "a trip is counted")
            assert link.counts.round_trip_s(0.5) is not None

    asyncio.run(run())


def test_peer_that_reads_nothing_is_given_up():
    """A socket that is full for ten seconds ends the link, and nothing else."""

    async def run():
        async with link_and_peer(Registry()) as (link, _):
            _fill(link)
            begin = time.monotonic()
            link.tick(begin + 2)
            assert link.up
            link.tick(begin + 4 + WRITE_STALL_S)
            assert isinstance(link.ended, SlowPeer)

    asyncio.run(run())


def test_slow_network_is_not_a_stalled_peer(monkeypatch):
    """What was taken before still arrives: the peer is alive, however slow."""

    async def run():
        async with link_and_peer(Registry()) as (link, _):
            _fill(link)
            left = iter(range(100_000, 0, -1000))
            monkeypatch.setattr(link.stream, "unsent_bytes", lambda: next(left))
            begin = time.monotonic()
            link.heard_at += 1000
            for seconds in range(2, 60, 2):
                link.tick(begin + seconds)
            assert link.up

    asyncio.run(run())


def _fill(link):
    """Send to a peer that does not read until its socket is full."""
    while link.sender.stalled_since is None:
        link.sender.control(bytes(64 * 1024))
        link.flush()


def test_goodbye_says_why():
    """BYE with its reason is the last frame of an orderly end."""

    async def run():
        ends: list[Link] = []
        async with link_and_peer(Registry(), on_end=ends.append) as (link, peer):
            link.bye(CloseReason.DRAINING)
            _, body = await peer.expect(FrameType.BYE)
            assert Ending.decode(body).known_reason is CloseReason.DRAINING
            await peer.expect_end()
            assert ends == [link]

    asyncio.run(run())


def test_goodbye_leaves_the_end_to_the_other_side():
    """It may still be reading what came before: it ends the connection, not we."""

    async def run():
        ends: list[Link] = []
        async with link_and_peer(Registry(), on_end=ends.append) as (link, peer):
            link.say_goodbye(CloseReason.DRAINING)
            link.say_goodbye(CloseReason.CLOSED)
            _, body = await peer.expect(FrameType.BYE)
            assert Ending.decode(body).known_reason is CloseReason.DRAINING
            assert link.flushed
            assert ends == []
            peer.sock.close()
            await until(lambda: ends, "the link has ended")
            assert "we said goodbye" in str(link.ended)

    asyncio.run(run())


def test_garbage_is_answered_with_an_error_and_the_end():
    """The peer is told what was wrong before the connection ends."""

    async def run():
        async with link_and_peer(Registry()) as (_, peer):
            await peer.send(b"GET / HTTP/1.1\r\n" * 8)
            await peer.expect(FrameType.ERROR)
            await peer.expect_end()

    asyncio.run(run())


@pytest.mark.parametrize("mebibytes", [0, 1, 8])
def test_greeting_of_any_size_goes_out(mebibytes):
    """A Welcome with large spaces is no slow peer."""

    async def run():
        async with link_and_peer(Registry()) as (link, peer):
            payload = bytes(mebibytes * 2**20)
            link.send_opening(FrameType.OPENED, 2, (1, 2), Opening(0), payload)
            came = 0
            while True:
                frame, body = await peer.expect(FrameType.OPENED)
                assert (frame.offset, frame.total) == (came, 16 + len(payload))
                came += len(body)
                if frame.last:
                    break
            assert link.up

    asyncio.run(run())


def test_fault_in_what_follows_an_end_is_contained(caplog):
    """``on_end`` may fail: the link has ended nevertheless, and it is told."""

    def fail(link):
        raise KeyError("a fault")

    async def run():
        async with link_and_peer(Registry(), on_end=fail) as (link, _):
            link.end(PeerLost("enough"))
            assert not link.up

    asyncio.run(run())
    assert "a fault of this bridge" in caplog.text
