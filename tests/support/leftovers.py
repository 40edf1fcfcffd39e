"""What a process has open and running, compared before and after a test."""

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Descriptors that a test can leak. Anything else (a library that was loaded lazily, a
# terminal, /dev/urandom) is opened once by somebody else and stays.
_WATCHED_KINDS = ("socket:", "pipe:", "anon_inode:", "/memfd:")

# Helpers of multiprocessing that live as long as the interpreter, on purpose.
_LASTING_CHILDREN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@dataclass(frozen=True)
class Holdings:
    """What this process holds at one moment. Empty on systems without /proc.

    Attributes:
        children: Command line by process id, also of children that have ended and that
            nobody waited for.
        descriptors: Number and target of each socket, pipe, anonymous inode and file in
            the directories that were asked for.
        mappings: The files in those directories that are mapped.
    """

    children: dict[int, str]
    descriptors: frozenset[tuple[int, str]]
    mappings: frozenset[str]

    @classmethod
    def now(cls, directories: Sequence[Path]) -> "Holdings":
        """Look at this process; ``directories`` are where channels may live."""
        prefixes = tuple(str(directory) for directory in directories)
        return cls(_children(), _descriptors(prefixes), _mappings(prefixes))

    def added(self, directories: Sequence[Path]) -> "Holdings":
        """What has come since, and is not only kept by a cycle of references."""
        new = self._less_than(Holdings.now(directories))
        if new.descriptors or new.mappings:
            gc.collect()
            new = self._less_than(Holdings.now(directories))
        return new

    def lines(self) -> list[str]:
        """One line for each thing held, for people."""
        return [
            *(f"child {pid}: {command}" for pid, command in self.children.items()),
            *(f"descriptor {fd}: {target}" for fd, target in sorted(self.descriptors)),
            *(f"mapped: {path}" for path in sorted(self.mappings)),
        ]

    def _less_than(self, later: "Holdings") -> "Holdings":
        return Holdings(
            {
                pid: command
                for pid, command in later.children.items()
                if pid not in self.children
            },
            later.descriptors - self.descriptors,
            later.mappings - self.mappings,
        )


def _children() -> dict[int, str]:
    found = {}
    for thread in _listing("/proc/self/task"):
        try:
            pids = Path(f"/proc/self/task/{thread}/children").read_text().split()
        except OSError:  # the thread has ended
            continue
        for pid in pids:
            command = _command(pid)
            if not any(lasting in command for lasting in _LASTING_CHILDREN):
                found[int(pid)] = command
    return found


def _descriptors(prefixes: tuple[str, ...]) -> frozenset[tuple[int, str]]:
    found = set()
    for name in _listing("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own descriptor, closed by now
            continue
        if target.startswith((*_WATCHED_KINDS, *prefixes)):
            found.add((int(name), target))
    return frozenset(found)


def _mappings(prefixes: tuple[str, ...]) -> frozenset[str]:
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except FileNotFoundError:
        return frozenset()
    paths = (line.split(maxsplit=5)[-1] for line in lines)
    return frozenset(path for path in paths if path.startswith(prefixes))


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        name, _, state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return "(gone)"
    if state.split()[0] == "Z":
        return "(ended, nobody waited for it)"
    text = b" ".join(words).decode(errors="replace").strip()
    return text or name.partition("(")[2]  # no words: a kernel thread, or just started
