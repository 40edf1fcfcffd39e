"""Keeps several programs running: starts them, watches them, starts them again.

What becomes of a program that has ended::

    exit code 0         it is done
    exit code 2, 78     it cannot work as it was called: it is not started again
    anything else       a crash: it is started again, if there is a quota and it lasts
"""

import contextlib
import logging
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from rlay.processes.child import Ending
from rlay.processes.quota import RestartQuota

_log = logging.getLogger("rlay.processes.supervisor")

USAGE_CODES: Final = (2, 78)
"""Exit codes of a program that was called wrongly, or is configured so."""
_TICK_S: Final = 0.1


class Running(Protocol):
    """What a supervisor needs of a program; see ``ChildProcess``."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when it has ended."""

    def poll(self) -> Ending | None:
        """Return how it ended, or None while it runs."""

    def tell(self) -> None:
        """Tell it to end, without waiting."""

    def end(self) -> Ending:
        """End it and wait for that."""


class State(Enum):
    """What a member is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(slots=True)
class Member:
    """One of the programs.

    Attributes:
        name: Which one.
        state: What it is doing.
        restarts: How often it was started again.
        reason: Why it has failed.
        code: The exit code of its last end.
    """

    name: str
    state: State = State.QUEUED
    restarts: int = 0
    reason: str = ""
    code: int | None = 0
    running: Running | None = None
    quota: RestartQuota | None = None
    due: float = 0.0


class Supervisor:
    """Runs programs until all have ended, or :meth:`stop` is called.

    The others are started once the first is up: what is wrong with all of them is
    then said once.

    Attributes:
        members: The programs, in the order of their names.
    """

    def __init__(
        self,
        names: Sequence[str],
        launch: Callable[[str], Running],
        *,
        is_up: Callable[[str], bool],
        make_quota: Callable[[], RestartQuota] | None = None,
        after_end: Callable[[Member], None] | None = None,
        on_tick: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take note of what to run; nothing is started yet.

        Args:
            names: Of the programs; at least one.
            launch: Starts the program of a name.
            is_up: Says whether the program of a name is at work.
            make_quota: Makes the quota of each; None for no restarts.
            after_end: Called when a program has ended and its fate is decided.
            on_tick: Called about ten times a second.
            clock: A monotonic clock, in seconds.
        """
        self.members = [Member(name) for name in names]
        if make_quota is not None:
            for member in self.members:
                member.quota = make_quota()
        self._launch = launch
        self._is_up = is_up
        self._after_end = after_end
        self._on_tick = on_tick
        self._clock = clock
        self._stopping = False
        self._bell = os.pipe()
        os.set_blocking(self._bell[1], False)

    def stop(self) -> None:
        """Have :meth:`run` end everything and return; for signal handlers."""
        self._stopping = True
        with contextlib.suppress(OSError):  # run() has returned, or was told before
            os.write(self._bell[1], b"!")

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopping

    def run(self) -> int:
        """Run everything; return an exit code.

        Returns:
            0 if no program failed, 2 or 78 if all did for that reason, 1 otherwise.
        """
        try:
            self._start(self.members[0])
            while not self._stopping and self._unfinished():
                self._wait()
                self._look()
        finally:
            self._end_all()
            for fd in self._bell:
                os.close(fd)
            self._bell = (-1, -1)
        return self._exit_code()

    def _unfinished(self) -> bool:
        return any(
            m.state in (State.QUEUED, State.RUNNING, State.PAUSED) for m in self.members
        )

    def _wait(self) -> None:
        watched = [m.running.fileno() for m in self.members if m.running is not None]
        select.select([self._bell[0], *watched], [], [], _TICK_S)

    def _look(self) -> None:
        for member in self.members:
            if member.running is not None:
                ending = member.running.poll()
                if ending is not None:
                    self._ended(member, ending)
            elif member.state is State.PAUSED and self._clock() >= member.due:
                member.restarts += 1
                self._start(member)
        self._look_at_queue()
        if self._on_tick is not None:
            self._on_tick()

    def _look_at_queue(self) -> None:
        queued = [m for m in self.members if m.state is State.QUEUED]
        first = self.members[0]
        if not queued or first.state is State.PAUSED:
            return
        if first.state is State.FAILED:
            for member in queued:
                member.state, member.code = State.FAILED, first.code
                member.reason = f"was not started: {first.name} failed"
        elif first.state is State.ENDED or self._is_up(first.name):
            for member in queued:
                self._start(member)

    def _start(self, member: Member) -> None:
        member.running = self._launch(member.name)
        member.state = State.RUNNING
        _log.debug("started %s", member.name)

    def _ended(self, member: Member, ending: Ending) -> None:
        # Whatever it left running goes first: it may hold what a new one needs.
        if member.running is not None:
            member.running.end()
        member.running = None
        member.code = ending.code
        self._decide(member, ending)
        if self._after_end is not None:
            self._after_end(member)

    def _decide(self, member: Member, ending: Ending) -> None:
        if ending.code == 0:
            member.state = State.ENDED
            _log.info("%s is done", member.name)
            return
        if ending.code in USAGE_CODES:
            self._fail(member, f"{ending}: it cannot work as it was called")
            return
        if member.quota is None:
            self._fail(member, str(ending))
            return
        delay = member.quota.delay_after_crash(self._clock())
        if delay is None:
            self._fail(
                member,
                f"{ending}; it crashed {member.restarts + 1} times in all, and is not "
                f"started again: the quota of {member.quota} is used up",
            )
            return
        member.state = State.PAUSED
        member.due = self._clock() + delay
        _log.warning(
            "%s %s; starting it again in %g s (restart %d; the quota is %s)",
            member.name,
            ending,
            delay,
            member.quota.used,
            member.quota,
        )

    def _fail(self, member: Member, reason: str) -> None:
        member.state = State.FAILED
        member.reason = reason
        _log.error("%s %s", member.name, reason)

    def _end_all(self) -> None:
        running = [m for m in self.members if m.running is not None]
        for member in running:  # all at once, so that they end side by side
            if member.running is not None:
                member.running.tell()
        for member in running:
            if member.running is not None:
                ending = member.running.end()
                member.running = None
                member.code = ending.code
                member.state = State.ENDED
                if ending.code != 0:
                    _log.warning("%s %s when told to end", member.name, ending)
                if self._after_end is not None:
                    self._after_end(member)

    def _exit_code(self) -> int:
        failed = [m.code for m in self.members if m.state is State.FAILED]
        if not failed:
            return 0
        if len(failed) == len(self.members) and len(set(failed)) == 1:
            code = failed[0]
            return code if code in USAGE_CODES else 1
        return 1
