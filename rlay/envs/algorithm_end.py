"""What every environment at the algorithm's end has: one user, and a next step.

A step may need a reset first, for one of several reasons; a second thread and a
forked child are turned away. The environments of one lane and of many share this.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from gymnasium.error import ClosedEnvironmentError

from rlay.envs.faults import reset_needed
from rlay.envs.listening import Listening
from rlay.errors import (
    EnvLost,
    ForkedError,
    LocalProtocolError,
    ProtocolError,
    ResetTimeout,
    RLayError,
    StepTimeout,
)
from rlay.processes.instances import Launch
from rlay.processes.launch import LaunchWish, prepared
from rlay.processes.own_bridge import OwnBridge
from rlay.transport.attaching import Directory
from rlay.transport.forks import close_in_child

Step = Callable[[Any], Any]


class Refusal:
    """A step that raises. It does not keep the environment alive."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        """Raise what ``error`` returns."""
        self._error = error

    def __call__(self, action: Any) -> Any:
        """Raise."""
        raise self._error()


def refuse(why: str) -> Step:
    """Return a step that says why :meth:`reset` comes first."""
    return Refusal(lambda: reset_needed(why))


def closed_error(name: str) -> ClosedEnvironmentError:
    """Return Gymnasium's error for an environment that was closed."""
    return ClosedEnvironmentError(
        f"this environment was closed; make a new one on {name!r}"
    )


def refuse_closed(name: str) -> Step:
    """Return a step that says that the environment was closed."""
    return Refusal(lambda: closed_error(name))


class Session(Protocol):
    """What an algorithm's end has of the other end, or of several."""

    @property
    def over(self) -> bool:
        """Whether nothing more can be said in it."""


S = TypeVar("S", bound=Session)


class AlgorithmEnd(Listening, Generic[S]):
    """One user at a time, and what the next step does.

    Attributes:
        name: Of the channel.
    """

    name: str
    _link: S | None
    _step: Step

    def _set_up(self, name: str, bridge: OwnBridge) -> None:
        self.name = name
        self._bridge = bridge
        self._launch = Launch()
        self._link = None
        self._forked = False
        # Whether somebody uses it. A look, then a mark, with no call between them:
        # there the interpreter neither runs another thread nor a signal handler. (A
        # lock would stay locked for ever where Ctrl-C comes right after acquire().)
        # A list, since to set an attribute is a call.
        self._in_use = [False]
        self._step = refuse("reset() was never called")
        close_in_child(self)

    def _prepare(
        self,
        launch: LaunchWish | None,
        name: str | Sequence[str],
        directory: Directory,
        instances: int | None = 1,
    ) -> Launch:
        """Return what ``launch=`` stands for, once the bridge of ``listen=`` runs."""
        self._launch = prepared(
            launch,
            name,
            directory,
            instances=instances,
            address=self._bridge.address,
        )
        return self._launch

    def _after_failure(self, error: BaseException) -> None:
        """Decide what a failed step means for the next one."""
        if isinstance(error, EnvLost):
            self._launch.add_facts(error)
            self._step = refuse(f"this life of the environment is over ({error})")
        elif isinstance(error, ProtocolError):
            if self._link is None or self._link.over:
                self._step = refuse("the session is over")
        elif isinstance(error, (StepTimeout, ResetTimeout)):
            self._step = refuse("the last step timed out, its result is unknown")
        elif not isinstance(error, Exception):
            self._step = refuse("the last step was interrupted")

    def _busy_error(self) -> RLayError:
        if self._forked:
            return ForkedError(
                f"channel {self.name!r} belongs to the parent process: make a new "
                "environment in the child, or pass a factory to it"
            )
        return LocalProtocolError(
            f"two threads use the environment on {self.name!r} at the same time; give "
            "each a channel of its own"
        )

    def abandon(self) -> None:
        """Refuse every further use in a forked child."""
        self._forked = True
        self._in_use[0] = True
