"""Programs that are started, owned and ended."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rlay.processes.child import ChildProcess, Ending, StartFailed
from tests.support.waiting import wait_until

LIMIT_S = 30.0
STUBBORN = """
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
ctypes.PyDLL(None).sleep(1000)  # holds the GIL: no thread of Python's ever runs
"""


@pytest.fixture
def start():
    """Start Python programs by their code; what is left of them ends with the test."""
    started = []

    def start_code(code, *arguments, **options):
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        child = ChildProcess.start(command, **options)
        started.append(child)
        return child

    yield start_code
    for child in started:
        child.end()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def pid_written_to(path: Path) -> int:
    """Wait until a program wrote a process id into a file; return it."""
    return int(wait_until(lambda: path.exists() and path.read_text(), LIMIT_S))


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_wait_returns_the_exit_code(start, code):
    """Whatever the code is."""
    ending = start(f"raise SystemExit({code})").wait(LIMIT_S)
    assert ending == Ending(code)
    assert str(ending) == f"exited with code {code}"


def test_wait_returns_the_signal_of_a_segfault(start):
    """A crash in C code has its name."""
    ending = start("import ctypes; ctypes.string_at(0)").wait(LIMIT_S)
    assert ending.code == -signal.SIGSEGV
    assert str(ending) == "was ended by signal SIGSEGV (it crashed in C code)"


def test_poll_of_a_running_program_is_none(start):
    """Looking does not wait."""
    assert start("import time; time.sleep(1000)").poll() is None


def test_ending_has_the_last_lines(start):
    """Of stdout and stderr, in the order in which they were written."""
    code = """
    import sys
    for n in range(100):
        print(f"line {n}", file=(sys.stdout, sys.stderr)[n % 2], flush=True)
    raise SystemExit(4)
    """
    ending = start(code, echo=None).wait(LIMIT_S)
    assert ending.lines == tuple(f"line {n}" for n in range(60, 100))
    text = ending.with_lines()
    assert text.startswith("exited with code 4. Its last lines:\n    line 60\n")


def test_ending_without_output_says_so(start):
    """Nobody looks for lines that are not there."""
    text = start("raise SystemExit(4)").wait(LIMIT_S).with_lines()
    assert text == "exited with code 4; it wrote nothing"


def test_output_goes_to_stderr_with_its_prefix(start, capfd):
    """Whoever started it sees what it says, and who said it."""
    child = start("print('one'); print('two')", echo="[a] ")
    child.wait(LIMIT_S)
    child.end()
    assert capfd.readouterr() == ("", "[a] one\n[a] two\n")


def test_output_of_several_programs_is_told_apart(start, capfd):
    """Lines are whole, whichever program wrote them."""
    code = "for n in range(1000): print('line', n)"
    for child in [start(code, echo=f"[{name}] ") for name in "ab"]:
        child.wait(LIMIT_S)
        child.end()
    lines = capfd.readouterr().err.splitlines()
    for name in "ab":
        own = [line for line in lines if line.startswith(f"[{name}] ")]
        assert own == [f"[{name}] line {n}" for n in range(1000)]


def test_output_without_echo_is_only_remembered(start, capfd):
    """Nothing is shown; the last lines are known."""
    child = start("print('one')", echo=None)
    assert child.wait(LIMIT_S).lines == ("one",)
    child.end()
    assert capfd.readouterr() == ("", "")


def test_output_of_megabytes_is_passed_on_whole(start, capfd):
    """Nothing is dropped, and nothing blocks for ever."""
    child = start("print('x' * 3_000_000, flush=True)", echo="")
    assert child.wait(LIMIT_S) is not None
    child.end()
    assert capfd.readouterr().err == "x" * 3_000_000 + "\n"


def test_program_gets_directory_environment_and_no_input(start, tmp_path):
    """As it was asked for."""
    code = """
    import os, sys
    print(os.getcwd(), os.environ["COLOUR"], repr(sys.stdin.read()))
    """
    environment = {**os.environ, "COLOUR": "blue"}
    child = start(code, cwd=tmp_path, env=environment, echo=None)
    assert child.wait(LIMIT_S).lines == (f"{tmp_path} blue ''",)


def test_start_of_a_missing_program_says_so():
    """At once, and nothing is left."""
    with pytest.raises(StartFailed, match=r"/no/such/program cannot be started: .*No"):
        ChildProcess.start(["/no/such/program"])


def test_start_in_a_missing_directory_says_so():
    """At once, and nothing is left."""
    with pytest.raises(StartFailed, match="No such file or directory: '/no/such'"):
        ChildProcess.start([sys.executable], cwd="/no/such")


def test_end_lets_the_program_finish(start):
    """SIGTERM comes first; a handler of the program's decides the exit code."""
    code = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print("ready", flush=True)
    time.sleep(1000)
    """
    child = start(code, echo=None)
    wait_until(lambda: ready(child), LIMIT_S)
    assert child.end() == Ending(7, told=True, lines=("ready",))


def ready(child: ChildProcess) -> bool:
    """Whether a program handles or blocks SIGTERM by now, seen from outside."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    masks = [
        status.partition(f"{name}:")[2].split()[0] for name in ("SigCgt", "SigBlk")
    ]
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks)


def test_end_kills_a_program_that_does_not_listen(start):
    """After its grace, even where no handler of Python's can run."""
    child = start(STUBBORN, grace_s=0.2, echo=None)
    wait_until(lambda: ready(child), LIMIT_S)
    ending = child.end()
    assert (ending.code, ending.told) == (-signal.SIGKILL, True)
    assert not alive(child.pid)


def test_end_with_a_shorter_grace_kills_earlier(start):
    """The owner may be in more of a hurry than it was at the start."""
    child = start(STUBBORN, grace_s=1000.0, echo=None)
    wait_until(lambda: ready(child), LIMIT_S)
    assert child.end(grace_s=0.2).code == -signal.SIGKILL


def test_end_twice_returns_the_same(start):
    """The second time does nothing."""
    child = start("import time; time.sleep(1000)")
    assert child.end() is child.end()


def test_end_after_the_program_ended_by_itself_tells_how(start):
    """The exit code is the program's own."""
    child = start("raise SystemExit(5)")
    child.wait(LIMIT_S)
    assert child.end().code == 5


def test_end_ends_what_the_program_started(start, tmp_path):
    """The whole process group, whichever of them listens."""
    code = """
    import subprocess, sys, time
    from pathlib import Path
    inner = "import os, signal, sys, time; "
    inner += "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    inner += "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", inner, sys.argv[1]])
    time.sleep(1000)
    """
    child = start(code, tmp_path / "pid", echo=None)
    inner = pid_written_to(tmp_path / "pid")
    child.end()
    assert not alive(child.pid)
    assert not alive(inner)


def test_what_a_program_left_running_is_ended(start, tmp_path):
    """Also when the program has ended by itself."""
    code = """
    import subprocess, sys
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    print(process.pid)
    raise SystemExit(1)
    """
    child = start(code, echo=None)
    left = int(child.wait(LIMIT_S).lines[0])
    child.end()
    assert not alive(left)


def test_let_go_ends_the_program_without_waiting(start):
    """It goes by itself, and nobody has to ask how."""
    child = start("import time; time.sleep(1000)")
    child.let_go()
    wait_until(lambda: not alive(child.pid), LIMIT_S)
    child._keeper.wait(LIMIT_S)


def test_collected_object_ends_its_program():
    """Who forgets it does not leave a process behind."""
    child = ChildProcess.start([sys.executable, "-c", "import time; time.sleep(1000)"])
    pid, keeper = child.pid, child._keeper
    del child
    wait_until(lambda: not alive(pid), LIMIT_S)
    keeper.wait(LIMIT_S)


def test_killed_keeper_takes_the_program_along(start):
    """Nobody is left who could end it."""
    if sys.platform != "linux":
        pytest.skip("needs PR_SET_PDEATHSIG, which only Linux has")
    child = start("import time; time.sleep(1000)")
    os.kill(child._keeper.pid, signal.SIGKILL)
    wait_until(lambda: not alive(child.pid), LIMIT_S)
    assert "unknown way" in str(child.wait(LIMIT_S))


def own(code: str, path: str) -> None:
    """Start a program, write its process id, and hang."""
    from rlay.processes.child import ChildProcess

    child = ChildProcess.start([sys.executable, "-c", code], grace_s=0.5, echo=None)
    wait_until(lambda: ready(child), LIMIT_S)
    Path(path).write_text(str(child.pid))
    signal.pause()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(STUBBORN, id="stubborn"),
        pytest.param(STUBBORN.replace("PyDLL", "CDLL"), id="without-the-GIL"),
    ],
)
def test_program_does_not_outlive_its_owner(children, tmp_path, number, code):
    """However the owner ends, and however little the program listens."""
    owner = children.start(own, code, tmp_path / "pid")
    pid = pid_written_to(tmp_path / "pid")
    assert alive(pid)
    owner.send_signal(number)
    owner.wait(exit_code=None)
    wait_until(lambda: not alive(pid), LIMIT_S)


def own_from_a_thread(path: str) -> None:
    """Start a program from a thread that ends, and hang."""
    import threading

    from rlay.processes.child import ChildProcess

    started = []
    code = "import time; time.sleep(1000)"
    thread = threading.Thread(
        target=lambda: started.append(ChildProcess.start([sys.executable, "-c", code]))
    )
    thread.start()
    thread.join()
    assert started[0].wait(0.5) is None
    Path(path).write_text(str(started[0].pid))
    signal.pause()


def test_program_outlives_the_thread_that_started_it(children, tmp_path):
    """It belongs to the process: a pool's thread may come and go."""
    owner = children.start(own_from_a_thread, tmp_path / "pid")
    pid = pid_written_to(tmp_path / "pid")
    assert alive(pid)
    owner.kill()
    wait_until(lambda: not alive(pid), LIMIT_S)


def hang() -> None:
    signal.pause()


def test_forked_child_does_not_keep_the_program_alive(children, tmp_path):
    """A fork of the owner holds nothing that the program waits for."""
    owner = children.start(own_and_fork, tmp_path / "pid", tmp_path / "fork")
    pid = pid_written_to(tmp_path / "pid")
    forked = pid_written_to(tmp_path / "fork")
    owner.kill()
    wait_until(lambda: not alive(pid), LIMIT_S)
    assert alive(forked)
    os.kill(forked, signal.SIGKILL)


def own_and_fork(path: str, fork_path: str) -> None:
    """Start a program, fork a child that lives on, and hang."""
    from rlay.processes.child import ChildProcess

    child = ChildProcess.start([sys.executable, "-c", "import time; time.sleep(1000)"])
    forked = multiprocessing.get_context("fork").Process(target=hang)
    forked.start()
    Path(fork_path).write_text(str(forked.pid))
    Path(path).write_text(str(child.pid))
    signal.pause()


def test_forked_child_that_ends_leaves_the_program_alone(start):
    """It is the parent's, and nobody else ends it."""
    child = start("import time; time.sleep(1000)")
    forked = multiprocessing.get_context("fork").Process(target=child.end)
    forked.start()
    forked.join(LIMIT_S)
    assert forked.exitcode == 0
    assert child.wait(0.2) is None
    assert alive(child.pid)


def leave_running(path: str) -> None:
    """Start a program and end in order, without ending it."""
    from rlay.processes.child import ChildProcess

    child = ChildProcess.start([sys.executable, "-c", "import time; time.sleep(1000)"])
    globals()["kept"] = child
    Path(path).write_text(str(child.pid))


def test_end_of_python_ends_the_program_first(children, tmp_path):
    """When the owner's exit code is known, no process is left."""
    owner = children.start(leave_running, tmp_path / "pid")
    owner.wait()
    assert not alive(pid_written_to(tmp_path / "pid"))


def test_descriptors_are_not_inherited_by_other_programs(start):
    """A program started elsewhere does not keep this one alive."""
    child = start("import time; time.sleep(1000)")
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        child.let_go()
        wait_until(lambda: not alive(child.pid), LIMIT_S)
    finally:
        other.kill()
        other.wait()
    child._keeper.wait(LIMIT_S)
