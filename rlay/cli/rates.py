"""How fast channels are, from two looks at the numbers in their slots."""

from collections.abc import Iterable
from typing import Final

from rlay.transport.views import ChannelView

_SEQUENCE_MASK: Final = 0xFFFF_FFFF


def steps_of(view: ChannelView) -> int | None:
    """Return the number of requests in the present session, None without one.

    Resets and calls are among them. A batch of environments is one request.
    """
    return None if view.request is None else view.request.sequence


class Rates:
    """Steps per second, since the look before.

    A look reads the slots' counters from outside: the two ends notice nothing.
    """

    def __init__(self) -> None:
        """Start without a look."""
        self._last: dict[str, tuple[str, int, float]] = {}

    def look(self, views: Iterable[ChannelView], now: float) -> dict[str, float | None]:
        """Return requests per second by channel; None where there is nothing to say.

        Args:
            views: Of the channels, taken now.
            now: Of a monotonic clock, in seconds.
        """
        rates: dict[str, float | None] = {}
        seen: dict[str, tuple[str, int, float]] = {}
        for view in views:
            rates[view.name] = None
            steps = steps_of(view)
            if steps is None:
                continue
            seen[view.name] = (view.session, steps, now)
            if view.name in self._last:
                session, before, then = self._last[view.name]
                done = (steps - before) & _SEQUENCE_MASK
                if session == view.session and now > then:
                    rates[view.name] = done / (now - then)
        self._last = seen
        return rates
