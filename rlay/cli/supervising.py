"""Environments served by processes of their own, which this one watches."""

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Final

from rich.console import Console

from rlay.cli.live import LiveTable
from rlay.cli.signals import stops_call
from rlay.errors import RLayError
from rlay.processes.child import ChildProcess
from rlay.processes.quota import RestartQuota
from rlay.processes.refusal import RefusedChannel, remove_stale
from rlay.processes.served import ServeCommand
from rlay.processes.supervisor import Member, State, Supervisor
from rlay.transport.inspection import inspect_channel

_log = logging.getLogger("rlay.cli.serve")

_LINGER_S: Final = 3.0
"""How long clients are still told why there is no environment any more."""


def serve_in_processes(
    commands: Mapping[str, ServeCommand],
    *,
    restart: bool,
    vector: str = "",
    console: Console | None,
) -> int:
    """Serve each channel by a process, until a stop is requested or all have ended.

    Args:
        commands: What to serve on each channel, all in the same directory.
        restart: Whether a crashed environment is started again.
        vector: How one client uses all channels at once, if that is what they are
            for.
        console: The terminal, if there is one.

    Returns:
        The exit code.
    """
    serving = _Serving(commands, restart, vector)
    if console is not None and "--quiet" not in serving.first.options:
        serving.table = LiveTable(
            console, list(commands), serving.first.directory, serving.note
        )
    with serving.table or contextlib.nullcontext():
        return serving.run()


class _Serving:
    """The processes of one ``rlay serve``."""

    def __init__(
        self, commands: Mapping[str, ServeCommand], restart: bool, vector: str
    ) -> None:
        self.table: LiveTable | None = None
        self.first = next(iter(commands.values()))
        self._commands = commands
        self._vector = vector
        self._to_come = list(commands)
        self._several = len(commands) > 1
        self._refused: list[RefusedChannel] = []
        self._stale: set[str] = set()
        self._supervisor = Supervisor(
            list(commands),
            self._launch,
            is_up=self._is_up,
            make_quota=RestartQuota if restart else None,
            after_end=self._after_end,
            on_tick=self._tick,
        )

    def run(self) -> int:
        try:
            with stops_call(self._stop):
                code = self._supervisor.run()
                self._linger()
        finally:
            for refused in self._refused:
                refused.close()
            self._stale.update(member.name for member in self._supervisor.members)
            self._remove_stale()
        return code

    def note(self, name: str) -> str:
        member = self._member(name)
        if member.state is State.FAILED:
            return f"failed: {member.reason}"
        restarts = f", {member.restarts} restarts" if member.restarts else ""
        return f"{member.state.value}{restarts}"

    def _member(self, name: str) -> Member:
        return next(m for m in self._supervisor.members if m.name == name)

    def _launch(self, name: str) -> ChildProcess:
        echo = f"[{name}] " if self._several else ""
        return ChildProcess.start(self._commands[name].words(name), echo=echo)

    def _is_up(self, name: str) -> bool:
        with contextlib.suppress(RLayError):
            server = inspect_channel(name, self.first.directory).server
            return server is not None and server.held
        return False

    def _stop(self, signal_name: str) -> None:
        if not self._supervisor.stopping:
            _log.info("stopping, because of %s", signal_name)
        self._supervisor.stop()

    def _after_end(self, member: Member) -> None:
        if member.state is not State.PAUSED:  # else it is soon replaced
            self._stale.add(member.name)
            self._remove_stale()
        # Of several, clients take another channel, and another server may take the
        # name: one that refuses would be in the way of both.
        if member.state is State.FAILED and member.quota and not self._several:
            self._refuse(member)

    def _remove_stale(self) -> None:
        """Remove what killed processes left, as soon as their clients let go too."""
        for name in list(self._stale):
            if remove_stale(name, self.first.directory):
                self._stale.discard(name)

    def _refuse(self, member: Member) -> None:
        reason = f"the environment of {member.name!r} {member.reason}"
        count = self._commands[member.name].num_envs
        try:
            refused = RefusedChannel(member.name, self.first.directory, reason, count)
        except RLayError as error:
            _log.info("clients of %s cannot be told: %s", member.name, error)
        else:
            self._refused.append(refused)

    def _tick(self) -> None:
        for refused in self._refused:
            refused.look()
        self._remove_stale()
        self._announce_once()
        if self.table is not None:
            self.table.refresh()

    def _announce_once(self) -> None:
        """Say how to use all channels together, as soon as all are there."""
        while self._to_come and self._vector and self._is_up(self._to_come[0]):
            del self._to_come[0]
            if not self._to_come:
                _log.info(
                    "%s in %d processes: use it with %s",
                    self.first.target,
                    len(self._commands),
                    self._vector,
                )

    def _linger(self) -> None:
        """Tell clients that come a little late, if there is anything to tell."""
        until = time.monotonic() + _LINGER_S
        while (
            self._refused and not self._supervisor.stopping and time.monotonic() < until
        ):
            self._tick()
            time.sleep(0.05)
