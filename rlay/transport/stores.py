"""Where a channel's memory and locks are: in files, or in this process.

Both kinds of store have the same methods, so that a server and a client are
written once::

    header          memory of the header file
    hold, release   take or leave an end's lock
    make_probe      a function: is that end held?
    create_slots    memory of a new generation
    open_slots      memory of an existing one
    ring_fifo       one byte into bell.<end>
    remove          the server's goodbye: take away name and files
    close           give back descriptors
"""

import contextlib
import mmap
import os
import secrets
import threading
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from rlay.errors import ChannelBusy, ChannelNotFound
from rlay.protocol.slot_layout import HEADER_FILE_BYTES, SLOTS_HEADER_BYTES
from rlay.transport.directory import ChannelDirectory, open_file
from rlay.transport.header import ChannelHeader
from rlay.transport.locks import HeldLock, held_here, make_probe
from rlay.transport.memory import create_mapped, open_mapped

HEADER_NAME: Final = "header"
_CREATE_TRIES: Final = 100


class End(Enum):
    """An end of a channel; its value is part of file names."""

    SERVER = "server"
    CLIENT = "client"

    @property
    def other(self) -> "End":
        """The end on the other side."""
        return End.CLIENT if self is End.SERVER else End.SERVER


class Store(Protocol):
    """What a server and a client need of the place where their channel is."""

    name: str
    path: str
    header: memoryview

    def hold(self, end: End) -> bool:
        """Take an end's lock; False where somebody else holds it."""

    def release(self, end: End) -> None:
        """Leave an end's lock. Twice is harmless."""

    def make_probe(self, end: End) -> Callable[[], bool]:
        """Return a function that says whether an end is held."""

    def create_slots(self, generation: int, size_bytes: int) -> memoryview:
        """Make the memory of a generation, and drop the one before."""

    def open_slots(self, generation: int) -> memoryview:
        """Return the memory of a generation."""

    def ring_fifo(self, end: End) -> None:
        """Write one byte into the FIFO of an end, if somebody reads it."""

    def remove(self) -> None:
        """Take away the channel's name and files. Twice is harmless."""

    def close(self) -> None:
        """Give back descriptors. Twice is harmless."""


def slots_name(generation: int) -> str:
    """Return the name of the file of a generation's slots."""
    return f"slots.{generation}"


class FileStore:
    """A channel in a directory of files."""

    def __init__(
        self, directory: ChannelDirectory, name: str, hidden: str | None, fd: int
    ) -> None:
        """Take over an open channel directory; see :meth:`create` and :meth:`open`."""
        self.name = name
        self.path = os.path.join(directory.path, name)
        self._directory = directory
        self._hidden = hidden
        self._fd = fd
        self._locks: dict[End, HeldLock] = {}
        self._probe_fds: list[int] = []
        self._fifos: dict[End, int] = {}
        self._generation = 0
        self._removed = False
        self._owns_directory = True

    # ------------------------------------------------------------------ create

    @classmethod
    def create(cls, directory: ChannelDirectory, name: str) -> "FileStore":
        """Make a channel's files under a hidden name, its server end held.

        :meth:`publish` gives it its name, once the header is filled.
        """
        hidden, fd = directory.make_hidden()
        store = cls(directory, name, hidden, fd)
        try:
            store.hold(End.SERVER)
            store._touch(f"{End.CLIENT.value}.lock")
            store.header = create_mapped(
                fd, HEADER_NAME, store._file(HEADER_NAME), HEADER_FILE_BYTES
            )
        except BaseException:
            store.remove()
            store.close()
            raise
        return store

    def _touch(self, name: str) -> None:
        lock = HeldLock.acquire(self._fd, name, self._file(name))
        if lock is not None:
            lock.release()

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def publish(self) -> None:
        """Give the channel its name. A stale channel of that name is replaced.

        Raises:
            ChannelBusy: A living server has the name.
            ChannelCorrupt: Something that is no channel has it.
        """
        hidden = self._hidden
        assert hidden is not None  # noqa: S101 - made by create() alone
        for _ in range(_CREATE_TRIES):
            if self._directory.publish(hidden, self.name):
                self._hidden = None
                return
            self._displace_stale()
        raise ChannelBusy(f"channel {self.name!r} is fought over: too many servers")

    def _displace_stale(self) -> None:
        try:
            fd = self._directory.open_channel(self.name)
        except ChannelNotFound:
            return
        old = FileStore(self._directory, self.name, None, fd)
        old._owns_directory = False
        try:
            if not old.hold(End.SERVER):
                raise ChannelBusy(old.busy_text(End.SERVER))
            if old.is_current():
                gone = self._directory.hide(self.name)
                if gone:
                    self._directory.remove(gone)
        finally:
            old.close()

    def is_current(self) -> bool:
        """Return whether the channel's name still leads to these files."""
        try:
            facts = os.stat(self.name, dir_fd=self._directory.fd, follow_symlinks=False)
        except OSError:
            return False
        ours = os.fstat(self._fd)
        return (facts.st_dev, facts.st_ino) == (ours.st_dev, ours.st_ino)

    # -------------------------------------------------------------------- open

    @classmethod
    def open(cls, directory: ChannelDirectory, name: str) -> "FileStore":
        """Open the files of an existing channel and map its header.

        Raises:
            ChannelNotFound: There is no such channel.
            ChannelCorrupt: Its files are not what they should be.
            ChannelPermission: They are not ours alone.
        """
        store = cls(directory, name, None, directory.open_channel(name))
        try:
            store.header = open_mapped(
                store._fd, HEADER_NAME, store._file(HEADER_NAME), HEADER_FILE_BYTES
            )
        except BaseException:
            store.close()
            raise
        return store

    def busy_text(self, end: End) -> str:
        """Say who holds an end, for a message."""
        text = f"channel {self.name!r} has a {end.value} already"
        with contextlib.suppress(Exception):
            name = f"{end.value}.lock"
            fd = open_file(self._fd, name, self._file(name))
            try:
                where = held_here(fd)
            finally:
                os.close(fd)
            if where:
                return (
                    f"{text}: this very process attached it at {where}. Close that "
                    f"one first, or serve a group (rlay serve ... --channels 2) and "
                    f"name it {self.name.rpartition('.')[0] or self.name}.*"
                )
            if not hasattr(self, "header"):
                self.header = open_mapped(
                    self._fd, HEADER_NAME, self._file(HEADER_NAME), HEADER_FILE_BYTES
                )
            header = ChannelHeader(self.header)
            line = header.server if end is End.SERVER else header.client
            return f"{text}: {line.who}. Use another name, or end that one first"
        return text

    # ------------------------------------------------------------------- locks

    def hold(self, end: End) -> bool:
        """Take an end's lock; False where somebody else holds it."""
        name = f"{end.value}.lock"
        lock = HeldLock.acquire(self._fd, name, self._file(name))
        if lock is None:
            return False
        self._locks[end] = lock
        return True

    def release(self, end: End) -> None:
        """Leave an end's lock. Twice is harmless."""
        lock = self._locks.pop(end, None)
        if lock is not None:
            lock.release()

    def make_probe(self, end: End) -> Callable[[], bool]:
        """Return a function that says whether an end is held."""
        name = f"{end.value}.lock"
        fd = open_file(self._fd, name, self._file(name))
        self._probe_fds.append(fd)
        return make_probe(fd)

    # ------------------------------------------------------------------- slots

    def create_slots(self, generation: int, size_bytes: int) -> memoryview:
        """Make the memory of a generation, and drop the one before."""
        if self._generation:
            with contextlib.suppress(OSError):
                os.unlink(slots_name(self._generation), dir_fd=self._fd)
            self._generation = 0
        name, hidden = slots_name(generation), ".slots-" + secrets.token_hex(4)
        memory = create_mapped(self._fd, hidden, self._file(name), size_bytes)
        os.rename(hidden, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        self._generation = generation
        return memory

    def open_slots(self, generation: int) -> memoryview:
        """Return the memory of a generation."""
        name = slots_name(generation)
        return open_mapped(self._fd, name, self._file(name), SLOTS_HEADER_BYTES)

    # ------------------------------------------------------------------- bells

    def ring_fifo(self, end: End) -> None:
        """Write one byte into the FIFO of an end, if somebody reads it."""
        with contextlib.suppress(OSError):
            fd = self._fifos.get(end)
            if fd is None:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(f"bell.{end.value}", flags, dir_fd=self._fd)
                self._fifos[end] = fd
            os.write(fd, b"\0")

    # ----------------------------------------------------------------- goodbye

    def remove(self) -> None:
        """Take away the channel's name and files. Twice is harmless."""
        if self._removed:
            return
        self._removed = True
        gone = self._hidden
        if gone is None and self.is_current():
            gone = self._directory.hide(self.name)
        if gone is not None:
            self._directory.remove(gone)

    def close(self) -> None:
        """Give back descriptors. Twice is harmless."""
        for end in list(self._locks):
            self.release(end)
        fds, self._probe_fds = [*self._probe_fds, *self._fifos.values()], []
        self._fifos = {}
        if self._fd >= 0:
            fds.append(self._fd)
            self._fd = -1
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._owns_directory:
            self._directory.close()


class MemoryStore:
    """A channel within this process, for tests and for single-process use."""

    def __init__(self, name: str) -> None:
        """Make the header's memory."""
        self.name = name
        self.path = f"(memory)/{name}"
        self.header = _anonymous(HEADER_FILE_BYTES)
        self._held: dict[End, threading.Lock] = {end: threading.Lock() for end in End}
        self._slots: dict[int, memoryview] = {}

    def hold(self, end: End) -> bool:
        """Take an end's lock; False where somebody else holds it."""
        return self._held[end].acquire(blocking=False)

    def release(self, end: End) -> None:
        """Leave an end's lock. Twice is harmless."""
        with contextlib.suppress(RuntimeError):
            self._held[end].release()

    def make_probe(self, end: End) -> Callable[[], bool]:
        """Return a function that says whether an end is held."""
        return self._held[end].locked

    def create_slots(self, generation: int, size_bytes: int) -> memoryview:
        """Make the memory of a generation, and drop the one before."""
        self._slots = {generation: _anonymous(size_bytes)}
        return self._slots[generation]

    def open_slots(self, generation: int) -> memoryview:
        """Return the memory of a generation."""
        try:
            return self._slots[generation]
        except KeyError:
            raise ChannelNotFound(f"no generation {generation}") from None

    def busy_text(self, end: End) -> str:
        """Say who holds an end, for a message."""
        return f"channel {self.name!r} has a {end.value} already, in this process"

    def ring_fifo(self, end: End) -> None:
        """Do nothing: both ends are in this process and need no FIFO."""

    def remove(self) -> None:
        """Forget the slots."""
        self._slots = {}

    def close(self) -> None:
        """Do nothing: memory goes with its last view."""


def _anonymous(size_bytes: int) -> memoryview:
    return memoryview(mmap.mmap(-1, size_bytes))
