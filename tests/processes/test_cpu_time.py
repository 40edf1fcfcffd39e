"""CPU time of processes, as the system counts it."""

import os
import time

import pytest

from rlay.processes import cpu_time
from rlay.processes.cpu_time import cpu_time_s

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="this system has no /proc"
)


def nothing(pid):
    raise FileNotFoundError


def work():
    """Use a fiftieth of a second of CPU time, and a little more."""
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass


@pytest.mark.parametrize("has_schedstat", [True, False])
def test_cpu_time_grows_with_work(has_schedstat, monkeypatch):
    """From the scheduler's nanoseconds, and from ticks where there are none."""
    if not has_schedstat:
        monkeypatch.setattr(cpu_time, "_scheduled_s", nothing)
    before = cpu_time_s(os.getpid())
    assert before is not None
    while (now := cpu_time_s(os.getpid())) is not None and now < before + 0.02:
        work()


def test_cpu_time_of_nobody_is_not_known():
    """A process id that no process has."""
    assert cpu_time_s(2**22 + 1) is None
