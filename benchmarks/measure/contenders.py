"""One opened way to reach an environment, and the names of all of them.

RLay is imported only where it is used, so that the peers can be measured, and their
memory and start-up seen, without it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from measure import environments, peers, strategy
from measure.bridges import Helper
from measure.placement import Placement, pin

CONNECT_TIMEOUT_S = 30.0
_EXIT_TIMEOUT_S = 15.0
# The backend that stands at the other end of each of RLay's environments.
_RLAY_BACKENDS = {"client-env": "server", "server-env": "client"}
_REMOTE = ("raw-tcp", "bridges", "direct")
# Enough to be unpredictable, few enough to stay in the cache.
_ACTIONS = 256


@dataclass
class Opened:
    """An environment that is ready to step.

    ``episodic`` says that the caller must reset it at the end of an episode; a
    Gymnasium vector environment does that by itself. ``pids`` are the processes at
    the other end, ``bridges`` those between, by name. One call of ``step`` steps
    ``envs`` environments.
    """

    reset: Callable[..., Any]
    step: Callable[[Any], Any]
    close: Callable[[], None]
    actions: Sequence[Any]
    episodic: bool = True
    pids: list[int] = field(default_factory=list)
    bridges: dict[str, Helper] = field(default_factory=dict)
    envs: int = 1


class BackendFailed(Exception):
    """The process with the environment did not end with exit code 0."""


def start_backend(kind: str, spec: dict[str, Any], placement: Placement) -> Any:
    """Start the process, or processes, with the environment."""
    backend = {
        "kind": kind,
        "environment": spec["environment"],
        "channel": "bench",
        "directory": spec["directory"],
        "cpu": placement.server_cpu,
        "waiting": spec["waiting"],
        "channels": spec["channels"],
        "num_envs": spec["num_envs"],
    }
    command = [sys.executable, "-m", "measure.backend", json.dumps(backend)]
    return subprocess.Popen(command)


def end_backend(process: Any) -> None:
    """Wait for the end of it."""
    try:
        code = process.wait(_EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise BackendFailed(f"did not end within {_EXIT_TIMEOUT_S} s") from None
    if code != 0:
        raise BackendFailed(f"ended with exit code {code}")


def draw_actions(single: bool = True) -> list[Any]:
    """Return actions to step with, single ones or batches of one."""
    drawn = np.random.default_rng(0).integers(0, 2, _ACTIONS, dtype=np.int64)
    return list(drawn) if single else [drawn[i : i + 1] for i in range(_ACTIONS)]


def _open_in_process(spec: dict[str, Any], placement: Placement) -> Opened:
    pin(placement.client_cpu)
    env = environments.make(spec["environment"])
    return Opened(env.reset, env.step, env.close, draw_actions())


def _open_pipe(spec: dict[str, Any], placement: Placement) -> Opened:
    env = peers.PipeEnv(spec["environment"], placement)
    return Opened(env.reset, env.step, env.close, draw_actions(), pids=env.pids)


def _open_async_vector(spec: dict[str, Any], placement: Placement) -> Opened:
    envs = peers.async_vector_env(spec["environment"], placement)
    return Opened(
        envs.reset,
        envs.step,
        envs.close,
        draw_actions(single=False),
        episodic=False,
        pids=peers.pids_of(envs.processes),
    )


def _open_rlay(kind: str, spec: dict[str, Any], placement: Placement) -> Opened:
    import rlay

    backend = start_backend(kind, spec, placement)
    pin(placement.client_cpu)
    strategy.apply(spec["waiting"])
    make = rlay.ClientEnv if kind == "server" else rlay.ServerEnv
    try:
        env = make(
            "bench",
            directory=spec["directory"],
            connect_timeout=CONNECT_TIMEOUT_S,
            copy=spec["copy"],
        )
    except BaseException:
        # It would wait for its client for ever.
        backend.kill()
        backend.wait()
        raise

    def close() -> None:
        env.close()
        end_backend(backend)

    actions = draw_actions()
    if spec["int_actions"]:
        actions = [int(action) for action in actions]
    return Opened(env.reset, env.step, close, actions, pids=[backend.pid])


def open_contender(spec: dict[str, Any], placement: Placement) -> Opened:
    """Open the contender that ``spec`` describes, both ends placed.

    Args:
        spec: What :func:`measure.rounds.Run.spec` made.
        placement: Where this process and the one at the other end run.

    Raises:
        BackendFailed: From ``close``; the other process is gone.
    """
    kind = spec["contender"]
    if kind in _RLAY_BACKENDS:
        return _open_rlay(_RLAY_BACKENDS[kind], spec, placement)
    if kind in _REMOTE:
        from measure import remote

        return remote.open_remote(spec, placement)
    opener: Callable[..., Opened] = {
        "in-process": _open_in_process,
        "pipe": _open_pipe,
        "async-vector": _open_async_vector,
    }[kind]
    return opener(spec, placement)
