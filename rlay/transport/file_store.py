"""A channel in a directory of files."""

import contextlib
import os
import re
import secrets
import stat
from typing import Final

from rlay.errors import ChannelBusy, ChannelCorrupt, ChannelNotFound
from rlay.protocol.constants import HEADER_BYTES
from rlay.protocol.slot_layout import HEADER_FILE_BYTES, SLOTS_HEADER_BYTES
from rlay.transport.directory import ChannelDirectory, open_file
from rlay.transport.failures import translated
from rlay.transport.header import ChannelHeader
from rlay.transport.locks import HeldLock, Probe, held_here, lock_directory
from rlay.transport.memory import create_mapped, open_mapped, read_only
from rlay.transport.stores import End

HEADER_NAME: Final = "header"
_CREATE_TRIES: Final = 100
_CHANNEL_FILE: Final = re.compile(
    r"header|(?:server|client)\.lock|slots\.[0-9]+|\.slots-[0-9a-f]+"
    r"|bell\.(?:server|client)"
)


def slots_name(generation: int) -> str:
    """Return the name of the file of a generation's slots."""
    return f"slots.{generation}"


def lock_name(end: End) -> str:
    """Return the name of an end's lock file."""
    return f"{end.value}.lock"


def read_header(fd: int, path: str) -> ChannelHeader:
    """Return a copy of a channel's header, neither mapped nor checked.

    Args:
        fd: Descriptor of the channel's directory.
        path: Its path, for messages.
    """
    file = os.path.join(path, HEADER_NAME)
    return ChannelHeader.of_page(read_only(fd, HEADER_NAME, file, HEADER_BYTES))


def is_channel_file(fd: int, entry: str) -> bool:
    """Return whether an entry of the directory ``fd`` may be a channel's."""
    with translated(entry):
        facts = os.stat(entry, dir_fd=fd, follow_symlinks=False)
    return bool(_CHANNEL_FILE.fullmatch(entry)) and not stat.S_ISDIR(facts.st_mode)


def check_contents(fd: int, path: str) -> None:
    """Make sure that a directory is a channel's before anything in it is removed.

    Raises:
        ChannelCorrupt: It holds something that no channel has.
        ChannelPermission: Its header is not ours alone.
        VersionMismatch: It is of another major version: what proves such a channel
            dead is not known here.
    """
    with translated(path):
        entries = os.listdir(fd)
        for entry in entries:
            if not is_channel_file(fd, entry):
                raise ChannelCorrupt(
                    f"{path} holds {entry!r}, which no channel has, so it is left as "
                    "it is. Use another name, or remove it by hand"
                )
    if HEADER_NAME in entries:
        read_header(fd, path).check(path)


class FileStore:
    """A channel in a directory of files; see :class:`rlay.transport.stores.Store`.

    Made by :meth:`create` and :meth:`open`, which take over the directory.
    """

    header: memoryview

    def __init__(
        self, directory: ChannelDirectory, name: str, hidden: str | None, fd: int
    ) -> None:
        """Take over the descriptor of a channel's directory.

        Args:
            directory: In which it lies.
            name: Of the channel.
            hidden: What the directory is called as long as it has not this name.
            fd: Its descriptor.
        """
        self.name = name
        self.path = os.path.join(directory.path, name)
        self._directory = directory
        self._hidden = hidden
        self._fd = fd
        self._locks: dict[End, HeldLock] = {}
        self._probes: list[Probe] = []
        self._fifos: dict[End, int] = {}
        self._identity: tuple[int, int] | None = None
        self._generation = 0
        self._removed = False
        self._owns_directory = False

    # ------------------------------------------------------------------ create

    @classmethod
    def create(cls, directory: ChannelDirectory, name: str) -> "FileStore":
        """Make a channel's files under a hidden name, its server end held.

        :meth:`publish` gives it its name, once the header is filled.

        Raises:
            ChannelError: The files cannot be made. Nothing is left behind.
        """
        for _ in range(_CREATE_TRIES):
            hidden, fd = directory.make_hidden()
            store = cls(directory, name, hidden, fd)
            try:
                if store._occupy(hidden):
                    store._make_files()
                    store._owns_directory = True
                    return store
            except BaseException:
                store.remove()
                store.close()
                raise
            store.remove()
            store.close()
        raise ChannelBusy(f"{directory.path} is swept all the time: nothing stays")

    def _occupy(self, hidden: str) -> bool:
        """Hold the server end, unless somebody swept the directory before that."""
        try:
            return self.hold(End.SERVER) and self._has_name(hidden)
        except ChannelNotFound:
            return False

    def _make_files(self) -> None:
        client = lock_name(End.CLIENT)
        lock = HeldLock.acquire(self._fd, client, self._file(client))
        if lock is not None:
            lock.release()
        self.header = create_mapped(
            self._fd, HEADER_NAME, self._file(HEADER_NAME), HEADER_FILE_BYTES
        )

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    @property
    def fd(self) -> int:
        """Descriptor of the channel's directory; -1 once it is closed."""
        return self._fd

    def publish(self) -> None:
        """Give the channel its name. A stale channel of that name is replaced.

        Raises:
            ChannelBusy: A living server has the name.
            ChannelCorrupt: Something that is no channel has it.
            ChannelPermission: A directory that is not ours alone has it.
        """
        for _ in range(_CREATE_TRIES):
            if self._hidden is None or self._directory.publish(self._hidden, self.name):
                self._hidden = None
                return
            self._displace_stale()
        raise ChannelBusy(f"channel {self.name!r} is fought over: too many servers")

    def _displace_stale(self) -> None:
        """Take the name away from a channel whose server is gone."""
        try:
            fd = self._directory.open_channel(self.name)
        except ChannelNotFound:
            return
        old = FileStore(self._directory, self.name, None, fd)
        try:
            check_contents(fd, self.path)
            gone = old.hide_if_free((End.SERVER,))
            if gone is None and old.is_current() and old.is_held(End.SERVER):
                raise ChannelBusy(old.busy_text(End.SERVER))
        except ChannelNotFound:  # somebody else removes it
            return
        finally:
            old.close()
        if gone is not None:
            self._directory.remove(gone)

    def hide_if_free(self, ends: tuple[End, ...]) -> str | None:
        """Take the channel's name away if none of these ends is held.

        Returns:
            The hidden name; None where an end is held, or where somebody else was
            first.
        """
        if not lock_directory(self._fd, self.path):
            return None
        for end in ends:
            with contextlib.suppress(ChannelNotFound):  # no lock file: nobody holds it
                if self.is_held(end):
                    return None
        return self._directory.hide(self.name) if self.is_current() else None

    def is_current(self) -> bool:
        """Return whether the channel's name still leads to these files."""
        return self._has_name(self.name)

    def _has_name(self, name: str) -> bool:
        try:
            if self._identity is None:
                ours = os.fstat(self._fd)
                self._identity = ours.st_dev, ours.st_ino
            facts = os.stat(name, dir_fd=self._directory.fd, follow_symlinks=False)
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == self._identity

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
        store._owns_directory = True
        return store

    def busy_text(self, end: End) -> str:
        """Say who holds an end, for a message."""
        text = f"channel {self.name!r} has a {end.value} already"
        with contextlib.suppress(Exception):
            where = self._held_here(end)
            if where:
                return (
                    f"{text}: this very process attached it at {where}. Close that "
                    f"one first, or serve a group (rlay serve ... --channels 2) and "
                    f"name it {self.name.rpartition('.')[0] or self.name}.*"
                )
            header = read_header(self._fd, self.path)
            header.check(self.path)
            line = header.server if end is End.SERVER else header.client
            return f"{text}: {line.who}. Use another name, or end that one first"
        return text

    def _held_here(self, end: End) -> str | None:
        name = lock_name(end)
        fd = open_file(self._fd, name, self._file(name), writable=False)
        try:
            return held_here(fd)
        finally:
            os.close(fd)

    # ------------------------------------------------------------------- locks

    def hold(self, end: End) -> bool:
        """Take an end's lock; False where somebody else holds it."""
        name = lock_name(end)
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

    def is_held(self, end: End) -> bool:
        """Look once whether an end is held."""
        probe = self._open_probe(end)
        try:
            return probe()
        finally:
            probe.close()

    def make_probe(self, end: End) -> Probe:
        """Return a function that says whether an end is held."""
        probe = self._open_probe(end)
        self._probes.append(probe)
        return probe

    def _open_probe(self, end: End) -> Probe:
        name = lock_name(end)
        path = self._file(name)
        return Probe(open_file(self._fd, name, path, writable=False), path)

    # ------------------------------------------------------------------- slots

    def create_slots(self, generation: int, size_bytes: int) -> memoryview:
        """Make the memory of a generation, and drop the one before."""
        if self._generation:
            with contextlib.suppress(OSError):
                os.unlink(slots_name(self._generation), dir_fd=self._fd)
            self._generation = 0
        name, hidden = slots_name(generation), ".slots-" + secrets.token_hex(4)
        path = self._file(name)
        memory = create_mapped(self._fd, hidden, path, size_bytes)
        with translated(path):
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
        fd = self._fifos.get(end)
        if fd is None:
            fd = self._open_fifo(f"bell.{end.value}")
            if fd is None:
                return
            self._fifos[end] = fd
        try:
            os.write(fd, b"\0")
        except BlockingIOError:  # it is full of rings: the reader will wake
            pass
        except OSError:  # its reader is gone; the next one may have made a new FIFO
            del self._fifos[end]
            os.close(fd)

    def _open_fifo(self, name: str) -> int | None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._fd)
        except OSError:  # there is none, or nobody reads it
            return None
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                return fd
        os.close(fd)
        return None

    # ----------------------------------------------------------------- goodbye

    def remove(self) -> None:
        """Take away the channel's name and files. Twice is harmless.

        Raises:
            ChannelPermission: The directory does not let us any more.
        """
        if self._removed:
            return
        if self._hidden is None and self.is_current():
            self._hidden = self._directory.hide(self.name)
        if self._hidden is not None:
            self._directory.remove(self._hidden, self._own_names())
        self._removed = True

    def _own_names(self) -> list[str]:
        names = [HEADER_NAME, *(lock_name(end) for end in End)]
        if self._generation:
            names.append(slots_name(self._generation))
        return names

    def close(self) -> None:
        """Give back locks, descriptors and the header. Twice is harmless."""
        self.header = memoryview(b"")
        for end in list(self._locks):
            self.release(end)
        for probe in self._probes:
            probe.close()
        fds = [*self._fifos.values(), self._fd]
        self._fifos, self._fd = {}, -1
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        if self._owns_directory:
            self._directory.close()
