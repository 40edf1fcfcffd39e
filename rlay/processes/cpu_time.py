"""How much CPU time a process has used."""

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def cpu_time_s(pid: int) -> float | None:
    """Return the CPU seconds that the threads of a process have used so far.

    From the scheduler's nanoseconds where the kernel has them: the ticks of
    ``/proc/PID/stat`` miss a process that runs for microseconds at a time.

    Args:
        pid: Of the process.

    Returns:
        None where the system does not say, or there is no such process.
    """
    try:
        return _scheduled_s(pid)
    except OSError:
        pass
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _scheduled_s(pid: int) -> float:
    spent_ns = 0
    for thread in (_PROC / str(pid) / "task").iterdir():
        try:
            spent_ns += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            if thread.exists():  # else it has just ended, and the others have not
                raise
    return spent_ns / 1e9
