"""The algorithm's end of a session in which the game asks: behind ``ServerEnv``.

A report, once read, stays unanswered until the next decision. That is what makes
``ServerEnv.step`` return the transition which its own action caused.
"""

from typing import Any, ClassVar

from rlay.envs.algorithm_link import AlgorithmLink
from rlay.errors import LocalProtocolError
from rlay.protocol.constants import CloseReason
from rlay.protocol.delivery import (
    Outcome,
    RequesterState,
    Responder,
    ResponderState,
)


class ServerLink(AlgorithmLink):
    """Answers the game's reports with Reset, Action, Call or Close."""

    _wanted: ClassVar[Outcome] = Outcome.RUN
    _awaiting: ClassVar[RequesterState | ResponderState] = ResponderState.READY
    _outstanding: ClassVar[RequesterState | ResponderState] = ResponderState.READY
    _at_rest: ClassVar[RequesterState | ResponderState] = ResponderState.RUNNING
    _over: ClassVar[RequesterState | ResponderState] = ResponderState.OVER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Compile for a session; arguments as :class:`AlgorithmLink`."""
        self._machine = self._responder = Responder()
        self._begin = self._responder.answer
        super().__init__(*args, **kwargs)

    @property
    def asked(self) -> bool:
        """Whether the game waits for a decision."""
        return self._responder.state is ResponderState.RUNNING

    def _before_call(self, name: str) -> None:
        if not self.asked:
            raise LocalProtocolError(
                f"{name} can be asked of the game only while it waits for a decision: "
                "call reset() first"
            )

    def close_send(self) -> None:
        """Answer with Close, if the game waits for a decision."""
        if self.asked:
            self._say(
                lambda buffer: self._writer.close(buffer, CloseReason.CLOSED),
                self._step_patience,
            )
