"""The process that holds the environment in a run over RLay.

Usage: ``python -m measure.backend JSON`` with the keys ``kind`` ("server" or
"client"), ``environment``, ``channel``, ``directory``, ``cpu``, ``waiting``,
``num_envs``, ``vectorised`` and ``channels``: with more than one, ``bench.0`` and so
on, each has a process of its own, forked from this one once everything is imported.
"""

from __future__ import annotations

import ctypes
import functools
import json
import multiprocessing
import signal
import sys
from typing import Any

import rlay
from measure import environments, strategy
from measure.placement import pin


def _serve(spec: dict[str, Any], channel: str) -> None:
    place = {"name": channel, "directory": spec["directory"]}
    backend: rlay.ServerBackend | rlay.ClientBackend
    if spec["vectorised"]:
        envs = environments.make_vector(spec["environment"], spec["num_envs"])
        backend = rlay.ServerBackend(envs, **place)
    elif spec["kind"] == "server":
        factory = functools.partial(environments.make, spec["environment"])
        backend = rlay.ServerBackend(factory, num_envs=spec["num_envs"], **place)
    else:
        backend = rlay.ClientBackend(environments.make(spec["environment"]), **place)
    with backend:
        backend.run(sessions=1)


_PR_SET_PDEATHSIG = 1


def _serve_in_child(spec: dict[str, Any], channel: str) -> None:
    # It would wait for its client for ever, were the parent killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _serve(spec, channel)


def _serve_all(spec: dict[str, Any]) -> int:
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=_serve_in_child, args=(spec, f"{spec['channel']}.{number}"))
        for number in range(spec["channels"])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)


def main() -> int:
    """Serve one session on each channel and end with the last."""
    spec = json.loads(sys.argv[1])
    pin(spec["cpu"])
    strategy.apply(spec["waiting"])
    if spec["channels"] > 1:
        return _serve_all(spec)
    _serve(spec, spec["channel"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
