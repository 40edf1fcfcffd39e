"""The process of an environment: the command ``rlay serve``, and its owner's view."""

import contextlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rlay.errors import ConnectTimeout, EnvLost, RLayError
from rlay.processes.child import ChildProcess, Ending, StartFailed
from rlay.processes.quota import RestartQuota
from rlay.processes.refusal import remove_stale

_log = logging.getLogger("rlay.processes.served")

_FACTS_LIMIT_S: Final = 2.0
"""How long a process that let go of its channel may take to end altogether."""
_LAST_GRACE_S: Final = 1.0
"""How long it may take after SIGTERM, once it was told in a friendlier way."""


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """What to serve, as a command line.

    Attributes:
        target: A Gymnasium id, ``module:ID`` or ``module:callable``.
        directory: Where channels live.
        kwargs: For the environment; JSON values.
        num_envs: Environments on the channel.
        render_mode: For the environment.
        allow: Names of attributes and methods that the client may use.
        options: Further words, such as ``--once``.
    """

    target: str
    directory: str
    kwargs: Mapping[str, Any] | None = None
    num_envs: int = 1
    render_mode: str | None = None
    allow: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def words(self, name: str, python: str | None = None) -> list[str]:
        """Return the command that serves it on a channel.

        Args:
            name: Of the channel.
            python: The interpreter; None for this one.

        Raises:
            ValueError: ``kwargs`` cannot be written as JSON; the path is named.
        """
        words = [python or sys.executable, "-m", "rlay", "serve", self.target]
        words += ["--name", name, "--directory", self.directory]
        if self.kwargs:
            words += ["--kwargs", json_text(self.kwargs)]
        if self.num_envs != 1:
            words += ["--num-envs", str(self.num_envs)]
        if self.render_mode is not None:
            words += ["--render-mode", self.render_mode]
        for allowed in self.allow:
            words += ["--allow", allowed]
        return [*words, *self.options]


def json_text(kwargs: Mapping[str, Any]) -> str:
    """Return ``kwargs`` as JSON that reads back as exactly the same.

    Raises:
        ValueError: They hold something else than JSON has; the path is named.
    """
    _check_json(dict(kwargs), "kwargs")
    return json.dumps(dict(kwargs))


def _check_json(value: Any, path: str) -> None:
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{path} has the key {key!r}: JSON has only str keys")
            _check_json(item, f"{path}[{key!r}]")
    elif kind is list:
        for number, item in enumerate(value):
            _check_json(item, f"{path}[{number}]")
    elif kind not in (str, int, float, bool, type(None)):
        raise ValueError(
            f"{path} is a {kind.__name__}, which a command line cannot carry: use "
            "None, bool, int, float, str, list and dict, or serve a callable of yours"
        )


def find_python(python: str | os.PathLike[str] | None) -> str:
    """Return the path of an interpreter.

    Args:
        python: A path, a name on ``$PATH``, or None for this one.

    Raises:
        ValueError: There is no such program.
    """
    if python is None:
        return sys.executable
    named = os.fspath(python)
    found = shutil.which(os.path.expanduser(named))
    if found is None:
        raise ValueError(
            f"python={named!r}: there is no such program, or it cannot be executed"
        )
    # A link must stay a link: that is how a virtual environment knows itself.
    return os.path.abspath(found)


@dataclass
class ServedProcess:
    """A process that serves an environment to this one, started as often as needed.

    Attributes:
        command: What is served.
        name: Of the channel.
        python: The interpreter.
        cwd: Where it runs.
        env: Its whole environment; None for this process's.
        quota: How often it may be started again.
    """

    command: ServeCommand
    name: str
    python: str
    cwd: str | None = None
    env: Mapping[str, str] | None = None
    quota: RestartQuota = field(default_factory=RestartQuota)
    _child: ChildProcess | None = None
    _clock: Callable[[], float] = time.monotonic

    def start(self) -> None:
        """Start the process; one that was started before is ended first.

        Raises:
            EnvLost: It could not be started, or was started too often.
            ValueError: The command cannot be written.
        """
        words = self.command.words(self.name, self.python)
        if self._child is not None:
            self._again(self._child.end())
        try:
            self._child = ChildProcess.start(words, cwd=self.cwd, env=self.env)
        except StartFailed as error:
            raise EnvLost(
                f"the process of {self.command.target!r} did not start: {error}",
                executed=False,
            ) from error
        _log.info("started %s on %r: process %d", words[0], self.name, self._child.pid)

    def _again(self, ending: Ending) -> None:
        delay = self.quota.delay_after_crash(self._clock())
        if delay is None:
            raise EnvLost(
                f"the process of {self.command.target!r} is not started again: the "
                f"quota of {self.quota} is used up. The last one {ending.with_lines()}",
                executed=False,
            )
        _log.warning(
            "the process of %r %s; starting it again", self.command.target, ending
        )
        time.sleep(delay)

    def check(self) -> None:
        """Raise if the process has ended.

        Raises:
            EnvLost: It has; the message says how.
        """
        ending = self._child.poll() if self._child is not None else None
        if ending is not None:
            raise self.start_error(ending)

    def start_error(self, ending: Ending) -> EnvLost:
        """Return the error for a process that ended before it served."""
        text = (
            f"{self.command.target!r} is not served: its process {ending.with_lines()}"
        )
        if any("No module named rlay" in line for line in ending.lines):
            text += (
                f"\n{self.python} has no rlay, or another one of that name: install "
                "this one there, beside what the environment needs"
            )
        return EnvLost(text, executed=False)

    def lost_while_starting(self, error: RLayError) -> RLayError:
        """Return the error for a greeting that failed: the process knows why."""
        if isinstance(error, ConnectTimeout):
            running = self._child is not None and self._child.poll() is None
            ending = self.end(hurry=True)
            if running:
                return ConnectTimeout(
                    f"the process of {self.command.target!r} was started, but did not "
                    f"serve in time ({error}). It was ended. It {ending.with_lines()}"
                )
            return self.start_error(ending)
        found = self._facts()
        return error if found is None else self.start_error(found)

    def add_facts(self, error: EnvLost) -> None:
        """Add to the message of ``error`` how the process ended, and its last lines."""
        ending = self._facts()
        if ending is None:
            text = "Its process still runs"
        else:
            text = f"Its process {ending.with_lines()}"
        error.args = (f"{error.args[0]}, in a new process. {text}",)

    def _facts(self) -> Ending | None:
        return None if self._child is None else self._child.wait(_FACTS_LIMIT_S)

    def end(self, friendly_s: float | None = 0.0, *, hurry: bool = False) -> Ending:
        """End the process and what it started, and remove what it left.

        Args:
            friendly_s: How long to wait first: it was said goodbye to, and goes by
                itself.
            hurry: Whether it gets hardly any time after SIGTERM.
        """
        child, self._child = self._child, None
        if child is None:
            return Ending(None)
        try:
            ending = child.wait(friendly_s)
        finally:
            final = child.end(_LAST_GRACE_S if hurry or friendly_s else None)
        if ending is not None and ending.code != 0:
            _log.warning(
                "the process of %r %s", self.command.target, ending.with_lines()
            )
        remove_stale(self.name, self.command.directory)
        return final

    def let_go(self) -> None:
        """Have the process ended, without waiting."""
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(OSError):
                child.let_go()
