"""One run of a client's test program: a child process, its output in files."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from clients.conformance.registry import ROOT, Client

REFUSED: Final = 3
UNSUPPORTED: Final = 4
_LINES_SHOWN: Final = 12
_LOOK_EVERY_S: Final = 0.01


class Unsupported(Exception):
    """The client says that it cannot do this; the text is its reason."""


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It did not within ``limit_s``.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(_LOOK_EVERY_S)


class Program:
    """A test program that runs, in a process group of its own.

    Attributes:
        pid: Its process id, and that of its group.
    """

    def __init__(
        self,
        client: Client,
        arguments: list[str],
        files: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Start it.

        Args:
            client: Whose program it is.
            arguments: Behind the command.
            files: An existing directory for what it writes.
            environment: Additions to this process's own.
        """
        self._out, self._err = files / "stdout", files / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [*client.program, *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def last_words(self) -> str:
        """The last line on stderr."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def check(self) -> None:
        """Raise if it ended otherwise than with 0.

        Raises:
            Unsupported: It cannot do this.
            AssertionError: It failed.
        """
        code = self.exit_code
        if code == UNSUPPORTED:
            raise Unsupported(self.last_words or "no reason given")
        assert not code, self._story(f"ended with {code}")

    def wait(self, limit_s: float, exit_code: int = 0) -> None:
        """Wait for its end.

        Raises:
            Unsupported: It cannot do this.
            AssertionError: It still runs, or ended otherwise.
        """
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._story(f"still runs after {limit_s} s")) from None
        if code == UNSUPPORTED != exit_code:
            self.check()
        assert code == exit_code, self._story(f"ended with {code}, not {exit_code}")

    def kill(self) -> None:
        """End it and its children with SIGKILL. Twice is harmless."""
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)

    def _story(self, what: str) -> str:
        lines = (self.stdout + self.stderr).splitlines()[-_LINES_SHOWN:]
        return "\n  ".join([f"the program {what}", *lines])
