"""A bridge in which something goes wrong: ``python -m tests.support.broken_bridge``.

Its first argument says what, the rest is the command line of ``rlay``:

- ``crash:module:Class.function:before:3``: it is killed, as by SIGKILL, just before (or
  ``after``) the third call of a function of the package ``rlay.bridge``;
- ``clock:1e7``: its wall clock jumps so many seconds forth, then back, at each look.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any


def crash_at(module: str, where: str, when: str, number: str) -> None:
    """Make a function kill this process at one of its calls."""
    owner_name, _, name = where.rpartition(".")
    owner: Any = importlib.import_module(f"rlay.bridge.{module}")
    if owner_name:
        owner = getattr(owner, owner_name)
    calls = itertools.count(1)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def crashing(*args: Any, **kwargs: Any) -> Any:
            last = next(calls) >= int(number)
            if last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return crashing

    setattr(owner, name, wrap(getattr(owner, name)))


def jumping_clock(jump_s: str) -> None:
    """Make the wall clock of this process useless."""
    right, jumps = time.time, itertools.cycle([float(jump_s), 0.0, -float(jump_s)])
    time.time = lambda: right() + next(jumps)


def main() -> None:
    """Break, then run ``rlay``."""
    kind, *arguments = sys.argv.pop(1).split(":")
    faults: dict[str, Callable[..., None]] = {
        "crash": crash_at,
        "clock": jumping_clock,
    }
    faults[kind](*arguments)
    from rlay.cli import main as command_line

    sys.exit(command_line())


if __name__ == "__main__":
    main()
