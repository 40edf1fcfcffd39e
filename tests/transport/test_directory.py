"""The channel directory: whose it is, and what is opened in it."""

import errno
import os
import stat
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import (
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    ChannelPermission,
)
from rlay.protocol.names import check_name
from rlay.transport import directory as module
from rlay.transport.directory import (
    ChannelDirectory,
    create_file,
    default_path,
    open_file,
)
from tests.support.privileges import NOBODY, needs_root


def _mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# ------------------------------------------------------------------------- where


def test_default_path_is_what_the_environment_names(monkeypatch, tmp_path):
    """RLAY_DIR goes before everything else."""
    monkeypatch.setenv("RLAY_DIR", str(tmp_path))
    assert default_path() == str(tmp_path)


@pytest.mark.parametrize(("memory", "home"), [(True, "/dev/shm"), (False, "/else")])
def test_default_path_is_private_and_in_memory(monkeypatch, memory, home):
    """Without RLAY_DIR it is rlay-<uid> in /dev/shm, else in the temporary one."""
    monkeypatch.delenv("RLAY_DIR", raising=False)
    monkeypatch.setattr(os.path, "isdir", lambda path: memory)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/else")
    assert default_path() == f"{home}/rlay-{os.geteuid()}"


def test_default_directory_is_used_by_open(monkeypatch, channel_directory):
    """Where no directory is given, RLAY_DIR is opened."""
    with ChannelDirectory.open() as opened:
        assert opened.path == str(channel_directory)


def test_directory_is_made_private(tmp_path):
    """A missing directory is made with its parents, of mode 0700."""
    where = tmp_path / "a" / "b"
    with ChannelDirectory.open(where) as opened:
        assert opened.path == str(where)
        assert _mode(where) == 0o700


def test_missing_directory_is_not_made_by_who_only_looks(tmp_path):
    """With create=False a missing directory is ChannelNotFound and stays missing."""
    with pytest.raises(ChannelNotFound, match="does not exist"):
        ChannelDirectory.open(tmp_path / "missing", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755, 0o710, 0o701])
def test_b9_shared_directory_is_not_used_itself(tmp_path, mode):
    """B9: in a directory that others may enter, a private sub-directory is used."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(mode)
    with ChannelDirectory.open(volume) as opened:
        assert opened.path == str(volume / f"rlay-{os.geteuid()}")
        assert _mode(opened.path) == 0o700
    with ChannelDirectory.open(volume, create=False) as again:
        assert again.path == opened.path


def test_b9_shared_directory_without_private_one_has_no_channels(tmp_path):
    """B9: who only looks makes no sub-directory."""
    tmp_path.chmod(0o777)
    with pytest.raises(ChannelNotFound):
        ChannelDirectory.open(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_b9_loose_sub_directory_is_refused(tmp_path):
    """B9: a sub-directory that others may enter is refused with ls -l and remedy."""
    tmp_path.chmod(0o777)
    inner = tmp_path / f"rlay-{os.geteuid()}"
    inner.mkdir()
    inner.chmod(0o770)
    with pytest.raises(ChannelPermission, match=r"drwxrwx---.*mode 0700.*RLAY_DIR"):
        ChannelDirectory.open(tmp_path)


@pytest.mark.parametrize("kind", ["link", "dangling", "file", "fifo"])
def test_b9_something_else_in_place_of_the_sub_directory_is_refused(tmp_path, kind):
    """B9: a link or a file in place of the sub-directory is refused, not followed."""
    volume, target = tmp_path / "volume", tmp_path / "target"
    volume.mkdir()
    volume.chmod(0o777)
    target.mkdir(mode=0o700)
    inner = volume / f"rlay-{os.geteuid()}"
    if kind == "file":
        inner.touch()
    elif kind == "fifo":
        os.mkfifo(inner)
    else:
        inner.symlink_to(target if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(ChannelCorrupt, match="is not what a channel has there"):
        ChannelDirectory.open(volume)
    assert list(target.iterdir()) == []


def test_named_link_to_a_directory_is_followed(tmp_path):
    """Who names a directory may name a link to it."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with ChannelDirectory.open(tmp_path / "link") as opened:
        assert os.fstat(opened.fd).st_ino == (tmp_path / "real").stat().st_ino


def test_link_in_place_of_the_default_directory_is_refused(tmp_path, monkeypatch):
    """A link that somebody put where the default directory would be is not followed."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    monkeypatch.delenv("RLAY_DIR", raising=False)
    default = tmp_path / "default"
    default.symlink_to(victim)
    monkeypatch.setattr(module, "default_path", lambda: str(default))
    with pytest.raises(ChannelCorrupt):
        ChannelDirectory.open()
    assert list(victim.iterdir()) == []


def test_file_in_place_of_the_directory_is_refused(tmp_path):
    """A file where the directory should be is ChannelCorrupt with ls -l."""
    (tmp_path / "file").touch()
    with pytest.raises(ChannelCorrupt, match=r"Not a directory.*-rw"):
        ChannelDirectory.open(tmp_path / "file")


@pytest.mark.parametrize(
    "name", ["n" * 300, "a\0b"], ids=["longer than a name may be", "with a NUL"]
)
def test_impossible_directory_is_a_channel_error(tmp_path, name):
    """B17, B18: a path that cannot exist is an error of RLay's, not the system's."""
    with pytest.raises(ChannelError):
        ChannelDirectory.open(str(tmp_path / name))


def test_windows_names_the_other_way(monkeypatch):
    """Where there are no channels in memory, the error says what to do instead."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ChannelError, match="tcp://"):
        ChannelDirectory.open()


# ------------------------------------------------------------------- other users


def open_as_nobody(path, expected):
    """Runs in a child: open a directory as a user who may not."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        with ChannelDirectory.open(path) as opened:
            outcome = f"opened {opened.path}"
    except ChannelPermission as error:
        outcome = str(error)
    assert expected in outcome, outcome


@needs_root
def test_b8_directory_in_a_closed_one_is_refused(children, tmp_path):
    """B8: EACCES is ChannelPermission with the user's id and the remedy."""
    tmp_path.chmod(0o700)
    child = children.start(
        open_as_nobody, tmp_path / "x", f"runs as uid {NOBODY}: use the same user"
    )
    child.wait()


@needs_root
def test_b8_foreign_directory_is_not_used(children, channel_directory):
    """B8, B9: somebody else's directory is refused, with its owner in the message."""
    foreign = channel_directory.parent / (channel_directory.name + "-foreign")
    foreign.mkdir()
    try:
        foreign.chmod(0o755)
        children.start(open_as_nobody, foreign, "owner uid").wait()
        assert list(foreign.iterdir()) == []
    finally:
        foreign.rmdir()


@needs_root
def test_b9_foreign_shared_directory_gets_a_sub_directory(children, channel_directory):
    """B9: in a volume's root, which is somebody else's and 0777, ours is made."""
    foreign = channel_directory.parent / (channel_directory.name + "-volume")
    foreign.mkdir()
    try:
        foreign.chmod(0o777)
        inner = foreign / f"rlay-{NOBODY}"
        children.start(open_as_nobody, foreign, f"opened {inner}").wait()
        assert (inner.stat().st_uid, _mode(inner)) == (NOBODY, 0o700)
        inner.rmdir()
    finally:
        foreign.rmdir()


@needs_root
def test_b8_sub_directory_of_another_user_is_refused(tmp_path):
    """B8: a sub-directory with our name that belongs to somebody else is refused."""
    tmp_path.chmod(0o777)
    inner = tmp_path / f"rlay-{os.geteuid()}"
    inner.mkdir(mode=0o700)
    os.chown(inner, NOBODY, NOBODY)
    with pytest.raises(ChannelPermission, match=f"owner uid {NOBODY}"):
        ChannelDirectory.open(tmp_path)


# ------------------------------------------------------------------- its entries


@pytest.fixture
def root(channel_directory):
    """An open channel directory."""
    with ChannelDirectory.open(channel_directory) as opened:
        yield opened


def test_closing_twice_is_harmless(channel_directory):
    """The descriptor is closed once."""
    opened = ChannelDirectory.open(channel_directory)
    fd = opened.fd
    opened.close()
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_names_are_sorted_and_not_hidden(root, tmp_path):
    """What starts with a dot is no channel's name."""
    with ChannelDirectory.open(tmp_path / "d") as opened:
        for name in ("b", "a.1", ".new-1", ".gone-2", ".other"):
            (tmp_path / "d" / name).mkdir()
        assert opened.names() == ["a.1", "b"]
        assert opened.hidden_names() == [".gone-2", ".new-1"]


def test_channel_of_another_mode_is_refused(root, channel_directory):
    """A channel's directory that others may enter is refused."""
    loose = channel_directory / "loose"
    loose.mkdir()
    loose.chmod(0o750)
    try:
        with pytest.raises(ChannelPermission, match="drwxr-x---"):
            root.open_channel("loose")
    finally:
        loose.rmdir()


def test_hidden_directory_becomes_a_channel_and_goes(root, channel_directory):
    """Made, published, hidden, removed: each name is there when it should be."""
    hidden, fd = root.make_hidden()
    os.close(fd)
    assert os.listdir(channel_directory) == [hidden]
    (channel_directory / hidden / "file").touch()
    assert root.publish(hidden, "name")
    assert os.listdir(channel_directory) == ["name"]
    gone = root.hide("name")
    assert os.listdir(channel_directory) == [gone]
    root.remove(gone)
    root.remove(gone)
    assert os.listdir(channel_directory) == []


def test_taken_name_is_not_published_over(root, channel_directory):
    """A name that leads to files, a file or a link is taken."""
    (channel_directory / "full").mkdir()
    (channel_directory / "full" / "file").touch()
    (channel_directory / "file").touch()
    (channel_directory / "link").symlink_to("full")
    hidden, fd = root.make_hidden()
    os.close(fd)
    for name in ("full", "file", "link"):
        assert not root.publish(hidden, name)
    root.remove(hidden)
    for name in ("link", "file", "full/file"):
        (channel_directory / name).unlink()
    (channel_directory / "full").rmdir()


def test_hiding_what_is_gone_returns_none(root):
    """A name that somebody else took away meanwhile is no error."""
    assert root.hide("nothing") is None


@pytest.mark.parametrize("action", ["publish", "hide"])
def test_renaming_that_is_forbidden_is_permission(root, monkeypatch, action):
    """A read-only file system is ChannelPermission."""

    def rename(*args, **kwargs):
        raise OSError(errno.EROFS, "x")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(ChannelPermission, match="Read-only"):
        root.publish("a", "b") if action == "publish" else root.hide("a")


def test_hidden_directory_that_cannot_be_opened_is_not_left(
    root, monkeypatch, channel_directory
):
    """B17: without a descriptor for it, the directory that was made is removed."""

    def no_descriptor(*args, **kwargs):
        raise OSError(errno.EMFILE, "x")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        with pytest.raises(ChannelNoSpace, match="ulimit -n"):
            root.make_hidden()
    assert os.listdir(channel_directory) == []


def test_hidden_directory_that_is_swept_at_once_is_made_again(
    root, monkeypatch, channel_directory
):
    """A sweep between making and opening costs another try; but not for ever."""
    original = os.open
    swept: list[str] = []

    def open_after_sweep(name, *args, **options):
        if len(swept) < limit:
            swept.append(name)
            os.rmdir(name, dir_fd=root.fd)
        return original(name, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_after_sweep)
        limit = 3
        name, fd = root.make_hidden()
        limit = 1000
        with pytest.raises(ChannelNotFound, match="swept all the time"):
            root.make_hidden()
    os.close(fd)
    assert os.listdir(channel_directory) == [name]
    root.remove(name)


def test_removing_leaves_what_cannot_be_a_file_of_ours(root, channel_directory):
    """A directory in a directory is never descended into."""
    hidden, fd = root.make_hidden()
    os.close(fd)
    inner = channel_directory / hidden / "inner"
    inner.mkdir()
    (inner / "precious").touch()
    root.remove(hidden)
    assert (inner / "precious").exists()
    (inner / "precious").unlink()
    inner.rmdir()
    root.remove(hidden)


# ------------------------------------------------------------------- plain files


def _open(root, name, **options):
    return open_file(root.fd, name, os.path.join(root.path, name), **options)


@pytest.fixture
def place(channel_directory):
    """A path in the channel directory that is removed at the end."""
    path = channel_directory / "place"
    yield path
    path.unlink(missing_ok=True)


def test_file_is_made_private_and_once(root, place):
    """A file of ours has mode 0600, and is never made over another."""
    fd = create_file(root.fd, "place")
    assert _mode(place) == 0o600
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(FileExistsError):
        create_file(root.fd, "place")
    fd = _open(root, "place")
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_missing_file_is_not_found(root):
    """A file that does not exist is ChannelNotFound."""
    with pytest.raises(ChannelNotFound):
        _open(root, "missing")


@pytest.mark.parametrize(
    "kind", ["link", "dangling", "fifo", "directory", "device", "hard link"]
)
@pytest.mark.parametrize("writable", [True, False])
def test_b10_what_is_no_plain_file_is_refused(root, place, tmp_path, kind, writable):
    """B10: neither followed, nor waited for, nor touched; the message has ls -l."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    target.chmod(0o600)
    if kind == "link":
        place.symlink_to(target)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(place, 0o600)
    elif kind == "directory":
        place.mkdir(mode=0o700)
    elif kind == "device":
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("may not make a device here (needs CAP_MKNOD)")
    else:
        source = place.with_name("other name")
        source.write_bytes(b"precious")
        source.chmod(0o600)
        os.link(source, place)
    try:
        with pytest.raises(
            (ChannelCorrupt, ChannelPermission), match=r"it is [a-z-]{10}"
        ):
            _open(root, "place", writable=writable)
        assert target.read_bytes() == b"precious"
        assert not (tmp_path / "nowhere").exists()
    finally:
        if kind == "directory":
            place.rmdir()
        place.with_name("other name").unlink(missing_ok=True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_file_that_others_may_use_is_refused(root, place, mode):
    """A file with bits for the group or for others is ChannelPermission."""
    place.touch()
    place.chmod(mode)
    with pytest.raises(ChannelPermission, match="mode 0600"):
        _open(root, "place")


@needs_root
def test_b8_file_of_another_user_is_refused(root, place):
    """B8: a file of somebody else's is refused although root could open it."""
    place.touch(0o600)
    os.chown(place, NOBODY, NOBODY)
    with pytest.raises(ChannelPermission, match=f"owner uid {NOBODY}"):
        _open(root, "place")


# ------------------------------------------------------------------------- names


@given(st.text(max_size=80))
def test_b18_a_name_that_passes_is_one_entry_of_the_directory(name):
    """B18: no name that passes has a separator, a NUL, or means another directory."""
    try:
        check_name(name)
    except ChannelError:
        return
    assert name not in (".", "..")
    assert not set(name) & set("/\\\0\n\r")
    assert name.isascii()
    assert len(name) <= 64
    assert not name.startswith(".")
