"""Another machine, played by this one: two directories, two bridges."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from rlay.cli.words import Failed
from rlay.errors import ConnectTimeout, RLayError
from rlay.processes.child import ChildProcess, StartFailed

_CHANNEL: Final = "demo"
_START_LIMIT_S: Final = 30.0
_LOOK_S: Final = 0.5
"""How long to wait for the channel between two looks at the processes."""
_END_LIMIT_S: Final = 10.0
_MEMORY: Final = "/dev/shm"
_SETTINGS: Final = ("RLAY_BRIDGE_", "RLAY_TOKEN_FILE", "RLAY_DIR", "RLAY_CHANNEL")
"""Variables that are meant for the user's own bridges."""


class NoBridges(Exception):
    """The bridges, or the environment behind them, could not be started."""


@contextmanager
def environment_behind_bridges(target: str) -> Iterator[Any]:
    """Serve an environment on one "machine", and give a ``ClientEnv`` on another.

    Each machine is a directory of channels; what is between them is loopback. Nothing
    is left afterwards.

    Args:
        target: What to serve, as for ``rlay serve``.

    Raises:
        NoBridges: It does not work here; the message says why. Nothing is left.
        Failed: A process did not end as it should.
    """
    with ExitStack() as stack:
        root = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="rlay-demo-", dir=_memory())
        )
        near, far = os.path.join(root, "near"), os.path.join(root, "far")
        address = f"127.0.0.1:{_free_port()}"
        commands = {
            "environment's bridge": ["bridge", "--listen", address, "--directory", far],
            "algorithm's bridge": ["bridge", "--connect", address, "--directory", near],
            "environment": ["serve", target, "--name", _CHANNEL, "--directory", far],
        }
        commands["environment"] += ["--once", "--quiet"]
        children: dict[str, ChildProcess] = {}
        stack.callback(_end_all, children)
        for what, words in commands.items():
            children[what] = _start(what, words)
        env = _attach(near, children)
        try:
            yield env
        finally:
            env.close()
        _check_endings(children)


def _memory() -> str | None:
    """Return where channels lie in memory, None for the default of the system."""
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None


def _free_port() -> int:
    """Return a port that nobody uses now.

    Raises:
        NoBridges: Nobody can listen here.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
    except OSError as error:
        raise NoBridges(f"nobody can listen on 127.0.0.1: {error.strerror}") from error
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
        raise NoBridges(f"the {what} cannot be started: {error}") from error


def _attach(directory: str, children: dict[str, ChildProcess]) -> Any:
    """Return a ClientEnv on the channel, once it is mirrored.

    Raises:
        NoBridges: It is not within 30 s, or a process ended before.
    """
    import rlay

    until = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            return rlay.ClientEnv(
                _CHANNEL, directory=directory, connect_timeout=_LOOK_S
            )
        except ConnectTimeout as error:
            if time.monotonic() > until:
                raise NoBridges(str(error)) from error
        except RLayError as error:
            raise NoBridges(str(error)) from error
        for what, child in children.items():
            ending = child.poll()
            if ending is not None:
                raise NoBridges(f"the {what} {ending.with_lines()}")


def _check_endings(children: dict[str, ChildProcess]) -> None:
    """End everything in order.

    Raises:
        Failed: A process ended with an error.
    """
    for what, child in reversed(children.items()):
        # The environment goes by itself, the bridges when they are told.
        wait_s = _END_LIMIT_S if what == "environment" else 0.0
        ending = child.wait(wait_s) or child.end(_END_LIMIT_S)
        child.end()
        if ending.code != 0:
            raise Failed(f"the {what} {ending.with_lines()}")


def _end_all(children: dict[str, ChildProcess]) -> None:
    for child in reversed(children.values()):
        child.end()
