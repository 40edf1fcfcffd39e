"""What a bridge counts. Plain numbers: whoever shows them reads them."""

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

_ROUND_TRIPS: Final = 256
STEP_BOUNDS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip


@dataclass(slots=True)
class LinkCounts:
    """Of one link.

    Attributes:
        bytes_sent: Bytes written to the socket.
        bytes_received: Bytes read from it.
        round_trips_s: The last round trips of PINGs, in seconds.
        resumes: Sessions that this link, or one before it, took up again.
        last_error: Why the link before this one ended; "" where none was lost.
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    round_trips_s: deque[float] = field(
        default_factory=lambda: deque(maxlen=_ROUND_TRIPS)
    )
    resumes: int = 0
    last_error: str = ""

    def round_trip_s(self, share: float) -> float | None:
        """Return a quantile of the last round trips, None before the first."""
        trips = sorted(self.round_trips_s)
        return trips[int(share * (len(trips) - 1))] if trips else None


class StepTimes:
    """How long far replies took, as a histogram.

    Attributes:
        counts: How many took at most as long as the bound at the same place in
            :data:`STEP_BOUNDS_S`; the last one, how many took longer than all.
        total_s: The sum of all.
    """

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        """Begin with none."""
        self.counts = [0] * (len(STEP_BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, took_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(STEP_BOUNDS_S, took_s)] += 1
        self.total_s += took_s


@dataclass(slots=True)
class Counts:
    """Of the whole bridge.

    Attributes:
        messages: Publications that went from a slot to a link, by direction
            ("request" or "reply").
        replays: Publications that were sent again after a link came back.
        dropped: Frames that were dropped, by reason.
        stale_replies: Replies that came again, or too late, and were dropped.
        sessions: Sessions that were opened.
        resumes: Sessions that a new link took up again.
        closed: Ends of sessions, by reason.
        env_lost: Environments elsewhere that were lost in a session, by whether the
            request in flight was executed: "no", or "unknown".
        reconnects: Links that ended, by reason.
        auth_failures: Peers that could not prove who they are, by reason.
        protocol_errors: Links that ended because the peer broke the protocol.
        bytes_sent: Over all links that there were.
        bytes_received: Over all links that there were.
        step_times: From a request that went out to its reply.
    """

    messages: Counter[str] = field(default_factory=Counter)
    replays: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    stale_replies: int = 0
    sessions: int = 0
    resumes: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    env_lost: Counter[str] = field(default_factory=Counter)
    reconnects: Counter[str] = field(default_factory=Counter)
    auth_failures: Counter[str] = field(default_factory=Counter)
    protocol_errors: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_received: int = 0
    step_times: StepTimes = field(default_factory=StepTimes)
