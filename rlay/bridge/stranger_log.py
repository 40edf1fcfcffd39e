"""Telling of those who are turned away: once, then how often.

Rule 1: who comes again and again for one reason is told at once, and from then on as a
number, at most once a minute.
Rule 2: who was let in is forgotten: the next time that it is turned away is news.
Rule 3: however many come, few are kept in mind. The others are told each time, which
is bounded by what the log takes of one kind.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_log = logging.getLogger("rlay.bridge.listener")

SUMMARY_S: Final = 60.0
_MOST: Final = 256


@dataclass(slots=True)
class _Repeats:
    """How often somebody was turned away and it was not told.

    Attributes:
        since: Of the last line about it.
        reason: The kind of the refusal, for who reads the log with a program.
        count: Times that are not told yet.
    """

    since: float
    reason: str
    count: int = 0


class StrangerLog:
    """Who was turned away, and how often since that was told last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nobody.

        Args:
            clock: Of the minutes.
        """
        self._clock = clock
        self._repeats: dict[tuple[str, str], _Repeats] = {}

    def refused(self, where: str, why: str, reason: str) -> None:
        """Take note that somebody was turned away.

        Args:
            where: Its address; each connection has another port.
            why: What people read.
            reason: The kind of it.
        """
        host = where.rpartition(":")[0]
        known = self._repeats.get((host, why))
        if known is not None:
            known.count += 1
            return
        if len(self._repeats) < _MOST:
            self._repeats[host, why] = _Repeats(self._clock(), reason)
        extra = {"peer": where, "reason": reason}
        _log.warning("refused %s: %s", where, why, extra=extra)

    def let_in(self, where: str) -> None:
        """Take note that somebody of this host was let in."""
        host = where.rpartition(":")[0]
        for key in [key for key in self._repeats if key[0] == host]:
            self._tell(*key, self._repeats.pop(key))

    def tell(self, *, at_end: bool = False) -> None:
        """Tell of those who came again, if a minute is over.

        Args:
            at_end: Tell now: nobody asks later.
        """
        now = self._clock()
        for key, repeats in list(self._repeats.items()):
            if not at_end and now - repeats.since < SUMMARY_S:
                continue
            if repeats.count:
                self._tell(*key, repeats)
                repeats.since, repeats.count = now, 0
            else:  # it did not come again
                del self._repeats[key]

    def _tell(self, host: str, why: str, repeats: _Repeats) -> None:
        if repeats.count:
            _log.warning(
                "refused %s again, %d times in %.0f s: %s",
                host,
                repeats.count,
                self._clock() - repeats.since,
                why,
                extra={"peer": host, "reason": repeats.reason},
            )
