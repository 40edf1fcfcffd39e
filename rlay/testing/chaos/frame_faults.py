"""Faults of whole frames: lost, doubled, late.

TCP loses and reorders nothing, so these are not faults of a network. They are what a
bridge with a bug does, or a hostile one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rlay.errors import ProtocolError
from rlay.protocol.frames import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    FrameType,
    unpack_header,
)


@dataclass(frozen=True)
class FrameFault:
    """What becomes of one frame.

    Attributes:
        kind: Type of the frame; None for any.
        now: How often it is passed on where it stands: 0 or more times.
        after: How many further frames pass before it is sent once more; None for no
            such repetition.
    """

    kind: FrameType | None
    now: int = 1
    after: int | None = None


@dataclass
class _Late:
    """A frame that waits for others to pass it."""

    frame: bytes
    left: int
    due: float


class FrameTap:
    """Finds the frames in a stream, counts them, and does to them what is asked.

    Bytes pass as they come; only an unfinished header is held back, and a frame with a
    fault until it is whole. A stream that turns out to hold no frames (TLS, HTTP) is
    passed on untouched from there.

    Attributes:
        framed: Whether the stream holds frames, as far as is known.
    """

    def __init__(
        self, faults: list[FrameFault], count: Counter[FrameType], patience_s: float
    ) -> None:
        """Make a tap for one stream.

        Args:
            faults: Shared with the proxy, which adds to it; matched ones are removed.
            count: Counts the frames by type.
            patience_s: After which a late frame is sent although too few passed it.
        """
        self.framed = True
        self._faults = faults
        self._count = count
        self._patience_s = patience_s
        self._head = bytearray()
        self._left = 0  # of the current frame's body
        self._fault: FrameFault | None = None
        self._whole = bytearray()  # the current frame, where it has a fault
        self._late: list[_Late] = []

    def feed(self, data: bytes, now: float) -> bytes:
        """Take what came, and return what is to be passed on."""
        if not self.framed:
            return data
        out = bytearray()
        view = memoryview(data)
        while view and self.framed:
            if self._left:
                size = min(self._left, len(view))
                self._left -= size
                target = out if self._fault is None else self._whole
                target += view[:size]
            else:
                size = min(FRAME_HEADER_BYTES - len(self._head), len(view))
                self._head += view[:size]
                self._take_head(out)
            view = view[size:]
            if not self._left and not self._head and self.framed:
                self._end_frame(out, now)
        out += view
        return bytes(out)

    def overdue(self, now: float) -> bytes:
        """Return the frames that waited long enough, if the stream is between two."""
        if self._left or self._head:
            return b""
        due = [late for late in self._late if late.due <= now]
        self._late = [late for late in self._late if late.due > now]
        return b"".join(late.frame for late in due)

    @property
    def next_due(self) -> float | None:
        """When :meth:`overdue` has something, as far as is known."""
        return min((late.due for late in self._late), default=None)

    def finish(self) -> bytes:
        """Return all that was held back: the stream ends."""
        rest = bytes(self._whole + self._head)
        late = b"".join(late.frame for late in self._late)
        self._whole, self._head, self._late = bytearray(), bytearray(), []
        return rest + late

    def _take_head(self, out: bytearray) -> None:
        """Look at a header that may be whole by now."""
        head = self._head
        if not FRAME_MAGIC.startswith(head[: len(FRAME_MAGIC)]):
            self._give_up(out)
        elif len(head) == FRAME_HEADER_BYTES:
            try:
                frame = unpack_header(bytes(head))
            except ProtocolError:
                self._give_up(out)
                return
            self._count[frame.type] += 1
            self._left = frame.body_bytes
            self._fault = self._match(frame.type)
            target = out if self._fault is None else self._whole
            target += head
            self._head = bytearray()

    def _match(self, kind: FrameType) -> FrameFault | None:
        for number, fault in enumerate(self._faults):
            if fault.kind in (None, kind):
                return self._faults.pop(number)
        return None

    def _give_up(self, out: bytearray) -> None:
        self.framed = False
        out += self._head
        self._head = bytearray()

    def _end_frame(self, out: bytearray, now: float) -> None:
        """Send the frames that this one lets pass, and do its own fault."""
        for late in self._late:
            late.left -= 1
        for late in [late for late in self._late if late.left <= 0]:
            out += late.frame
            self._late.remove(late)
        fault, self._fault = self._fault, None
        if fault is None:
            return
        whole, self._whole = bytes(self._whole), bytearray()
        out += whole * fault.now
        if fault.after is not None:
            self._late.append(_Late(whole, fault.after, now + self._patience_s))
