"""Channels looked at from outside, and dead ones removed.

A look opens the files for reading, maps nothing and writes nothing; a lock is
probed, which holds it for a microsecond. :func:`clean` removes what locks prove to
be dead. Neither the age of a file nor a process id is ever asked.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rlay.errors import ChannelError, ChannelNotFound, RLayError
from rlay.protocol import slot_layout as at
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, SLOT_CONTROL_BYTES
from rlay.protocol.names import check_name
from rlay.transport.directory import ChannelDirectory, open_file
from rlay.transport.failures import translated
from rlay.transport.file_store import (
    FileStore,
    check_contents,
    is_channel_file,
    lock_name,
    read_header,
    slots_name,
)
from rlay.transport.locks import Probe
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.stores import End
from rlay.transport.views import ChannelView, EndView, SlotView

_Directory = str | os.PathLike[str] | None
_HIDDEN: Final = re.compile(r"\.(new|gone)-[0-9a-f]{16}")
_HIDDEN_REASONS: Final = {
    "new": "its maker died before it had a name",
    "gone": "who removed it died before it was done",
}


# ------------------------------------------------------------------------- look


def list_channels(directory: _Directory = None) -> list[ChannelView]:
    """Return a view of every channel, sorted by name.

    Args:
        directory: Where channels live; None for the default. It may be missing.

    Raises:
        ChannelPermission: The directory cannot be opened.
    """
    with _opened(directory) as root:
        if root is None:
            return []
        views = (_view_or_problem(root, name) for name in root.names())
        return [view for view in views if view is not None]


def inspect_channel(name: str, directory: _Directory = None) -> ChannelView:
    """Return a view of one channel, running or not.

    Args:
        name: Of the channel.
        directory: Where channels live; None for the default.

    Raises:
        ChannelError: The name is not allowed.
        ChannelNotFound: There is no such channel.
    """
    check_name(name)
    with ChannelDirectory.open(directory, create=False) as root:
        view = _view_or_problem(root, name)
    if view is None:
        raise ChannelNotFound(f"{os.path.join(root.path, name)} does not exist")
    return view


@contextlib.contextmanager
def _opened(directory: _Directory) -> Iterator[ChannelDirectory | None]:
    try:
        root = ChannelDirectory.open(directory, create=False)
    except ChannelNotFound:
        yield None
        return
    with root:
        yield root


def _view_or_problem(root: ChannelDirectory, name: str) -> ChannelView | None:
    """Return a view, or None where the channel is gone by now."""
    path = os.path.join(root.path, name)
    try:
        fd = root.open_channel(name)
    except ChannelNotFound:
        return None
    except ChannelError as error:
        return ChannelView(name, path, problem=str(error))
    try:
        return _view(fd, name, path)
    except ChannelNotFound as error:
        # Its files went while we looked, or somebody deleted its header.
        if not _has_name(fd):
            return None
        return ChannelView(name, path, files=_sizes(fd), problem=str(error))
    except RLayError as error:
        return ChannelView(name, path, files=_sizes(fd), problem=str(error))
    finally:
        os.close(fd)


def _view(fd: int, name: str, path: str) -> ChannelView:
    header = read_header(fd, path)
    facts = header.check(path)
    warnings: list[str] = []
    held = {end: _is_held(fd, end, path, warnings) for end in End}
    request, reply = _slot_views(fd, path, header.generation, warnings)
    numbers = header.facts()
    return ChannelView(
        name,
        path,
        facts,
        **numbers,
        server=EndView.of(header.server, held[End.SERVER]),
        client=EndView.of(header.client, held[End.CLIENT]),
        request=request,
        reply=reply,
        files=_sizes(fd),
        warnings=tuple(warnings),
    )


def _is_held(fd: int, end: End, path: str, warnings: list[str]) -> bool:
    held = _look(fd, end, path)
    if held is None:
        warnings.append(
            f"{lock_name(end)} was deleted: nothing proves whether its end lives"
        )
    return bool(held)


def _look(fd: int, end: End, path: str) -> bool | None:
    """Return whether an end is held, None where it has no lock file."""
    file = lock_name(end)
    where = os.path.join(path, file)
    try:
        probe = Probe(open_file(fd, file, where, writable=False), where)
    except ChannelNotFound:
        return None
    try:
        return probe()
    finally:
        probe.close()


def _slot_views(
    fd: int, path: str, generation: int, warnings: list[str]
) -> tuple[SlotView | None, SlotView | None]:
    if not generation:
        return None, None
    file = slots_name(generation)
    try:
        return _read_slots(fd, file, os.path.join(path, file), generation)
    except ChannelNotFound:
        warnings.append(
            f"{file} was deleted: a session over it goes on, but nobody can look "
            "into it"
        )
    except ChannelError as error:
        warnings.append(str(error))
    return None, None


def _read_slots(
    fd: int, file: str, where: str, generation: int
) -> tuple[SlotView, SlotView]:
    slots = open_file(fd, file, where, writable=False)
    try:
        with translated(where):
            size = os.fstat(slots).st_size
            head = bytearray(os.pread(slots, at.SLOTS_HEADER_BYTES, 0))
            geometry = SlotGeometry.read(
                memoryview(head.ljust(at.SLOTS_HEADER_BYTES, b"\0")),
                generation,
                where,
                size,
            )
            return (
                _slot_view(slots, geometry.request_offset, geometry.request_capacity),
                _slot_view(slots, geometry.reply_offset, geometry.reply_capacity),
            )
    finally:
        os.close(slots)


def _slot_view(fd: int, offset: int, capacity: int) -> SlotView:
    control = os.pread(fd, SLOT_CONTROL_BYTES, offset)
    index = control[at.PUBLISHED_OFFSET] & 1 if control else 0
    message = os.pread(
        fd, MESSAGE_HEADER_BYTES, offset + at.buffer_offset(index, capacity)
    )
    return SlotView.of(capacity, control, message)


def _has_name(fd: int) -> bool:
    with contextlib.suppress(OSError):
        return os.fstat(fd).st_nlink > 0
    return False


def _sizes(fd: int) -> dict[str, int]:
    """Return the size of each file; what goes meanwhile is left out."""
    sizes: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for entry in sorted(os.listdir(fd)):
            with contextlib.suppress(FileNotFoundError):
                sizes[entry] = os.stat(entry, dir_fd=fd, follow_symlinks=False).st_size
    return sizes


# ------------------------------------------------------------------------- clean


@dataclass(frozen=True, slots=True)
class Removal:
    """Something dead that was removed, or would be.

    Attributes:
        name: Of the channel, or the hidden name of what never or no longer was one.
        path: Of its directory.
        reason: Why it is dead.
        size_bytes: Of its files together.
    """

    name: str
    path: str
    reason: str
    size_bytes: int


def clean(directory: _Directory = None, *, dry_run: bool = False) -> list[Removal]:
    """Remove what nobody holds any more.

    A channel goes if both its locks are free. One whose client still holds its lock
    stays, although its server is gone; so do a bridge's mirror, whose bridge may
    come back, a channel of another major version, and whatever holds files that no
    channel has. A directory under a hidden name goes if its server lock is free.

    Args:
        directory: Where channels live; None for the default. It may be missing.
        dry_run: Only say what would be removed. No lock is taken but for a look.

    Returns:
        What was, or would be, removed.

    Raises:
        ChannelPermission: The directory cannot be opened.
    """
    with _opened(directory) as root:
        if root is None:
            return []
        found = [_clean_one(root, name, dry_run) for name in root.names()]
        found += [_clean_one(root, name, dry_run) for name in root.hidden_names()]
        return [removal for removal in found if removal is not None]


def clean_channel(
    name: str, directory: _Directory = None, *, dry_run: bool = False
) -> Removal | None:
    """Remove one channel, if :func:`clean` would.

    Args:
        name: Of the channel.
        directory: Where channels live; None for the default. It may be missing.
        dry_run: Only say whether it would be removed.

    Returns:
        What was, or would be, removed; None where it is not there or not dead.

    Raises:
        ChannelError: The name is not allowed, or the directory cannot be opened.
    """
    check_name(name)
    with _opened(directory) as root:
        return None if root is None else _clean_one(root, name, dry_run)


def _clean_one(root: ChannelDirectory, name: str, dry_run: bool) -> Removal | None:
    try:
        fd = root.open_channel(name)
    except ChannelError:
        return None
    path = os.path.join(root.path, name)
    store = FileStore(root, name, None, fd)
    try:
        if name.startswith("."):
            ends, reason = _judge_hidden(fd, name)
        else:
            ends, reason = _judge_channel(fd, path)
        if not ends or any(_look(fd, end, path) for end in ends):
            return None
        removal = Removal(name, path, reason, sum(_sizes(fd).values()))
        if dry_run:
            return removal
        gone = _take_away(store, ends)
    except RLayError:  # it changes under us, or is not what it seemed: let it be
        return None
    finally:
        store.close()
    if gone is None:
        return None
    root.remove(gone)
    return removal


_Judgement = tuple[tuple[End, ...], str]
_SPARED: Final[_Judgement] = ((), "")


def _judge_channel(fd: int, path: str) -> _Judgement:
    """Return which locks must be free, none where it is not to be removed at all."""
    check_contents(fd, path)
    if read_header(fd, path).check(path).mirror:
        return _SPARED
    return (End.SERVER, End.CLIENT), "both its locks are free"


def _judge_hidden(fd: int, name: str) -> _Judgement:
    match = _HIDDEN.fullmatch(name)
    with translated(name):
        if match is None or not all(is_channel_file(fd, n) for n in os.listdir(fd)):
            return _SPARED
    return (End.SERVER,), _HIDDEN_REASONS[match.group(1)]


def _take_away(store: FileStore, ends: tuple[End, ...]) -> str | None:
    """Hide a name; None where it is not dead after all, or somebody else was first."""
    if store.name.startswith("."):
        # Its maker may be just about to hold it: whoever holds it first has it.
        return store.hide_if_free(()) if store.hold(End.SERVER) else None
    return store.hide_if_free(ends)
