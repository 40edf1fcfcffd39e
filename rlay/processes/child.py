"""A program that another one started and owns."""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlay.errors import RLayError
from rlay.transport.forks import close_in_child

DEFAULT_GRACE_S: Final = 5.0
"""How long a program may take to end between SIGTERM and SIGKILL."""
_START_LIMIT_S: Final = 60.0
"""How long the keeper may take to start: a hang, not a claim about speed."""
_AFTER_KILL_S: Final = 5.0
_KEEPER: Final = Path(__file__).with_name("keeper.py")
_READ_BYTES: Final = 65_536
_HINTS: Final = {
    signal.SIGKILL: "killed from outside, or out of memory",
    signal.SIGSEGV: "it crashed in C code",
    signal.SIGBUS: "it crashed in C code, or memory ran out",
    signal.SIGABRT: "C code gave up",
}


class StartFailed(RLayError):
    """A program could not be started at all."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended.

    Attributes:
        code: Its exit code; minus the signal's number for a death by signal; None
            where nobody knows.
        told: Whether it had been told to end.
        lines: The last lines that it wrote.
        left: Programs that it had started and that still ran; they were ended too.
        note: What it had not done yet, such as ``before it attached``.
    """

    code: int | None
    told: bool = False
    lines: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        """Say it in a few words, such as ``exited with code 3``."""
        return f"{self._end} {self.note}" if self.note else self._end

    @property
    def _end(self) -> str:
        if self.code is None:
            return "ended in an unknown way: its keeper was killed"
        if self.code >= 0:
            return f"exited with code {self.code}"
        try:
            number = signal.Signals(-self.code)
        except ValueError:
            return f"was ended by signal {-self.code}"
        hint = _HINTS.get(number)
        return f"was ended by signal {number.name}" + (f" ({hint})" if hint else "")

    def with_lines(self) -> str:
        """Say it, with the last lines that it wrote."""
        return f"{self}{self.last_lines}"

    @property
    def last_lines(self) -> str:
        """The last lines that it wrote, to stand behind what is said of it."""
        if not self.lines:
            return "; it wrote nothing"
        return ". Its last lines:\n" + "\n".join(f"    {line}" for line in self.lines)


class ChildProcess:
    """A program and whatever it starts, which never outlive their owner.

    A keeper (see ``keeper.py``) stands between the two. It ends the program when
    :meth:`end` or :meth:`let_go` is called, when this object is collected, and when
    this process ends, by SIGKILL too.

    Attributes:
        command: What was started.
        pid: The program's process id, which is its process group's too.
    """

    def __init__(
        self,
        command: Sequence[str],
        keeper: "subprocess.Popen[bytes]",
        lifeline: int,
        report: int,
    ) -> None:
        """Take over a keeper and the descriptors that lead to it."""
        self.command = list(command)
        self.pid = 0
        self._keeper = keeper
        self._lifeline = lifeline
        self._report = report
        self._text = b""
        self._facts: list[dict[str, Any]] = []
        self._ending: Ending | None = None
        close_in_child(self)
        _living.add(self)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        grace_s: float = DEFAULT_GRACE_S,
        echo: str | None = "",
        log: str | os.PathLike[str] = "",
    ) -> "ChildProcess":
        """Start a program.

        Its output, stdout and stderr together, goes line by line to this process's
        stderr. It reads nothing: its stdin is empty.

        Args:
            command: The program and its arguments.
            cwd: Where it runs; None for here.
            env: Its whole environment; None for this process's.
            grace_s: How long it may take to end between SIGTERM and SIGKILL.
            echo: Written in front of each of its lines; None shows none of them.
            log: A file to which all of its output is appended; empty for none.

        Raises:
            StartFailed: There is no such program or directory, or the system refused.
        """
        if sys.platform == "win32":
            raise StartFailed("starting environments needs Linux or macOS")
        _reap_leaving()
        lifeline, report = os.pipe(), os.pipe()
        prefix = "-" if echo is None else f"+{echo}"
        handed = (lifeline[0], report[1])
        words = [str(lifeline[0]), str(report[1]), str(grace_s), prefix]
        words += [os.path.abspath(log) if log else "", *command]
        try:
            keeper = subprocess.Popen(
                [_python(), "-I", "-S", str(_KEEPER), *words],
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                env=env,
                pass_fds=handed,
                start_new_session=True,  # Ctrl-C is for the owner, not for it
            )
        except (OSError, ValueError) as error:
            _close(lifeline[1], report[0])
            raise StartFailed(f"{command[0]} cannot be started: {error}") from error
        except BaseException:
            _close(lifeline[1], report[0])
            raise
        finally:
            _close(*handed)
        child = cls(command, keeper, lifeline[1], report[0])
        try:
            child._wait_until_started()
        except BaseException:
            child.let_go()
            raise
        return child

    def _wait_until_started(self) -> None:
        until = time.monotonic() + _START_LIMIT_S
        while not self._facts:
            if self._ending is not None or time.monotonic() > until:
                raise StartFailed(f"{self.command[0]} cannot be started: no keeper")
            self._read(until - time.monotonic())
        failed = self._facts[0].get("failed")
        if failed is not None:
            self._wait_for_keeper(_AFTER_KILL_S)
            raise StartFailed(f"{self.command[0]} cannot be started: {failed}")
        self.pid = int(self._facts[0]["pid"])

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the program has ended."""
        return self._report

    def poll(self) -> Ending | None:
        """Return how it ended, or None while it runs; never waits."""
        return self.wait(0.0)

    def wait(self, seconds: float | None) -> Ending | None:
        """Wait until it has ended; return how, or None if it still runs then.

        Args:
            seconds: For how long at most; None for ever.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while self._ending is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not self._read(left) and left == 0.0:
                break
        return self._ending

    def tell(self) -> None:
        """Tell it to end, without waiting. Twice is harmless."""
        _close_one(self, "_lifeline")

    def end(self, grace_s: float | None = None) -> Ending:
        """End it and whatever it started: SIGTERM, a while, SIGKILL.

        Returns only when it has ended. Twice is harmless.

        Args:
            grace_s: How long it may take after SIGTERM, if less than at the start.

        Returns:
            How it ended: by itself, if that was before.
        """
        self.tell()
        try:
            ending = self.wait(grace_s)
        finally:
            if self._ending is None:
                self._kill()
        if ending is None:
            ending = self.wait(_AFTER_KILL_S) or Ending(None, told=True)
            self._ending = ending
        self._wait_for_keeper(_AFTER_KILL_S)
        _close_one(self, "_report")
        _living.discard(self)
        return ending

    def let_go(self) -> None:
        """Have it ended, without waiting. Twice is harmless."""
        _close_one(self, "_lifeline")
        _close_one(self, "_report")
        if self._ending is None:
            self._ending = Ending(None, told=True)
        if self._keeper.poll() is None:
            _leaving.append(self._keeper)
        _living.discard(self)

    def abandon(self) -> None:
        """Leave it to the parent, in a forked child."""
        _close_one(self, "_lifeline")
        _close_one(self, "_report")
        self._ending = self._ending or Ending(None)
        self._keeper.returncode = 0  # nobody here may wait for it, nor warn about it
        _living.discard(self)

    def __del__(self) -> None:
        """Let go."""
        if "_keeper" in self.__dict__ and self._lifeline >= 0:
            self.let_go()

    # ------------------------------------------------------------------ the keeper

    def _read(self, seconds: float | None) -> bool:
        """Take what the keeper says; return whether there was anything."""
        if self._report < 0:
            self._ending = self._ending or Ending(None)
            return True
        if not select.select([self._report], [], [], seconds)[0]:
            return False
        data = os.read(self._report, _READ_BYTES)
        self._text += data
        *lines, self._text = self._text.split(b"\n")
        self._facts += [json.loads(line) for line in lines]
        last = self._facts[-1] if self._facts else {}
        if "code" in last:
            self._ending = Ending(
                last["code"], last["told"], tuple(last["lines"]), tuple(last["left"])
            )
        elif not data:
            self._ending = Ending(None)
        return True

    def _kill(self) -> None:
        """Kill the program's group, which its keeper has not waited for yet."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _wait_for_keeper(self, seconds: float) -> None:
        try:
            self._keeper.wait(seconds)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()


_living: "weakref.WeakSet[ChildProcess]" = weakref.WeakSet()
_leaving: "list[subprocess.Popen[bytes]]" = []
"""Keepers that were let go and have not ended yet: somebody must wait for them."""


def _reap_leaving() -> None:
    _leaving[:] = [keeper for keeper in _leaving if keeper.poll() is None]


@atexit.register
def _end_all() -> None:
    """Leave no process behind where Python ends in order."""
    living = list(_living)
    for child in living:  # all at once, so that they end side by side
        child.tell()
    for child in living:
        child.end()
    for keeper in _leaving:
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(DEFAULT_GRACE_S)


def _python() -> str:
    if not sys.executable:
        raise StartFailed("this Python does not know its own program: sys.executable")
    return sys.executable


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)


def _close_one(child: ChildProcess, name: str) -> None:
    fd = getattr(child, name)
    setattr(child, name, -1)
    if fd >= 0:
        os.close(fd)
