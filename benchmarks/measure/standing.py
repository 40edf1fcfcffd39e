"""Contenders that stay open, each in a process of its own, between their rounds.

All contenders of a table are opened first. Then they are asked in turn, in an order
that is shuffled for each round, to step for a while; those that are not asked sleep.
So a slow phase of the machine meets all of them, and starting one costs its time once.
What is spoken is in :mod:`measure.answering`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import floor, machine, venvs
from measure.rounds import (
    BENCHMARKS,
    Run,
    RunFailed,
    channel_directory,
    child_environment,
    run_to_end,
)

_OPEN_LIMIT_S = 120.0
_ANSWER_LIMIT_S = 120.0
_CLOSE_LIMIT_S = 30.0
_READ_BYTES = 65536
_INSTALLED = "contenders.installed"

# The learner's products are small: more threads would only take the CPUs from others.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

# The program of each peer, beside the name of its virtual environment.
_PROGRAMS = {
    "pyzmq": ("contenders.zeromq", "pyzmq"),
    "grpc": ("contenders.grpc_bytes", "grpc"),
    "dm-env-rpc": ("contenders.dm_env", "dm-env-rpc"),
    "rlmesh": ("contenders.mesh", "rlmesh"),
    "rlay-0.0.1": ("contenders.first_rlay", "rlay-0.0.1"),
    "mlagents": ("contenders.unity", "mlagents"),
    "envpool": ("contenders.pool", "envpool"),
}
_FLOORS = ("floor", "tcp-floor")
# The contender that stands in a table with its reason only.
ABSENT = "absent"


class NotMeasured(Exception):
    """A contender could not be opened, or failed; the message is its row's."""


def absent(label: str, reason: str) -> Run:
    """Return a row of what cannot be measured here, with the reason why."""
    return Run(label, ABSENT, "", {"reason": reason})


class Standing:
    """A contender in a process of its own, which sleeps while it is not asked."""

    def __init__(self, run: Run, budget: dict[str, Any], peers: Path) -> None:
        """Start the process, and do not wait for it.

        Args:
            run: What to open.
            budget: Of each time that it is asked.
            peers: The directory of the virtual environments of the peers.

        Raises:
            NotMeasured: Its package is not installed.
        """
        self._budget = budget
        self._directory = channel_directory()
        self._log = Path(self._directory.name) / "contender.log"
        channels = Path(self._directory.name) / "channels"
        channels.mkdir(mode=0o700)
        self._received = b""
        self._open_until = time.monotonic() + _OPEN_LIMIT_S
        spec = {**run.spec(budget), "directory": str(channels)}
        command, environment = _command(run, spec, peers)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _line(self, limit_s: float) -> dict[str, Any]:
        """Return what it says next."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._received:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
                raise NotMeasured(f"no answer within {limit_s:g} s")
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                raise NotMeasured(f"its process ended: {self._last_words()}")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "failed" in said:
            raise NotMeasured(said["failed"])
        return said

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def wait_until_open(self) -> None:
        """Wait until it has stepped for the first time.

        Raises:
            NotMeasured: It failed, or took too long.
        """
        self._line(max(1.0, self._open_until - time.monotonic()))

    def _ask(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        question = {"seconds": seconds, "steps": self._budget["steps"]}
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NotMeasured(f"its process ended: {self._last_words()}") from None
        return self._line(seconds + _ANSWER_LIMIT_S)

    def attempt(self) -> dict[str, Any]:
        """Let it warm up and step, and return what it measured.

        Raises:
            NotMeasured: It failed, or took too long.
        """
        self._ask(self._budget["warmup_s"])
        busy, own, began = machine.busy_s(), machine.own_s(), time.monotonic()
        before = machine.session_cpu_s(self._process.pid)
        result = self._ask(self._budget["seconds"])
        spent = machine.session_cpu_s(self._process.pid) - before
        elapsed = time.monotonic() - began
        others = machine.busy_s() - busy - spent - (machine.own_s() - own)
        result["cpu_us_per_step"] = spent / result["steps"] * 1e6
        result["others_cores"] = max(0.0, others / elapsed)
        return result

    def leave(self) -> None:
        """Tell it to close, without waiting for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Wait until it has closed, and end what is left of it.

        Raises:
            NotMeasured: It did not close in time, or not well.
        """
        self.leave()
        try:
            code: int | None = self._process.wait(_CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None
        words = self._last_words()
        self.kill()
        if code != 0:
            how = "did not close" if code is None else f"closed with exit code {code}"
            raise NotMeasured(f"{how}: {words}")

    def kill(self) -> None:
        """End it and whatever it started, at once. Twice is harmless."""
        # Its session: environments and bridges are in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._directory.cleanup()


def _command(
    run: Run, spec: dict[str, Any], peers: Path
) -> tuple[list[str], dict[str, str]]:
    words = json.dumps(spec)
    if run.contender not in _PROGRAMS:
        environment = {**child_environment(), **_ONE_THREAD}
        return [sys.executable, "-m", _INSTALLED, words], environment
    program, name = _PROGRAMS[run.contender]
    try:
        python = venvs.python_of(peers, name)
    except venvs.NotInstalled as error:
        raise NotMeasured(str(error)) from None
    # Its own packages and the benchmarks, and not this repository: one peer is an old
    # version of RLay itself. So neither is the working directory searched (-P).
    environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": str(BENCHMARKS)}
    return [python, "-P", "-m", program, words], environment


class FloorEachTime:
    """The C floor. It is a program that measures at once, so nothing of it stands."""

    def __init__(self, run: Run, budget: dict[str, Any]) -> None:
        """Take note of it."""
        self._run, self._budget = run, budget

    def wait_until_open(self) -> None:
        """Compile it.

        Raises:
            NotMeasured: It cannot be compiled.
        """
        try:
            floor.command(self._run.spec(self._budget))
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotMeasured(f"gcc: {error}") from None

    def attempt(self) -> dict[str, Any]:
        """Run it once.

        Raises:
            NotMeasured: It failed.
        """
        others = machine.Others()
        words = floor.command(self._run.spec(self._budget))
        try:
            result = run_to_end(words, self._run.label, _ANSWER_LIMIT_S)
        except RunFailed as error:
            raise NotMeasured(str(error)) from None
        return {**result, "others_cores": others.cores()}

    def leave(self) -> None:
        """Do nothing: nothing of it is open."""

    def end(self) -> None:
        """Do nothing: nothing of it is open."""

    def kill(self) -> None:
        """Do nothing: nothing of it is open."""


def start(run: Run, budget: dict[str, Any], peers: Path) -> Standing | FloorEachTime:
    """Start a contender.

    Raises:
        NotMeasured: It is not installed, or only listed with a reason.
    """
    if run.contender == ABSENT:
        raise NotMeasured(run.options["reason"])
    if run.contender in _FLOORS:
        return FloorEachTime(run, budget)
    return Standing(run, budget, peers)
