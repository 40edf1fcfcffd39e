"""How the network is in one direction, and what has passed there.

All of it belongs to the thread of the proxy: who wants a change posts it there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from rlay.protocol.frames import FrameType
from rlay.testing.chaos.frame_faults import FrameFault


class Direction(StrEnum):
    """Which way bytes go."""

    TO_LISTENER = "to_listener"
    TO_DIALER = "to_dialer"
    BOTH = "both"


class Blackhole(StrEnum):
    """What becomes of bytes while nothing gets through."""

    STALL = "stall"
    """Nothing is read: the sender's own buffers fill. All arrives afterwards."""
    KEEP = "keep"
    """As much is read as the proxy's buffer holds, and arrives afterwards: the sender
    believes for longer that all is well."""
    DISCARD = "discard"
    """All is read and thrown away. A connection that lost bytes is reset afterwards."""


@dataclass
class Conditions:
    """The network in one direction.

    Attributes:
        latency_s: By which each piece is late.
        jitter_s: By how much more or less; the order of bytes stays.
        bytes_per_s: Rate limit; None for none.
        segment_bytes: Largest piece that is sent at once; None for any.
        close_delay_s: By which the end of the stream is late, beside the latency.
        blackhole: Whether nothing gets through, and what becomes of it.
        cut_at: Value of ``delivered_bytes`` at which the connection that delivers
            there is reset; None for never.
        corrupt_at: Number of the byte, counted as ``delivered_bytes``, to damage.
        corrupt_mask: The bits of it that are flipped.
        frame_faults: Each is used up by the next frame that it matches.
        delivered_bytes: How many got through, over all connections.
        received_bytes: How many came in.
        discarded_bytes: How many were thrown away.
        frames: How many of each type came in.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    segment_bytes: int | None = None
    close_delay_s: float = 0.0
    blackhole: Blackhole | None = None
    cut_at: int | None = None
    corrupt_at: int | None = None
    corrupt_mask: int = 1
    frame_faults: list[FrameFault] = field(default_factory=list)
    delivered_bytes: int = 0
    received_bytes: int = 0
    discarded_bytes: int = 0
    frames: Counter[FrameType] = field(default_factory=Counter)

    def degrade(
        self,
        latency_s: float,
        jitter_s: float,
        bytes_per_s: float | None,
        segment_bytes: int | None,
        close_delay_s: float,
    ) -> None:
        """Set all that makes the network slow."""
        self.latency_s = latency_s
        self.jitter_s = jitter_s
        self.bytes_per_s = bytes_per_s
        self.segment_bytes = segment_bytes
        self.close_delay_s = close_delay_s

    def heal(self) -> None:
        """Make the network good, and forget the faults that wait; counts stay."""
        self.degrade(0.0, 0.0, None, None, 0.0)
        self.blackhole = self.cut_at = self.corrupt_at = None
        self.frame_faults.clear()
