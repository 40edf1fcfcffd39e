"""The end that makes a channel, greets its clients, and removes it."""

import os
import struct
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import (
    ChannelBusy,
    ChannelClosed,
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    ConnectTimeout,
    PeerLost,
    RemoteProtocolError,
    StepTimeout,
)
from rlay.protocol.constants import CloseReason, ErrorCode, Kind, Paradigm
from rlay.protocol.greeting import Refusal, Welcome
from rlay.transport import locks
from rlay.transport.in_process import InProcessServer
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.peers import PeerGone
from tests.support.channels import (
    HELLO,
    LIMIT_S,
    connect,
    exchange,
    patience,
    receive,
    say,
    send,
    vanish,
)
from tests.support.races import race

# A second of looking at a busy lock would be ten times the stated bound.
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


# ------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        ".hidden",
        "",
        "a\0b",
        "a\n",
        "a\nb",
        "a" * 65,
        "ä",
        "\u0660",  # a digit, but not an ASCII one
        "a b",
        "-a",
        "a.*",
        None,
        7,
        b"a",
    ],
    ids=repr,
)
@pytest.mark.parametrize("opener", [MemServer.create, MemClient.open])
def test_b18_bad_name_is_refused_before_anything_is_opened(
    opener, name, channel_directory, monkeypatch
):
    """B18: both ends refuse a name that could mean anything but an entry."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", None)  # whoever calls it fails otherwise
        with pytest.raises(ChannelError, match="name"):
            opener(name, channel_directory)
    assert os.listdir(channel_directory) == []


@given(st.text(st.characters(), min_size=1, max_size=70))
def test_b18_any_text_is_a_name_or_an_error(tmp_path_factory, text):
    """B18: whatever the text, a channel lies in its directory or is refused."""
    directory = tmp_path_factory.mktemp("names")
    try:
        server = MemServer.create(text, directory)
    except ChannelError:
        assert list(directory.iterdir()) == []
        return
    assert list(directory.iterdir()) == [directory / f"rlay-{os.geteuid()}"] or (
        [path.name for path in directory.iterdir()] == [text]
    )
    server.close()


# ------------------------------------------------------------------------ create


def test_channel_has_its_facts(channel_directory):
    """Paradigm, number of environments and program are in the header."""
    server = MemServer.create(
        "game",
        channel_directory,
        paradigm=Paradigm.SERVER_ENV,
        num_envs=8,
        program="a text for people",
    )
    client = MemClient.open("game", channel_directory)
    assert (client.facts.paradigm, client.facts.num_envs) == (Paradigm.SERVER_ENV, 8)
    assert client.peer.program == "a text for people"
    client.close()
    server.close()


def test_closed_server_leaves_no_file(channel_directory):
    """A goodbye removes name and files; twice is harmless."""
    server = MemServer.create("game", channel_directory)
    connect(server, client := MemClient.open("game", channel_directory))
    server.close()
    assert server.closed
    assert os.listdir(channel_directory) == []
    server.close()
    client.close()


def test_b11_second_server_here_is_busy_and_names_the_line(server, channel_directory):
    """B11: in this very process the error says where the first one was made."""
    began = time.monotonic()
    with pytest.raises(
        ChannelBusy, match=r"this very process attached it at .*\.py:\d"
    ):
        MemServer.create("game", channel_directory)
    assert time.monotonic() - began < BUSY_BOUND_S
    assert os.listdir(channel_directory) == ["game"]


def create_in_vain(directory):
    """Runs in a child: say what a second server is told, and how soon."""
    began = time.monotonic()
    try:
        MemServer.create("game", directory)
    except ChannelBusy as error:
        assert time.monotonic() - began < BUSY_BOUND_S
        say(error)


def test_b11_second_server_elsewhere_is_busy_and_names_the_holder(
    server, children, channel_directory
):
    """B11: another process is told who has the name, within a third of a second."""
    child = children.start(create_in_vain, channel_directory)
    child.wait()
    assert f"has a server already: process {os.getpid()} (" in child.stdout
    client = MemClient.open("game", channel_directory)
    exchange(*connect(server, client), 1)
    client.close()


@pytest.mark.parametrize("stale", [False, True], ids=["new", "left behind"])
def test_b11_race_of_a_hundred_servers_has_one_winner(channel_directory, stale):
    """B11: of a hundred servers of one name one is made, the others are busy."""
    if stale:
        MemServer.create("game", channel_directory)._store.close()

    def attempt():
        try:
            MemServer.create("game", channel_directory)
        except ChannelBusy:
            return False
        return True

    assert race(attempt) == 1
    # All are dead by now: the next one sweeps what the winner left, and nothing else
    # is there.
    assert os.listdir(channel_directory) == ["game"]
    MemServer.create("game", channel_directory).close()


def serve_and_wait(directory):
    """Runs in a child: make a channel with a session's slots, and wait for the end."""
    server = MemServer.create("game", directory)
    client = MemClient.open("game", directory)
    connect(server, client)
    say("ready")
    threading.Event().wait()


def test_b13_channel_of_a_killed_server_is_reclaimed(children, channel_directory):
    """B13: the next server of the name sweeps what SIGKILL left, as after a reboot."""
    child = children.start(serve_and_wait, channel_directory)
    child.wait_until_printed("ready")
    child.kill()
    assert "slots.1" in os.listdir(channel_directory / "game")
    with pytest.raises(ChannelNotFound, match="stale"):
        MemClient.open("game", channel_directory)
    server = MemServer.create("game", channel_directory)
    client = MemClient.open("game", channel_directory)
    exchange(*connect(server, client), 1)
    client.close()
    server.close()


def test_server_takes_the_name_from_a_client_that_has_not_noticed(channel_directory):
    """A dead server's client keeps its files; the name is the next server's."""
    old = MemServer.create("game", channel_directory)
    orphan = MemClient.open("game", channel_directory)
    ends = connect(old, orphan)
    vanish(old)
    new = MemServer.create("game", channel_directory)
    with pytest.raises(PeerLost):
        ends[0].receive(patience(ends[0]))
    client = MemClient.open("game", channel_directory)
    exchange(*connect(new, client), 1)
    for end in (orphan, client, new, old):
        end.close()


# ---------------------------------------------------------------------- greeting


def test_nobody_came_is_a_connect_timeout(server):
    """The error says for how long, and for which channel."""
    with pytest.raises(
        ConnectTimeout, match=r"no client came to 'game' within 0\.01 s"
    ):
        server.receive_hello(0.01)
    assert not server.client_waits


def test_hello_is_received_with_the_ids_of_the_client(server, client):
    """The server sees that somebody waits, and what the client drew."""
    client.send_hello(HELLO, (0, 77), LIMIT_S)
    assert server.client_waits
    buffer, hello = server.receive_hello(LIMIT_S)
    assert (buffer.incarnation, buffer.session) == (0, 77)
    assert hello == HELLO
    assert not server.client_waits


def _answer_of(server, client):
    """Return what the client gets after the server looked for the next one."""
    with pytest.raises(ConnectTimeout):
        server.receive_hello(0.05)
    try:
        client.receive_welcome((0, 0), LIMIT_S)
    except ChannelError as error:
        return error
    except RemoteProtocolError as error:
        return error
    return None


def _publish(
    client, payload=b"", *, size=None, parts=None, kind=Kind.HELLO, total=None
):
    """Publish a greeting that no client of ours would."""
    buffer = client._writer.buffers[1]
    buffer.stamp(3, 4)
    buffer.write(int(kind), payload)
    if size is not None:
        buffer.words[6] = size
    if parts is not None:
        buffer.set_part(*parts, len(payload), total or len(payload))
    client._writer.publish(1)


@pytest.mark.parametrize(
    "options",
    [
        {"payload": b""},
        {"payload": b"no greeting at all"},
        {"payload": b"RLAYHELO" + struct.pack("<II", 1, 0) + b"\xc1"},
        {"payload": b"x", "size": 2**32 - 1},
        {"payload": b"x", "parts": (0, 2**31), "total": 2**40},
        {"payload": b"x", "parts": (0, 3), "total": 1},
    ],
    ids=["empty", "no magic", "no map", "too long", "a terabyte", "parts"],
)
def test_unsound_hello_is_refused_and_the_next_client_is_served(
    server, client, channel_directory, options
):
    """A client that breaks the protocol harms only itself."""
    _publish(client, **options)
    answer = _answer_of(server, client)
    assert isinstance(answer, RemoteProtocolError)
    assert "refused" in str(answer)
    client.close()
    good = MemClient.open("game", channel_directory)
    exchange(*connect(server, good), 1)
    good.close()


def test_part_that_nobody_began_is_skipped(server, client, channel_directory):
    """What a client left half-said is not taken for the next one's greeting."""
    _publish(client, b"x", parts=(2, 3), total=3)
    client.close()
    good = MemClient.open("game", channel_directory)
    exchange(*connect(server, good), 1)
    good.close()


def test_b13_client_of_another_version_is_told_both(server, client):
    """B13: another major version is refused with both, before its map is read."""
    _publish(client, b"RLAYHELO" + struct.pack("<II", 9, 0) + b"whatever")
    with pytest.raises(ConnectTimeout):
        server.receive_hello(0.05)
    message = client._receive_greeting(client._reader, patience_of(client))
    refusal = Refusal.decode(message.body())
    assert refusal.code == ErrorCode.VERSION
    assert "version 1" in refusal.message
    assert "version 9" in refusal.message


def patience_of(client):
    return client._patience(LIMIT_S)


def test_greeting_longer_than_its_slot_goes_in_parts(server, client):
    """A greeting has no limit but the stated one: parts carry it, both ways."""
    from dataclasses import replace

    hello = replace(HELLO, software="s" * 100_000)
    thread = threading.Thread(
        target=client.send_hello, args=(hello, (0, 5), LIMIT_S), daemon=True
    )
    thread.start()
    buffer, received = server.receive_hello(LIMIT_S)
    thread.join()
    assert received == hello
    welcome = Welcome(0, software="w" * 200_000)
    accepted = []
    thread = threading.Thread(
        target=lambda: accepted.append(server.accept(buffer, welcome, (1, 5), (64, 64)))
    )
    thread.start()
    ids, answered = client.receive_welcome((0, 5), LIMIT_S)
    thread.join()
    assert ids == (1, 5)
    assert answered == replace(welcome, generation=1)
    exchange(client.attach(answered, ids), accepted[0], 1)


def test_client_that_dies_in_the_middle_of_its_hello_is_forgotten(
    server, client, channel_directory
):
    """The parts of a dead client's greeting are not joined to the next one's."""
    overflow = client._writer.buffers[1].write(int(Kind.HELLO), bytes(100_000))
    client._writer.buffers[1].payload[:4] = b"RLAY"
    client._writer.buffers[1].set_part(0, 4, len(overflow) // 4, len(overflow))
    client._writer.publish(1)
    served = []

    def serve():
        buffer, _ = server.receive_hello(LIMIT_S)
        served.append(server.accept(buffer, Welcome(0), (1, buffer.session), (64, 64)))

    thread = threading.Thread(target=serve)
    thread.start()
    vanish(client)
    good = MemClient.open("game", channel_directory)
    ids, welcome = good.greet(HELLO, (0, 6), LIMIT_S)
    thread.join()
    exchange(good.attach(welcome, ids), served[0], 1)
    good.close()


def test_refused_client_may_try_again(server, client):
    """A refusal is an answer, not an end."""
    for _ in range(3):
        client.send_hello(HELLO, (0, 5), LIMIT_S)
        buffer, _ = server.receive_hello(LIMIT_S)
        server.refuse(buffer, Refusal(ErrorCode.BUSY, "come back later"))
        with pytest.raises(ChannelBusy, match="come back later"):
            client.receive_welcome((0, 5), LIMIT_S)
    exchange(*connect(server, client), 1)


def test_client_that_is_gone_is_not_accepted(server, client, channel_directory):
    """A client that died after its Hello gets no session and is not waited for."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    # A greeting that it never took stands in the way of the answer.
    server.refuse(buffer, Refusal(ErrorCode.BUSY, "x"))
    vanish(client)
    assert server.accept(buffer, Welcome(0), (1, 5), (64, 64)) is None
    server.refuse(buffer, Refusal(ErrorCode.BUSY, "x"))  # forgotten, no error
    good = MemClient.open("game", channel_directory)
    exchange(*connect(server, good), 1)
    good.close()


# --------------------------------------------------------------------- sessions


def test_a5_next_client_gets_nothing_of_the_one_before(server, channel_directory):
    """A5: a killed client's request and reply are not in the next session."""
    first = MemClient.open("game", channel_directory)
    requester, responder = connect(server, first)
    exchange(requester, responder, 1, b"old")
    send(requester, 2, b"old request")
    assert receive(responder) == (2, b"old request")
    send(responder, 2, b"old reply")
    vanish(first)
    with pytest.raises(PeerLost):
        responder.receive(patience(responder))
    second = MemClient.open("game", channel_directory)
    requester, responder = connect(server, second)
    assert not requester.receive_nowait()
    assert not responder.receive_nowait()
    with pytest.raises(StepTimeout):
        requester.receive(patience(requester, 0.01))
    exchange(requester, responder, 1, b"new")
    second.close()
    first.close()


def test_a5_next_client_ends_the_session_of_the_one_before(server, channel_directory):
    """A5: a server that has not noticed a death learns of it from the next Hello."""
    first = MemClient.open("game", channel_directory)
    _, responder = connect(server, first)
    vanish(first)
    second = MemClient.open("game", channel_directory)
    assert responder.watch.check()  # somebody holds the client's lock
    second.send_hello(HELLO, (0, 6), LIMIT_S)
    with pytest.raises(PeerLost, match="replaced by a newer one"):
        responder.receive(patience(responder))
    second.close()
    first.close()


def test_b20_slots_are_kept_for_the_same_sizes_and_made_anew_for_others(
    server, channel_directory
):
    """B20: other sizes make a new generation; only its file is left."""
    generations = []
    for capacities in ((64, 64), (64, 64), (64, 128), (128, 128), (64, 64)):
        client = MemClient.open("game", channel_directory)
        exchange(*connect(server, client, capacities), 1)
        generations.append(server.header.generation)
        slots = [
            name for name in os.listdir(channel_directory / "game") if "slots" in name
        ]
        assert slots == [f"slots.{generations[-1]}"]
        client.close()
    assert generations == [1, 1, 2, 3, 4]
    assert server.header.sessions == 5


def test_b1_slots_without_room_leave_the_channel_usable(
    server, client, channel_directory, monkeypatch
):
    """B1: a session that cannot have its slots is an error; the next one works."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)

    def full(*args):
        raise OSError(28, "x")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(ChannelNoSpace, match="bytes are needed"):
            server.accept(buffer, Welcome(0), (1, 5), (64, 64))
    server.refuse(buffer, Refusal(ErrorCode.NO_SPACE, "no room"))
    with pytest.raises(ChannelNoSpace, match="no room"):
        client.receive_welcome((0, 5), LIMIT_S)
    exchange(*connect(server, client), 1)


# ----------------------------------------------------------------------- goodbye


@pytest.mark.parametrize("reason", [CloseReason.DRAINING, CloseReason.CLOSED])
def test_client_learns_why_the_server_went(server, client, reason):
    """The reason of the goodbye reaches the session's other end."""
    requester, _ = connect(server, client)
    server.close(reason)
    with pytest.raises(PeerGone) as caught:
        requester.receive(patience(requester))
    assert caught.value.reason is reason


def test_client_in_its_greeting_learns_that_the_server_went(server, client):
    """A server that goes while a client waits for the Welcome is not waited for."""
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    server.close()
    with pytest.raises(PeerGone):
        client.receive_welcome((0, 5), LIMIT_S)


@pytest.mark.parametrize("kind", ["mapped", "in process"])
def test_closing_ends_the_wait_for_a_client(kind, channel_directory):
    """A thread that waits for clients is told that another one closed the server."""
    server = (
        MemServer.create("game", channel_directory)
        if kind == "mapped"
        else InProcessServer()
    )
    caught = []

    def wait():
        try:
            server.receive_hello(None)
        except ChannelClosed as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    server.close()
    thread.join(LIMIT_S)
    assert len(caught) == 1


def test_a21_closing_in_a_forked_child_leaves_the_channel(server, client):
    """A21: what a child closes is its own copy."""
    ends = connect(server, client)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            server.close()
            client.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    exchange(*ends, 1)
    assert client.watch.check()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_a17_interrupted_close_still_removes_everything(
    channel_directory, monkeypatch, interruption
):
    """A17: Ctrl-C or SIGTERM in the middle of close() leaves no file and no lock."""
    server = MemServer.create("game", channel_directory)
    original = os.unlink
    calls = []

    def unlink(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise interruption
        return original(*args, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(interruption):
        server.close()
    assert os.listdir(channel_directory) == []
    assert not locks._held_here


def test_goodbye_that_cannot_remove_its_files_still_lets_go(
    channel_directory, monkeypatch
):
    """A directory that became read-only is an error; the lock is free all the same."""
    server = MemServer.create("game", channel_directory)

    def forbidden(*args, **options):
        raise PermissionError(13, "x")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", forbidden)
        with pytest.raises(ChannelError):
            server.close()
    MemServer.create("game", channel_directory).close()


def test_b4_server_whose_directory_was_deleted_serves_its_client(
    server, client, channel_directory
):
    """B4: a live pair keeps stepping without its files, and closes cleanly."""
    ends = connect(server, client)
    for file in (channel_directory / "game").iterdir():
        file.unlink()
    (channel_directory / "game").rmdir()
    for sequence in range(1, 20):
        exchange(*ends, sequence, b"still there")
    assert client.watch.check()
    client.close()
    with pytest.raises(ChannelClosed):
        ends[1].receive(patience(ends[1]))
    server.close()


def test_closed_server_can_still_be_asked_who_it_was(server, client):
    """What the header said last is a copy; everything else says that it is closed."""
    connect(server, client)
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    server.close()
    assert server.line.pid == os.getpid()
    assert server.header.sessions == 1
    assert not server.client_waits
    for use in (
        server.receive_hello,
        lambda: server.refuse(buffer, Refusal(ErrorCode.BUSY, "x")),
        lambda: server.accept(buffer, Welcome(0), (1, 5), (64, 64)),
    ):
        with pytest.raises(ChannelClosed, match="server end of channel 'game'"):
            use()


def test_unknown_thing_in_place_of_the_name_is_told(channel_directory):
    """B10: the server does not take a name that is something else's."""
    (channel_directory / "game").write_text("precious")
    with pytest.raises(ChannelCorrupt):
        MemServer.create("game", channel_directory)
    assert os.listdir(channel_directory) == ["game"]
    (channel_directory / "game").unlink()
