"""Two bridges on loopback. Each has a directory of channels: that is its machine.

The environment's machine is the far one, whose bridge listens; the algorithm's is the
near one, whose bridge dials.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import floor

_START_LIMIT_S = 30.0
_END_LIMIT_S = 15.0
_LOOK_S = 0.01
_LISTENING = re.compile(r"listening on ([\d.]+):(\d+)")
_LINKED = re.compile(r"link to .* is up")

BUILT = "measure.bridge"
THREADS = "measure.thread_bridge"


class BridgeFailed(Exception):
    """A bridge, or the proxy between two, did not start or did not end well."""


class Helper:
    """A child process that is asked and ended over its standard streams.

    Attributes:
        pid: Of the process.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        """Start a command, its stderr going to a file."""
        self._name = " ".join(command)
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.pid = self._process.pid

    def line(self) -> str:
        """Return the next line that it prints.

        Raises:
            BridgeFailed: It ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed("ended")
        return line.strip()

    def _failed(self, what: str) -> BridgeFailed:
        return BridgeFailed(f"{self._name} {what}:\n{self._log.read_text()[-2000:]}")

    def wait_for(self, words: re.Pattern[str]) -> re.Match[str]:
        """Wait until its log has these words.

        Raises:
            BridgeFailed: It ended, or has not written them within 30 s.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while (found := words.search(self._log.read_text())) is None:
            if self._process.poll() is not None:
                raise self._failed("ended")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {_START_LIMIT_S} s")
            time.sleep(_LOOK_S)
        return found

    def wait_for_address(self) -> tuple[str, int]:
        """Wait until it listens, and return where; raises as :meth:`wait_for`."""
        found = self.wait_for(_LISTENING)
        return found[1], int(found[2])

    def tasks(self) -> int:
        """Return how many asyncio tasks a bridge has."""
        self._process.send_signal(signal.SIGUSR1)
        return int(self.line())

    def end(self) -> None:
        """End it with SIGTERM. Twice is harmless.

        Raises:
            BridgeFailed: It did not end within 15 s, or with another exit code than 0.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Wait until it has ended by itself. Twice is harmless.

        Raises:
            BridgeFailed: It did not within 15 s, or with another exit code than 0.
        """
        process = self._process
        try:
            code = process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"did not end within {_END_LIMIT_S} s") from None
        if code != 0:
            raise self._failed(f"ended with exit code {code}")

    def kill(self) -> None:
        """End it at once. Twice is harmless."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def start_module(module: str, words: list[str], log: Path) -> Helper:
    """Start ``python -m MODULE WORD...``, its stderr going to a file."""
    return Helper([sys.executable, "-m", module, *words], log)


class FarBridge:
    """The bridge of the environment's machine alone: who attaches directly needs it.

    Attributes:
        far: The directory of the environment's machine.
        address: Host and port where the bridge listens.
        bridges: The processes, by name.
    """

    def __init__(self, directory: str, program: str = BUILT) -> None:
        """Start it."""
        self._root = Path(directory)
        self.far = str(self._root / "far")
        words = ["--listen", "127.0.0.1:0", "--directory", self.far]
        bridge = start_module(program, words, self._root / "far.log")
        self.bridges = {"far bridge": bridge}
        self._helpers = [bridge]
        try:
            self.address = bridge.wait_for_address()
        except BaseException:
            self.kill()
            raise

    def end(self) -> None:
        """End all processes, the one that dials first."""
        try:
            for helper in reversed(self._helpers):
                helper.end()
        finally:
            self.kill()

    def kill(self) -> None:
        """End all processes at once. Twice is harmless."""
        for helper in self._helpers:
            helper.kill()


class Bridges(FarBridge):
    """Both bridges, and between them a proxy that is late, where that is wanted.

    Attributes:
        near: The directory of the algorithm's machine.
    """

    def __init__(
        self, directory: str, program: str = BUILT, latency_s: float = 0.0
    ) -> None:
        """Start them.

        Args:
            directory: Of this run.
            program: Which program the bridges are.
            latency_s: By which the network is late in each direction.
        """
        super().__init__(directory, program)
        self.near = str(self._root / "near")
        try:
            host, port = self.address
            if latency_s:
                host, port = self._start_proxy(latency_s)
            words = ["--connect", f"{host}:{port}", "--directory", self.near]
            bridge = start_module(program, words, self._root / "near.log")
            self.bridges["near bridge"] = bridge
            self._helpers.append(bridge)
            bridge.wait_for(_LINKED)
        except BaseException:
            self.kill()
            raise

    def _start_proxy(self, latency_s: float) -> tuple[str, int]:
        proxy = start_proxy(self.address, latency_s, self._root)
        self._helpers.append(proxy)
        return proxy.wait_for_address()


def start_proxy(address: tuple[Any, ...], latency_s: float, root: Path) -> Helper:
    """Start a proxy to ``address`` in a process of its own."""
    words = [str(address[0]), str(address[1]), str(latency_s)]
    return Helper([str(floor.program("delay")), *words], root / "proxy.log")
