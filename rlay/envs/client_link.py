"""The algorithm's end of a session in which it asks: behind ``ClientEnv``."""

from typing import Any, ClassVar

from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.faults import reset_needed
from rlay.errors import CloseTimeout
from rlay.protocol.constants import CloseReason
from rlay.protocol.delivery import (
    Outcome,
    Requester,
    RequesterState,
    ResponderState,
)
from rlay.transport.peers import Deadline


class ClientLink(AlgorithmLink):
    """Asks the backend: Reset, Step, Call, Close; one request in flight."""

    _wanted: ClassVar[Outcome] = Outcome.ACCEPT
    _awaiting: ClassVar[RequesterState | ResponderState] = RequesterState.WAITING
    _outstanding: ClassVar[RequesterState | ResponderState] = RequesterState.LATE
    _at_rest: ClassVar[RequesterState | ResponderState] = RequesterState.IDLE
    _over: ClassVar[RequesterState | ResponderState] = RequesterState.OVER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Compile for a session; arguments as :class:`AlgorithmLink`."""
        self._machine = self._requester = Requester()
        self._begin = self._requester.begin
        super().__init__(*args, **kwargs)

    def _before_call(self, name: str) -> None:
        if self._requester.state is RequesterState.LATE:
            raise reset_needed(f"the result of the last step is outstanding: {name}")

    def _abandon(self) -> None:
        self._requester.abandon()

    def close_send(self) -> Deadline | None:
        """Say Close, if nothing is outstanding."""
        if self._requester.state is not RequesterState.IDLE:
            return None
        limit = self._timeouts.close
        patience = Deadline(
            self.channel.watch,
            limit,
            lambda: CloseTimeout(
                f"the environment of {self.channel.name!r} did not close within "
                f"{limit} s; this end is closed all the same"
            ),
            counts_link_down=True,
        )
        patience = patience.running()
        self._say(
            lambda buffer: self._writer.close(buffer, CloseReason.CLOSED), patience
        )
        return patience
