"""Delivery: at most once, and the reply that belongs to the request.

Both machines are tables. Events come from the transport; what a machine says to
do with a message is the outcome. Nothing here sends, waits or reads a clock, so
the same code runs over slots, sockets and a model checker.

Requester (asks; one request in flight)::

    state     event                          outcome    next
    IDLE      begin                          SEND       WAITING   sequence + 1
    WAITING   reply, same sequence           ACCEPT     IDLE
    WAITING   reply, older sequence          DROP       WAITING
    WAITING   cancel (nothing was sent)      -          IDLE      sequence as before
    WAITING   abandon (time-out, interrupt)  -          LATE
    LATE      reply, same sequence           DISCARD    IDLE
    LATE      reply, older sequence          DROP       LATE
    any       reply, newer sequence          BREACH     OVER
    any       lose                           -          OVER

Responder (answers)::

    state     event                          outcome    next
    READY     request, next sequence         RUN        RUNNING
    READY     request, same sequence         REPEAT     READY     the stored reply
    RUNNING   request, same sequence         DROP       RUNNING   it is being run
    any       request, older sequence        DROP       same
    READY     request, any other             BREACH     OVER
    RUNNING   request, any other             BREACH     OVER
    RUNNING   answer                         SEND       READY
    READY     cancel (nothing was sent)      -          RUNNING
    any       lose                           -          OVER

Sequences are 32-bit, start at 1 in each session, skip 0 and wrap. Older means a
signed difference below zero. (The greeting is the first event of all; it makes
both machines anew.)
"""

from enum import Enum, IntEnum
from typing import Final

from rlay.errors import LocalProtocolError
from rlay.protocol.constants import UINT32_MASK


class RequesterState(IntEnum):
    """What the asking end may do now."""

    IDLE = 0
    WAITING = 1
    LATE = 2
    OVER = 3


class ResponderState(IntEnum):
    """What the answering end may do now."""

    READY = 0
    RUNNING = 1
    OVER = 2


class Order(IntEnum):
    """How a message's sequence stands to the last one."""

    OLDER = 0
    SAME = 1
    NEXT = 2
    GAP = 3


class Outcome(Enum):
    """What to do with a message."""

    ACCEPT = "accept"
    DISCARD = "discard"
    DROP = "drop"
    RUN = "run"
    REPEAT = "repeat"
    BREACH = "breach"


def next_sequence(sequence: int) -> int:
    """Return the sequence after ``sequence``: one more, 0 left out."""
    return (sequence + 1) & UINT32_MASK or 1


def order(last: int, sequence: int) -> Order:
    """Compare ``sequence`` with ``last``, both unsigned 32-bit."""
    if sequence == 0:
        return Order.GAP  # no message has it, also not before the first
    if sequence == last:
        return Order.SAME
    if sequence == next_sequence(last):
        return Order.NEXT
    return Order.OLDER if (sequence - last) & 0x8000_0000 else Order.GAP


_REQ, _RES = RequesterState, ResponderState

REPLY_TABLE: Final[
    dict[tuple[RequesterState, Order], tuple[Outcome, RequesterState]]
] = {
    (_REQ.WAITING, Order.SAME): (Outcome.ACCEPT, _REQ.IDLE),
    (_REQ.WAITING, Order.OLDER): (Outcome.DROP, _REQ.WAITING),
    (_REQ.LATE, Order.SAME): (Outcome.DISCARD, _REQ.IDLE),
    (_REQ.LATE, Order.OLDER): (Outcome.DROP, _REQ.LATE),
    (_REQ.IDLE, Order.SAME): (Outcome.DROP, _REQ.IDLE),
    (_REQ.IDLE, Order.OLDER): (Outcome.DROP, _REQ.IDLE),
}
"""What is not listed is a breach."""

REQUEST_TABLE: Final[
    dict[tuple[ResponderState, Order], tuple[Outcome, ResponderState]]
] = {
    (_RES.READY, Order.NEXT): (Outcome.RUN, _RES.RUNNING),
    (_RES.READY, Order.SAME): (Outcome.REPEAT, _RES.READY),
    (_RES.READY, Order.OLDER): (Outcome.DROP, _RES.READY),
    (_RES.RUNNING, Order.SAME): (Outcome.DROP, _RES.RUNNING),
    (_RES.RUNNING, Order.OLDER): (Outcome.DROP, _RES.RUNNING),
}
"""What is not listed is a breach."""

# Members of an enum are found slowly in Python 3.11; a step needs these.
_IDLE, _WAITING = RequesterState.IDLE, RequesterState.WAITING
_READY, _RUNNING = ResponderState.READY, ResponderState.RUNNING
_ACCEPT, _RUN = Outcome.ACCEPT, Outcome.RUN


class Requester:
    """The asking end's half of delivery.

    Attributes:
        state: What may happen next.
        sequence: Of the last request; 0 before the first.
        dropped: Replies that were not wanted.
    """

    __slots__ = ("dropped", "sequence", "state")

    def __init__(self) -> None:
        """Start a session."""
        self.state = RequesterState.IDLE
        self.sequence = 0
        self.dropped = 0

    def begin(self) -> int:
        """Start the next request and return its sequence.

        Raises:
            LocalProtocolError: A request is in flight, or the session is over.
        """
        if self.state is not _IDLE:
            raise LocalProtocolError(
                "a request cannot start while the last one is "
                f"{self.state.name.lower()}"
            )
        self.state = _WAITING
        self.sequence = sequence = (self.sequence + 1) & UINT32_MASK or 1
        return sequence

    def cancel(self) -> None:
        """Undo :meth:`begin`: nothing was sent."""
        if self.state is _WAITING:
            self.state = _IDLE
            # 0 stands before 1, also after a wrap: both lead to 1 again.
            self.sequence = (self.sequence - 1) & UINT32_MASK

    def receive(self, sequence: int) -> Outcome:
        """Take note of a reply and return what to do with it."""
        if sequence == self.sequence and self.state is _WAITING:
            # The one edge of a steady step, written out for speed; a test
            # compares it with the table.
            self.state = _IDLE
            return _ACCEPT
        outcome, self.state = REPLY_TABLE.get(
            (self.state, order(self.sequence, sequence)), (Outcome.BREACH, _REQ.OVER)
        )
        if outcome is Outcome.DROP:
            self.dropped += 1
        return outcome

    def abandon(self) -> None:
        """Stop waiting for the reply in flight; it will be discarded."""
        if self.state is _REQ.WAITING:
            self.state = _REQ.LATE

    def lose(self) -> None:
        """End the session."""
        self.state = _REQ.OVER


class Responder:
    """The answering end's half of delivery.

    Attributes:
        state: What may happen next.
        sequence: Of the last request that was run; 0 before the first.
        dropped: Requests that were not run.
    """

    __slots__ = ("dropped", "sequence", "state")

    def __init__(self) -> None:
        """Start a session."""
        self.state = ResponderState.READY
        self.sequence = 0
        self.dropped = 0

    def receive(self, sequence: int) -> Outcome:
        """Take note of a request and return what to do with it."""
        if self.state is _READY and sequence == (
            (self.sequence + 1) & UINT32_MASK or 1
        ):
            # The one edge of a steady step, written out for speed; a test
            # compares it with the table.
            self.state = _RUNNING
            self.sequence = sequence
            return _RUN
        outcome, self.state = REQUEST_TABLE.get(
            (self.state, order(self.sequence, sequence)), (Outcome.BREACH, _RES.OVER)
        )
        if outcome is Outcome.DROP:
            self.dropped += 1
        return outcome

    def answer(self) -> int:
        """Finish the request that runs and return the sequence of its reply.

        Raises:
            LocalProtocolError: No request is being run.
        """
        if self.state is not _RUNNING:
            raise LocalProtocolError("there is no request to answer")
        self.state = _READY
        return self.sequence

    def cancel(self) -> None:
        """Undo :meth:`answer`: nothing was sent."""
        if self.state is _READY and self.sequence:
            self.state = _RUNNING

    def lose(self) -> None:
        """End the session."""
        self.state = _RES.OVER
