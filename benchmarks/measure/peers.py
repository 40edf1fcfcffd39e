"""The ways to run an environment in another process that RLay is compared with."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from gymnasium.vector import AsyncVectorEnv

from measure import environments
from measure.placement import Placement, pin


def _serve(connection: Connection, name: str, cpu: int | None) -> None:
    pin(cpu)
    env = environments.make(name)
    while True:
        kind, value = connection.recv()
        if kind == "step":
            connection.send(env.step(value))
        elif kind == "reset":
            connection.send(env.reset(seed=value))
        else:
            return


def pids_of(processes: Sequence[Any]) -> list[int]:
    """Return the ids of ``multiprocessing`` processes that were started."""
    return [int(process.pid) for process in processes]


class PipeEnv:
    """A ``multiprocessing.Pipe`` with pickle: what most code does by hand."""

    def __init__(self, name: str, placement: Placement) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=_serve, args=(theirs, name, placement.server_cpu), daemon=True
        )
        self._process.start()
        theirs.close()
        pin(placement.client_cpu)
        self.pids = pids_of([self._process])

    def reset(self, seed: int | None = None) -> Any:
        """Reset the environment in the other process."""
        self._connection.send(("reset", seed))
        return self._connection.recv()

    def step(self, action: Any) -> Any:
        """Step the environment in the other process."""
        self._connection.send(("step", action))
        return self._connection.recv()

    def close(self) -> None:
        """End the other process and wait for it."""
        self._connection.send(("close", None))
        self._process.join(10)
        self._connection.close()


def async_vector_env(name: str, placement: Placement) -> AsyncVectorEnv:
    """Start Gymnasium's ``AsyncVectorEnv`` with one environment and pin its worker."""
    envs = AsyncVectorEnv(
        [functools.partial(environments.make, name)], shared_memory=True
    )
    for pid in pids_of(envs.processes):
        pin(placement.server_cpu, pid)
    pin(placement.client_cpu)
    return envs
