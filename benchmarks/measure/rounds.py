"""Runs, and sweeps of shuffled runs.

Every run is a fresh pair of processes. All runs of all rounds of one sweep are
shuffled, so that each contender meets the machine's slow and fast phases alike.
What other programs used of the CPUs during a run is measured beside it. A run starts
when they are quiet; one that was disturbed all the same is repeated, at most
``_ATTEMPTS`` times, and the least disturbed one counts.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import floor, machine, strategy

_ATTEMPTS = 4
_RUN_TIMEOUT_S = 180
_QUIET_WAIT_S = 60.0
_QUIET_LOOK_S = 0.2
BENCHMARKS = Path(__file__).parent.parent


@dataclass(frozen=True, eq=False)
class Run:
    """One contender in one placement. Two runs are never equal.

    Attributes:
        label: The row's name in the table.
        contender: "in-process", "client-env", "server-env", "async-vector", "pipe",
            "raw-tcp", "bridges", "direct", "idle-channels", "floor", or one of
            :mod:`measure.vectors`; a peer of :mod:`measure.standing`.
        placement: One of :func:`measure.placement.available`.
        options: What differs from :data:`_DEFAULTS`.
    """

    label: str
    contender: str
    placement: str
    options: dict[str, Any] = field(default_factory=dict)

    def spec(self, budget: dict[str, Any]) -> dict[str, Any]:
        """Return everything that the measured process must be told."""
        named = {"contender": self.contender, "placement": self.placement}
        return {**_DEFAULTS, **budget, **self.options, **named}


_DEFAULTS: dict[str, Any] = {
    "environment": "trivial",
    "episodes": False,
    "read": "",
    "copy": True,
    "int_actions": False,
    "waiting": strategy.DEFAULT,
    "wait_for_start": False,
    "idle": False,
    "channels": 1,
    "num_envs": 1,
    "vectorised": False,
    "bridged": False,
    "learns": False,
    "sessions": False,
    "settle_s": 3.0,
    # Of what is between two machines
    "paradigm": "server",
    "bridge": "measure.bridge",
    "latency_s": 0.0,
    "connect_timeout_s": 30.0,
    "reply_bytes": 16,
    "stream": False,
    # The floor's own
    "mode": "burst",
    "memory": "fresh",
    "bytes": 16,
    "buffers": 2,
}


class RunFailed(Exception):
    """A measured process ended with an error, which it has printed."""


def child_environment() -> dict[str, str]:
    """Return the environment of a measured process: it can import this package."""
    paths = [str(BENCHMARKS), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def command(spec: dict[str, Any]) -> list[str]:
    """Return the command line that measures ``spec``."""
    if spec["contender"] == "floor":
        return floor.command(spec)
    idle = spec["contender"] == "idle-channels"
    program = "measure.idle_channels" if idle else "measure.pair"
    return [sys.executable, "-m", program, json.dumps(spec)]


def channel_directory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory of its own for the channels of one run, in memory."""
    parent = floor.SHARED_MEMORY if floor.SHARED_MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="rlay-bench-", dir=parent)


def run_to_end(words: list[str], what: str, limit_s: float) -> dict[str, Any]:
    """Run a measured process, and return what it printed.

    Whatever it started ends with it, on a failure and on Ctrl-C too.

    Args:
        words: Its command line.
        what: It measures, for messages.
        limit_s: How long it may take.

    Raises:
        RunFailed: It ended with an error, or not in time.
    """
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{what}: not done within {limit_s:g} s") from None
    finally:
        # Its group: bridges and environments are in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        raise RunFailed(f"{what}: exit code {process.returncode}")
    result: dict[str, Any] = json.loads(output)
    return result


def _attempt(run: Run, budget: dict[str, Any]) -> dict[str, Any]:
    others = machine.Others()
    with channel_directory() as directory:
        spec = {**run.spec(budget), "directory": directory}
        limit_s = _RUN_TIMEOUT_S + spec["connect_timeout_s"]
        what = f"{run.label}, {run.placement}"
        result = run_to_end(command(spec), what, limit_s)
    return {**result, "others_cores": others.cores()}


def wait_until_quiet(quiet_cores: float, limit_s: float = _QUIET_WAIT_S) -> None:
    """Wait while other programs use more than this of a core, but not for ever."""
    if quiet_cores >= machine.CPUS:
        return
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        busy, began = machine.busy_s(), time.monotonic()
        time.sleep(_QUIET_LOOK_S)
        if (machine.busy_s() - busy) / (time.monotonic() - began) <= quiet_cores:
            return


def least_disturbed(
    attempt: Callable[[], dict[str, Any]],
    quiet_cores: float,
    patience_s: float = math.inf,
) -> dict[str, Any]:
    """Measure once, again while other programs disturb it, and return the best.

    Args:
        attempt: Measures; the result says how much others used, ``others_cores``.
        quiet_cores: How much of a core other programs may use.
        patience_s: How long to wait and repeat at most.
    """
    until = time.monotonic() + patience_s
    best: dict[str, Any] | None = None
    for number in range(_ATTEMPTS):
        left_s = until - time.monotonic()
        wait_until_quiet(quiet_cores, min(_QUIET_WAIT_S, left_s))
        result = attempt()
        result["attempts"] = number + 1
        if best is None or result["others_cores"] < best["others_cores"]:
            best = result
        if best["others_cores"] <= quiet_cores or time.monotonic() >= until:
            break
    assert best is not None
    return best


def measure(run: Run, budget: dict[str, Any], quiet_cores: float) -> dict[str, Any]:
    """Measure ``run`` once, again while other programs disturb it.

    Args:
        run: What to measure.
        budget: ``seconds``, ``warmup_s`` and ``steps`` of the run.
        quiet_cores: How much of a core other programs may use.

    Raises:
        RunFailed: The process ended with an error.
    """
    return least_disturbed(lambda: _attempt(run, budget), quiet_cores)


def sweep(
    runs: Sequence[Run],
    *,
    rounds: int,
    budget: dict[str, Any],
    quiet_cores: float,
    seed: int = 0,
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Measure every run ``rounds`` times in shuffled order.

    Returns:
        The results of each run, keyed by (label, placement).
    """
    order = [run for run in runs for _ in range(rounds)]
    random.Random(seed).shuffle(order)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {
        (run.label, run.placement): [] for run in runs
    }
    for done, run in enumerate(order):
        if sys.stderr.isatty():
            print(f"\r{done}/{len(order)} {run.label:40.40}", end="", file=sys.stderr)
        results[run.label, run.placement].append(measure(run, budget, quiet_cores))
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return results
