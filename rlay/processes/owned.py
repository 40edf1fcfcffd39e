"""A process that answers to its owner's channel, started as often as needed."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rlay.errors import ConnectTimeout, EnvLost, RLayError
from rlay.processes.child import ChildProcess, Ending, StartFailed
from rlay.processes.quota import RestartQuota
from rlay.processes.refusal import remove_stale
from rlay.protocol.addresses import is_address

_log = logging.getLogger("rlay.processes.owned")

FACTS_LIMIT_S: Final = 2.0
"""How long a process that let go of its channel may take to end altogether."""
_LAST_GRACE_S: Final = 1.0
"""How long it may take after SIGTERM, once it was told in a friendlier way."""


@dataclass
class OwnedProcess:
    """A process whose channel its owner uses.

    Attributes:
        name: Of the channel.
        directory: Where channels live.
        cwd: Where it runs.
        env: Its whole environment; None for this process's.
        quota: How often it may be started again.
        reported: Whether its end has been told in an error already.
    """

    name: str
    directory: str
    cwd: str | None = None
    env: Mapping[str, str] | None = None
    quota: RestartQuota = field(default_factory=RestartQuota)
    _child: ChildProcess | None = None
    reported: bool = False
    _clock: Callable[[], float] = time.monotonic

    @property
    def what(self) -> str:
        """What it is, for messages."""
        raise NotImplementedError

    def _start_child(self) -> ChildProcess:
        """Start it.

        Raises:
            StartFailed: It cannot be started.
        """
        raise NotImplementedError

    def not_started(self, error: StartFailed) -> EnvLost:
        """Return the error for a process that could not be started at all."""
        return EnvLost(f"{self.what} did not start: {error}", executed=False)

    def start_error(self, ending: Ending) -> EnvLost:
        """Return the error for a process that ended before it was of any use."""
        raise NotImplementedError

    def too_late(self, error: ConnectTimeout, ending: Ending) -> ConnectTimeout:
        """Return the error for a process that was ended because it took too long."""
        raise NotImplementedError

    # ----------------------------------------------------------------- start, look

    def start(self) -> None:
        """Start the process; one that was started before is ended first.

        Raises:
            EnvLost: It could not be started, or was started too often.
            ValueError: The command cannot be written.
        """
        if self._child is not None:
            time.sleep(self.delay_after(self._child.end()))
        self.launch()

    def launch(self) -> None:
        """Start the process, which does not run; as :meth:`start`."""
        try:
            self.reported = False
            self._child = self._start_child()
        except StartFailed as error:
            raise self.not_started(error) from error
        _log.info("started %s on %r: process %d", self.what, self.name, self._child.pid)

    def delay_after(self, ending: Ending) -> float:
        """Return how long to pause before it is started again; count that start.

        Raises:
            EnvLost: The quota is used up.
        """
        delay = self.quota.delay_after_crash(self._clock())
        if delay is None:
            self.reported = True
            raise EnvLost(
                f"{self.what} is not started again: the quota of {self.quota} is used "
                f"up. The last one {ending.with_lines()}",
                executed=False,
            )
        _log.warning("%s %s; starting it again", self.what, ending)
        return delay

    def poll(self) -> Ending | None:
        """Return how it ended; None while it runs, and before it was started."""
        return None if self._child is None else self._child.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def check(self) -> None:
        """Raise if the process has ended.

        Raises:
            EnvLost: It has; the message says how.
        """
        ending = self.poll()
        if ending is not None:
            raise self.start_error(ending)

    # --------------------------------------------------------------- what went wrong

    def lost_while_starting(self, error: RLayError) -> RLayError:
        """Return the error for a greeting that failed: the process knows why."""
        if isinstance(error, ConnectTimeout):
            running = self.running
            ending = self.end(hurry=True)
            return self.too_late(error, ending) if running else self.start_error(ending)
        found = self.facts(FACTS_LIMIT_S)
        return error if found is None else self.start_error(found)

    def facts(self, seconds: float | None) -> Ending | None:
        """Return how it ended, if it does within so many seconds; None: for ever."""
        return None if self._child is None else self._child.wait(seconds)

    # ------------------------------------------------------------------------- the end

    def tell(self) -> None:
        """Tell it to end, without waiting."""
        if self._child is not None:
            self._child.tell()

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
        unheard = ending is not None and not ending.told and not self.reported
        if unheard and ending is not None and ending.code != 0:
            _log.warning("%s %s", self.what, ending.with_lines())
        if not is_address(self.name):
            remove_stale(self.name, self.directory)
        return final

    def let_go(self) -> None:
        """Have the process ended, without waiting."""
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(OSError):
                child.let_go()
