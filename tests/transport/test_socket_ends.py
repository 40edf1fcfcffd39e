"""Ends of a channel at a bridge: what they believe, and for how long."""

import contextlib
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from rlay.errors import (
    ChannelBusy,
    ChannelClosed,
    ConnectTimeout,
    DecodeError,
    LinkDown,
    PeerLost,
    RemoteProtocolError,
)
from rlay.protocol.constants import CloseReason, ErrorCode, PeerState
from rlay.protocol.frames import Frame, FrameType, pack_frame
from rlay.protocol.greeting import Welcome
from rlay.protocol.link_messages import Ending, Note, SlotWords
from rlay.transport import socket_client, socket_server
from rlay.transport.peers import OwnEnd
from rlay.transport.socket_client import SocketClient
from rlay.transport.socket_end import Assembled
from rlay.transport.socket_server import SocketServer
from rlay.transport.socket_watch import SocketWatch
from tests.support.channels import (
    HELLO,
    INCARNATION,
    LIMIT_S,
    SESSION,
    connect,
    patience,
    send,
    socket_pair,
)
from tests.support.hub import Hub
from tests.support.waiting import wait_until

IDS = INCARNATION, SESSION
CLOSED = Ending(PeerState.CLOSED, CloseReason.CLOSED).encode()


@pytest.fixture
def hub():
    """A hub."""
    with Hub() as made:
        yield made


@pytest.fixture
def server(hub):
    """A server that is announced there."""
    with contextlib.closing(SocketServer.create(hub.address("pair"), LIMIT_S)) as made:
        yield made


def drive(end, condition):
    """Let an end do what its user's waiting would do, until something is so."""
    wait_until(lambda: (end._link.pump(0.01) and False) or condition(), LIMIT_S)


def say_to(hub, role, frame):
    """Have the hub say something to the end of a role."""
    with hub._lock:
        for peer in hub._peers.values():
            if peer.role == role:
                peer.send(frame)


# ----------------------------------------------------------------------------- client


@pytest.mark.parametrize("ids", [(1, SESSION), (INCARNATION, 1), (0, 0)])
def test_answer_to_another_hello_is_no_answer(hub, server, ids):
    """It may be late, and meant for the client before."""
    with contextlib.closing(SocketClient.open(hub.address("pair"), LIMIT_S)) as client:
        client.begin_hello(HELLO, IDS)

        def accept():
            buffer, _ = server.receive_hello(LIMIT_S)
            server.accept(buffer, Welcome(0), ids, (64, 64))

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(ConnectTimeout, match="did not answer"):
            client.receive_welcome(IDS, 0.3)
        thread.join(LIMIT_S)


def test_answer_that_nobody_asked_for_is_no_answer(hub):
    """It begins no session in place of the one that goes on."""
    with socket_pair(hub) as pair:
        client = pair.client
        slots = client._slots
        frame = Frame(FrameType.OPENED, client._channel, *IDS, total=16, body_bytes=16)
        client._take_answer(frame, memoryview(b""))
        assert client._slots is slots


def test_frame_that_is_not_for_a_client_is_a_breach(hub):
    """A bridge that mistakes a client for a server is told so."""
    with socket_pair(hub) as pair:
        frame = Frame(FrameType.RESUME, pair.client._channel, *IDS)
        with pytest.raises(RemoteProtocolError, match="RESUME"):
            pair.client.deliver(frame, memoryview(SlotWords(0, 0, 0, 0).encode()))


def test_frame_that_is_not_for_a_server_is_a_breach(hub):
    """And the other way round."""
    with socket_pair(hub) as pair:
        frame = Frame(FrameType.RESUMED, 1, *IDS)
        with pytest.raises(RemoteProtocolError, match="RESUMED"):
            pair.server.deliver(frame, memoryview(b""))


@pytest.mark.parametrize("kind", [FrameType.LOST, FrameType.RESUMED])
def test_word_about_another_session_is_dropped(hub, kind):
    """It may be late."""
    body = CLOSED if kind is FrameType.LOST else SlotWords(9, 9, 9, 9).encode()
    with socket_pair(hub) as pair:
        client: Any = pair.client
        frame = Frame(kind, client._channel, INCARNATION, SESSION + 1)
        client.deliver(frame, memoryview(body))
        assert not client.watch.over
        assert client._slots.words() == SlotWords(0, 0, 0, 0)


def test_goodbye_before_a_session_is_resumed_vouches_for_nothing(hub):
    """What was taken meanwhile was not told."""
    with socket_pair(hub) as pair:
        client, _ = pair.ends
        send(client, 1)
        slots: Any = pair.client._slots
        slots.attached = False
        frame = Frame(FrameType.WITHDRAW, pair.client._channel)
        pair.client.deliver(frame, memoryview(CLOSED))
        assert client.request_taken


def test_session_whose_channel_is_gone_from_the_bridge(hub, monkeypatch):
    """A bridge that was restarted may take its time to know it again, not more."""
    monkeypatch.setattr(socket_client, "_GONE_S", 0.3)
    with socket_pair(hub) as pair:
        client, _ = pair.ends
        with hub._lock:
            hub._rooms.clear()
        hub.cut_now("client")
        with pytest.raises(LinkDown, match="does not know this session"):
            client.receive(patience(client))


def test_session_whose_channel_is_known_late(hub, monkeypatch):
    """Not at once, but before that time is over: the session goes on."""
    monkeypatch.setattr(socket_client, "_GONE_S", 300.0)
    with socket_pair(hub) as pair:
        client, server = pair.ends
        with hub._lock:
            rooms = dict(hub._rooms)
            hub._rooms.clear()
        hub.cut_now("client")
        drive(pair.client, lambda: pair.client._missing_since is not None)
        with hub._lock:
            hub._rooms.update(rooms)
        stop = threading.Event()

        def run():
            while not stop.is_set():
                pair.server._link.pump(0.01)

        thread = threading.Thread(target=run)
        thread.start()
        drive(pair.client, client.watch.check)
        stop.set()
        thread.join(LIMIT_S)
        assert server.watch.check()


# ----------------------------------------------------------------------------- server


def test_name_that_was_ours_is_taken_for_a_while_only(hub, server, monkeypatch):
    """A bridge may hold our own broken link for alive; not for ever."""
    monkeypatch.setattr(socket_server, "_TAKEN_S", 0.3)
    note = Note(int(ErrorCode.BUSY), "somebody has it").encode()
    say_to(hub, "server", pack_frame(FrameType.REJECT, note, 1))
    begin = time.monotonic()
    drive(server, lambda: server._rejection is not None)
    with pytest.raises(ChannelBusy, match="somebody has it"):
        server.receive_hello(LIMIT_S)
    assert time.monotonic() - begin >= 0.3


def test_name_that_is_free_again_is_ours(hub, server, monkeypatch):
    """It is announced anew, and a client finds it."""
    monkeypatch.setattr(socket_server, "_ANNOUNCE_AGAIN_S", 0.05)
    note = Note(int(ErrorCode.BUSY), "somebody has it").encode()
    with hub._lock:
        hub._rooms.clear()
    say_to(hub, "server", pack_frame(FrameType.REJECT, note, 1))
    drive(server, lambda: server._rejection is not None)
    drive(server, lambda: server._rejection is None and hub._rooms)
    with contextlib.closing(SocketClient.open(hub.address("pair"), LIMIT_S)) as client:
        assert connect(server, client)


def test_channel_that_may_not_be_had_is_raised_at_once(hub, server):
    """Only a name that is taken may be free again."""
    note = Note(int(ErrorCode.UNSUPPORTED), "no such thing here").encode()
    say_to(hub, "server", pack_frame(FrameType.REJECT, note, 1))
    with pytest.raises(Exception, match="no such thing here"):
        server.receive_hello(LIMIT_S)


def test_client_that_was_superseded_gets_no_session(hub, server):
    """The one that came after it does."""
    with contextlib.closing(SocketClient.open(hub.address("pair"), LIMIT_S)) as client:
        client.begin_hello(HELLO, (1, 1))
        first, _ = server.receive_hello(LIMIT_S)
        client.begin_hello(HELLO, (2, 2))
        drive(server, lambda: server.client_waits)
        assert server.accept(first, Welcome(0), (1, 1), (64, 64)) is None
        second, _ = server.receive_hello(LIMIT_S)
        assert server.accept(second, Welcome(0), (2, 2), (64, 64)) is not None


def test_client_that_left_before_it_was_answered(hub, server):
    """Its Hello goes with it."""
    with contextlib.closing(SocketClient.open(hub.address("pair"), LIMIT_S)) as client:
        client.begin_hello(HELLO, (1, 1))
        drive(server, lambda: server.client_waits)
    drive(server, lambda: not server.client_waits)


def test_client_that_is_replaced_is_lost(hub):
    """To the session that it was in."""
    with socket_pair(hub) as pair:
        _, server = pair.ends
        pair.client.begin_hello(HELLO, (1, 1))
        with pytest.raises(PeerLost, match="replaced"):
            server.receive(patience(server))


def test_session_that_a_server_does_not_know_is_lost_unsure(hub, server):
    """Nobody knows whether its last request was run, so that is not denied."""
    sent = []
    server._link.send_frame = lambda *args, **more: sent.append((args, more))
    words = SlotWords(3, 0, 0, 0).encode()
    server.deliver(Frame(FrameType.RESUME, 1, *IDS), memoryview(words))
    ((kind, body, channel, ids), _), = sent  # fmt: skip
    assert (kind, channel, ids) == (FrameType.LOST, 1, IDS)
    assert Ending.decode(body) == Ending(PeerState.LOST, CloseReason.LINK_DOWN)


def test_closed_server_takes_no_client(hub, server):
    """Its methods say so."""
    server.close()
    with pytest.raises(ChannelClosed):
        server.receive_hello(LIMIT_S)


# ------------------------------------------------------------------------------ pieces


def piece(offset, size, total):
    return Frame(FrameType.OPENED, 3, *IDS, offset=offset, total=total, body_bytes=size)


def test_greeting_in_pieces_is_put_together():
    """In the order in which they come."""
    assembled = Assembled()
    assembled.place(piece(0, 20, 50))[:] = b"a" * 20
    assembled.place(piece(20, 30, 50))[:] = b"b" * 30
    assert bytes(assembled.whole) == b"a" * 20 + b"b" * 30


@pytest.mark.parametrize(
    "second", [piece(30, 20, 50), piece(10, 20, 50), piece(20, 20, 60)]
)
def test_greeting_with_a_hole_is_a_breach(second):
    """A piece at another place, or of something else."""
    assembled = Assembled()
    assembled.place(piece(0, 20, 50))
    with pytest.raises(DecodeError, match="in place of 20"):
        assembled.place(second)


# ------------------------------------------------------------------------------- watch


@pytest.fixture
def watch():
    """A watch over a link that is up, or not, as the test says."""
    link: Any = SimpleNamespace(
        pump=lambda wait_s: False, resume_window_s=0.1, problem="p"
    )
    return SocketWatch(link, "the peer", OwnEnd("ours"))


@pytest.mark.parametrize(
    ("state", "reason", "vouches"),
    [
        (PeerState.CLOSED, CloseReason.CLOSED, True),
        (PeerState.LOST, CloseReason.VANISHED, True),
        (PeerState.LOST, CloseReason.LINK_DOWN, False),
        (PeerState.CLOSED, CloseReason.DRAINING, False),
    ],
)
def test_what_an_ending_vouches_for(watch, state, reason, vouches):
    """Whether what was not taken is known not to have been: a table of the page."""
    assert not watch.vouches
    watch.end(state, reason)
    assert watch.vouches is vouches


def test_first_ending_counts(watch):
    """What is said later is no news."""
    watch.end(PeerState.CLOSED, CloseReason.CLOSED)
    watch.end(PeerState.LOST, CloseReason.LINK_DOWN)
    with pytest.raises(ChannelClosed):
        watch.check()


def test_link_that_is_back_ends_the_wait(watch):
    """The time without it does not add up."""
    watch.detach()
    assert watch.check() is False
    watch.attach()
    assert watch.check() is True


def test_link_that_stays_down_is_given_up(watch):
    """After the window of the bridge; then it stays so."""
    watch.detach()
    with pytest.raises(LinkDown, match=r"more than 0\.1 s: p"):
        wait_until(lambda: watch.check() and False)
    watch.attach()
    with pytest.raises(LinkDown):
        watch.check()
