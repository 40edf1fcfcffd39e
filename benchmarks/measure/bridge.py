"""A bridge that can be asked how many tasks it has.

Usage: ``python -m measure.bridge OPTION...``, the options of ``rlay bridge``. It is
that command; at each SIGUSR1 it also prints the number of its asyncio tasks.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import Any


def _print_tasks(number: int, frame: Any) -> None:
    tasks = [one for one in gc.get_objects() if isinstance(one, asyncio.Task)]
    print(sum(not task.done() for task in tasks), flush=True)


def main() -> int:
    """Run a bridge until SIGTERM."""
    from rlay.cli import main as rlay

    signal.signal(signal.SIGUSR1, _print_tasks)
    return rlay(["bridge", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
