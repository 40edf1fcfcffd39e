"""A channel's files: made whole, replaced when stale, never anybody else's."""

import contextlib
import os
import select
import stat
from typing import Any

import pytest

from rlay.errors import (
    ChannelBusy,
    ChannelCorrupt,
    ChannelNotFound,
    ChannelPermission,
    VersionMismatch,
)
from rlay.transport import file_store as module
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore, check_contents
from rlay.transport.locks import HeldLock
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.stores import End
from tests.support.channels import say


@pytest.fixture
def root(channel_directory):
    with ChannelDirectory.open(channel_directory) as opened:
        yield opened


@pytest.fixture
def store(root):
    made = FileStore.create(root, "name")
    yield made
    made.remove()
    made.close()


def _leave(path):
    """Leave a stale channel behind, as a killed server does."""
    server = MemServer.create(path.name, path.parent)
    server._store.close()


def _make_channel(path):
    server = MemServer.create(path.name, path.parent)
    server.close()


# ------------------------------------------------------------------------ create


def test_files_are_hidden_until_they_are_whole(store, channel_directory):
    """Nobody sees the name before publish, and all files are there then."""
    (hidden,) = os.listdir(channel_directory)
    assert hidden.startswith(".new-")
    store.publish()
    assert os.listdir(channel_directory) == ["name"]
    assert sorted(os.listdir(channel_directory / "name")) == [
        "client.lock",
        "header",
        "server.lock",
    ]


def test_files_are_private(store, channel_directory):
    """Directory 0700, files 0600, whatever the umask."""
    store.publish()
    store.create_slots(1, 4096)
    directory = channel_directory / "name"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_publishing_twice_is_harmless(store, channel_directory):
    """A published channel stays."""
    store.publish()
    store.publish()
    assert os.listdir(channel_directory) == ["name"]


def test_b13_stale_channel_is_replaced(store, channel_directory):
    """B13: what a dead server left goes, with all its files."""
    _leave(channel_directory / "name")
    (channel_directory / "name" / "slots.7").touch(0o600)
    store.publish()
    assert store.is_current()
    assert not (channel_directory / "name" / "slots.7").exists()
    assert os.listdir(channel_directory) == ["name"]


def test_b13_stale_channel_without_header_is_replaced(store, channel_directory):
    """B13: leftovers of a channel whose header is gone prove nothing; the lock does."""
    _leave(channel_directory / "name")
    (channel_directory / "name" / "header").unlink()
    store.publish()
    assert store.is_current()


def test_b13_empty_directory_is_replaced(store, channel_directory):
    """An empty directory with the name is no channel and holds nothing."""
    (channel_directory / "name").mkdir(mode=0o700)
    store.publish()
    assert store.is_current()


@pytest.mark.parametrize("live", [True, False])
def test_b13_channel_of_another_version_is_left_alone(store, channel_directory, live):
    """B13: neither a live nor a stale channel of another major version is touched."""
    server = MemServer.create("name", channel_directory)
    server._store.header[8] = 2
    if not live:
        server._store.close()
    before = sorted(os.listdir(channel_directory / "name"))
    with pytest.raises(VersionMismatch, match="version 2"):
        store.publish()
    with pytest.raises(VersionMismatch):
        MemClient.open("name", channel_directory)
    assert sorted(os.listdir(channel_directory / "name")) == before
    if live:
        server.close()
    else:
        for file in (channel_directory / "name").iterdir():
            file.unlink()
        (channel_directory / "name").rmdir()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_directory_with_anything_else_in_it_is_never_replaced(
    store, channel_directory, kind, tmp_path
):
    """A directory that is not a channel keeps its files, whatever its name."""
    precious = channel_directory / "name"
    precious.mkdir(mode=0o700)
    thesis = precious / "thesis.tex"
    if kind == "file":
        thesis.write_text("years of work")
    elif kind == "directory":
        thesis.mkdir()
    else:
        thesis.symlink_to(tmp_path)
    with pytest.raises(ChannelCorrupt, match=r"holds 'thesis.tex'.*left as it is"):
        store.publish()
    assert os.listdir(precious) == ["thesis.tex"]
    thesis.rmdir() if kind == "directory" else thesis.unlink()
    precious.rmdir()


def test_header_without_magic_is_not_replaced(store, channel_directory):
    """B6: a directory with a file called header is not thereby a channel."""
    precious = channel_directory / "name"
    precious.mkdir(mode=0o700)
    (precious / "header").write_bytes(b"Dear Sir, ")
    (precious / "header").chmod(0o600)
    with pytest.raises(ChannelCorrupt, match="no magic"):
        store.publish()
    assert (precious / "header").read_bytes() == b"Dear Sir, "
    (precious / "header").unlink()
    precious.rmdir()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "file", "device"])
def test_b10_something_else_in_place_of_the_channel_is_refused(
    store, channel_directory, tmp_path, kind
):
    """B10: what is no directory is neither replaced, nor followed, nor waited for."""
    place, target = channel_directory / "name", tmp_path / "target"
    target.mkdir(mode=0o700)
    (target / "precious").touch()
    if kind == "link":
        place.symlink_to(target)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "file":
        place.write_text("precious")
    else:
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("may not make a device here (needs CAP_MKNOD)")
    before = os.lstat(place)
    for opener in (
        store.publish,
        lambda: MemClient.open("name", channel_directory),
    ):
        with pytest.raises(ChannelCorrupt, match="is not what a channel has there"):
            opener()
    assert os.lstat(place) == before
    assert os.listdir(target) == ["precious"]
    assert not (tmp_path / "nowhere").exists()
    place.unlink()


FILES = ["header", "server.lock", "client.lock", "slots.1"]


@pytest.mark.parametrize(
    "kind", ["link", "dangling", "fifo", "directory", "device", "hard link"]
)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("opener", ["server", "client"])
def test_b10_something_else_in_place_of_a_file_is_refused(
    channel_directory, tmp_path, kind, file, opener
):
    """B10: links are not followed, FIFOs not waited for, targets not touched."""
    path, target = channel_directory / "name", tmp_path / "target"
    _leave(path)
    place = path / file
    place.unlink(missing_ok=True)
    target.write_bytes(b"precious")
    target.chmod(0o600)
    source = path / ".slots-0"
    if kind == "link":
        place.symlink_to(target)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(place, 0o600)
    elif kind == "directory":
        place.mkdir()
    elif kind == "device":
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("may not make a device here (needs CAP_MKNOD)")
    else:
        source.write_bytes(b"precious")
        source.chmod(0o600)
        os.link(source, place)
    replaced = False
    try:
        if opener == "client":
            with pytest.raises((ChannelCorrupt, ChannelNotFound)):
                MemClient.open("name", channel_directory)
        elif file in ("header", "server.lock") or kind == "directory":
            with pytest.raises(ChannelCorrupt):
                MemServer.create("name", channel_directory)
        else:  # a stale channel's odd file is unlinked, itself and not its target
            MemServer.create("name", channel_directory).close()
            replaced = True
        assert target.read_bytes() == b"precious"
        assert not (tmp_path / "nowhere").exists()
    finally:
        if not replaced:
            place.rmdir() if kind == "directory" else place.unlink()
            for left in path.iterdir():
                left.unlink()
            path.rmdir()


def test_foreign_mode_of_a_channel_is_refused(store, channel_directory):
    """B9: a channel's directory that others may enter is not replaced."""
    _leave(channel_directory / "name")
    (channel_directory / "name").chmod(0o755)
    with pytest.raises(ChannelPermission, match="drwxr-xr-x"):
        store.publish()
    (channel_directory / "name").chmod(0o700)
    store.publish()


# ---------------------------------------------------------------- race and sweep


def test_directory_swept_before_its_lock_was_held_is_made_again(
    root, channel_directory, monkeypatch
):
    """A sweep that comes in between costs another try, not the channel."""
    original: Any = HeldLock.acquire
    swept: list[str] = []

    def acquire(cls, fd, name, path):
        if not swept:
            (hidden,) = os.listdir(channel_directory)
            swept.append(hidden)
            root.remove(hidden)
        return original(fd, name, path)

    monkeypatch.setattr(HeldLock, "acquire", classmethod(acquire))
    made = FileStore.create(root, "name")
    made.publish()
    assert made.is_current()
    made.remove()
    made.close()


def test_directory_swept_while_its_lock_was_taken_is_made_again(
    root, channel_directory, monkeypatch
):
    """A lock in a directory that has no name any more is worth nothing."""
    original: Any = HeldLock.acquire
    hidden_again: list[str] = []

    def acquire(cls, fd, name, path):
        lock = original(fd, name, path)
        if not hidden_again:
            (hidden,) = os.listdir(channel_directory)
            hidden_again.append(root.hide(hidden))
        return lock

    monkeypatch.setattr(HeldLock, "acquire", classmethod(acquire))
    made = FileStore.create(root, "name")
    made.publish()
    assert made.is_current()
    made.remove()
    root.remove(hidden_again[0])
    made.close()


def test_directory_that_is_always_swept_is_an_error(root, monkeypatch):
    """There is no endless loop."""
    monkeypatch.setattr(FileStore, "_occupy", lambda self, hidden: False)
    monkeypatch.setattr(module, "_CREATE_TRIES", 3)
    with pytest.raises(ChannelBusy, match="swept"):
        FileStore.create(root, "name")
    for name in root.hidden_names():
        root.remove(name)


def test_name_that_is_fought_over_is_an_error(store, monkeypatch):
    """A name that is always taken in between is busy, after so many tries."""
    monkeypatch.setattr(module, "_CREATE_TRIES", 3)
    monkeypatch.setattr(ChannelDirectory, "publish", lambda *_: False)
    with pytest.raises(ChannelBusy, match="fought over"):
        store.publish()


def test_stale_channel_that_somebody_else_removes_is_no_error(
    store, channel_directory, monkeypatch
):
    """A channel that goes while we look at it leaves the name free."""
    _leave(channel_directory / "name")
    original = check_contents
    gone: list[str] = []

    def check(fd, path):
        if not gone:
            gone.append(store._directory.hide("name"))
            raise ChannelNotFound(path)
        original(fd, path)

    monkeypatch.setattr(module, "check_contents", check)
    store.publish()
    assert store.is_current()
    store._directory.remove(gone[0])


# -------------------------------------------------------------------------- B4


def test_b4_goodbye_leaves_the_channel_of_a_successor(root, channel_directory):
    """B4: whose directory was deleted does not remove the one that came after."""
    old = MemServer.create("name", channel_directory)
    root.remove(root.hide("name"))
    new = MemServer.create("name", channel_directory)
    old.close()
    MemClient.open("name", channel_directory).close()
    new.close()
    assert os.listdir(channel_directory) == []


def test_b4_deleted_directory_is_told_when_slots_are_needed(root, store):
    """B4: a channel that was deleted cannot grow, and says so."""
    store.publish()
    root.remove(root.hide("name"))
    with pytest.raises(ChannelNotFound, match=r"slots\.1"):
        store.create_slots(1, 4096)


# -------------------------------------------------------------------------- bells


@pytest.fixture
def bell(store, channel_directory):
    store.publish()
    return channel_directory / "name" / "bell.client"


def _readable(fd):
    return bool(select.select([fd], [], [], 0)[0])


def test_fifo_is_rung_by_one_byte(store, bell):
    """Who waits in select is woken by one byte for each ring."""
    os.mkfifo(bell, 0o600)
    reader = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    store.ring_fifo(End.CLIENT)
    store.ring_fifo(End.CLIENT)
    assert select.select([reader], [], [], 20)[0] == [reader]
    assert os.read(reader, 100) == b"\0\0"
    os.close(reader)


def test_fifo_without_reader_is_ignored(store, bell):
    """Nobody there is no error, and the next reader is found."""
    os.mkfifo(bell, 0o600)
    store.ring_fifo(End.CLIENT)
    reader = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    store.ring_fifo(End.CLIENT)
    assert os.read(reader, 100) == b"\0"
    os.close(reader)


def test_fifo_of_the_next_reader_is_found(store, bell):
    """A bridge that is restarted makes a new FIFO; it is rung after the next look."""
    os.mkfifo(bell, 0o600)
    reader = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    store.ring_fifo(End.CLIENT)
    os.close(reader)
    bell.unlink()
    os.mkfifo(bell, 0o600)
    reader = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    store.ring_fifo(End.CLIENT)  # finds out that the old one is gone
    store.ring_fifo(End.CLIENT)
    assert os.read(reader, 100) == b"\0"
    os.close(reader)


def test_full_fifo_is_rung_enough(store, bell):
    """A FIFO that is full of rings blocks nobody and loses nothing."""
    os.mkfifo(bell, 0o600)
    reader = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    store.ring_fifo(End.CLIENT)
    writer = store._fifos[End.CLIENT]
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(65536))
    store.ring_fifo(End.CLIENT)
    assert _readable(reader)
    os.close(reader)


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "hard link", "directory"])
def test_b10_something_else_in_place_of_the_bell_is_not_written_to(
    store, bell, tmp_path, kind
):
    """B10: only a FIFO is ever rung."""
    target = bell.with_name("other")
    target.write_bytes(b"precious")
    if kind == "file":
        bell.write_bytes(b"precious")
    elif kind == "link":
        bell.symlink_to(target)
    elif kind == "dangling":
        bell.symlink_to(tmp_path / "nowhere")
    elif kind == "hard link":
        os.link(target, bell)
    else:
        bell.mkdir()
    store.ring_fifo(End.CLIENT)
    assert target.read_bytes() == b"precious"
    if kind in ("file", "hard link"):
        assert bell.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    if kind == "directory":
        bell.rmdir()


def ring_when_told(directory):
    """Runs in a child: ring the client's bell once a line is printed."""
    with ChannelDirectory.open(directory) as root:
        store = FileStore.open(root, "name")
        store.ring_fifo(End.CLIENT)
        say("rung")
        store.close()


def test_fifo_is_rung_across_processes(store, bell, children, channel_directory):
    """A loop that waits on descriptors is woken by the other process."""
    os.mkfifo(bell, 0o600)
    reader = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    children.start(ring_when_told, channel_directory).wait()
    assert select.select([reader], [], [], 20)[0] == [reader]
    os.close(reader)


# -------------------------------------------------------------------------- close


def test_closed_store_holds_nothing(root, channel_directory):
    """Locks, probes, bells, the directory and the header are given back."""
    store = FileStore.create(root, "name")
    store.make_probe(End.CLIENT)
    store.remove()
    store.close()
    store.close()
    held = [
        os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
    ]
    assert not [path for path in held if str(channel_directory) in path]


def test_contents_of_a_channel_pass(root, channel_directory):
    """All files that a channel may have are known."""
    _leave(channel_directory / "name")
    directory = channel_directory / "name"
    for name in ("slots.12", ".slots-0a1b", "bell.server", "bell.client"):
        (directory / name).touch(0o600)
    fd = root.open_channel("name")
    check_contents(fd, "path")
    os.close(fd)
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def test_busy_text_of_a_broken_header_still_names_the_channel(store):
    """A message is made of what can be read."""
    store._held_here = lambda end: None
    store.publish()
    assert store.busy_text(End.SERVER) == "channel 'name' has a server already"
