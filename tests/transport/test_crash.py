"""An end is killed between any two stores, or at any call: what the other one sees."""

import contextlib
import mmap
import os
import signal
import time
import traceback

import pytest

from rlay.errors import (
    ChannelClosed,
    ChannelCorrupt,
    ChannelNotFound,
    ConnectTimeout,
    PeerLost,
)
from rlay.protocol.constants import Kind
from rlay.protocol.greeting import Welcome
from rlay.transport import peers
from rlay.transport.inspection import clean
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from tests.support.channels import (
    HELLO,
    LIMIT_S,
    connect,
    exchange,
    patience,
    receive,
    say,
    send,
)
from tests.support.fatal import (
    CrashPoint,
    crash_points,
    make_calls_fatal,
    make_stores_fatal,
)
from tests.support.waiting import wait_until

CAPACITY = 64
MESSAGES = [b"first", b"second message", bytes(range(200)), b"", b"last"]
"""The third one goes in parts."""
LOST_BOUND_S = 3 * 0.25

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def _fork(function, *arguments):
    """Run a function in a forked child; return its process id."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function(*arguments)
            code = 0
        except (PeerLost, ChannelClosed):
            code = 0  # the parent had seen enough
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def _exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _send_all(channel):
    """Send each message, in parts where it must, and await its echo."""
    for sequence, payload in enumerate(MESSAGES, 1):
        overflow = channel.outgoing[sequence & 1].write(int(Kind.STEP), payload)
        if overflow is None:
            channel.send(sequence)
        else:
            channel.send_parts(sequence, overflow, patience(channel))
        assert receive(channel)[0] == sequence


def _receive_all(channel):
    """Return what arrives until the peer is lost, answering each message."""
    received: list[bytes] = []
    try:
        while len(received) < len(MESSAGES):
            message = channel.receive(patience(channel))
            received.append(bytes(message.body()))
            assert message.sequence == len(received)
            channel.take()
            send(channel, len(received))
    except PeerLost:
        pass
    return received


def _client_that_crashes(directory, crash_at):
    point = CrashPoint(crash_at)
    make_stores_fatal(point)
    client = MemClient.open("game", directory)
    ids, welcome = client.greet(HELLO, (0, 5), LIMIT_S)
    _send_all(client.attach(welcome, ids))


@pytest.fixture
def quick(monkeypatch):
    """Look at the peer more often than usual: there are many peers to lose here."""
    monkeypatch.setattr(peers, "SLICE_S", 0.002)


@pytest.mark.timeout(300)
def test_b7_client_killed_between_any_two_stores(channel_directory, quick):
    """B7: the server gets whole messages in order, then the next client."""
    server = MemServer.create("game", channel_directory)
    seen = []
    for crash_at in crash_points():
        pid = _fork(_client_that_crashes, channel_directory, crash_at)
        received = []
        try:
            buffer, _ = server.receive_hello(_until_death(pid))
        except ConnectTimeout:
            pass  # killed before its Hello was out
        else:
            channel = server.accept(
                buffer, Welcome(0), (1, buffer.session), (CAPACITY, CAPACITY)
            )
            if channel is not None:
                received = _receive_all(channel)
        assert received == MESSAGES[: len(received)]
        seen.append(len(received))
        code = _exit_code(pid)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(MESSAGES) + 1))
    client = MemClient.open("game", channel_directory)
    exchange(*connect(server, client), 1)
    client.close()
    server.close()


def _until_death(pid):
    """Return how long to wait for the Hello of a child that may be killed before it.

    A child that has ended is not waited for: its Hello is there or never comes.
    """
    info = None
    began = time.monotonic()
    while info is None and time.monotonic() - began < 0.05:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        time.sleep(0.001)
    return 0.0 if info else LIMIT_S


def _server_that_crashes(directory, crash_at):
    point = CrashPoint(crash_at)
    make_stores_fatal(point)
    server = MemServer.create("game", directory)
    buffer, _ = server.receive_hello(LIMIT_S)
    channel = server.accept(buffer, Welcome(0), (1, 5), (CAPACITY, CAPACITY))
    assert channel is not None
    _send_all(channel)


@pytest.mark.timeout(300)
def test_b7_server_killed_between_any_two_stores(channel_directory, quick):
    """B7: the client gets whole messages in order; the next server gets the name."""
    seen = []
    for crash_at in crash_points():
        pid = _fork(_server_that_crashes, channel_directory, crash_at)
        received = _be_served(channel_directory)
        assert received == MESSAGES[: len(received)]
        seen.append(len(received))
        code = _exit_code(pid)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(MESSAGES) + 1))
    server = MemServer.create("game", channel_directory)
    client = MemClient.open("game", channel_directory)
    exchange(*connect(server, client), 1)
    client.close()
    server.close()
    assert os.listdir(channel_directory) == []


def _be_served(directory):
    """Attach as soon as there is a living server; return what it sends."""

    def opened():
        try:
            return MemClient.open("game", directory)
        except ChannelNotFound:
            return None

    client = wait_until(opened)
    try:
        ids, welcome = client.greet(HELLO, (0, 5), LIMIT_S)
        return _receive_all(client.attach(welcome, ids))
    except PeerLost:
        return []
    finally:
        client.close()


def _make_and_remove(directory, crash_at):
    point = CrashPoint(crash_at)
    make_calls_fatal(point)
    server = MemServer.create("game", directory)
    server._store.create_slots(1, 8192)
    server._store.create_slots(2, 8192)
    server.close()


@pytest.mark.parametrize("stale", [False, True], ids=["new name", "stale name"])
def test_b7_server_killed_at_any_call_leaves_what_can_be_swept(
    channel_directory, stale
):
    """B7: wherever a server dies, the next one gets the name and a sweep the rest."""
    points = 0
    for crash_at in crash_points():
        if stale:
            MemServer.create("game", channel_directory)._store.close()
        code = _exit_code(_fork(_make_and_remove, channel_directory, crash_at))
        server = MemServer.create("game", channel_directory)
        client = MemClient.open("game", channel_directory)
        exchange(*connect(server, client), 1)
        client.close()
        server.close()
        clean(channel_directory)
        assert os.listdir(channel_directory) == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
        points += 1
    assert points > 20


# ------------------------------------------------------------------ B4, B5, A1


def serve(directory, capacity):
    """Runs in a child: echo every message until the peer is gone."""
    server = MemServer.create("game", directory)
    say("ready")
    buffer, _ = server.receive_hello(LIMIT_S)
    channel = server.accept(
        buffer, Welcome(0), (1, buffer.session), (capacity, capacity)
    )
    try:
        assert channel is not None
        with contextlib.suppress(ChannelClosed):
            while True:
                sequence, payload = receive(channel)
                send(channel, sequence, payload)
    finally:
        server.close()


@contextlib.contextmanager
def _served(children, directory):
    """Start a server in a child; return it and the session with it."""
    capacity = 64 * 1024
    child = children.start(serve, directory, capacity, forever=True)
    child.wait_until_printed("ready")
    client = MemClient.open("game", directory)
    try:
        ids, welcome = client.greet(HELLO, (0, 5), LIMIT_S)
        yield child, client.attach(welcome, ids)
    finally:
        client.close()


def _assert_echo(channel, sequence, payload):
    send(channel, sequence, payload)
    assert receive(channel) == (sequence, payload)


@pytest.mark.leaves_files
def test_a1_killed_server_is_lost_in_time(children, channel_directory):
    """A1: SIGKILL is PeerLost within a quarter of a second, and names the process."""
    with _served(children, channel_directory) as (child, channel):
        _assert_echo(channel, 1, b"x")
        child.kill()
        began = time.monotonic()
        with pytest.raises(PeerLost, match=f"process {child.pid} .*killed"):
            channel.receive(patience(channel))
        assert time.monotonic() - began < LOST_BOUND_S


def test_a11_stopped_server_is_alive(children, channel_directory):
    """A11: SIGSTOP is no death: the lock is held, the answer comes after SIGCONT."""
    with _served(children, channel_directory) as (child, channel):
        child.send_signal(signal.SIGSTOP)
        send(channel, 1, b"x")
        with pytest.raises(TimeoutError):
            channel.receive(patience(channel, 0.3))
        assert channel.watch.check()
        child.send_signal(signal.SIGCONT)
        assert receive(channel) == (1, b"x")


def test_b4_files_deleted_under_a_live_pair_do_no_harm(children, channel_directory):
    """B4: what is mapped and locked stays, whoever deletes the names."""
    with _served(children, channel_directory) as (child, channel):
        for file in (channel_directory / "game").iterdir():
            file.unlink()
        (channel_directory / "game").rmdir()
        for sequence in range(1, 50):
            _assert_echo(channel, sequence, b"%d" % sequence)
        assert channel.watch.check()
        assert child.exit_code is None


@pytest.mark.leaves_files
def test_b5_only_who_touches_a_truncated_file_dies(children, channel_directory):
    """B5: the server dies of SIGBUS at its payload, the client gets PeerLost."""
    with _served(children, channel_directory) as (child, channel):
        _assert_echo(channel, 1, b"x")
        slots = channel_directory / "game" / "slots.1"
        # What is cut off is the end of the server's second buffer. The client, which
        # waits on a word in front of it, does not touch that.
        os.truncate(slots, slots.stat().st_size - 2 * mmap.PAGESIZE)
        send(channel, 3, bytes(64 * 1024))
        began = time.monotonic()
        with pytest.raises(PeerLost):
            channel.receive(patience(channel))
        assert time.monotonic() - began < LOST_BOUND_S
        child.wait(exit_code=-signal.SIGBUS)
        assert "Bus error" in child.stderr  # faulthandler says what it was
        assert "send" in child.stderr


@pytest.mark.leaves_files
def test_b5_greeting_in_a_truncated_header_kills_nobody_else(
    children, channel_directory
):
    """B5: a server whose header was cut off dies alone; a client gets an error."""
    child = children.start(serve, channel_directory, 64)
    child.wait_until_printed("ready")
    os.truncate(channel_directory / "game" / "header", 0)
    child.wait(exit_code=-signal.SIGBUS)  # at its next look for a client
    with pytest.raises(ChannelCorrupt, match="has 0 bytes"):
        MemClient.open("game", channel_directory)
