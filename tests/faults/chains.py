"""A hash chain that misbehaves at given calls: the environment of every fault.

What it does is said on stdout (``step 3 begins``, ``step 3 ends``), so that a test can
strike in the middle of a call and count afterwards what was run. Which result is right
is known without it: :class:`tests.faults.stage.Player`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from rlay.testing.environments import HashChainEnv

Plan = list[list[Any]]
"""Entries [method, number of the call or 0 for each, name of the fault, arguments]."""

_calls: Counter[str] = Counter()
_kept: list[Any] = []


def say(text: str) -> None:
    """Print a line at once: the process may be gone a moment later."""
    os.write(1, f"{text}\n".encode())


class FaultyChain(HashChainEnv):
    """A hash chain whose calls run into the faults of a plan.

    Methods of a plan are ``init``, ``reset``, ``step``, ``render`` and ``close``; their
    calls are counted from 1 in the life of the process.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (as Gymnasium's)
    render_mode: str | None = "rgb_array"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._run("init", super().__init__, None)

    def reset(self, **arguments: Any) -> Any:
        return self._run("reset", super().reset, **arguments)

    def step(self, action: Any) -> Any:
        return self._run("step", super().step, action)

    def render(self) -> Any:
        return self._run("render", np.zeros, (2, 2, 3), np.uint8)

    def close(self) -> None:
        self._run("close", super().close)

    def _run(
        self, method: str, call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        _calls[method] += 1
        number = _calls[method]
        say(f"{method} {number} begins")
        for where, when, fault, *arguments in self._plan:
            if where == method and when in (0, number):
                FAULTS[fault](*arguments)
        result = call(*args, **kwargs)
        say(f"{method} {number} ends")
        return result


# ----------------------------------------------------------------------- it hangs


def _hold_interpreter(seconds: float) -> None:
    """Sleep in C without letting go of the interpreter lock."""
    ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))


# ------------------------------------------------------------------------ it dies


def _segfault() -> None:
    faulthandler.disable()  # its report of all threads is of no interest here
    ctypes.string_at(0)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _fill_memory(size_bytes: int) -> None:
    """Take memory and touch each page of it."""
    memory = mmap.mmap(-1, size_bytes)
    memory.madvise(mmap.MADV_NOHUGEPAGE)  # many small pages: slow to give back
    _kept.append(memory)
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 1, size_bytes)


# ---------------------------------------------------------------------- it raises


class UnprintableError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text today")


class TextlessError(Exception):
    """Has a text that is none."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class UnpicklableError(Exception):
    """Holds what cannot leave the process."""

    def __init__(self) -> None:
        super().__init__("holds a lock", threading.Lock(), lambda: None)


def _raise(name: str, *arguments: Any) -> NoReturn:
    raise _EXCEPTIONS[name](*arguments)


def _chain_of_errors(length: int) -> Exception:
    error = last = Exception("the first of many")
    for number in range(length):
        last.__cause__ = Exception(f"number {number}")
        last = last.__cause__
    return error


def _recursion() -> Exception:
    try:
        return _recursion()
    except RecursionError as error:
        return error


_EXCEPTIONS: dict[str, Callable[..., Exception]] = {
    "ValueError": ValueError,
    "StopIteration": StopIteration,
    "unprintable": UnprintableError,
    "textless": TextlessError,
    "unpicklable": UnpicklableError,
    "huge": lambda: ValueError("x" * 10_000_000),
    "surrogates": lambda: ValueError("lone \ud800, at the end \udfff"),
    "long name": lambda: type("N" * 5000, (Exception,), {})("has a long name"),
    "odd name": lambda: type("Na\nme", (Exception,), {})("has an odd name"),
    "chain": lambda: _chain_of_errors(500),
    "group": lambda: ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
    "recursion": _recursion,
    "memory": lambda: MemoryError("as if there were none"),
    "connection": lambda: ConnectionResetError(104, "its own connection"),
}


# --------------------------------------------------- it does things with processes


def _start_program(command: list[str]) -> None:
    """Start a program that outlives us, every descriptor kept open that can be."""
    program = subprocess.Popen(command, close_fds=False, start_new_session=True)
    _kept.append(program)
    say(f"started {program.pid}")


def _fork(how: str) -> None:
    """Fork; the child ends in the given way while we wait for it, or stays."""
    pid = os.fork()
    if pid == 0:
        if how == "sys.exit":
            sys.exit(0)  # through all the frames of the backend
        elif how == "raise":
            raise RuntimeError("in the forked child")
        elif how == "return":
            return  # as if nothing had happened
        elif how == "stay":
            time.sleep(60)
        os._exit(0)
    say(f"started {pid}")
    if how != "stay":
        os.waitpid(pid, 0)


def _touch_lock_files(directory: str) -> None:
    """Open and close each file of each channel: POSIX locks would be gone then."""
    for path, _, files in os.walk(directory):
        for file in files:
            with open(os.path.join(path, file), "rb") as opened:
                opened.read(1)


FAULTS: dict[str, Callable[..., object]] = {
    "sleep": time.sleep,
    "hold the interpreter": _hold_interpreter,
    "raise": _raise,
    "sys.exit": sys.exit,
    "os._exit": os._exit,
    "segfault": _segfault,
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "interrupt": _interrupt,
    "fill memory": _fill_memory,
    "start program": _start_program,
    "fork": _fork,
    "touch lock files": _touch_lock_files,
}


def leave_no_core() -> None:
    """Let crashes of this process leave no core file behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
