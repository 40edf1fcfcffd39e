"""Places at which a test lets the bridge die, as if killed from outside.

``RLAY_CRASH_AT=message.published`` kills it when it comes there first,
``RLAY_CRASH_AT=message.published:7`` the seventh time. Unset, which is always but in
tests, a point is one look at a constant.
"""

import os
import signal
from typing import Final

VARIABLE: Final = "RLAY_CRASH_AT"

POINTS: Final = (
    # A session begins: the origin's side, then the mirror's.
    "hello.opened",  # the client end is held, nothing is said
    "hello.said",
    "welcome.read",
    "opened.sent",
    "mirror.made",
    "hello.seen",
    "open.sent",
    "slots.made",  # the session's ids are in the header
    "welcome.said",
    # A message moves.
    "message.queued",
    "piece.sent",  # not the last one
    "message.sent",
    "piece.placed",  # not the last one
    "message.placed",
    "message.published",  # nobody was rung
    "message.rung",
    "taken.told",
    "taken.heard",
    "taken.marked",
    # A link comes back.
    "resume.sent",
    "resume.heard",
    "resumed.sent",
    "resumed.heard",
    # Somebody goes.
    "close.heard",
    "withdraw.heard",
)


class _Countdown:
    """Kills this process when its point was reached often enough."""

    def __init__(self, text: str) -> None:
        name, _, count = text.partition(":")
        if text and name not in POINTS:
            raise ValueError(f"{VARIABLE} names no point: {name!r}")
        self.name = name
        self._left = int(count or 1)

    def reach(self, name: str) -> None:
        """Come to a point."""
        if name == self.name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_countdown = _Countdown(os.environ.get(VARIABLE, ""))
ARMED: Final = bool(_countdown.name)
"""Whether a test has asked for a crash."""
reach: Final = _countdown.reach
