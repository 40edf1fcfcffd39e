"""The ways to reach an environment that need RLay or Gymnasium alone, by name.

RLay is imported only where it is used, so that the peers can be measured, and their
memory and start-up seen, without it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from measure import environments, peers, strategy
from measure.opened import Opened, draw_actions
from measure.placement import Placement, pin

CONNECT_TIMEOUT_S = 30.0
_EXIT_TIMEOUT_S = 15.0
# The backend that stands at the other end of each of RLay's environments.
_RLAY_BACKENDS = {"client-env": "server", "server-env": "client"}
_REMOTE = ("raw-tcp", "bridges", "direct")
_VECTORS = ("sync-vector", "async-vectors", "vectorised", "lanes")


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
        "vectorised": spec["vectorised"],
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
        draw_actions(lanes=1),
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
    if kind in _VECTORS:
        from measure import vectors

        return vectors.open_vector(spec, placement)
    opener: Callable[..., Opened] = {
        "in-process": _open_in_process,
        "pipe": _open_pipe,
        "async-vector": _open_async_vector,
    }[kind]
    return opener(spec, placement)
