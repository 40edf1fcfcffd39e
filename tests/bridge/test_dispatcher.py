"""Frames of a peer that is let in, but hostile: what they may cost."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from rlay.bridge.dispatcher import Allowance, Greetings
from rlay.bridge.metrics import Counts
from rlay.errors import RemoteProtocolError
from rlay.protocol.constants import ErrorCode, PeerState
from rlay.protocol.frames import Frame, FrameType, pack_frame
from rlay.protocol.link_messages import Announcement, Ending, Opening, Question
from tests.bridge.peers import link_and_peer, until

QUIET = SimpleNamespace(sent=lambda: None, received=lambda: None)


class Registry:
    """Notes what it is asked for."""

    def __init__(self):
        self.counts = Counts()
        self.calls = []
        self.offers = self.questions = self
        self.wakefulness = QUIET

    def code_of(self, error):
        return ErrorCode.PROTOCOL

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))

        return call


def piece(offset, size, total, channel=2, kind=FrameType.OPENED):
    """A piece of a greeting: its frame and its body."""
    frame = Frame(kind, channel, offset=offset, total=total, body_bytes=size)
    return frame, memoryview(bytes(size))


def test_greeting_is_put_together():
    """Its pieces come in order; the last one completes it."""
    greetings = Greetings()
    assert greetings.add(*piece(0, 10, 30)) is None
    assert greetings.add(*piece(10, 10, 30)) is None
    whole = greetings.add(*piece(20, 10, 30))
    assert whole is not None
    assert len(whole) == 30


@pytest.mark.parametrize(
    "second",
    [
        piece(0, 10, 30, channel=4),
        piece(0, 10, 30, kind=FrameType.REFUSED),
        piece(20, 10, 30),
        piece(0, 10, 30),
    ],
)
def test_one_greeting_at_a_time(second):
    """A peer that begins many and ends none takes the memory of one."""
    greetings = Greetings()
    greetings.add(*piece(0, 10, 30))
    with pytest.raises(RemoteProtocolError):
        greetings.add(*second)


def test_allowance_is_large_at_once_and_small_for_long():
    """A link that comes back is not slowed down; a flood is."""
    allowance = Allowance(now=0.0)
    assert not any(allowance.spend(0.0) for _ in range(4096))
    assert allowance.spend(0.0) > 0
    assert allowance.spend(10.0) == 0


@pytest.mark.parametrize("kind", [FrameType.BYE, FrameType.WITHDRAW, FrameType.LOST])
def test_reason_of_a_newer_version_is_taken(kind, caplog):
    """A number that is not known ends nothing but what it is about."""

    async def run():
        registry = Registry()
        async with link_and_peer(registry) as (link, peer):
            await peer.say(kind, Ending(PeerState.CLOSED, 4711).encode(), 1)
            await peer.say(FrameType.PING, bytes(8))
            if kind is FrameType.BYE:
                await peer.expect_end()
                assert link.said_goodbye
            else:
                await peer.expect(FrameType.PONG)

    asyncio.run(run())
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize("channel", [0, 2])
def test_number_that_is_not_theirs_ends_the_link(channel):
    """A peer numbers its own channels only."""

    async def run():
        registry = Registry()
        async with link_and_peer(registry) as (link, peer):
            body = Announcement("x", 1).encode()
            await peer.say(FrameType.ANNOUNCE, body, channel)
            await peer.expect(FrameType.ERROR)
            assert isinstance(link.ended, RemoteProtocolError)
            assert not [call for call in registry.calls if call[0] == "announced"]

    asyncio.run(run())


def test_frames_for_sessions_that_are_not_theirs_are_counted():
    """DATA and TAKEN for a channel without a session change nothing."""

    async def run():
        registry = Registry()
        async with link_and_peer(registry) as (link, peer):
            await peer.say(FrameType.DATA, bytes(64), 7, 1, 2)
            await peer.say(FrameType.TAKEN, b"", 7, 1, 2)
            await peer.say(FrameType.PING, bytes(8))
            await peer.expect(FrameType.PONG)
            assert registry.counts.dropped == {"no session": 1}
            assert link.up

    asyncio.run(run())


def test_open_of_a_channel_that_is_gone_is_lost():
    """It may just have been withdrawn: the link goes on."""

    async def run():
        async with link_and_peer(Registry()) as (link, peer):
            await peer.say(FrameType.OPEN, Opening(0).encode(), 2, 0, 5)
            frame, _ = await peer.expect(FrameType.LOST)
            assert (frame.channel, frame.session, link.up) == (2, 5, True)

    asyncio.run(run())


def test_flood_of_questions_waits_while_others_are_served():
    """Ten thousand FINDs are read a few hundred at a time."""

    async def run():
        flooded, other = Registry(), Registry()
        async with (
            link_and_peer(flooded) as (link, peer),
            link_and_peer(other) as (_, friend),
        ):
            sending = asyncio.create_task(peer.send(_find_frame() * 10_000))
            await until(lambda: link.stream.paused, "the flood is paused")
            await friend.say(FrameType.PING, bytes(8))
            await friend.expect(FrameType.PONG)
            assert len(flooded.calls) < 6000
            sending.cancel()

    asyncio.run(run())


def _find_frame():
    return pack_frame(FrameType.FIND, Question("x").encode(), 0, 0, 0, 1)


def test_fault_of_this_program_ends_the_link_alone(caplog):
    """It is told once, with its traceback, and no callback of the loop raises."""

    def fail(*_):
        raise KeyError("a fault")

    async def run():
        unhandled = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: unhandled.append(context)
        )
        registry = SimpleNamespace(
            counts=Counts(),
            wakefulness=QUIET,
            questions=SimpleNamespace(answer=fail),
            code_of=lambda error: ErrorCode.PROTOCOL,
        )
        async with link_and_peer(registry) as (link, peer):
            await peer.send(_find_frame())
            await peer.expect_end()
            assert "a fault of this bridge" in str(link.ended)
        assert not unhandled

    asyncio.run(run())
    assert sum("a fault of this bridge" in r.getMessage() for r in caplog.records) == 1
