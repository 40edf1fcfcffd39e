"""The other end: is it there, and how long do we wait for it?"""

import math
import os
import time
from collections.abc import Callable
from typing import Protocol

from rlay.errors import (
    ChannelClosed,
    ChannelError,
    ConnectTimeout,
    LinkDown,
    PeerLost,
    RLayTimeout,
)
from rlay.protocol.constants import CloseReason, Holder, PeerState
from rlay.transport.header import EndLine
from rlay.transport.waiting import SLICE_S

RESUME_WINDOW_S = 300.0
"""How long a link may be down before its session is over, unless told otherwise."""

_REASONS = {
    CloseReason.NONE: "without a reason",
    CloseReason.CLOSED: "by close()",
    CloseReason.DRAINING: "because its process shuts down",
    CloseReason.ENVIRONMENT_EXITED: "because the environment ended its process",
    CloseReason.PROTOCOL_ERROR: "after a breach of the protocol",
    CloseReason.REPLACED: "because a newer session took over",
    CloseReason.VANISHED: "because it vanished",
    CloseReason.LINK_DOWN: "because the link to it was down for too long",
}
UNKNOWING = (CloseReason.LINK_DOWN, CloseReason.DRAINING)


def closed_text(reason: CloseReason) -> str:
    """Return how a goodbye with ``reason`` came about, such as ``by close()``."""
    return _REASONS[reason]


def resume_window_s() -> float:
    """Return how long a link may be down: ``RLAY_RESUME_WINDOW_S``, else 300 seconds.

    Raises:
        ChannelError: The variable is no number of seconds.
    """
    named = os.environ.get("RLAY_RESUME_WINDOW_S")
    if not named:
        return RESUME_WINDOW_S
    try:
        window_s = float(named)
    except ValueError:
        window_s = -1.0
    if not (math.isfinite(window_s) and window_s >= 0):
        raise ChannelError(
            f"RLAY_RESUME_WINDOW_S is a number of seconds, not {named!r}"
        )
    return window_s


class PeerGone(ChannelClosed):
    """The peer said goodbye.

    Attributes:
        reason: Why.
    """

    def __init__(self, message: str, reason: CloseReason) -> None:
        """Keep the reason."""
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle with the reason."""
        return type(self), (*self.args, self.reason)


class Watch(Protocol):
    """Says whether waiting is of any use."""

    def check(self) -> bool:
        """Return whether the time counts, or raise where waiting is of no use."""


class SessionWatch(Watch, Protocol):
    """Says whether the other end of a session is alive."""

    @property
    def vouches(self) -> bool:
        """Whether what is known of the last message sent is the last word."""


class OwnEnd:
    """Says whether this end is still open: another thread may close it."""

    def __init__(self, what: str) -> None:
        """Watch an end whose name in messages is ``what``."""
        self._what = what
        self._closed = False

    def close(self) -> None:
        """End every wait with this watch within a slice. Twice is harmless."""
        self._closed = True

    def check(self) -> bool:
        """Return True.

        Raises:
            ChannelClosed: This end was closed.
        """
        if self._closed:
            raise ChannelClosed(f"{self._what} was closed here, while it was in use")
        return True


class PeerWatch:
    """Says whether the other end is alive: by its lock, and by what it says.

    A process that holds its lock is alive, however long it is silent. Where a
    bridge holds the lock for a peer on another machine, a free lock means only
    that the bridge is being restarted.

    Attributes:
        held: Says whether the other end's lock is held.
    """

    def __init__(
        self,
        line: EndLine,
        held: Callable[[], bool],
        what: str,
        superseded: Callable[[], bool] | None = None,
        own: OwnEnd | None = None,
    ) -> None:
        """Watch one end.

        Args:
            line: What it says of itself.
            held: Says whether its lock is held.
            what: Its name in messages, such as ``the backend of channel 'x'``.
            superseded: Says whether somebody newer took its place.
            own: Says whether our own end is open.

        Raises:
            ChannelError: ``RLAY_RESUME_WINDOW_S`` is no number.
        """
        self._line = line
        self.held = held
        self._what = what
        self._superseded = superseded
        self._own = own
        self._down_since: float | None = None
        self._window_s = resume_window_s()

    @property
    def vouches(self) -> bool:
        """Whether what our slot says of the last message sent is the last word.

        A process that read it has said so in the slot. A bridge says so later than
        the far reader did: until it has told the end of the session, and for a reason
        other than that it does not know, or goes itself, it may have been read.
        """
        line = self._line
        if line.holder != Holder.BRIDGE:
            return True
        ended = line.state in (PeerState.LOST, PeerState.CLOSED)
        return ended and line.reason not in UNKNOWING

    def check(self) -> bool:
        """Return whether the link is up.

        Raises:
            PeerGone: The peer said goodbye.
            PeerLost: It is gone without a word.
            LinkDown: Its link was down for longer than the resume window.
            ChannelClosed: Our own end was closed by another thread.
        """
        if self._own is not None:
            self._own.check()
        line = self._line
        state = line.state
        if state == PeerState.CLOSED:
            raise self._gone()
        if state == PeerState.LOST:
            raise self._lost(line)
        if self._superseded is not None and self._superseded():
            raise PeerLost(f"{self._what} was replaced by a newer one")
        if state == PeerState.LINK_DOWN or not self.held():
            return self._missing(line)
        self._down_since = None
        return True

    def _gone(self) -> PeerGone:
        reason = self._line.reason
        return PeerGone(f"{self._what} was closed {closed_text(reason)}", reason)

    def _lost(self, line: EndLine) -> PeerLost:
        if line.reason == CloseReason.LINK_DOWN:
            return LinkDown(
                f"{self._what} is out of reach: the link to it was down for too long, "
                "or a bridge that was restarted does not know this session"
            )
        return PeerLost(f"{self._what} was lost")

    def _missing(self, line: EndLine) -> bool:
        if line.holder != Holder.BRIDGE:
            if line.state == PeerState.CLOSED:  # it said so, then let go of the lock
                raise self._gone()
            raise PeerLost(
                f"{self._what} is gone: {line.who} ended without a goodbye "
                "(killed, crashed, or out of memory)"
            )
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since > self._window_s:
            raise LinkDown(
                f"the link to {self._what} was down for more than {self._window_s:g} s"
            )
        return False


class Deadline:
    """Patience with a limit: the peer must live, and time must not be up.

    Time during which the link is known to be down does not count, unless it is asked
    for: a step may wait for its link, somebody who comes or goes does not.
    """

    def __init__(
        self,
        watch: Watch | None,
        timeout_s: float | None,
        error: Callable[[], RLayTimeout],
        *,
        counts_link_down: bool = False,
    ) -> None:
        """Set the limit; the time runs from each :meth:`start`, see :meth:`running`.

        Args:
            watch: Who must live; None for nobody.
            timeout_s: In seconds, or None to wait for ever.
            error: Makes what is raised when the time is up.
            counts_link_down: Whether time counts while the link is down.
        """
        self._watch = watch
        self._timeout_s = timeout_s
        self._error = error
        self._counts_link_down = counts_link_down
        self._began = self._checked = 0.0
        self._runs, self._fresh = False, True

    def running(self) -> "Deadline":
        """Return one whose time runs from now on, over all its waits together."""
        deadline = Deadline(
            self._watch,
            self._timeout_s,
            self._error,
            counts_link_down=self._counts_link_down,
        )
        deadline._began = deadline._checked = time.monotonic()
        deadline._runs, deadline._fresh = True, False
        return deadline

    def rewind(self) -> "Deadline":
        """Let the time of a running one begin anew, with the next sleep; return it.

        Cheaper than another one, and waits that need no sleep read no clock.
        """
        self._fresh = True
        return self

    def restart(self, now: float) -> None:
        """Let the time of a running one begin at ``now`` of ``time.monotonic``."""
        self._began = self._checked = now

    def start(self) -> float:
        """Note that a sleep begins; return its first slice in seconds."""
        self._checked = time.monotonic()
        if self._fresh:
            self._began, self._fresh = self._checked, not self._runs
        timeout = self._timeout_s
        if timeout is None:
            return SLICE_S
        return min(SLICE_S, max(timeout - (self._checked - self._began), 0.0))

    def check(self) -> float:
        """Return the next slice in seconds.

        Raises:
            RLayTimeout: The time is up.
            PeerLost: The peer is gone; or another error of :class:`PeerWatch`.
        """
        now = time.monotonic()
        up = self._watch is None or self._watch.check()
        if not (up or self._counts_link_down):
            self._began += now - self._checked
        self._checked = now
        if self._timeout_s is None:
            return SLICE_S
        left = self._timeout_s - (now - self._began)
        if left <= 0:
            raise self._error()
        return min(left, SLICE_S)


def connecting(timeout_s: float | None, text: str) -> Callable[[], RLayTimeout]:
    """Return a maker of :class:`ConnectTimeout` that says what is missing."""
    return lambda: ConnectTimeout(f"{text} within {timeout_s} s")
