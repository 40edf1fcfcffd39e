"""rlay 0.0.1, the release of 2023 that RLay has its name from: its ``ClientEnv``."""

from __future__ import annotations

import signal
import sys
from typing import Any

import gymnasium
from measure import environments, far
from measure.opened import Opened, draw_actions

from rlay import mmap_backends, mmap_envs

_ID = "BenchmarkTrivial-v0"


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
    name = f"rlay-benchmark-{far.free_port()}"
    process = far.start(spec, name, waits=False)
    _at(mmap_envs, name)
    env = mmap_envs.ClientEnv()

    def close() -> None:
        env.close()
        far.end(process)

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
