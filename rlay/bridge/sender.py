"""What goes out over one link: control frames first, then messages in turns.

Messages are not copied and not queued: they lie in their slots until the far reader
has taken them, and are sent from there in pieces. Each session gets one piece per
turn, so that a large message never holds up a small one.
"""

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rlay.bridge.fault_points import ARMED, reach
from rlay.errors import SlowPeer
from rlay.protocol.constants import MAX_GREETING_BYTES
from rlay.protocol.frames import FRAME_HEADER_BYTES, MAX_BODY_BYTES

if TYPE_CHECKING:
    from rlay.bridge.session import Session

MAX_CONTROL_PENDING_BYTES: Final = 4 * 2**20
"""A thousand announcements are a tenth of it: who lets more wait does not read."""
MAX_PIECES_PENDING_BYTES: Final = 2 * MAX_GREETING_BYTES
"""Greetings of sessions: two of the largest."""
_BATCH_BYTES: Final = 4 * MAX_BODY_BYTES
_BATCH_MESSAGES: Final = 32
Write = Callable[[Sequence[bytes | memoryview]], int]
"""Gives buffers to the socket; returns how many bytes it took, 0 if it is full."""


class _Job:
    """A message on its way out."""

    __slots__ = ("message", "offset", "session")

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.message = session.outlet.message()
        self.offset = 0


class Sender:
    """The outgoing half of a link.

    Attributes:
        crc: Whether bodies carry a CRC.
        stalled_since: Since when the socket takes nothing; None if it does.
    """

    def __init__(self, write: Write, wants_room: Callable[[bool], None]) -> None:
        """Send through ``write``.

        Args:
            write: Gives buffers to the socket.
            wants_room: Called with True where the socket is full and :meth:`flush` is
                wanted when it is not, with False where that is over.
        """
        self._write = write
        self._wants_room = wants_room
        self._waiting = False
        self._control: deque[bytes | tuple[Iterator[bytes], int]] = deque()
        self._control_bytes = self._piece_bytes = 0
        self._jobs: deque[_Job] = deque()
        self._behind: dict[Session, bytes] = {}
        self._rest: list[bytes | memoryview] = []
        self._last_in_rest: list[Session] = []  # whose messages end in it
        self.crc = False
        self.stalled_since: float | None = None

    def control(self, frame: bytes) -> None:
        """Queue a whole frame that carries no message.

        Where too much waits already it is left out, and the next :meth:`flush` raises:
        whoever queues a frame is not to blame for a peer that does not read.
        """
        self._control_bytes += len(frame)
        if self._control_bytes <= MAX_CONTROL_PENDING_BYTES:
            self._control.append(frame)

    def control_in_pieces(self, frames: Iterator[bytes], size_bytes: int) -> None:
        """Queue frames that are made one by one, as the socket takes them.

        Frames that are queued later come behind them; messages go on in between. Too
        much of them is left out as in :meth:`control`.
        """
        self._piece_bytes += size_bytes
        if self._piece_bytes <= MAX_PIECES_PENDING_BYTES:
            self._control.append((frames, size_bytes))

    @property
    def _overfull(self) -> bool:
        return (
            self._control_bytes > MAX_CONTROL_PENDING_BYTES
            or self._piece_bytes > MAX_PIECES_PENDING_BYTES
        )

    def enqueue(self, session: "Session") -> None:
        """Queue what the session's outlet has queued.

        Raises:
            RemoteProtocolError: The message is not sound.
        """
        self._jobs.append(_Job(session))

    def send(self, session: "Session") -> None:
        """Send what the session's outlet has queued, at once where nothing waits.

        Raises:
            PeerLost: The connection broke.
            RemoteProtocolError: The message is not sound.
        """
        if self._rest or self._control or self._jobs:
            self._jobs.append(_Job(session))
            return
        message = session.outlet.message()
        size = len(message)
        if size > MAX_BODY_BYTES:
            self._jobs.append(_Job(session))
            return
        crc = zlib.crc32(message) if self.crc else None
        batch = (session.head(0, size, size, crc), message)
        sent = self._write(batch)
        if sent == FRAME_HEADER_BYTES + size:
            session.outlet.sent = session.outlet.queued
            if ARMED:
                reach("message.sent")
            return
        self._rest = _without(batch, sent)
        self._last_in_rest.append(session)
        self._wait()

    def behind(self, session: "Session", frame: bytes) -> None:
        """Queue a frame that must not overtake what the session still sends."""
        if any(job.session is session for job in self._jobs):
            self._behind[session] = frame
        else:
            self.control(frame)

    def cancel(self, session: "Session") -> None:
        """Forget what the session has not sent."""
        self._jobs = deque(job for job in self._jobs if job.session is not session)
        self._behind.pop(session, None)
        self._last_in_rest = [one for one in self._last_in_rest if one is not session]
        # A frame that is half out must go on, and its slot may get another use now.
        self._rest = [bytes(buffer) for buffer in self._rest]

    @property
    def empty(self) -> bool:
        """Whether everything was given to the socket."""
        return not (self._rest or self._control or self._jobs)

    def flush(self) -> None:
        """Give the socket all that it takes.

        Raises:
            PeerLost: The connection broke.
            SlowPeer: The peer does not read: too much waited for it.
        """
        if self._overfull:
            raise SlowPeer(
                f"the peer does not read: {self._control_bytes + self._piece_bytes} "
                "bytes of control frames wait for it"
            )
        if not (self._rest or self._control or self._jobs or self._waiting):
            return
        while True:
            batch = self._rest or self._next_batch()
            if not batch:
                if self._waiting:
                    self._waiting = False
                    self._wants_room(False)
                return
            self._rest = batch
            size = self._write(batch)
            if size:
                self.stalled_since = None
            self._rest = _without(batch, size)
            if not self._rest:
                self._note_sent()
            if ARMED and not self._rest:
                reach("piece.sent" if self._jobs else "message.sent")
            if self._rest:
                self._wait()
                return

    def _note_sent(self) -> None:
        for session in self._last_in_rest:
            session.outlet.sent = session.outlet.queued
        self._last_in_rest.clear()

    def _wait(self) -> None:
        if self.stalled_since is None:
            self.stalled_since = time.monotonic()
        if not self._waiting:
            self._waiting = True
            self._wants_room(True)

    def _next_batch(self) -> list[bytes | memoryview]:
        batch: list[bytes | memoryview] = self._next_control() if self._control else []
        size = 0
        for _ in range(_BATCH_MESSAGES):
            if size >= _BATCH_BYTES or not self._jobs:
                break
            size += self._add_piece(batch)
        return batch

    def _next_control(self) -> list[bytes | memoryview]:
        """Return all control frames, or those up to the next piece of a long one."""
        frames: list[bytes] = []
        while self._control:
            first = self._control[0]
            if not isinstance(first, bytes):
                pieces, size = first
                piece = next(pieces, None)
                if piece is not None:
                    frames.append(piece)
                    break
                self._piece_bytes -= size
                self._control.popleft()
                continue
            frames.append(first)
            self._control_bytes -= len(first)
            self._control.popleft()
        return [b"".join(frames) if len(frames) > 1 else frames[0]] if frames else []

    def _add_piece(self, batch: list[bytes | memoryview]) -> int:
        job = self._jobs.popleft()
        total, offset = len(job.message), job.offset
        piece = job.message[offset : offset + MAX_BODY_BYTES]
        size = len(piece)
        crc = zlib.crc32(piece) if self.crc else None
        session = job.session
        batch.append(session.head(offset, size, total, crc))
        batch.append(piece)
        job.offset = offset + size
        if job.offset < total:
            self._jobs.append(job)
            return size
        self._last_in_rest.append(session)
        behind = self._behind.pop(session, None) if self._behind else None
        if behind is not None:
            batch.append(behind)
        return size


def _without(
    batch: Sequence[bytes | memoryview], size: int
) -> list[bytes | memoryview]:
    """Return what is left of ``batch`` when its first ``size`` bytes are gone."""
    for index, buffer in enumerate(batch):
        if size < len(buffer):
            return [memoryview(buffer)[size:], *batch[index + 1 :]]
        size -= len(buffer)
    return []
