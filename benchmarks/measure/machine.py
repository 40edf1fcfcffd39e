"""The machine and the versions that a table was measured with."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib import metadata
from pathlib import Path

_PACKAGES = ("rlay", "gymnasium", "numpy", "msgpack")
CPUS = os.cpu_count() or 1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe() -> dict[str, str]:
    """Return what a reader must know to compare figures, in printing order."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "CPU": f"{_cpu_model()}, {CPUS} CPUs",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: _version(package) for package in _PACKAGES},
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


class Others:
    """How much of the CPUs other programs use from now on."""

    def __init__(self) -> None:
        """Begin to look."""
        self._busy, self._own = busy_s(), own_s()
        self._began = time.monotonic()

    def cores(self) -> float:
        """Return the cores used by others on average; our children have ended."""
        others = busy_s() - self._busy - (own_s() - self._own)
        return max(0.0, others / (time.monotonic() - self._began))


def busy_s() -> float:
    """Return the CPU seconds that this machine has spent on anything but idling.

    Time stolen by a hypervisor counts: it is lost to the run all the same.
    """
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def own_s() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that the threads of process ``pid`` have used so far.

    Raises:
        ProcessLookupError: There is no such process.
    """
    # Only here, so that a peer starts without it.
    from rlay.processes.cpu_time import cpu_time_s

    spent = cpu_time_s(pid)
    if spent is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return spent


def session_cpu_s(session: int) -> float:
    """Return the CPU seconds that the living processes of a session have used so far.

    Args:
        session: Its number, the id of the process that began it.
    """
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                total += cpu_s(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return total
