"""Looking at channels without touching them, and removing those that are dead."""

import json
import os
import struct
import threading
from dataclasses import asdict

import pytest

from rlay.errors import ChannelError, ChannelNotFound
from rlay.protocol.constants import CloseReason, Paradigm, PeerState
from rlay.transport import inspection
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore, read_header
from rlay.transport.inspection import (
    Removal,
    clean,
    clean_channel,
    inspect_channel,
    list_channels,
)
from rlay.transport.locks import lock_directory
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.stores import End
from tests.support.channels import connect, exchange, receive, say, send, vanish


@pytest.fixture
def server(channel_directory):
    made = MemServer.create(
        "game", channel_directory, paradigm=Paradigm.SERVER_ENV, num_envs=3
    )
    yield made
    made.close()


@pytest.fixture
def client(server, channel_directory):
    made = MemClient.open("game", channel_directory)
    yield made
    made.close()


def _look(directory):
    return inspect_channel("game", directory)


def _snapshot(path):
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino)
        for file in path.iterdir()
    }


# -------------------------------------------------------------------------- look


def test_missing_directory_has_no_channels(tmp_path):
    """Nothing is made by looking."""
    assert list_channels(tmp_path / "none") == []
    assert clean(tmp_path / "none") == []
    assert clean_channel("game", tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_missing_channel_is_not_found(channel_directory):
    """One that was asked for by name and is not there is an error."""
    with pytest.raises(ChannelNotFound, match="game"):
        _look(channel_directory)
    with pytest.raises(ChannelError, match="cannot name"):
        inspect_channel("../game", channel_directory)


def test_waiting_channel_shows_its_server(server, channel_directory):
    """Facts, versions, the server's line, free client, no session yet."""
    view = _look(channel_directory)
    assert view.status == "waiting"
    assert (view.facts.paradigm, view.facts.num_envs) == (Paradigm.SERVER_ENV, 3)
    assert (view.version, view.generation, view.sessions) == (1, 0, 0)
    assert (view.server.held, view.server.state) == (True, "alive")
    assert view.server.pid == os.getpid()
    assert (view.client.held, view.client.state) == (False, "absent")
    assert view.request is view.reply is None
    assert view.files == {"client.lock": 0, "header": 135_168, "server.lock": 0}
    assert view.warnings == ()
    assert view.problem == ""


def test_session_shows_what_was_said_last(server, client, channel_directory):
    """Both directions: how many, whether taken, kind and sequence of the last one."""
    requester, responder = connect(server, client, (64, 128))
    exchange(requester, responder, 1)
    send(requester, 2, b"abc")
    view = _look(channel_directory)
    assert view.status == "attached"
    assert (view.generation, view.sessions) == (1, 1)
    assert view.incarnation == "1122334455667788"
    assert view.session == "99aabbccddeeff00"
    request, reply = view.request, view.reply
    assert (request.capacity_bytes, reply.capacity_bytes) == (64, 128)
    assert (request.published, request.taken, request.waiting) == (2, 1, True)
    assert (request.kind, request.sequence, request.payload_bytes) == ("step", 2, 3)
    assert (reply.published, reply.taken, reply.waiting) == (1, 1, False)
    assert receive(responder) == (2, b"abc")
    assert not _look(channel_directory).request.waiting


def test_look_changes_nothing(server, client, channel_directory):
    """Not a byte, not a time, not a lock; and it leaves no descriptor."""
    ends = connect(server, client)
    send(ends[0], 1)
    before = _snapshot(channel_directory / "game")
    fds = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        (listed,) = list_channels(channel_directory)
        assert listed == _look(channel_directory)
    assert sorted(os.listdir("/proc/self/fd")) == fds
    assert _snapshot(channel_directory / "game") == before
    assert receive(ends[1]) == (1, b"")
    assert clean(channel_directory) == []
    exchange(*ends, 2)


def test_looks_do_not_disturb_a_running_session(server, client, channel_directory):
    """A thousand steps under constant looks: nobody is declared dead or busy."""
    ends, stop, views = connect(server, client), threading.Event(), []

    def look():
        while not stop.is_set():
            views.append(_look(channel_directory))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for sequence in range(1, 501):
            exchange(*ends, sequence)
    finally:
        stop.set()
        thread.join()
    assert {view.status for view in views} == {"attached"}
    steps = [view.request.sequence for view in views]
    assert steps == sorted(steps)


def test_all_channels_are_listed_also_broken_ones(server, channel_directory, tmp_path):
    """A broken channel is shown with its problem and hides no other."""
    (channel_directory / "a-file").touch()
    (channel_directory / "b-link").symlink_to(tmp_path)
    (channel_directory / "c-empty").mkdir(mode=0o700)
    loose = channel_directory / "d-loose"
    loose.mkdir()
    loose.chmod(0o755)
    views = list_channels(channel_directory)
    assert [view.name for view in views] == [
        "a-file",
        "b-link",
        "c-empty",
        "d-loose",
        "game",
    ]
    assert [view.status for view in views] == ["broken"] * 4 + ["waiting"]
    assert all(view.problem for view in views[:4])
    json.dumps([asdict(view) for view in views])
    for name in ("a-file", "b-link"):
        (channel_directory / name).unlink()
    for name in ("c-empty", "d-loose"):
        (channel_directory / name).rmdir()


def test_b13_other_version_is_a_problem_with_both_numbers(server, channel_directory):
    """B13: a channel of another major version is shown as such."""
    server._store.header[8] = 7
    view = _look(channel_directory)
    assert view.status == "broken"
    assert "version 7" in view.problem
    assert view.files["header"] == 135_168


@pytest.mark.parametrize(
    ("file", "warning"),
    [
        ("slots.1", "slots.1 was deleted: a session over it goes on"),
        ("client.lock", "client.lock was deleted: nothing proves"),
    ],
)
def test_b4_deleted_file_is_warned_of(server, client, channel_directory, file, warning):
    """B4: a file that was deleted under a live pair is named."""
    ends = connect(server, client)
    (channel_directory / "game" / file).unlink()
    view = _look(channel_directory)
    assert warning in view.warnings[0]
    assert view.server.held
    exchange(*ends, 1)


def test_b4_deleted_header_is_a_problem(server, channel_directory):
    """B4: without its header a channel cannot be opened any more."""
    (channel_directory / "game" / "header").unlink()
    assert "header does not exist" in _look(channel_directory).problem


def test_channel_that_goes_while_it_is_looked_at_is_not_listed(
    server, channel_directory, monkeypatch
):
    """A directory that has no name any more is no channel."""
    original = read_header

    def read(fd, path):
        server.close()
        return original(fd, path)

    monkeypatch.setattr(inspection, "read_header", read)
    assert list_channels(channel_directory) == []


def test_b6_unsound_slots_are_a_warning(server, client, channel_directory):
    """B6: slots that are not sound are told, and the ends are still shown."""
    connect(server, client)
    with open(channel_directory / "game" / "slots.1", "r+b") as file:
        file.write(b"garbage!")
    view = _look(channel_directory)
    assert "no magic" in view.warnings[0]
    assert (view.request, view.reply, view.status) == (None, None, "attached")


def test_b5_slots_that_were_cut_off_are_a_warning(server, client, channel_directory):
    """B5: a look at a truncated file is no SIGBUS."""
    connect(server, client)
    server._memory = client._channel = server._channel = None
    os.truncate(channel_directory / "game" / "slots.1", 100)
    assert "not sound" in _look(channel_directory).warnings[0]


# ------------------------------------------------------------------------- clean


def _abandon(server):
    """Leave the channel behind as SIGKILL does."""
    server._store.close()


def test_a6_stale_channel_is_removed_and_reported(channel_directory):
    """A6: both locks are free: name, path, reason and size are told."""
    _abandon(MemServer.create("game", channel_directory))
    expected = Removal(
        "game", f"{channel_directory}/game", "both its locks are free", 135_168
    )
    assert clean(channel_directory, dry_run=True) == [expected]
    assert os.listdir(channel_directory) == ["game"]
    assert clean(channel_directory) == [expected]
    assert os.listdir(channel_directory) == []
    assert clean(channel_directory) == []


def test_held_channel_is_kept(server, channel_directory):
    """Whatever its server says of itself: who holds the lock lives."""
    server.line.say(PeerState.CLOSED, CloseReason.CLOSED)
    assert clean(channel_directory) == []
    assert clean_channel("game", channel_directory) is None
    assert server._store.is_current()


def test_channel_is_kept_while_its_client_holds_it(channel_directory):
    """A client that has not noticed that its server is gone loses no files."""
    server = MemServer.create("game", channel_directory)
    client = MemClient.open("game", channel_directory)
    vanish(server)
    assert _look(channel_directory).status == "ended"
    assert clean(channel_directory) == []
    client.close()
    assert [removal.name for removal in clean(channel_directory)] == ["game"]
    server.close()


def test_one_channel_is_removed_by_name(channel_directory):
    """The others stay, dead or not."""
    for name in ("one", "other"):
        _abandon(MemServer.create(name, channel_directory))
    for dry_run in (True, False):
        removal = clean_channel("one", channel_directory, dry_run=dry_run)
        assert removal is not None
        assert removal.name == "one"
    assert clean_channel("one", channel_directory) is None
    assert os.listdir(channel_directory) == ["other"]
    clean(channel_directory)


def _spared(channel_directory):
    before = _snapshot(channel_directory / "game")
    assert clean(channel_directory, dry_run=True) == []
    assert clean(channel_directory) == []
    assert _snapshot(channel_directory / "game") == before


def test_mirror_is_kept(channel_directory):
    """A mirror's bridge may come back: only the bridge removes it."""
    server = MemServer.create("game", channel_directory)
    struct.pack_into("<I", server._store.header, 28, 1)
    _abandon(server)
    _spared(channel_directory)
    (channel_directory / "game" / "header").write_bytes(
        server_page(channel_directory, mirror=0)
    )
    assert len(clean(channel_directory)) == 1


def server_page(channel_directory, mirror):
    """Return the header file with another mirror flag."""
    content = bytearray((channel_directory / "game" / "header").read_bytes())
    struct.pack_into("<I", content, 28, mirror)
    return bytes(content)


@pytest.mark.parametrize("kind", ["file", "version", "magic", "header"])
def test_what_is_not_surely_a_dead_channel_is_kept(channel_directory, kind):
    """Foreign files, other versions, no magic, no header: nothing is touched."""
    _abandon(MemServer.create("game", channel_directory))
    path = channel_directory / "game"
    if kind == "file":
        (path / "thesis.tex").write_text("years of work")
    elif kind == "header":
        (path / "header").unlink()
    else:
        with open(path / "header", "r+b") as header:
            header.seek(8 if kind == "version" else 0)
            header.write(b"\7")
    _spared(channel_directory)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def die_while_making(directory):
    """Runs in a child: be killed between making the files and naming them."""
    with ChannelDirectory.open(directory) as root:
        FileStore.create(root, "game")
        say("made")
        threading.Event().wait()


def die_while_removing(directory):
    """Runs in a child: be killed after the name was taken away."""
    server = MemServer.create("game", directory)
    with ChannelDirectory.open(directory) as root:
        root.hide("game")
    say("hidden")
    threading.Event().wait()
    server.close()


@pytest.mark.parametrize(
    ("function", "printed", "prefix", "reason"),
    [
        (die_while_making, "made", ".new-", "its maker died"),
        (die_while_removing, "hidden", ".gone-", "who removed it died"),
    ],
)
def test_what_a_killed_process_left_half_done_is_removed(
    children, channel_directory, function, printed, prefix, reason
):
    """A hidden directory is kept while its lock is held, and removed afterwards."""
    child = children.start(function, channel_directory)
    child.wait_until_printed(printed)
    assert clean(channel_directory) == []
    child.kill()
    (removal,) = clean(channel_directory, dry_run=True)
    assert removal.name.startswith(prefix)
    assert reason in removal.reason
    assert removal.size_bytes == 135_168
    assert clean(channel_directory) == [removal]
    assert os.listdir(channel_directory) == []


def test_hidden_directory_without_a_lock_is_removed(channel_directory):
    """A maker that died before it had its lock left an empty directory."""
    (channel_directory / (".new-" + "0" * 16)).mkdir(mode=0o700)
    assert len(clean(channel_directory, dry_run=True)) == 1
    assert len(clean(channel_directory)) == 1
    assert os.listdir(channel_directory) == []


@pytest.mark.parametrize("name", [".new-thesis", ".gone-" + "0" * 15, ".thesis"])
def test_hidden_directory_that_is_not_ours_is_kept(channel_directory, name):
    """Only names that RLay gives are looked at."""
    (channel_directory / name).mkdir(mode=0o700)
    assert clean(channel_directory) == []
    (channel_directory / name).rmdir()


def test_hidden_directory_with_foreign_files_is_kept(channel_directory):
    """A file that no channel has is never removed."""
    hidden = channel_directory / (".gone-" + "0" * 16)
    hidden.mkdir(mode=0o700)
    (hidden / "thesis.tex").touch()
    assert clean(channel_directory) == []
    (hidden / "thesis.tex").unlink()
    hidden.rmdir()


def test_sweep_during_the_making_of_channels_harms_none(channel_directory):
    """Servers come and go under a constant sweep; every one of them is made."""
    stop, failures = threading.Event(), []

    def sweep():
        while not stop.is_set():
            try:
                clean(channel_directory)
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for _ in range(60):
            server = MemServer.create("game", channel_directory)
            assert _look(channel_directory).status == "waiting"
            server.close()
    finally:
        stop.set()
        thread.join()
    assert failures == []
    clean(channel_directory)
    assert os.listdir(channel_directory) == []


def test_channel_that_is_taken_while_it_is_judged_is_kept(
    channel_directory, monkeypatch
):
    """Between look and lock somebody else may come: the lock decides."""
    server = MemServer.create("game", channel_directory)
    _abandon(server)
    original = FileStore.hide_if_free

    def hide_if_free(self, ends):
        late = FileStore(self._directory, "game", None, os.dup(self._fd))
        assert late.hold(End.CLIENT)
        try:
            return original(self, ends)
        finally:
            late.close()

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "hide_if_free", hide_if_free)
        assert clean(channel_directory) == []
    assert os.listdir(channel_directory) == ["game"]
    assert len(clean(channel_directory)) == 1


def test_channel_that_somebody_else_removes_is_left_to_them(
    channel_directory, monkeypatch
):
    """Two sweeps at once: one of them removes it, once."""
    _abandon(MemServer.create("game", channel_directory))
    with ChannelDirectory.open(channel_directory) as root:
        fd = root.open_channel("game")
        assert lock_directory(fd, "game")
        assert clean(channel_directory) == []
        os.close(fd)
    assert len(clean(channel_directory)) == 1


def test_sweep_never_makes_a_dead_channel_look_alive(channel_directory, monkeypatch):
    """A client that comes while a dead channel is swept finds it stale or gone."""
    _abandon(MemServer.create("game", channel_directory))
    original, found = ChannelDirectory.hide, []

    def hide(self, name):
        try:
            MemClient.open("game", channel_directory)
        except ChannelNotFound as error:
            found.append(str(error))
        return original(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(ChannelDirectory, "hide", hide)
        assert len(clean(channel_directory)) == 1
    _abandon(MemServer.create("game", channel_directory))
    with monkeypatch.context() as patch:
        patch.setattr(ChannelDirectory, "hide", hide)
        server = MemServer.create("game", channel_directory)
    server.close()
    assert len(found) == 2
    assert all("stale" in text for text in found)
