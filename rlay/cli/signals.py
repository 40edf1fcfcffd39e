"""SIGTERM and Ctrl-C are the same request: end, and say goodbye."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class StopRequested(KeyboardInterrupt):
    """SIGTERM or SIGINT came.

    A KeyboardInterrupt, so that nothing between here and the command takes it for an
    error of its own.
    """


@contextlib.contextmanager
def stops_call(function: Callable[[str], None]) -> Iterator[None]:
    """Call ``function`` with the signal's name when a stop is requested."""

    def handle(number: int, frame: FrameType | None) -> None:
        function(signal.Signals(number).name)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in _STOPS:
            before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_stop(name: str) -> None:
    """Raise StopRequested; for :func:`stops_call`."""
    raise StopRequested(name)
