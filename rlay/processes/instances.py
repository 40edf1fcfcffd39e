"""The instances of a launch: programs that were started together, and their owner.

What is started here ends with :meth:`Launch.close`, when the launch is collected, and
when this process ends, by SIGKILL too.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

from rlay.errors import ConnectTimeout, EnvLost, LaunchFailed, RLayError
from rlay.processes.child import Ending
from rlay.processes.launched import LaunchedProgram, hint_after
from rlay.processes.owned import FACTS_LIMIT_S

_LOOK_EVERY_S: Final = 0.02
_SEVERAL_FACTS_S: Final = 0.3
"""How long one of several programs may take to end after its channel was lost."""
_FRIENDLY_S: Final = 0.5
"""How long a program that was said goodbye to may take to end by itself."""
_MOST_SHOWN: Final = 3


class Launch:
    """Programs that were started together, each with a channel of its own.

    Made by :func:`launch`. A context manager: leaving it ends them.

    Attributes:
        programs: One for each instance.
    """

    def __init__(self, programs: Sequence[LaunchedProgram] = ()) -> None:
        """Take note of what to start; nothing is started yet.

        Args:
            programs: One for each instance; none at all is a launch of nothing.
        """
        self.programs = tuple(programs)
        self._attached_once = False

    # ----------------------------------------------------------------------- who

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each instance's channel."""
        return tuple(program.name for program in self.programs)

    @property
    def pids(self) -> tuple[int | None, ...]:
        """The process id of each instance; None for one that was not started."""
        return tuple(program.pid for program in self.programs)

    @property
    def running(self) -> tuple[bool, ...]:
        """Whether each instance runs."""
        return tuple(program.running for program in self.programs)

    # --------------------------------------------------------------------- starting

    def start(self) -> None:
        """Start the instances that do not run.

        Raises:
            LaunchFailed: One cannot be executed.
            EnvLost: One was started too often.
        """
        for program in self.programs:
            program.keep()

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Start them for what the body makes; end them again where the body fails."""
        try:
            self.start()
            yield
        except BaseException:
            self.close(hurry=True)
            raise

    def look(self) -> None:
        """Raise where it is of no use to wait for the instances any longer.

        Once they have attached, one that has ended is started again instead.

        Raises:
            LaunchFailed: An instance ended before it attached.
            EnvLost: An instance was started too often.
        """
        for program in self.programs:
            if self._attached_once:
                program.keep()
            else:
                program.check()

    def attached(self) -> None:
        """Take note that all instances have attached."""
        self._attached_once = True

    def wait_until_attached(self, timeout: float | None = 60.0) -> None:
        """Wait until each instance holds its end of a channel.

        Trainers need not call it: they wait by themselves. A game that asks for
        decisions attaches once its trainer is there.

        Args:
            timeout: In seconds; None waits for ever.

        Raises:
            LaunchFailed: An instance ended before. All are ended.
            ConnectTimeout: An instance runs, but did not attach. All are ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        missing = list(self.programs)
        try:
            while missing:
                missing = [each for each in missing if not each.attached()]
                for program in missing:
                    program.check()
                if missing and until is not None and time.monotonic() >= until:
                    _raise_too_late(missing[0], f"{timeout} s")
                time.sleep(_LOOK_EVERY_S)
        except BaseException:
            self.close(hurry=True)
            raise
        self._attached_once = True

    # -------------------------------------------------------------- what went wrong

    def explained(self, error: RLayError) -> RLayError:
        """Return what to raise where a greeting failed: which stage, and last lines.

        The instances are ended, unless several have attached before.

        Args:
            error: Why nobody could be greeted.
        """
        if not self.programs or isinstance(error, LaunchFailed):
            return error
        if self._attached_once and (
            len(self.programs) > 1 or isinstance(error, EnvLost)
        ):
            return error
        if isinstance(error, ConnectTimeout):
            return self._too_late(error)
        if isinstance(error, EnvLost):
            for program in self.programs:
                if program.facts(_SEVERAL_FACTS_S) is not None:
                    return program.start_error(program.end(hurry=True))
        tell(error, "The game attached, but the greeting failed. " + self._ended())
        return error

    def _too_late(self, error: ConnectTimeout) -> RLayError:
        for program in self.programs:
            ending = program.poll()
            if ending is not None:
                return program.start_error(ending)
        if len(self.programs) == 1:
            program = self.programs[0]
            return program.too_late(error, program.end(hurry=True))
        count = len(self.programs)
        tell(error, f"{count} instances were started, and were ended. {self._ended()}")
        return error

    def _ended(self) -> str:
        """End them, and tell of the first ones."""
        texts: list[str] = []
        for program in self.programs:
            log = program.log
            ending = program.end(hurry=True)
            if len(texts) < _MOST_SHOWN:
                texts.append(program.fate(ending))
                texts[-1] += hint_after(ending, log)
        return "\n".join(texts)

    def add_facts(self, error: EnvLost) -> None:
        """Add to ``error`` how the instances that have ended did so."""
        if not self.programs:
            return
        several = len(self.programs) > 1
        limit_s = _SEVERAL_FACTS_S if several else FACTS_LIMIT_S
        until = time.monotonic() + limit_s
        ended: list[tuple[LaunchedProgram, Ending]] = []
        while not ended and time.monotonic() < until:
            found = ((program, program.poll()) for program in self.programs)
            ended = [(each, ending) for each, ending in found if ending is not None]
            if any(program.reported for program, _ in ended):
                return  # this very error says so
            time.sleep(_LOOK_EVERY_S)
        if not ended:
            tell(error, "Its program still runs" if not several else "")
        for program, ending in ended[:_MOST_SHOWN]:
            tell(error, program.fate(ending))

    # ------------------------------------------------------------------------ the end

    def wait(self, timeout: float | None = None) -> list[int | None] | None:
        """Wait until all instances have ended.

        Args:
            timeout: In seconds; None waits for ever.

        Returns:
            Their exit codes, minus the number of the signal where one was the end; or
            None where one still runs then.
        """
        until = None if timeout is None else time.monotonic() + timeout
        codes: list[int | None] = []
        for program in self.programs:
            left = None if until is None else max(0.0, until - time.monotonic())
            ending = program.facts(left)
            if ending is None:
                return None
            codes.append(ending.code)
        return codes

    def close(self, *, friendly: bool = False, hurry: bool = False) -> None:
        """End the instances and all that they started. Twice is harmless.

        SIGTERM, a while, SIGKILL.

        Args:
            friendly: Whether they were said goodbye to, and may go by themselves.
            hurry: Whether they get hardly any time after SIGTERM.
        """
        until = time.monotonic() + (_FRIENDLY_S if friendly else 0.0)
        while any(program.running for program in self.programs):
            if time.monotonic() >= until:
                break
            time.sleep(_LOOK_EVERY_S)
        for program in self.programs:  # all at once, so that they end side by side
            program.tell()
        for program in self.programs:
            program.end(hurry=hurry)

    def let_go(self) -> None:
        """Have the instances ended, without waiting."""
        for program in self.programs:
            program.let_go()

    def __enter__(self) -> "Launch":
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the instances."""
        self.close()

    def __repr__(self) -> str:
        """Show channels, and how many instances run."""
        shown = ", ".join(self.names[:_MOST_SHOWN])
        more = ", ..." if len(self.names) > _MOST_SHOWN else ""
        return f"<Launch {shown}{more} running={sum(self.running)}>"


def _raise_too_late(program: LaunchedProgram, limit: str) -> None:
    raise program.too_late(ConnectTimeout(limit), program.end(hurry=True))


def tell(error: RLayError, text: str) -> None:
    """Add to what an error says, wherever it has one text."""
    if not text:
        return
    if len(error.args) == 1:
        error.args = (f"{error.args[0]}. {text}",)
    else:
        error.add_note(text)
