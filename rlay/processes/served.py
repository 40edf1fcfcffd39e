"""The process of an environment: the command ``rlay serve``, and its owner's view."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlay.errors import ConnectTimeout, EnvLost
from rlay.processes.child import ChildProcess, Ending
from rlay.processes.owned import FACTS_LIMIT_S, OwnedProcess


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
class ServedProcess(OwnedProcess):
    """A process that serves an environment to this one, started as often as needed.

    Attributes:
        command: What is served.
        python: The interpreter.
    """

    command: ServeCommand = field(kw_only=True)
    python: str = field(kw_only=True)

    @property
    def what(self) -> str:
        """The process of its target."""
        return f"the process of {self.command.target!r}"

    def _start_child(self) -> ChildProcess:
        words = self.command.words(self.name, self.python)
        return ChildProcess.start(words, cwd=self.cwd, env=self.env)

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

    def too_late(self, error: ConnectTimeout, ending: Ending) -> ConnectTimeout:
        """Return the error for a process that did not serve in time."""
        return ConnectTimeout(
            f"{self.what} was started, but did not serve in time ({error}). It was "
            f"ended. It {ending.with_lines()}"
        )

    def add_facts(self, error: EnvLost) -> None:
        """Add to the message of ``error`` how the process ended, and its last lines."""
        ending = self.facts(FACTS_LIMIT_S)
        if ending is None:
            text = "Its process still runs"
        else:
            text = f"Its process {ending.with_lines()}"
        error.args = (f"{error.args[0]}, in a new process. {text}",)
