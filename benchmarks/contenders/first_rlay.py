"""rlay 0.0.1, the release of 2023 that RLay has its name from: its ``ClientEnv``."""

from __future__ import annotations

import math
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
from measure import environments, far
from measure.opened import Opened, draw_actions

from rlay import mmap_backends, mmap_envs

_ID = "BenchmarkTrivial-v0"
_FILE_BYTES = 1024
_START_LIMIT_S = 60.0
_LOOK_S = 0.01


class TooLarge(Exception):
    """The observations of an environment do not fit into the file."""


def _check_size(name: str) -> None:
    """Refuse what makes the far end die, while the near end waits for ever.

    Raises:
        TooLarge: The observations, which travel as float32, do not fit.
    """
    size = 4 * math.prod(environments.make(name).observation_space.shape)
    if size > _FILE_BYTES:
        raise TooLarge(f"{size:,} bytes as float32, its messages have 1 KiB at most")


def _wait_for_file(name: str) -> None:
    """Wait until the far end has made the file, and given it its size.

    Raises:
        FarEndFailed: It has not in time.
    """
    path, deadline = Path("/tmp") / name, time.monotonic() + _START_LIMIT_S
    while not path.exists() or path.stat().st_size < _FILE_BYTES:
        if time.monotonic() > deadline:
            raise far.FarEndFailed(f"no file {path} within {_START_LIMIT_S:g} s")
        time.sleep(_LOOK_S)


def _at(module: Any, name: str) -> None:
    """Let it use a file of its own in place of ``/tmp/rlay``, the only one it knows."""
    make = module.Communicator
    module.Communicator = lambda _, create: make(name, create=create)


def _serve(spec: dict[str, Any], address: str) -> None:
    _at(mmap_backends, address)
    gymnasium.register(
        _ID, lambda: environments.make(spec["environment"]), disable_env_checker=True
    )
    mmap_backends.ServerBackend(_ID).run()


def _open(spec: dict[str, Any]) -> Opened:
    _check_size(spec["environment"])
    name = f"rlay-benchmark-{far.free_port()}"
    process = far.start(spec, name, waits=False)
    _wait_for_file(name)
    _at(mmap_envs, name)
    env = mmap_envs.ClientEnv()

    def close() -> None:
        env.close()
        far.end(process)
        (Path("/tmp") / name).unlink(missing_ok=True)

    # Its far end waits by looking without an end, which would disturb all others.
    return Opened(
        env.reset,
        env.step,
        close,
        draw_actions(lanes=1),
        rest=lambda: process.send_signal(signal.SIGSTOP),
        wake=lambda: process.send_signal(signal.SIGCONT),
    )


if __name__ == "__main__":
    sys.exit(far.run(_open, _serve))
