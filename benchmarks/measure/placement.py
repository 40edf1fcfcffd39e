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


PLACEMENTS = {
    place.name: place
    for place in (
        Placement("unpinned", None, None),
        Placement("two CPUs", 0, 1),
        Placement("one CPU", 0, 0),
    )
}


def pin(cpu: int | None, pid: int = 0) -> None:
    """Restrict process ``pid`` (0: this one) to ``cpu``; do nothing for ``None``."""
    if cpu is not None:
        os.sched_setaffinity(pid, {cpu})
