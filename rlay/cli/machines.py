"""Programs that are played with, and another machine, played by this one."""

import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from rlay.cli.words import Failed
from rlay.errors import PeerLost, RLayError
from rlay.processes.child import ChildProcess, StartFailed
from rlay.processes.served import ServeCommand

START_LIMIT_S: Final = 30.0
ENVIRONMENTS_BRIDGE: Final = "environment's bridge"
ALGORITHMS_BRIDGE: Final = "algorithm's bridge"
_FACTS_LIMIT_S: Final = 1.0
"""How long a program that let go of its channel may take to end altogether."""
_AGAIN_S: Final = 0.01
_END_LIMIT_S: Final = 10.0
_MEMORY: Final = "/dev/shm"
_SETTINGS: Final = ("RLAY_BRIDGE_", "RLAY_TOKEN_FILE", "RLAY_DIR", "RLAY_CHANNEL")
"""Variables that are meant for the user's own bridges."""

_Attached = TypeVar("_Attached")


class NotStarted(Exception):
    """A bridge, or an environment, could not be started."""


class Machines:
    """Programs that were started, and the machines that they run on.

    Each machine is a directory of channels; what is between them is loopback. The
    environment's machine is the far one, whose bridge listens.

    Attributes:
        near: The directory of the algorithm's machine.
        far: The directory of the environment's machine.
        here: A directory without a bridge.
        children: The programs by what they are.
    """

    def __init__(self, root: str) -> None:
        """Take a directory for the machines' own ones."""
        self.near = os.path.join(root, "near")
        self.far = os.path.join(root, "far")
        self.here = os.path.join(root, "here")
        self.children: dict[str, ChildProcess] = {}
        self._serving: set[str] = set()

    def start_bridges(self) -> None:
        """Start a bridge on each machine.

        Raises:
            NotStarted: That is not possible here.
        """
        address = f"127.0.0.1:{_free_port()}"
        listen = ["bridge", "--listen", address, "--directory", self.far]
        self.children[ENVIRONMENTS_BRIDGE] = _start(ENVIRONMENTS_BRIDGE, listen)
        connect = ["bridge", "--connect", address, "--directory", self.near]
        self.children[ALGORITHMS_BRIDGE] = _start(ALGORITHMS_BRIDGE, connect)

    def serve(self, what: str, command: ServeCommand, name: str) -> ChildProcess:
        """Start a program that serves an environment to one client.

        Args:
            what: It is, for messages.
            command: What to serve, and where.
            name: Of the channel.

        Raises:
            NotStarted: It is not possible here.
        """
        words = command.words(name)[3:]  # without "python -m rlay"
        self.children[what] = _start(what, [*words, "--once", "--quiet"])
        self._serving.add(what)
        return self.children[what]

    def attach(
        self,
        make: Callable[[Callable[[], None], float], _Attached],
        limit_s: float | None = None,
    ) -> _Attached:
        """Return what ``make`` returns.

        Args:
            make: Called with a function to call now and then while it waits, which
                raises where that is of no use any more, and with how long to wait.
            limit_s: In seconds; None for 30 s.

        Raises:
            NotStarted: There is no channel in time, or a program ended before.
        """
        try:
            return make(self._check, START_LIMIT_S if limit_s is None else limit_s)
        except PeerLost as error:
            self._check(_FACTS_LIMIT_S)
            raise NotStarted(str(error)) from error
        except RLayError as error:
            raise NotStarted(str(error)) from error

    def _check(self, wait_s: float = 0.0) -> None:
        """Raise if a program has ended, or does so soon."""
        until = time.monotonic() + wait_s
        while True:
            for what, child in self.children.items():
                ending = child.poll()
                if ending is not None:
                    raise NotStarted(f"the {what} {ending.with_lines()}")
            if time.monotonic() >= until:
                return
            time.sleep(_AGAIN_S)

    def end_in_order(self) -> None:
        """End everything; the clients have left.

        Raises:
            Failed: A program ended with an error.
        """
        for what, child in reversed(self.children.items()):
            # An environment goes by itself, a bridge when it is told.
            wait_s = _END_LIMIT_S if what in self._serving else 0.0
            ending = child.wait(wait_s) or child.end(_END_LIMIT_S)
            child.end()
            if ending.code != 0:
                raise Failed(f"the {what} {ending.with_lines()}")

    def end(self) -> None:
        """End everything that still runs. Twice is harmless."""
        for child in self.children.values():  # all at once: they end side by side
            child.tell()
        for child in reversed(self.children.values()):
            child.end()


@contextmanager
def machines(prefix: str, parent: str | None = None) -> Iterator[Machines]:
    """Give machines on which nothing runs yet; nothing is left of them afterwards.

    Args:
        prefix: Of the directory's name.
        parent: Where the directory is made; None for memory.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent or _memory()) as root:
        made = Machines(root)
        try:
            yield made
        finally:
            made.end()


def _memory() -> str | None:
    """Return where channels lie in memory, None for the default of the system."""
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None


def _free_port() -> int:
    """Return a port that nobody uses now.

    Raises:
        NotStarted: Nobody can listen here.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
    except OSError as error:
        raise NotStarted(f"nobody can listen on 127.0.0.1: {error.strerror}") from error
    return port


def _start(what: str, words: list[str]) -> ChildProcess:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SETTINGS)
    }
    command = [sys.executable, "-m", "rlay", *words]
    try:
        return ChildProcess.start(command, env=kept, echo=None)
    except StartFailed as error:
        raise NotStarted(f"the {what} cannot be started: {error}") from error


def this_machine() -> str:
    """Return what a reader must know to compare figures, in a line."""
    import gymnasium

    return (
        f"{_usable_cpus()} CPUs, Python {platform.python_version()}, "
        f"gymnasium {gymnasium.__version__}, {platform.system()} {platform.machine()}"
    )


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
