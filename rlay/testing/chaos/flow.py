"""One direction of one connection: what came and is not delivered yet.

Rule 1: the order of bytes never changes here.
Rule 2: at most ``buffer_bytes`` wait; then nothing more is read, and TCP makes the
sender wait.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections import deque

from rlay.testing.chaos.conditions import Blackhole, Conditions
from rlay.testing.chaos.frame_faults import FrameTap

READ_BYTES = 64 * 1024
_SENDS_AT_ONCE = 64
"""Of small segments, before other connections have their turn."""
_PACE_S = 0.02
"""A rate limit is kept over this time."""


class Cut(Exception):
    """The connection is to be reset here."""


class Flow:
    """Reads from one socket and writes to another, in the given conditions.

    Attributes:
        blocked: Whether the target takes no more at the moment.
        finished: Whether the end of the stream was passed on.
        lost_bytes: How many were thrown away, which the reader misses.
    """

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        conditions: Conditions,
        tap: FrameTap,
        buffer_bytes: int,
        chance: random.Random,
    ) -> None:
        self.blocked = False
        self.finished = False
        self.lost_bytes = 0
        self._source = source
        self._target = target
        self._conditions = conditions
        self._tap = tap
        self._buffer_bytes = buffer_bytes
        self._chance = chance
        self._waiting: deque[tuple[float, memoryview]] = deque()
        self._waiting_bytes = 0
        self._free_at = 0.0  # when the rate allows the next byte
        self._ended = False  # the source said its last byte
        self._finish_due: float | None = None

    @property
    def wants_read(self) -> bool:
        """Whether there is room for more, and somebody who may send it."""
        if self._ended or self._conditions.blackhole == Blackhole.STALL:
            return False
        return self._discards or self._waiting_bytes < self._buffer_bytes

    @property
    def _discards(self) -> bool:
        closing = self._finish_due is not None
        return closing or self._conditions.blackhole == Blackhole.DISCARD

    def receive(self, now: float) -> None:
        """Read once.

        Raises:
            OSError: The source is gone.
        """
        try:
            data = self._source.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._ended = True
            self._put(self._tap.finish(), now)
            self.finish(now)
            return
        self._conditions.received_bytes += len(data)
        if self._discards:
            self._conditions.discarded_bytes += len(data)
            self.lost_bytes += len(data)
        else:
            self._put(self._tap.feed(data, now), now)

    def finish(self, now: float) -> None:
        """Tell the target that nothing more comes, behind what waits already."""
        if self._finish_due is None:
            self._finish_due = self._due(now) + self._conditions.close_delay_s

    def pump(self, now: float) -> None:
        """Send what is due.

        Raises:
            Cut: The connection is to be reset here.
            OSError: The target is gone.
        """
        if self._conditions.blackhole is not None:
            return
        self._put(self._tap.overdue(now), now)
        self.blocked = False
        for _ in range(_SENDS_AT_ONCE):
            if not self._waiting or max(self._waiting[0][0], self._free_at) > now:
                break
            if not self._send_piece(now):
                break
        at_end = self._finish_due is not None and self._finish_due <= now
        if at_end and not self._waiting and not self.finished:
            self.finished = True
            with contextlib.suppress(OSError):  # the target is gone: it need not know
                self._target.shutdown(socket.SHUT_WR)

    def next_due(self) -> float | None:
        """When :meth:`pump` has something to do, if nothing happens before."""
        if self._conditions.blackhole is not None or self.blocked:
            return None
        times = [self._tap.next_due]
        if self._waiting:
            times.append(max(self._waiting[0][0], self._free_at))
        elif not self.finished:
            times.append(self._finish_due)
        return min((time for time in times if time is not None), default=None)

    def _due(self, now: float) -> float:
        """When what comes now is delivered, unless what came earlier is later still."""
        jitter_s = self._conditions.jitter_s
        late_s = self._conditions.latency_s + self._chance.uniform(-jitter_s, jitter_s)
        return now + late_s

    def _put(self, data: bytes, now: float) -> None:
        if data:
            self._waiting.append((self._due(now), memoryview(data)))
            self._waiting_bytes += len(data)

    def _send_piece(self, now: float) -> bool:
        """Send from the first piece that waits; False if the target takes no more."""
        due, data = self._waiting[0]
        piece = self._piece(data)
        try:
            sent = self._target.send(piece)
        except (BlockingIOError, InterruptedError):
            self.blocked = True
            return False
        conditions = self._conditions
        conditions.delivered_bytes += sent
        self._waiting_bytes -= sent
        if conditions.bytes_per_s is not None:
            self._free_at = max(self._free_at, now) + sent / conditions.bytes_per_s
        if sent < len(data):
            self._waiting[0] = (due, data[sent:])
        else:
            self._waiting.popleft()
        self._cut_here()
        return True

    def _piece(self, data: memoryview) -> memoryview | bytes:
        """Return how much of ``data`` goes at once, damaged where that was asked."""
        conditions = self._conditions
        self._cut_here()
        position, size = conditions.delivered_bytes, len(data)
        if conditions.segment_bytes is not None:
            size = min(size, conditions.segment_bytes)
        if conditions.bytes_per_s is not None:
            size = min(size, max(1, int(conditions.bytes_per_s * _PACE_S)))
        if conditions.cut_at is not None:
            size = min(size, conditions.cut_at - position)
        damage = conditions.corrupt_at
        if damage is not None and position == damage:
            conditions.corrupt_at = None
            return bytes([data[0] ^ conditions.corrupt_mask])
        if damage is not None and position < damage:
            size = min(size, damage - position)
        return data[:size]

    def _cut_here(self) -> None:
        conditions = self._conditions
        cut_at = conditions.cut_at
        if cut_at is not None and conditions.delivered_bytes >= cut_at:
            conditions.cut_at = None
            raise Cut
