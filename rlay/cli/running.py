"""Instances of a game that this process watches: behind ``rlay run``."""

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable
from typing import Final

from rlay.cli.signals import stops_call
from rlay.errors import RLayError
from rlay.processes.child import ChildProcess, Ending, StartFailed
from rlay.processes.instances import Launch
from rlay.processes.launched import BEFORE_ATTACHED, LaunchedProgram, hint_after
from rlay.processes.quota import RestartQuota
from rlay.processes.refusal import remove_stale
from rlay.processes.supervisor import Member, State, Supervisor
from rlay.protocol.addresses import is_address
from rlay.transport.inspection import list_channels
from rlay.transport.views import ChannelView

_log = logging.getLogger("rlay.cli.run")

_SETTLED_S: Final = 0.3
"""A first instance that runs for so long was not started in vain: others may follow."""
_LOOK_EVERY_S: Final = 0.25
_WARN_AFTER_S: Final = 60.0


class _Instance:
    """One life of one instance."""

    def __init__(
        self,
        program: LaunchedProgram,
        child: ChildProcess,
        look: Callable[[], list[ChannelView]],
    ) -> None:
        self.program = program
        self._look = look
        self.child = child
        self.since = time.monotonic()
        self.attached = False
        self.warned = False
        self.ending: Ending | None = None
        self._given_up_s: float | None = None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.since

    def fileno(self) -> int:
        return self.child.fileno()

    def poll(self) -> Ending | None:
        return self._noted(self.child.poll())

    def tell(self) -> None:
        self.child.tell()

    def end(self) -> Ending:
        ending = self._noted(self.child.end())
        assert ending is not None  # noqa: S101 - it was given one
        if ending.told and ending.code == -signal.SIGTERM:
            return dataclasses.replace(ending, code=0)  # just as it was told
        return ending

    def give_up(self, limit_s: float) -> None:
        """End it, because it did not attach."""
        self._given_up_s = limit_s
        self.tell()

    def _noted(self, ending: Ending | None) -> Ending | None:
        """Say how far it had come."""
        if ending is None or self.ending is not None:
            return self.ending
        if not self.attached:  # it may have been here between two looks
            self.attached = self.program.has_held(self.child.pid, self._look())
        if self._given_up_s is not None:
            note = f"because it had not attached within {self._given_up_s:g} s"
            ending = dataclasses.replace(ending, note=note, code=ending.code or 1)
        elif not self.attached and not ending.told:
            ending = dataclasses.replace(ending, note=BEFORE_ATTACHED)
        self.ending = ending
        return ending


class _Running:
    """The instances of one ``rlay run``."""

    def __init__(
        self, launch: Launch, restart: bool, connect_timeout_s: float | None
    ) -> None:
        self._programs = {program.name: program for program in launch.programs}
        self._limit_s = connect_timeout_s
        self._lives: dict[str, _Instance] = {}
        self._look_at_s = 0.0
        # With an address the channels are elsewhere: there is nothing to look at.
        self._visible = not any(map(is_address, self._programs))
        self._supervisor = Supervisor(
            list(self._programs),
            self._launch,
            is_up=self._is_up,
            make_quota=RestartQuota if restart else None,
            after_end=self._after_end,
            on_tick=self._tick,
        )

    def run(self) -> int:
        with stops_call(self._stop):
            return self._supervisor.run()

    def _launch(self, name: str) -> _Instance:
        program = self._programs[name]
        try:
            child = program.start_child()
        except StartFailed as error:
            raise program.not_started(error) from error
        instance = self._lives[name] = _Instance(program, child, self._views)
        instance.attached = not self._visible  # so that nothing is claimed of it
        _log.info("started %s: process %d", program.what, child.pid)
        return instance

    def _is_up(self, name: str) -> bool:
        life = self._lives.get(name)
        return life is not None and life.age_s >= _SETTLED_S

    def _stop(self, signal_name: str) -> None:
        if not self._supervisor.stopping:
            _log.info("stopping, because of %s", signal_name)
        self._supervisor.stop()

    def _after_end(self, member: Member) -> None:
        life = self._lives.pop(member.name)
        if self._visible:
            remove_stale(member.name, life.program.directory)
        ending = life.ending
        if ending is None:
            return
        if member.state is State.ENDED:
            if ending.left and not life.attached and not ending.told:
                _log.warning("%s: %s", member.name, hint_after(ending).lstrip())
            return
        # Where one program writes here, its last lines stand above.
        several = len(self._programs) > 1
        lines = ending.last_lines if life.program.log or several else ""
        text = (lines + hint_after(ending, life.program.log)).lstrip(".;\n ")
        if text:
            _log.error("%s: %s", member.name, text)

    # --------------------------------------------------------------------- attached

    def _tick(self) -> None:
        if not self._visible or time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        missing = [life for life in self._lives.values() if not life.attached]
        views = self._views() if missing else []
        for life in missing:
            self._look_at(life, views)

    def _views(self) -> list[ChannelView]:
        directory = next(iter(self._programs.values())).directory
        with contextlib.suppress(RLayError):
            return list_channels(directory)
        return []

    def _look_at(self, life: _Instance, views: list[ChannelView]) -> None:
        program = life.program
        held = program.held_among(life.child.pid, views)
        if held is not None:
            life.attached = True
            _log.info("%s has attached to channel %r", program.what, held)
        elif self._limit_s is not None and life.age_s >= self._limit_s:
            life.give_up(self._limit_s)
        elif self._limit_s is None and not life.warned and life.age_s >= _WARN_AFTER_S:
            life.warned = True
            _log.warning("%s", self._not_attached(life, views))

    def _not_attached(self, life: _Instance, views: list[ChannelView]) -> str:
        there = ", ".join(view.name for view in views[:8]) or "none"
        return (
            f"{life.program.what} runs, but has not attached to a channel within "
            f"{_WARN_AFTER_S:g} s. Channels in {life.program.directory}: {there}. A "
            "game that asks for decisions attaches once its trainer is there; another "
            "one makes the channel itself, if it finds the name in $RLAY_CHANNEL"
        )


def run_launch(
    launch: Launch, *, restart: bool, connect_timeout_s: float | None
) -> int:
    """Run instances until all have ended, or a stop is requested.

    Args:
        launch: Not started yet.
        restart: Whether a crashed instance is started again.
        connect_timeout_s: How long one may take to attach; None for as long as it
            likes.

    Returns:
        The exit code.

    Raises:
        LaunchFailed: The program cannot be executed.
    """
    return _Running(launch, restart, connect_timeout_s).run()
