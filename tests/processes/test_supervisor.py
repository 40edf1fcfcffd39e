"""Several programs kept running: started, watched, started again."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rlay.processes.child import ChildProcess
from rlay.processes.quota import RestartQuota
from rlay.processes.supervisor import State, Supervisor

FOREVER = "import time; time.sleep(1000)"


class NoPause(RestartQuota):
    """The quota as it is, without its pauses."""

    def delay_after_crash(self, now: float) -> float | None:
        delay = super().delay_after_crash(now)
        return None if delay is None else 0.0


class Launches:
    """Starts real programs by name, and remembers which and when."""

    def __init__(self, codes: dict[str, str | Callable[[int], str]]) -> None:
        self.codes = codes
        self.names: list[str] = []
        self.started: list[ChildProcess] = []

    def __call__(self, name: str) -> ChildProcess:
        code = self.codes[name]
        if callable(code):
            code = code(self.names.count(name))
        self.names.append(name)
        child = ChildProcess.start([sys.executable, "-c", code], echo=None)
        self.started.append(child)
        return child


def supervise(codes: Any, **options: Any) -> tuple[Supervisor, Launches]:
    """A supervisor over programs, each of them up as soon as it was started."""
    launches = Launches(codes)
    options.setdefault("is_up", lambda name: name in launches.names)
    supervisor = Supervisor(list(codes), launches, **options)
    return supervisor, launches


def test_supervisor_ends_when_all_programs_are_done():
    """Exit code 0 of all is exit code 0."""
    supervisor, launches = supervise({"a": "pass", "b": "pass"})
    assert supervisor.run() == 0
    assert [m.state for m in supervisor.members] == [State.ENDED, State.ENDED]
    assert sorted(launches.names) == ["a", "b"]


def test_supervisor_without_quota_reports_a_crash(caplog, tmp_path):
    """It is not started again; the others go on; the exit code is 1."""
    started = tmp_path / "b started"
    codes = {
        "a": f"""
import os, time
while not os.path.exists({str(started)!r}):
    time.sleep(0.01)
raise SystemExit(3)
""",
        "b": f"open({str(started)!r}, 'w')",
    }
    supervisor, launches = supervise(codes)
    with caplog.at_level(logging.ERROR, "rlay"):
        assert supervisor.run() == 1
    assert launches.names.count("a") == 1
    assert supervisor.members[0].reason == "exited with code 3"
    assert supervisor.members[1].state is State.ENDED
    assert "a exited with code 3" in caplog.text


def test_supervisor_starts_a_crashed_program_again(caplog):
    """Until it ends well."""
    codes = {"a": lambda n: "raise SystemExit(3)" if n < 2 else "pass"}
    supervisor, launches = supervise(codes, make_quota=NoPause)
    with caplog.at_level(logging.WARNING, "rlay"):
        assert supervisor.run() == 0
    assert len(launches.names) == 3
    assert supervisor.members[0].restarts == 2
    assert "a exited with code 3; starting it again in 0 s (restart 1;" in caplog.text


def test_a24_supervisor_stops_after_ten_restarts_and_says_why(caplog):
    """The eleventh crash is the last one; reason in the log and in the member."""
    code = "import ctypes; ctypes.string_at(0)"
    supervisor, launches = supervise({"a": code}, make_quota=NoPause)
    with caplog.at_level(logging.WARNING, "rlay"):
        assert supervisor.run() == 1
    assert len(launches.names) == 11
    member = supervisor.members[0]
    assert member.state is State.FAILED
    assert member.reason == (
        "was ended by signal SIGSEGV (it crashed in C code); it crashed 11 times in "
        "all, and is not started again: the quota of 10 restarts within 600 s is used "
        "up"
    )
    assert member.reason in caplog.text


def test_supervisor_pauses_before_it_starts_again():
    """A crash loop does not fill the machine: the quota's pause is kept."""
    now = [0.0]
    starts = []

    def tick() -> None:
        now[0] += 0.05

    def code(count: int) -> str:
        starts.append(now[0])
        return "raise SystemExit(3)" if count < 2 else "pass"

    supervisor, _ = supervise(
        {"a": code}, make_quota=RestartQuota, on_tick=tick, clock=lambda: now[0]
    )
    assert supervisor.run() == 0
    assert starts[1] - starts[0] >= 0.1
    assert starts[2] - starts[1] >= 0.2


@pytest.mark.parametrize("code", [2, 78])
def test_supervisor_does_not_restart_what_was_called_wrongly(code):
    """It would fail again; its exit code is passed on, and the others not started."""
    codes = {"a": f"raise SystemExit({code})", "b": "pass"}
    supervisor, launches = supervise(
        codes, make_quota=NoPause, is_up=lambda name: False
    )
    assert supervisor.run() == code
    assert launches.names == ["a"]
    assert supervisor.members[1].reason == "was not started: a failed"


def test_supervisor_starts_the_others_once_the_first_is_up():
    """What is wrong with all of them is said once."""
    up = threading.Event()
    looks = []

    def is_up(name: str) -> bool:
        looks.append((name, list(launches.names)))
        if len(looks) == 3:
            up.set()
        return up.is_set()

    supervisor, launches = supervise(
        {"a": "import time; time.sleep(1)", "b": "pass", "c": "pass"}, is_up=is_up
    )
    assert supervisor.run() == 0
    assert all(look == ("a", ["a"]) for look in looks[:3])
    assert launches.names == ["a", "b", "c"]


def test_supervisor_starts_the_others_when_the_first_is_done_already():
    """What was up for a moment was up."""
    supervisor, launches = supervise({"a": "pass", "b": "pass"}, is_up=lambda _: False)
    assert supervisor.run() == 0
    assert launches.names == ["a", "b"]


def test_supervisor_does_not_start_the_others_when_the_first_was_never_up():
    """What is wrong with it would be wrong with them."""
    codes = {"a": "raise SystemExit(3)", "b": "pass"}
    supervisor, launches = supervise(codes, is_up=lambda _: False)
    assert supervisor.run() == 1
    assert launches.names == ["a"]


def test_stop_ends_all_programs_and_is_no_failure(tmp_path):
    """Each gets SIGTERM; exit code 0."""
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(PATH, "w").close()
time.sleep(1000)
"""
    codes = {
        name: code.replace("PATH", repr(str(tmp_path / name))) for name in ("a", "b")
    }

    def tick() -> None:
        if len(list(tmp_path.iterdir())) == 2:
            supervisor.stop()

    supervisor, launches = supervise(codes, on_tick=tick)
    assert supervisor.run() == 0
    assert supervisor.stopping
    assert [str(child.poll()) for child in launches.started] == [
        "exited with code 0"
    ] * 2


def test_stop_wakes_a_supervisor_that_waits():
    """From a signal handler, or from another thread."""
    supervisor, _ = supervise({"a": FOREVER})
    stopper = threading.Timer(0.2, supervisor.stop)
    stopper.start()
    assert supervisor.run() == 0
    stopper.join()


def test_stop_of_a_program_in_its_pause_starts_nothing():
    """Who is told to end does not begin."""

    def tick() -> None:
        if supervisor.members[0].state is State.PAUSED:
            supervisor.stop()

    supervisor, launches = supervise(
        {"a": "raise SystemExit(3)"},
        make_quota=RestartQuota,
        on_tick=tick,
        clock=lambda: 0.0,
    )
    assert supervisor.run() == 0
    assert len(launches.names) == 1


def test_exception_in_the_supervisor_ends_all_programs():
    """Whatever goes wrong, nothing is left running."""

    def tick() -> None:
        raise ValueError("broken")

    supervisor, launches = supervise({"a": FOREVER}, on_tick=tick)
    with pytest.raises(ValueError, match="broken"):
        supervisor.run()
    assert launches.started[0].poll() is not None


def test_after_end_hears_of_every_end():
    """With the state that was decided on."""
    heard = []
    codes = {"a": lambda n: "raise SystemExit(3)" if n == 0 else "pass"}
    supervisor, _ = supervise(
        codes,
        make_quota=NoPause,
        after_end=lambda member: heard.append((member.state, member.code)),
    )
    supervisor.run()
    assert heard == [(State.PAUSED, 3), (State.ENDED, 0)]


def test_supervisor_after_its_run_holds_nothing():
    """A late signal finds nobody, and is no error."""
    supervisor, _ = supervise({"a": "pass"})
    supervisor.run()
    supervisor.stop()
