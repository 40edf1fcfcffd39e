"""A stage with two machines, two bridges, and a hash chain between them.

The algorithm is in the test's own process, on the ``near`` machine; the environment is
in a child process, on the ``far`` one. Each machine is a channel directory, and on
loopback that is all there is to it::

    stage.connect()                               # both bridges, a ChaosProxy between
    chain = stage.environment()                   # the backend, in a child process
    player = stage.player()                       # a ClientEnv, or a ServerEnv
    player.play(seed=1, steps=10)                 # each result is checked
    stage.proxy.cut()
    player.step()

Which end dials does not depend on who has the environment; it is an argument. After the
test nothing may be left: see :meth:`BridgedStage.end`.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import rlay
from rlay.testing import ChaosProxy
from tests.faults.chains import Plan
from tests.faults.stage import LIMIT_S, NAME, Player, play
from tests.support.children import ROOT, Child, Children
from tests.support.namespaces import Machine, Machines
from tests.support.waiting import wait_until

LOOPBACK = "127.0.0.1"
PORT = 7450
"""In a namespace, where every port is free."""
_BOUND = re.compile(r"listening on \S*:(\d+)")

FAST = {"heartbeat_s": 0.3, "dead_after_s": 1.5}
"""Settings of bridges that notice a dead link in a ninth of the usual time."""


class Bridge:
    """One bridge process, and where it runs.

    Attributes:
        side: "near" or "far".
        directory: Of its channels.
        prefix: Words before the command that starts it.
        oddity: What is odd in it; see :mod:`tests.support.broken_bridge`.
        child: The process that runs now.
    """

    def __init__(
        self, stage: BridgedStage, side: str, directory: Path, machine: Machine | None
    ) -> None:
        self.side = side
        self.directory = directory
        self.machine = machine
        self.options: dict[str, Any] = {}
        self.prefix: list[str] = []
        self.oddity = ""
        self.child: Child | None = None
        self._stage = stage

    def start(self, crash_at: str = "", **options: Any) -> Child:
        """Start it, or its successor; options stay those of the first start.

        Args:
            crash_at: A fault point at which it dies; see ``rlay.bridge.fault_points``.
            options: Of ``rlay bridge``, with underscores.
        """
        self.options = options or self.options
        odd = ["-m", "tests.support.broken_bridge", self.oddity]
        program = odd if self.oddity else []
        command = [sys.executable, *(program or ["-m", "rlay"]), "bridge"]
        command += ["--directory", str(self.directory), *_words(self.options)]
        if self.machine is not None:
            command = self.machine.command(*command)
        command = [*self.prefix, *command]
        self.child = self._stage.children.start_command(
            command,
            forever=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "RLAY_CRASH_AT": crash_at},
        )
        return self.child

    @property
    def running(self) -> Child:
        """The process; it must have been started."""
        assert self.child is not None
        return self.child

    @property
    def log(self) -> str:
        """What the process that runs now has said."""
        return self.running.stdout + self.running.stderr

    def wait_until_logged(self, text: str, times: int = 1) -> None:
        """Wait until its log has a text so often."""

        def logged() -> bool:
            ended = self.running.exit_code is not None  # before reading
            if self.log.count(text) >= times:
                return True
            assert not ended, f"the {self.side} bridge ended without {text!r}"
            return False

        what = f"the {self.side} bridge logs {text!r} {times} times"
        wait_until(logged, LIMIT_S, what)

    def port(self) -> int:
        """Wait until it listens, and return where."""

        def bound() -> int | None:
            assert self.running.exit_code is None, self.log
            match = _BOUND.search(self.log)
            return int(match[1]) if match else None

        port = wait_until(bound, LIMIT_S, f"the {self.side} bridge listens")
        assert port is not None
        return port

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.running.kill()

    def end(self) -> None:
        """End it with SIGTERM; it must drain and exit with 0.

        One that was killed gets a successor first, which sweeps what it left.
        """
        if self.child is None:
            return
        code = self.child.exit_code
        if code is not None and code >= 0 and self.child.checked:
            return  # in order, by what the test did
        if code is not None:
            self.start()
            wait_until(lambda: self.log, LIMIT_S, "a bridge says something")
        self.running.end_orderly()


def _words(options: dict[str, Any]) -> list[str]:
    """Return options as the command line has them."""
    words: list[str] = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        else:
            for each in value if isinstance(value, list) else [value]:
                words += [option, str(each)]
    return words


@contextlib.contextmanager
def stepping(player: Player) -> Iterator[Callable[[], int]]:
    """Step in another thread until the end of the block.

    Gives:
        A function that says how many steps were taken, and raises what a step raised.
    """
    stop = threading.Event()
    last = 0

    def run() -> None:
        nonlocal last
        while not stop.is_set():
            player.step()
            last += 1

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(run)

        def progress() -> int:
            if future.done():
                future.result()
            return last

        try:
            yield progress
        finally:
            stop.set()
            future.result(LIMIT_S)


def wait_for_progress(progress: Callable[[], int]) -> None:
    """Wait until a step that begins now has its result.

    Args:
        progress: Of :func:`stepping`.
    """
    least = progress() + 2
    wait_until(lambda: progress() >= least)


@contextlib.contextmanager
def later(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread after a time, and wait for it at the end."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


class BridgedStage:
    """Two machines.

    Attributes:
        paradigm: "ClientEnv" or "ServerEnv".
        children: Starts the children.
        near: The bridge of the algorithm's machine.
        far: The bridge of the environment's machine.
        processes: Of environments; they end before the bridges do.
        proxy: Between the two, where there is one.
        second_proxy: Of the link in the other direction, where both dial.
    """

    def __init__(
        self,
        paradigm: str,
        children: Children,
        directory: Path,
        machines: Machines | None = None,
    ) -> None:
        self.paradigm = paradigm
        self.children = children
        self._directory = directory
        self._bridges: dict[str, Bridge] = {}
        self.near, self.far = (
            self.add_bridge(side, getattr(machines, side) if machines else None)
            for side in ("near", "far")
        )
        self._proxies: list[ChaosProxy] = []
        self._open = contextlib.ExitStack()
        self.processes: list[Child] = []

    def add_bridge(self, side: str, machine: Machine | None = None) -> Bridge:
        """Add a machine: its directory of channels, and its bridge, not started yet."""
        place = self._directory / side
        place.mkdir(mode=0o700)
        bridge = self._bridges[side] = Bridge(self, side, place, machine)
        return bridge

    @property
    def proxy(self) -> ChaosProxy:
        """The proxy between the bridges."""
        return self._proxies[0]

    @property
    def second_proxy(self) -> ChaosProxy:
        """The proxy of the second link."""
        return self._proxies[1]

    def other(self, bridge: Bridge) -> Bridge:
        """Return the other bridge."""
        return self.far if bridge is self.near else self.near

    def connect(
        self,
        *,
        dialer: str = "near",
        proxy_host: str = LOOPBACK,
        both_dial: bool = False,
        wait: bool = True,
        **options: Any,
    ) -> None:
        """Start both bridges, on loopback with a ChaosProxy between.

        Args:
            dialer: The side that dials; the other one listens.
            proxy_host: Under which the dialer dials the proxy.
            both_dial: Whether the listener dials too, through a second proxy.
            wait: Whether to wait until the link is up.
            options: Of both bridges.
        """
        dialing = self._bridges[dialer]
        listening = self.other(dialing)
        if listening.machine is not None:
            where = f"{listening.machine.address}:{PORT}"
            options = {"insecure": True, **options}
            listening.start(listen=[where], **options)
            listening.port()
            dialing.start(connect=[where], **options)
        else:
            self._listen(listening, both_dial, options)
            more = {"connect": [self._way_to(listening, proxy_host)], **options}
            dialing.start(**(dialing.options if both_dial else {}), **more)
        if wait:
            self.near.wait_until_logged("is up")

    def _listen(
        self, listening: Bridge, both_dial: bool, options: dict[str, Any]
    ) -> None:
        """Start the bridge that listens; its successors listen at the same port."""
        if both_dial:
            with socket.create_server((LOOPBACK, 0)) as free:
                port = free.getsockname()[1]
            self.other(listening).options = {"listen": [f"{LOOPBACK}:{port}"]}
            proxy = self._make_proxy(port)
            options = {"connect": [f"{LOOPBACK}:{proxy.address[1]}"], **options}
        listening.start(listen=[f"{LOOPBACK}:0"], **options)
        listening.options["listen"] = [f"{LOOPBACK}:{listening.port()}"]

    def _way_to(self, listening: Bridge, host: str) -> str:
        proxy = self._make_proxy(listening.port())
        self._proxies.reverse()  # the first one is that of the dialer
        return f"{host}:{proxy.address[1]}"

    def _make_proxy(self, port: int) -> ChaosProxy:
        proxy = self._open.enter_context(ChaosProxy((LOOPBACK, port)))
        self._proxies.append(proxy)
        return proxy

    def environment(
        self,
        plan: Plan | None = None,
        *,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        **options: Any,
    ) -> Child:
        """Start a child that plays the environment, on the far machine.

        Args:
            plan: Its faults; see :mod:`tests.faults.chains`.
            env: Additions to the child's environment variables.
            prefix: Words before the command that starts it.
            options: Of the backend.
        """
        child = self.children.start(
            play,
            self.paradigm,
            plan or [],
            options,
            forever=True,
            env={"RLAY_DIR": str(self.far.directory), **(env or {})},
            prefix=prefix,
        )
        self.processes.append(child)
        return child

    def algorithm(self, name: str = NAME, **options: Any) -> Any:
        """Return the algorithm's environment, closed at the test's end."""
        kind = {"ClientEnv": rlay.ClientEnv, "ServerEnv": rlay.ServerEnv}[self.paradigm]
        options = {
            "connect_timeout": LIMIT_S,
            "directory": str(self.near.directory),
            **options,
        }
        env = kind(name, **options)
        self._open.callback(env.close)
        return env

    def player(self, name: str = NAME, **options: Any) -> Player:
        """Return who steps the algorithm's environment, and checks each result."""
        return Player(self.algorithm(name, **options))

    def playing(
        self, *, seed: int = 1, steps: int = 5, **options: Any
    ) -> tuple[Player, Child]:
        """Start everything, and play a little.

        Args:
            seed: Of the episode.
            steps: To take.
            options: Of :meth:`connect`.

        Returns:
            The player and the environment's process.
        """
        child = self.environment()
        self.connect(**options)
        player = self.player()
        player.play(seed, steps)
        return player, child

    def end(self) -> None:
        """Close everything in order, and assert that nothing is left.

        The algorithm closes, the environment's process ends, the bridges drain and
        exit with 0, and all directories are empty.
        """
        self._open.close()
        for child in self.processes:
            problem = child.end()
            assert problem is None, problem
        for bridge in self._bridges.values():
            bridge.end()
        for bridge in self._bridges.values():
            assert sorted(os.listdir(bridge.directory)) == [], bridge.side
            bridge.directory.rmdir()

    def abandon(self) -> None:
        """Close what this process has open; the test has failed already."""
        with contextlib.suppress(Exception):
            self._open.close()
