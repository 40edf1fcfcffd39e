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

Maker = Callable[[Sequence[str]], Any]
"""Makes an environment on channels of these names."""


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
    make: Maker,
    spec: dict[str, Any],
    placement: Placement,
) -> Opened:
    """Open one environment, or as many channels as wanted, over what is between."""
    backend = start_backend(
        spec["paradigm"], {**spec, "directory": between.far}, placement
    )
    count = spec["channels"]
    names = [f"bench.{number}" for number in range(count)]
    try:
        env = make(names if count > 1 else ["bench"])
        if count > 1:
            env.reset(seed=0)
    except BaseException:
        backend.kill()
        backend.wait()
        between.kill()
        raise

    def close() -> None:
        env.close()
        end_backend(backend)
        between.end()

    known = {"pids": [backend.pid], "bridges": between.bridges}
    if count > 1:
        actions = np.array(
            list(itertools.islice(itertools.cycle(draw_actions()), count))
        )
        return Opened(_nothing, env.step, close, [actions], False, **known, envs=count)
    if spec["num_envs"] > 1:
        batch = [np.zeros(spec["num_envs"], np.int64)]
        many = spec["num_envs"]
        return Opened(env.reset, env.step, close, batch, False, **known, envs=many)
    return Opened(env.reset, env.step, close, draw_actions(), **known)


def _maker(spec: dict[str, Any], prefix: str, directory: str) -> Maker:
    options = {
        "directory": directory,
        "connect_timeout": spec["connect_timeout_s"],
        "copy": spec["copy"],
    }

    def make(names: Sequence[str]) -> Any:
        """Return an environment on one channel, or a vector over several."""
        paths = [prefix + name for name in names]
        if len(paths) > 1:
            return rlay.ClientVectorEnv(paths, **options)
        if spec["paradigm"] == "client":
            return rlay.ServerEnv(paths[0], **options)
        kind = rlay.ClientEnv if spec["num_envs"] == 1 else rlay.ClientVectorEnv
        return kind(paths[0], **options)

    return make


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
