"""The ways to step many environments at once: Gymnasium's, and RLay's over channels."""

from __future__ import annotations

import functools
from typing import Any

from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

import rlay
from measure import environments, strategy
from measure.bridges import Bridges
from measure.contenders import end_backend, start_backend
from measure.opened import Opened, draw_actions
from measure.peers import pids_of
from measure.placement import Placement, pin


def _opened(envs: Any, lanes: int, **more: Any) -> Opened:
    more = {"close": envs.close, **more}
    return Opened(
        envs.reset,
        envs.step,
        actions=draw_actions(lanes),
        episodic=False,
        envs=lanes,
        **more,
    )


def _factories(spec: dict[str, Any]) -> list[Any]:
    make = functools.partial(environments.make, spec["environment"])
    return [make] * spec["num_envs"]


def _open_sync(spec: dict[str, Any]) -> Opened:
    return _opened(SyncVectorEnv(_factories(spec)), spec["num_envs"])


def _open_async(spec: dict[str, Any]) -> Opened:
    envs = AsyncVectorEnv(_factories(spec), shared_memory=True)
    return _opened(envs, spec["num_envs"], pids=pids_of(envs.processes))


def _open_vectorised(spec: dict[str, Any]) -> Opened:
    envs = environments.make_vector(spec["environment"], spec["num_envs"])
    return _opened(envs, spec["num_envs"])


def _open_lanes(spec: dict[str, Any], placement: Placement) -> Opened:
    """Open ``channels`` channels with ``num_envs`` lanes on each as one vector."""
    between = None
    if spec["bridged"]:
        between = Bridges(spec["directory"], latency_s=spec["latency_s"])
    near, far = spec["directory"], spec["directory"]
    if between is not None:
        near, far = between.near, between.far
    backend = start_backend("server", {**spec, "directory": far}, placement)
    lanes = spec["channels"] * spec["num_envs"]
    try:
        envs = rlay.ClientVectorEnv(
            "bench",
            num_envs=lanes,
            directory=near,
            connect_timeout=spec["connect_timeout_s"],
            copy=spec["copy"],
        )
    except BaseException:
        backend.kill()
        backend.wait()
        if between is not None:
            between.kill()
        raise

    def close() -> None:
        envs.close()
        end_backend(backend)
        if between is not None:
            between.end()

    bridges = {} if between is None else between.bridges
    return _opened(envs, lanes, close=close, pids=[backend.pid], bridges=bridges)


def open_vector(spec: dict[str, Any], placement: Placement) -> Opened:
    """Open the vector environment that ``spec`` describes.

    Args:
        spec: What :func:`measure.rounds.Run.spec` made.
        placement: Where this process and the one at the other end run.
    """
    pin(placement.client_cpu)
    kind = spec["contender"]
    if kind == "lanes":
        strategy.apply(spec["waiting"])
        return _open_lanes(spec, placement)
    open_it = {
        "sync-vector": _open_sync,
        "async-vectors": _open_async,
        "vectorised": _open_vectorised,
    }[kind]
    return open_it(spec)
