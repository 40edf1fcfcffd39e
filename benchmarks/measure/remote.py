"""The ways to an environment on another machine: raw TCP, two bridges, direct attach.

The machine is this one; what is between the two is loopback, or a proxy that is late.
Wherever the placement pins, the bridges are pinned with the process that starts them.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rlay
from measure import raw_tcp
from measure.bridges import Bridges, FarBridge, start_module, start_proxy
from measure.contenders import end_backend, start_backend
from measure.opened import Opened, draw_actions
from measure.placement import Placement, pin
from rlay.cli.raw_tcp import receive_exactly, tune

_SOCKET_TIMEOUT_S = 60.0


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stand in for the reset of what has no environment."""


# ------------------------------------------------------------------------------- raw


def _open_raw(spec: dict[str, Any], placement: Placement) -> Opened:
    root = Path(spec["directory"])
    other = {**spec, "cpu": placement.server_cpu}
    server = start_module("measure.raw_tcp", [json.dumps(other)], root / "raw.log")
    helpers = [server]
    try:
        address = server.wait_for_address()
        if spec["latency_s"]:
            helpers.append(start_proxy(address, spec["latency_s"], root))
            address = helpers[-1].wait_for_address()
        sock = socket.create_connection(address, timeout=_SOCKET_TIMEOUT_S)
        tune(sock)
    except BaseException:
        for helper in helpers:
            helper.kill()
        raise
    pin(placement.client_cpu)

    def close() -> None:
        sock.close()
        for helper in reversed(helpers[1:]):
            helper.end()
        server.wait()

    step = _raw_step(sock, spec)
    lanes = spec["channels"]
    return Opened(_nothing, step, close, [None], pids=[server.pid], envs=lanes)


def _raw_step(sock: socket.socket, spec: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a function that makes one round trip, of as many messages as wanted."""
    request = bytes(raw_tcp.REQUEST_BYTES) * spec["channels"]
    room = memoryview(bytearray(spec["reply_bytes"] * spec["channels"]))
    send, receive = sock.sendall, receive_exactly
    if spec["stream"]:
        return lambda _: receive(sock, room)

    def step(_: Any) -> Any:
        send(request)
        receive(sock, room)

    return step


# ------------------------------------------------------------------------------ RLay


def _open_channels(
    between: FarBridge,
    make: Callable[[str], Any],
    spec: dict[str, Any],
    placement: Placement,
) -> Opened:
    """Open one environment, or as many channels as wanted, over what is between."""
    backend = start_backend(
        spec["paradigm"], {**spec, "directory": between.far}, placement
    )
    envs: list[Any] = []
    count = spec["channels"]
    try:
        names = [f"bench.{number}" for number in range(count)]
        envs.extend(map(make, names if count > 1 else ["bench"]))
        for env in envs if count > 1 else []:
            env.reset(seed=0)
    except BaseException:
        backend.kill()
        backend.wait()
        between.kill()
        raise

    def close() -> None:
        for env in envs:
            env.close()
        end_backend(backend)
        between.end()

    known = {"pids": [backend.pid], "bridges": between.bridges}
    if count > 1:
        actions = list(itertools.islice(itertools.cycle(draw_actions()), count))
        step = _pipelined(envs)
        return Opened(_nothing, step, close, [actions], False, **known, envs=count)
    (env,) = envs
    if spec["num_envs"] > 1:
        batch = [np.zeros(spec["num_envs"], np.int64)]
        many = spec["num_envs"]
        return Opened(env.reset, env.step, close, batch, False, **known, envs=many)
    return Opened(env.reset, env.step, close, draw_actions(), **known)


def _pipelined(envs: Sequence[Any]) -> Callable[[Any], Any]:
    """Return a function that steps all: send all, then receive all.

    No public class does that over several channels yet, so the links behind the
    environments are used.
    """
    sends = [env._link.step_send for env in envs]
    waits = [env._link.step_wait for env in envs]

    def step(actions: Sequence[Any]) -> Any:
        for send, action in zip(sends, actions, strict=True):
            send(action)
        return [wait() for wait in waits]

    return step


def _maker(spec: dict[str, Any], prefix: str, directory: str) -> Callable[[str], Any]:
    if spec["paradigm"] == "client":
        kind: Any = rlay.ServerEnv
    else:
        kind = rlay.ClientEnv if spec["num_envs"] == 1 else rlay.ClientVectorEnv
    return lambda name: kind(
        prefix + name,
        directory=directory,
        connect_timeout=spec["connect_timeout_s"],
        copy=spec["copy"],
    )


def open_remote(spec: dict[str, Any], placement: Placement) -> Opened:
    """Open the contender that ``spec`` describes.

    Args:
        spec: What :func:`measure.rounds.Run.spec` made.
        placement: Where this process and the one at the other end run.

    Raises:
        BackendFailed: From ``close``; the process with the environment failed.
        BridgeFailed: A bridge did, now or in ``close``.
    """
    if spec["contender"] == "raw-tcp":
        return _open_raw(spec, placement)
    pin(placement.client_cpu)
    if spec["contender"] == "direct":
        between = FarBridge(spec["directory"], spec["bridge"])
        host, port = between.address
        make = _maker(spec, f"tcp://{host}:{port}/", between.far)
    else:
        between = Bridges(spec["directory"], spec["bridge"], spec["latency_s"])
        make = _maker(spec, "", between.near)
    return _open_channels(between, make, spec, placement)
