"""A bridge in which something is odd: ``python -m tests.support.broken_bridge``.

Its first argument says what, the rest is the command line of ``rlay``:

- ``clock:1e7``: its wall clock jumps so many seconds forth, then back, at each look;
- ``set:link:WRITE_STALL_S:1``: a constant of a module of ``rlay.bridge`` is another.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from collections.abc import Callable


def jumping_clock(jump_s: str) -> None:
    """Make the wall clock of this process useless."""
    right, jumps = time.time, itertools.cycle([float(jump_s), 0.0, -float(jump_s)])
    time.time = lambda: right() + next(jumps)


def set_constant(module: str, name: str, value: str) -> None:
    """Give a constant another value, before anybody has looked at it."""
    owner = importlib.import_module(f"rlay.bridge.{module}")
    assert isinstance(getattr(owner, name), float | int)
    setattr(owner, name, float(value))


ODDITIES: dict[str, Callable[..., None]] = {
    "clock": jumping_clock,
    "set": set_constant,
}


def main() -> None:
    """Make it odd, then run ``rlay``."""
    kind, *arguments = sys.argv.pop(1).split(":")
    ODDITIES[kind](*arguments)
    from rlay.cli import main as command_line

    sys.exit(command_line())


if __name__ == "__main__":
    main()
