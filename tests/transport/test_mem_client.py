"""The end that opens a channel: what it finds, and what it is told."""

import os
import struct
import threading
import time

import pytest

from rlay.errors import (
    ChannelBusy,
    ChannelClosed,
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    ConnectTimeout,
    Draining,
    EnvLost,
    PeerLost,
    RemoteEnvError,
    RemoteProtocolError,
    SpaceMismatch,
    VersionMismatch,
)
from rlay.protocol.constants import ErrorCode, Kind
from rlay.protocol.greeting import Refusal, Welcome
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.refusals import refusal_error
from tests.support.channels import HELLO, LIMIT_S, connect, exchange, say, vanish
from tests.support.races import race

BUSY_BOUND_S = 3 * 0.1


@pytest.fixture
def server(channel_directory):
    made = MemServer.create("game", channel_directory)
    yield made
    made.close()


@pytest.fixture
def client(server, channel_directory):
    made = MemClient.open("game", channel_directory)
    yield made
    made.close()


# -------------------------------------------------------------------------- open


def test_missing_channel_is_not_found(channel_directory):
    """There is none: the error says where it was looked for."""
    with pytest.raises(ChannelNotFound, match=f"{channel_directory}/game does not"):
        MemClient.open("game", channel_directory)


def test_missing_directory_is_not_found_and_not_made(tmp_path):
    """A client makes nothing."""
    with pytest.raises(ChannelNotFound):
        MemClient.open("game", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_stale_channel_is_not_found(server, channel_directory):
    """A channel whose server is gone without a goodbye is stale, not usable."""
    vanish(server)
    with pytest.raises(ChannelNotFound, match="stale: its server is gone"):
        MemClient.open("game", channel_directory)


@pytest.mark.parametrize("file", ["header", "server.lock"])
def test_b4_channel_without_one_of_its_files_is_not_found(
    server, channel_directory, file
):
    """B4: what was deleted is named."""
    (channel_directory / "game" / file).unlink()
    with pytest.raises(ChannelNotFound, match=f"{file} does not exist"):
        MemClient.open("game", channel_directory)


def test_channel_that_is_replaced_while_it_is_opened_is_not_found(
    server, channel_directory, monkeypatch
):
    """Whoever opened the old files does not stay with them."""
    original = FileStore.hold

    def hold(self, end):
        held = original(self, end)
        with ChannelDirectory.open(channel_directory) as root:
            root.remove(root.hide("game") or "")
        return held

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "hold", hold)
        with pytest.raises(ChannelNotFound, match="just replaced"):
            MemClient.open("game", channel_directory)


def test_b5_header_that_was_cut_off_is_corrupt(server, channel_directory):
    """B5: a header file shorter than it must be is refused, not mapped."""
    server._store.header = memoryview(b"")
    os.truncate(channel_directory / "game" / "header", 4096)
    try:
        with pytest.raises(ChannelCorrupt, match="has 4096 bytes"):
            MemClient.open("game", channel_directory)
    finally:
        os.truncate(channel_directory / "game" / "header", 135_168)


def test_b12_second_client_here_is_busy_and_names_the_line(client, channel_directory):
    """B12: in this very process the error says where the first one was opened."""
    began = time.monotonic()
    with pytest.raises(
        ChannelBusy, match=r"this very process attached it at .*\.py:\d"
    ):
        MemClient.open("game", channel_directory)
    assert time.monotonic() - began < BUSY_BOUND_S


def open_in_vain(directory):
    """Runs in a child: say what a second client is told, and how soon."""
    began = time.monotonic()
    try:
        MemClient.open("game", directory)
    except ChannelBusy as error:
        assert time.monotonic() - began < BUSY_BOUND_S
        say(error)


def test_b12_second_client_elsewhere_is_busy_and_names_the_holder(
    server, client, children, channel_directory
):
    """B12: another process is told who has it; the session is not disturbed."""
    ends = connect(server, client)
    child = children.start(open_in_vain, channel_directory)
    child.wait()
    assert f"has a client already: process {os.getpid()} (" in child.stdout
    exchange(*ends, 1)


def test_b12_race_of_a_hundred_clients_has_one_winner(server, channel_directory):
    """B12: of a hundred clients of one channel exactly one gets it."""

    def attempt():
        try:
            MemClient.open("game", channel_directory)
        except ChannelBusy:
            return False
        return True

    assert race(attempt) == 1
    # The winner is dead by now, and the channel is free again.
    client = MemClient.open("game", channel_directory)
    exchange(*connect(server, client), 1)
    client.close()


# ---------------------------------------------------------------------- greeting


def test_silent_server_is_a_connect_timeout(client):
    """The error says who does not answer, and for how long it was waited."""
    with pytest.raises(ConnectTimeout, match=r"process \d+ .* within 0\.02 s"):
        client.greet(HELLO, (0, 5), 0.02)


def test_late_answer_is_received_by_the_next_look(server, client):
    """After a time-out the Welcome can be asked for again; 0 looks once."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    with pytest.raises(ConnectTimeout):
        client.receive_welcome((0, 5), 0.0)
    buffer, _ = server.receive_hello(LIMIT_S)
    channel = server.accept(buffer, Welcome(0), (1, 5), (64, 64))
    ids, welcome = client.receive_welcome((0, 5), 0.0)
    exchange(client.attach(welcome, ids), channel, 1)


def test_long_answer_is_received_by_looks_that_wait_for_nothing(server, client):
    """A Welcome in parts comes in while the client only looks, part by part."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    thread = threading.Thread(
        target=server.accept,
        args=(buffer, Welcome(0, software="w" * 200_000), (1, 5), (64, 64)),
    )
    thread.start()
    until = time.monotonic() + LIMIT_S
    while True:
        try:
            _, welcome = client.receive_welcome((0, 5), 0.0)
            break
        except ConnectTimeout:
            assert time.monotonic() < until
    thread.join()
    assert len(welcome.software) == 200_000


def test_answer_to_somebody_else_is_skipped(server, client, channel_directory):
    """What the server said to the client before does not reach the next one."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    server.accept(buffer, Welcome(0), (1, 5), (64, 64))
    vanish(client)
    second = MemClient.open("game", channel_directory)
    exchange(*connect(server, second), 1)
    second.close()


@pytest.mark.parametrize(
    ("ids", "ours"),
    [((1, 5), (0, 6)), ((2, 5), (3, 0)), ((1, 5), (2, 6))],
    ids=["session", "incarnation", "both"],
)
def test_answer_with_other_ids_is_skipped(server, client, ids, ours):
    """An answer counts only if it carries the number that this client drew."""
    client.send_hello(HELLO, ours, LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    server._answer(buffer, Kind.WELCOME, Welcome(1).encode(), ids)
    with pytest.raises(ConnectTimeout):
        client.receive_welcome(ours, 0.05)


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.RESET])
def test_answer_of_another_kind_is_a_breach(server, client, kind):
    """What is neither Welcome nor Refusal breaks the protocol."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    server._answer(buffer, kind, b"", (1, 5))
    with pytest.raises(RemoteProtocolError, match=f"{kind.name} came in answer"):
        client.receive_welcome((0, 5), LIMIT_S)


def test_server_that_dies_during_the_greeting_is_lost(server, client):
    """A server that was killed is not waited for."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    vanish(server)
    with pytest.raises(PeerLost):
        client.receive_welcome((0, 5), LIMIT_S)


REFUSALS = {
    ErrorCode.ENVIRONMENT: RemoteEnvError,
    ErrorCode.ENVIRONMENT_GONE: EnvLost,
    ErrorCode.SPACE_MISMATCH: SpaceMismatch,
    ErrorCode.NUM_ENVS: SpaceMismatch,
    ErrorCode.UNSUPPORTED: ChannelError,
    ErrorCode.BUSY: ChannelBusy,
    ErrorCode.NO_SPACE: ChannelNoSpace,
    ErrorCode.DRAINING: Draining,
    ErrorCode.VERSION: VersionMismatch,
    ErrorCode.PROTOCOL: RemoteProtocolError,
    ErrorCode.TOO_LARGE: RemoteProtocolError,
    0x8001: RemoteProtocolError,
}


@pytest.mark.parametrize("code", REFUSALS)
def test_refusal_is_raised_as_what_it_says(code):
    """Each code has its exception; one that nobody knows is a breach."""
    error = refusal_error(Refusal(code, "version 3 of it, says the server", "T", "tb"))
    assert type(error) is REFUSALS[code]
    if code != ErrorCode.VERSION:
        assert "says the server" in str(error)


def test_refusal_of_the_environment_carries_its_exception():
    """What the environment's constructor raised is told with its traceback."""
    error = refusal_error(Refusal(ErrorCode.ENVIRONMENT, "boom", "ValueError", "at x"))
    assert isinstance(error, RemoteEnvError)
    assert (error.remote_type, error.remote_message) == ("ValueError", "boom")
    assert error.remote_traceback == "at x"


def test_refused_version_names_both():
    """The server's version is in its text; without one it is 0."""
    error = refusal_error(
        Refusal(ErrorCode.VERSION, "the server speaks version 7, you 1")
    )
    assert isinstance(error, VersionMismatch)
    assert (error.ours, error.theirs) == (1, 7)
    error = refusal_error(Refusal(ErrorCode.VERSION, "go away"))
    assert isinstance(error, VersionMismatch)
    assert error.theirs == 0


# ------------------------------------------------------------------------ attach


def test_b4_slots_that_were_deleted_are_not_found(server, client, channel_directory):
    """B4: a session whose slots are gone before it begins is an error."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    server.accept(buffer, Welcome(0), (1, 5), (64, 64))
    ids, welcome = client.receive_welcome((0, 5), LIMIT_S)
    (channel_directory / "game" / "slots.1").unlink()
    with pytest.raises(PeerLost, match=r"gone since it greeted.*slots\.1"):
        client.attach(welcome, ids)


def test_slots_of_another_generation_are_corrupt(server, client, channel_directory):
    """A file that says another generation than its name is refused."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    server.accept(buffer, Welcome(0), (1, 5), (64, 64))
    ids, welcome = client.receive_welcome((0, 5), LIMIT_S)
    with open(channel_directory / "game" / "slots.1", "r+b") as file:
        file.seek(12)
        file.write(struct.pack("<I", 2))
    with pytest.raises(ChannelCorrupt):
        client.attach(welcome, ids)


def test_limit_of_the_server_binds_the_client(server, client):
    """The client sends no more than the Welcome says."""
    requester, _ = connect(server, client, max_message_bytes=5000)
    assert requester.max_message_bytes == 5000


def test_closed_client_says_so(server, client):
    """After close() neither half of the greeting can be used; the facts can."""
    client.close()
    client.close()
    assert client.peer.pid == os.getpid()
    for use in (
        lambda: client.send_hello(HELLO, (0, 5), 1.0),
        lambda: client.receive_welcome((0, 5), 1.0),
        client.watch.check,
    ):
        with pytest.raises(ChannelClosed, match="client end of channel 'game'"):
            use()
