"""A program that was started for a channel: one instance of a game."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rlay.errors import ConnectTimeout, LaunchFailed, RLayError
from rlay.processes.child import ChildProcess, Ending, StartFailed
from rlay.processes.owned import OwnedProcess
from rlay.processes.programs import not_executed
from rlay.protocol.addresses import is_address
from rlay.protocol.constants import Holder, Paradigm
from rlay.transport.inspection import list_channels
from rlay.transport.views import ChannelView, EndView, name_of

BEFORE_ATTACHED: Final = "before it attached to its channel"
CHANNEL_ARGUMENT: Final = "--rlay-channel"
_BRIDGE: Final = name_of(Holder, Holder.BRIDGE)


@dataclass
class LaunchedProgram(OwnedProcess):
    """A program that finds the name of its channel in its command and environment.

    Attributes:
        words: The command.
        shown: The program as it was named, for messages.
        grace_s: How long it may take to end between SIGTERM and SIGKILL.
        echo: Written in front of each of its lines; None shows none of them.
        log: A file to which all of its output is appended; empty for none.
    """

    words: Sequence[str] = field(kw_only=True)
    shown: str = field(kw_only=True)
    grace_s: float = field(kw_only=True)
    echo: str | None = field(kw_only=True)
    log: str = field(kw_only=True)
    _due: float | None = field(default=None, kw_only=True)

    @property
    def what(self) -> str:
        """The program and its channel."""
        return f"{self.shown!r} of channel {self.name!r}"

    @property
    def pid(self) -> int | None:
        """Its process id; None where it was not started."""
        return None if self._child is None else self._child.pid

    def _start_child(self) -> ChildProcess:
        return self.start_child()

    def start_child(self) -> ChildProcess:
        """Start it, for somebody who keeps it.

        Raises:
            StartFailed: It cannot be started.
        """
        return ChildProcess.start(
            self.words,
            cwd=self.cwd,
            env=self.env,
            grace_s=self.grace_s,
            echo=self.echo,
            log=self.log,
        )

    def keep(self) -> None:
        """Start it, also again, where it does not run; hardly waits.

        Raises:
            EnvLost: It was started too often, or cannot be started.
        """
        if self._child is None:
            self.launch()
            return
        ending = self._child.poll()
        if ending is None:
            return
        if self._due is None:
            self._child.end()
            self._due = self._clock() + self.delay_after(ending)
        if self._clock() >= self._due:
            self._due = None
            self.launch()

    # ---------------------------------------------------------------- what went wrong

    def not_started(self, error: StartFailed) -> LaunchFailed:
        """Return the error for a program that the system refused."""
        return not_executed(self.shown, str(error))

    def start_error(self, ending: Ending) -> LaunchFailed:
        """Return the error for a program that ended too early."""
        self.reported = True
        early = dataclasses.replace(ending, note=BEFORE_ATTACHED)
        text = f"{self.what} {early.with_lines()}"
        return LaunchFailed(text + hint_after(ending, self.log), "attach")

    def too_late(self, error: ConnectTimeout, ending: Ending) -> ConnectTimeout:
        """Return the error for a program that runs, but did not attach in time."""
        return ConnectTimeout(
            f"{self.what} was started, but did not attach in time ({error}). It was "
            f"ended{ending.last_lines}{hint_after(ending, self.log)}"
        )

    def fate(self, ending: Ending) -> str:
        """Return what became of it, with its last lines, for an error's message."""
        self.reported = True
        if ending.told:
            return f"{self.what} was ended{ending.last_lines}"
        return f"{self.what} {ending.with_lines()}"

    # --------------------------------------------------------------------- its channel

    def attached(self) -> bool:
        """Return whether it holds the environment's end of a channel.

        A program that attaches directly is behind a bridge: then the end of its own
        channel counts. With an address nothing can be seen from here.
        """
        if self.pid is None or is_address(self.name):
            return False
        try:
            views = list_channels(self.directory)
        except RLayError:
            return False
        return self.held_among(self.pid, views) is not None

    def held_among(self, pid: int, views: Sequence[ChannelView]) -> str | None:
        """Return the name of the channel that it holds, or None.

        Args:
            pid: Its process id.
            views: Of all channels.
        """
        held = (view.name for view in views if self._holds(view, pid))
        return next(held, None)

    def has_held(self, pid: int, views: Sequence[ChannelView]) -> bool:
        """Return whether a program that has ended stands in a channel's header.

        Args:
            pid: Its process id.
            views: Of all channels.
        """
        ends = (_environment_end(view) for view in views)
        return any(end is not None and end.pid == pid for end in ends)

    def _holds(self, view: ChannelView, pid: int) -> bool:
        end = _environment_end(view)
        if end is None or not end.held:
            return False
        if end.holder == _BRIDGE:
            return view.name == self.name
        return is_below(end.pid, pid)


def _environment_end(view: ChannelView) -> EndView | None:
    if view.facts is None:
        return None
    asks = view.facts.paradigm is Paradigm.SERVER_ENV
    return view.client if asks else view.server


def hint_after(ending: Ending, log: str = "") -> str:
    """Return what may help who looks at a program that ended too early."""
    texts = []
    if any(CHANNEL_ARGUMENT in line for line in ending.lines):
        texts.append(
            f"If it does not know {CHANNEL_ARGUMENT}, pass channel_argument=False "
            "(--no-channel-argument): the name is in $RLAY_CHANNEL too"
        )
    if ending.left and not ending.told:
        texts.append(
            f"It left {', '.join(ending.left)} running, which ended with it: a script "
            "that starts the game must wait for it, or become it by exec"
        )
    if log:
        texts.append(f"All that it wrote is in {log}")
    return "".join(f"\n{text}" for text in texts)


def is_below(pid: int, ancestor: int) -> bool:
    """Return whether a process is another one, or was started by it or below it."""
    for _ in range(64):  # deeper than any game's
        if pid == ancestor:
            return True
        parent = _parent_of(pid)
        if parent is None or parent <= 1:
            return False
        pid = parent
    return False


def _parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return _parent_by_group(pid)


def _parent_by_group(pid: int) -> int | None:
    """Where there is no /proc: a program leads a process group of its own."""
    try:
        group = os.getpgid(pid)
    except OSError:
        return None
    return None if group == pid else group


def variables_for(
    env: Mapping[str, str | None] | None,
    headless: Mapping[str, str] | None,
) -> dict[str, str]:
    """Return the environment variables of a program, but for its channel.

    Args:
        env: Variables that are added to this process's, or removed (None).
        headless: What the engine needs; None where it may open its window.
    """
    # Unbuffered: the last lines before a crash are those that matter.
    merged: dict[str, str | None] = {"PYTHONUNBUFFERED": "1", **os.environ}
    if headless is not None:
        merged.update(headless, RLAY_HEADLESS="1")
    merged.update(env or {})
    return {name: value for name, value in merged.items() if value is not None}
