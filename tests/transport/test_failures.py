"""Errors of the system become one clear error of RLay's each."""

import errno
import os
import re

import pytest

from rlay.errors import (
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    ChannelPermission,
    PeerLost,
    StepTimeout,
)
from rlay.transport.failures import channel_error, describe, translated

# Written out again, not taken from the table.
MEANINGS = {
    errno.ENOSPC: (ChannelNoSpace, "the file system is full"),
    errno.EDQUOT: (ChannelNoSpace, "quota"),
    errno.EMFILE: (ChannelNoSpace, "ulimit -n"),
    errno.ENFILE: (ChannelNoSpace, "the machine has too many open files"),
    errno.ENOMEM: (ChannelNoSpace, "no memory left"),
    errno.ENOLCK: (ChannelNoSpace, "no locks left"),
    errno.ENOENT: (ChannelNotFound, "does not exist"),
    errno.EACCES: (ChannelPermission, "same user at both ends"),
    errno.EPERM: (ChannelPermission, "same user at both ends"),
    errno.EROFS: (ChannelPermission, "Read-only file system"),
    errno.ELOOP: (ChannelCorrupt, "Remove it by hand"),
    errno.ENOTDIR: (ChannelCorrupt, "Remove it by hand"),
    errno.EISDIR: (ChannelCorrupt, "Remove it by hand"),
    errno.ENXIO: (ChannelCorrupt, "Remove it by hand"),
    errno.ENODEV: (ChannelCorrupt, "Remove it by hand"),
    errno.EIO: (ChannelError, "Input/output error"),
    errno.ENAMETOOLONG: (ChannelError, "File name too long"),
}


@pytest.mark.parametrize("number", MEANINGS, ids=errno.errorcode.get)
def test_b17_each_error_has_its_type_path_and_reason(tmp_path, number):
    """B17: type, path and remedy say what happened; the cause is kept."""
    kind, text = MEANINGS[number]
    path = str(tmp_path / "file")
    with pytest.raises(kind, match=text) as caught, translated(path):
        raise OSError(number, "x")
    assert type(caught.value) is kind
    assert path in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_b1_no_space_names_need_and_free(tmp_path):
    """B1: a full file system is told with both numbers and what to do in Docker."""
    space = os.statvfs(tmp_path)
    error = channel_error(
        OSError(errno.ENOSPC, "x"), str(tmp_path / "file"), need_bytes=12345
    )
    text = str(error)
    assert "12345 bytes are needed" in text
    assert " are free" in text
    assert "--shm-size" in text
    assert space.f_frsize > 0


def test_b1_free_room_is_that_around_a_channel_that_is_not_there_yet(tmp_path):
    """B1: the directory of a channel gets its name last; the one around it counts."""
    path = str(tmp_path / "channel" / "header")
    assert re.search(r"needed, [0-9]+ are free", str(_no_space(path)))


def test_no_space_without_a_file_system_is_still_told():
    """Where not even the free room can be found out, the rest is said."""
    error = _no_space("a/b/c/d/e")
    assert "5 bytes are needed, unknown how many are free. In Docker" in str(error)


def _no_space(path):
    return channel_error(OSError(errno.ENOSPC, "x"), path, 5)


def test_error_without_a_number_is_passed_as_text():
    """An OSError that has only a text keeps it."""
    assert "strange" in str(channel_error(OSError("strange"), "/path"))


@pytest.mark.parametrize("error", [PeerLost("gone"), StepTimeout("late")])
def test_our_own_errors_pass_unchanged(error):
    """PeerLost and time-outs are OSErrors too, and stay what they are."""
    with pytest.raises(type(error)) as caught, translated("/path"):
        raise error
    assert caught.value is error


def test_description_is_that_of_ls(tmp_path):
    """Mode, owner and group stand in it."""
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o640)
    assert describe(str(file)) == (
        f"it is -rw-r-----, owner uid {os.geteuid()}, gid {file.stat().st_gid}"
    )


def test_description_of_what_is_missing_is_that_of_its_directory(tmp_path):
    """Who may not make a file must look at its directory."""
    tmp_path.chmod(0o700)
    assert describe(str(tmp_path / "file")).startswith(f"{tmp_path} is drwx------")


def test_description_of_what_cannot_be_seen_says_so(tmp_path):
    """A description never fails."""
    assert "cannot be examined" in describe(str(tmp_path / "a" / "b"))
