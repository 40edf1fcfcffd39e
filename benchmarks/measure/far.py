"""A peer's contender of two processes: one program, started again for the far end.

The near end is started by :mod:`measure.standing`; it starts the same program with a
second argument, the address, and that one serves the environment.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure.answering import answer
from measure.opened import Opened

_READY = "ready"
_END_LIMIT_S = 5.0


class FarEndFailed(Exception):
    """The process with the environment ended before it was ready."""


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def socket_path(spec: dict[str, Any]) -> Path:
    """Return where a Unix socket of this contender may be."""
    return Path(spec["directory"]) / "far.sock"


def start(spec: dict[str, Any], address: str, *, waits: bool = True) -> Any:
    """Start this program again to serve the environment.

    Args:
        spec: Of this contender.
        address: Where to serve.
        waits: Whether to wait until it says that it is ready.

    Raises:
        FarEndFailed: It ended before that; its standard error has said why.
    """
    # Not __name__: the program is the module that was started with -m.
    program = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    words = [sys.executable, "-P", "-m", program, json.dumps(spec), address]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    if waits:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == _READY:
                break
        else:
            raise FarEndFailed(f"exit code {process.wait()}")
    return process


def end(process: Any) -> None:
    """End the far end: it is a foreign server, so its exit code says nothing."""
    process.terminate()
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ready() -> None:
    """Say at the far end that the environment can be reached."""
    print(_READY, flush=True)


def run(
    open_contender: Callable[[dict[str, Any]], Opened],
    serve: Callable[[dict[str, Any], str], None],
) -> int:
    """Be the end that the arguments ask for, and return the exit code.

    Args:
        open_contender: Opens the near end.
        serve: Serves the environment of a spec at an address until it is ended.
    """
    if len(sys.argv) > 2:
        serve(json.loads(sys.argv[1]), sys.argv[2])
        return 0
    return answer(open_contender)
