"""Child processes of a test: started, watched, asserted on, and ended by their id.

A test asks for the fixture ``children`` and starts what it needs::

    def serve(name):                       # a function of the test module
        ...

    def test_something(children):
        child = children.start(serve, "cartpole", forever=True)
        child.wait_until_printed("ready")
        ...
        child.kill()

Each child's stdout and stderr are kept in files and shown when the test fails. A child
that the test did not wait for, kill, or declare ``forever`` must have ended by the
test's end, with exit code 0.
"""

import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

# How long a child may take to end after it was asked to, in seconds.
_GRACE_S = 10.0


class Child:
    """One child process, its output in files.

    Attributes:
        name: What it runs, for messages.
        pid: Its process id.
        forever: Whether it runs until the fixture ends it.
        checked: Whether its end has been accounted for, by ``wait`` or ``kill``.
    """

    def __init__(
        self, name: str, process: "subprocess.Popen[bytes]", files: Path, forever: bool
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.forever = forever
        self.checked = False
        self._process = process
        self._stdout = files / "stdout"
        self._stderr = files / "stderr"

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self._stderr.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float = 30.0, *, exit_code: int | None = 0) -> int:
        """Wait for its end and assert its exit code.

        Args:
            timeout: In seconds, a limit for a hang.
            exit_code: The code it must end with, minus the signal's number for a death
                by signal; None for any.

        Returns:
            The exit code.
        """
        try:
            actual = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"child {self.name} (pid {self.pid}) still runs after {timeout} s"
            ) from None
        self.checked = True
        if exit_code is not None and actual != exit_code:
            raise AssertionError(
                f"child {self.name} ended with {actual}, expected {exit_code}"
            )
        return actual

    def wait_until_printed(self, text: str, timeout: float = 30.0) -> str:
        """Wait until ``text`` stands in its stdout, and return all of that.

        Raises:
            AssertionError: It ended without printing it, or the time was over.
        """

        def printed() -> bool:
            ended = self.exit_code is not None  # before reading: nothing comes after
            if text in self.stdout:
                return True
            if ended:
                raise AssertionError(
                    f"child {self.name} ended with {self.exit_code} "
                    f"without printing {text!r}"
                )
            return False

        wait_until(printed, timeout, f"child {self.name} prints {text!r}")
        return self.stdout

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; the test then says by ``wait`` how it must end."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL and wait for that. Does nothing if it has ended."""
        self._process.kill()
        self._process.wait(_GRACE_S)
        self.checked = True

    def end_orderly(self) -> None:
        """Ask it by SIGTERM to end, and assert that it does with exit code 0."""
        self._process.terminate()
        self.wait(2 * _GRACE_S)

    def end(self) -> str | None:
        """Make sure that it has ended; what was wrong with that, or None.

        The fixture calls it at the test's end. A child that still runs gets SIGTERM,
        then SIGKILL.
        """
        if self.exit_code is not None:
            if self.checked or self.exit_code == 0:
                return None
            return f"child {self.name} ended with {self.exit_code}, expected 0"
        self._process.terminate()
        self.checked = True
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"child {self.name} (pid {self.pid}) did not end on SIGTERM"
        if self.forever:
            return None
        return f"child {self.name} (pid {self.pid}) still ran at the test's end"


class Children:
    """Starts the child processes of one test; the fixture ``children``."""

    def __init__(self, files: Path, environment: Callable[[], Mapping[str, str]]):
        self.started: list[Child] = []
        self._files = files
        self._environment = environment

    def start(
        self,
        function: Callable[..., object],
        *arguments: object,
        forever: bool = False,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        prefix: Sequence[str] = (),
    ) -> Child:
        """Start a Python process that calls a function of a test module.

        The module is loaded anew in the child, by its file; nothing is forked.

        Args:
            function: Defined at the top level of a module.
            arguments: JSON values, or paths (which arrive as str).
            forever: It does not end by itself: the fixture ends it with SIGTERM, which
                raises SystemExit in the function, so that it cleans up.
            env: Additions to the environment.
            python: The interpreter.
            prefix: Words before the command, such as those of another program that
                runs it.
        """
        name, file = function.__qualname__, inspect.getsourcefile(function)
        if "<locals>" in name or file is None:
            raise ValueError(f"{name} is not at a module's top level")
        bootstrap = "from tests.support.children import run_function; run_function()"
        values = json.dumps(arguments, default=os.fspath)
        command = [*prefix, python, "-c", bootstrap, file, name, values]
        return self._start(name, command, forever, env)

    def start_code(
        self,
        code: str,
        *arguments: str,
        forever: bool = False,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> Child:
        """Start a Python process that runs ``code``, arguments in ``sys.argv[1:]``."""
        return self._start("code", [python, "-c", code, *arguments], forever, env)

    def start_command(
        self,
        command: Sequence[str | Path],
        *,
        forever: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Child:
        """Start any program, such as ``[sys.executable, "-m", "rlay", "ls"]``."""
        words = [os.fspath(word) for word in command]
        return self._start(" ".join(words)[:60], words, forever, env, cwd)

    def end_all(self) -> list[str]:
        """End what still runs, the newest first; returns what was wrong."""
        problems = [child.end() for child in reversed(self.started)]
        return [problem for problem in problems if problem is not None]

    def output(self) -> list[tuple[str, str]]:
        """Titles and texts of everything that the children wrote."""
        sections = []
        for child in self.started:
            for stream, text in (("stdout", child.stdout), ("stderr", child.stderr)):
                if text:
                    title = f"child {child.name} (pid {child.pid}) {stream}"
                    sections.append((title, text))
        return sections

    def _start(
        self,
        name: str,
        command: list[str],
        forever: bool,
        env: Mapping[str, str] | None,
        cwd: Path | None = None,
    ) -> Child:
        files = self._files / str(len(self.started))
        files.mkdir(parents=True)
        environment = {**self._environment(), **(env or {})}
        with (files / "stdout").open("wb") as out, (files / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=cwd,
            )
        child = Child(name, process, files, forever)
        self.started.append(child)
        return child


def child_environment() -> dict[str, str]:
    """Return this process's environment, with the source tree importable."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def run_function() -> None:
    """Call the function that ``Children.start`` named; runs in the child."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    file, qualname, arguments = sys.argv[1:]
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Any = module
    for name in qualname.split("."):
        function = getattr(function, name)
    function(*json.loads(arguments))
