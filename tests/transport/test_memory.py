"""Files in memory: all their room is taken before a byte is written."""

import errno
import mmap
import os

import pytest

from rlay.errors import (
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    ChannelPermission,
)
from rlay.transport import memory as module
from rlay.transport.mem_server import MemServer
from rlay.transport.memory import create_mapped, open_mapped, read_only
from tests.support.channels import connect, exchange, say
from tests.support.privileges import python_with_tmpfs


@pytest.fixture
def fd(channel_directory):
    opened = os.open(channel_directory, os.O_RDONLY)
    yield opened
    os.close(opened)
    (channel_directory / "file").unlink(missing_ok=True)


@pytest.fixture
def file(channel_directory):
    return channel_directory / "file"


def _fds():
    return len(os.listdir("/proc/self/fd"))


def test_new_file_is_zero_allocated_and_mapped(fd, file):
    """All blocks are taken, all bytes are zero, what is written is in the file."""
    memory = create_mapped(fd, "file", str(file), 10_000)
    assert len(memory) == 10_000
    assert file.stat().st_blocks * 512 >= 10_000
    assert not any(memory)
    memory[9_999] = 7
    assert file.read_bytes()[-1] == 7


def test_existing_file_is_mapped_whole(fd, file):
    """Both mappings show the same memory."""
    one = create_mapped(fd, "file", str(file), 8192)
    other = open_mapped(fd, "file", str(file), 4096)
    assert len(other) == 8192
    one[5] = 9
    assert other[5] == 9


def test_systems_without_fallocate_write_zeros(fd, file, monkeypatch):
    """Where there is no posix_fallocate, writing takes the room."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(module, "_ZEROS", bytes(1000))
    memory = create_mapped(fd, "file", str(file), 4096 + 1)
    assert len(memory) == 4097
    assert file.stat().st_size == 4097


def test_b6_short_file_is_corrupt(fd, file):
    """B5, B6: a file shorter than it must be is refused with both sizes."""
    file.write_bytes(bytes(100))
    file.chmod(0o600)
    with pytest.raises(ChannelCorrupt, match="has 100 bytes, at least 4096"):
        open_mapped(fd, "file", str(file), 4096)


def test_b5_file_that_shrinks_while_it_is_opened_is_corrupt(fd, file, monkeypatch):
    """B5: a file that is cut off between look and map is refused."""
    file.write_bytes(bytes(4096))
    file.chmod(0o600)
    original = mmap.mmap

    def shrunk(number, size, **options):
        os.ftruncate(number, 0)
        return original(number, size, **options)

    monkeypatch.setattr(mmap, "mmap", shrunk)
    with pytest.raises(ChannelCorrupt, match="shrinks"):
        open_mapped(fd, "file", str(file), 4096)


def test_reading_maps_and_changes_nothing(fd, file):
    """A reader gets the first bytes, and needs no right to write."""
    file.write_bytes(b"abcdef")
    file.chmod(0o400)
    assert read_only(fd, "file", str(file), 3) == b"abc"
    assert read_only(fd, "file", str(file), 100) == b"abcdef"


@pytest.mark.parametrize("opener", [open_mapped, read_only])
def test_missing_or_foreign_file_is_told(fd, file, opener):
    """Not there, and not ours alone, are errors of their own."""
    with pytest.raises(ChannelNotFound):
        opener(fd, "file", str(file), 1)
    file.touch()
    file.chmod(0o644)
    with pytest.raises(ChannelPermission):
        opener(fd, "file", str(file), 1)


@pytest.mark.parametrize(
    ("name", "owner"),
    [("open", os), ("posix_fallocate", os), ("mmap", mmap)],
)
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ChannelNoSpace),
        (errno.EMFILE, ChannelNoSpace),
        (errno.ENFILE, ChannelNoSpace),
        (errno.ENOMEM, ChannelNoSpace),
        (errno.EROFS, ChannelPermission),
        (errno.EACCES, ChannelPermission),
        (errno.EIO, ChannelError),
    ],
    ids=lambda value: errno.errorcode.get(value, ""),
)
def test_b17_no_failure_leaves_a_file_or_a_descriptor(
    fd, file, monkeypatch, name, owner, number, kind
):
    """B17: each call may fail in each way; one clear error, and nothing is left."""

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    before = _fds()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(kind, match=str(file)):
            create_mapped(fd, "file", str(file), 4096)
    assert not file.exists()
    assert _fds() == before


def test_a17_interrupted_making_leaves_nothing(fd, file, monkeypatch):
    """A17: Ctrl-C while the room is taken leaves no file."""

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "posix_fallocate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_mapped(fd, "file", str(file), 4096)
    assert not file.exists()


# ------------------------------------------------------------- a full file system


def fill_at_create(directory):
    """Runs in a child on a tmpfs with no room for a header."""
    try:
        MemServer.create("x", directory)
    except ChannelNoSpace as error:
        say("error", error)
    say("left", os.listdir(directory))


def fill_at_accept(directory):
    """Runs in a child on a tmpfs of 1 MiB: slots that do not fit, then some that do."""
    from rlay.transport.mem_client import MemClient

    server = MemServer.create("x", directory)
    client = MemClient.open("x", directory)
    try:
        server._store.create_slots(1, 4 << 20)
    except ChannelNoSpace as error:
        say("error", error)
    say("left", sorted(os.listdir(os.path.join(directory, "x"))))
    requester, responder = connect(server, client)
    exchange(requester, responder, 1)
    say("usable")
    client.close()
    server.close()
    say("left", os.listdir(directory))


def fill_after_create(directory):
    """Runs in a child: the file system fills under a live pair."""
    from rlay.transport.mem_client import MemClient

    server = MemServer.create("x", directory)
    client = MemClient.open("x", directory)
    ends = connect(server, client, (100_000, 100_000))
    with open(os.path.join(directory, "ballast"), "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - the child says so
    for sequence in range(1, 10):
        exchange(*ends, sequence, bytes(100_000))
    say("stepped")
    client.close()
    server.close()


def _run_on_tmpfs(children, tmp_path, function, size):
    mount = tmp_path / "mount"
    mount.mkdir()
    code = (
        "import importlib.util, sys;"
        f"spec = importlib.util.spec_from_file_location('m', {__file__!r});"
        "module = importlib.util.module_from_spec(spec);"
        "spec.loader.exec_module(module);"
        f"module.{function.__name__}({str(mount)!r})"
    )
    child = children.start_command(python_with_tmpfs(size, mount, "-c", code))
    child.wait()
    return child.stdout, mount


def test_b1_full_tmpfs_is_no_space_at_create(children, tmp_path):
    """B1: ENOSPC when the channel is made, with path, need and free; no SIGBUS."""
    printed, mount = _run_on_tmpfs(children, tmp_path, fill_at_create, "64k")
    assert f"error no room for {mount}/x/header: the file system is full" in printed
    assert "135168 bytes are needed" in printed
    assert " are free" in printed
    assert "left []" in printed


def test_b1_slots_that_do_not_fit_are_no_space_and_leave_the_channel(
    children, tmp_path
):
    """B1: slots of 4 MiB on 1 MiB are refused, and smaller ones still made."""
    printed, mount = _run_on_tmpfs(children, tmp_path, fill_at_accept, "1m")
    assert f"error no room for {mount}/x/slots.1: the file system is full" in printed
    assert "4194304 bytes are needed" in printed
    assert "left ['client.lock', 'header', 'server.lock']" in printed
    assert "usable\nleft []" in printed


def test_b2_file_system_that_fills_later_does_no_harm(children, tmp_path):
    """B2: all room was taken at the start, so a live pair keeps stepping."""
    printed, _ = _run_on_tmpfs(children, tmp_path, fill_after_create, "1m")
    assert "stepped" in printed
