"""Sessions that begin at another sequence than 1: the wrap-around in a short time."""

import contextlib
from collections.abc import Iterator

from rlay.protocol.constants import UINT32_MASK
from rlay.protocol.delivery import Outcome, Requester, Responder

_begin = Requester.begin
_receive = Responder.receive


def start_at(first: int) -> None:
    """Let every session of this process that begins from now on start there.

    Args:
        first: Sequence of the first request, at least 1.
    """
    before_first = (first - 1) & UINT32_MASK

    def begin(self: Requester) -> int:
        if self.sequence == 0:  # there was no request yet
            self.sequence = before_first
        return _begin(self)

    def receive(self: Responder, sequence: int) -> Outcome:
        if self.sequence == 0:
            self.sequence = before_first
        return _receive(self, sequence)

    Requester.begin = begin  # type: ignore[method-assign]
    Responder.receive = receive  # type: ignore[method-assign]


@contextlib.contextmanager
def starting_at(first: int) -> Iterator[None]:
    """Do so for the body."""
    start_at(first)
    try:
        yield
    finally:
        Requester.begin = _begin  # type: ignore[method-assign]
        Responder.receive = _receive  # type: ignore[method-assign]
