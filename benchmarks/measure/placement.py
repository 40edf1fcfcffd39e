"""Where the two ends of a pair run."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """The CPUs of the measured process and of the process at the other end.

    ``None`` leaves the choice to the kernel.
    """

    name: str
    client_cpu: int | None
    server_cpu: int | None


UNPINNED = "unpinned"
TWO_CPUS = "two CPUs"
ONE_CPU = "one CPU"


def placement(name: str) -> Placement:
    """Return a placement on the first CPUs that this process may use.

    Raises:
        ValueError: There is no such placement, or this machine has too few CPUs.
    """
    if name == UNPINNED:
        return Placement(name, None, None)
    first, *others = sorted(os.sched_getaffinity(0))
    if name == ONE_CPU:
        return Placement(name, first, first)
    if name == TWO_CPUS and others:
        return Placement(name, first, others[0])
    raise ValueError(f"no placement {name!r} with {1 + len(others)} CPU(s)")


def available() -> list[str]:
    """Return the names of the placements that are possible here."""
    enough = len(os.sched_getaffinity(0)) > 1
    return [TWO_CPUS, ONE_CPU, UNPINNED] if enough else [ONE_CPU, UNPINNED]


def pin(cpu: int | None, pid: int = 0) -> None:
    """Restrict process ``pid`` (0: this one) to ``cpu``; do nothing for ``None``."""
    if cpu is not None:
        os.sched_setaffinity(pid, {cpu})
