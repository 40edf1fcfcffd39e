"""Frames: what travels over a stream between two machines.

A frame is a header of 64 bytes and a body that the header does not look into::

     0        4    5    6      8            12           16
     +--------+----+----+------+------------+------------+
     | magic  | v. |type| flags| channel    | body_bytes |
     +--------+----+----+------+------------+------------+
  16 | incarnation             | session                 |
     +------------+------------+------------+------------+
  32 | sequence   | publication| offset     | total      |
     +------------+------------+------------+------------+
  48 | body_crc   | reserved                | header_crc |
     +------------+-------------------------+------------+

Rule 1: a header is checked whole (magic, version, CRC, type, lengths) before any
memory is taken for its body.
Rule 2: a body is at most 256 KiB, so that a small message never waits behind a large
one. What is larger goes in pieces: ``offset`` says where in ``total`` bytes.
Rule 3: who forwards a body never looks into it.
Rule 4: what cannot be understood whole is refused, unknown types and flags too. After
an error the stream is of no use: nobody knows where the next frame begins.
"""

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from rlay.errors import (
    DecodeError,
    LocalProtocolError,
    MessageTooLarge,
    VersionMismatch,
)
from rlay.protocol.constants import (
    MAX_GREETING_BYTES,
    MAX_SLOT_PAYLOAD_BYTES,
    MESSAGE_HEADER_BYTES,
)

FRAME_MAGIC: Final = b"RLFR"
FRAME_VERSION: Final = 1
FRAME_HEADER_BYTES: Final = 64
MAX_BODY_BYTES: Final = 256 * 1024
"""Of one frame: 2 ms at 1 Gbit/s, which is what a small message may wait."""
MAX_CONTROL_BYTES: Final = 64 * 1024
MAX_GREETING_BODY_BYTES: Final = 1024
"""Before a peer has proved who it is."""
OPENING_BYTES: Final = 16
"""In front of the payload of OPEN, OPENED and REFUSED."""
RECEIVE_BYTES: Final = 16 * 1024
"""Room for headers and small bodies: a larger body goes straight to its place."""
FIRST_RECEIVE_BYTES: Final = FRAME_HEADER_BYTES + MAX_GREETING_BODY_BYTES
"""The same for who has not proved who it is: it costs little memory."""

_HEADER: Final = struct.Struct("<4sBBHIIQQIIIII8xI")
_HEADER_WITHOUT_CRC: Final = struct.Struct("<4sBBHIIQQIIIII8x")
_CRC_SPAN: Final = FRAME_HEADER_BYTES - 4
_CRC: Final = struct.Struct("<I")


class FrameType(IntEnum):
    """What a frame is: greeting below 16, channels from 16, sessions from 32."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    WELCOME = 4
    ERROR = 5  # why the link ends now
    PING = 6
    PONG = 7
    DRAIN = 8  # no new sessions, please
    BYE = 9  # the link ends in order

    ANNOUNCE = 16  # a channel is here
    ANNOUNCED = 17  # all that are here were announced
    WITHDRAW = 18  # it is gone, and why
    REJECT = 19  # it cannot be mirrored, and why
    FIND = 20  # is there a channel of this name?
    NOT_FOUND = 21

    OPEN = 32  # a client says Hello
    OPENED = 33  # the server's Welcome
    REFUSED = 34  # the server's Refusal
    CLOSE = 35  # the client is gone, and why
    RESUME = 36  # the link is back: what do you have?
    RESUMED = 37
    LOST = 38  # there is no such session any more
    DATA = 39  # a message, or a part or a piece of one
    TAKEN = 40  # the far reader took it


class FrameFlag(IntEnum):
    """Bits of a frame's flags."""

    CRC = 1  # body_crc is filled


_KNOWN_FLAGS: Final = sum(FrameFlag)
_TYPES: Final = {int(kind): kind for kind in FrameType}
_GREETINGS: Final = frozenset(
    {
        FrameType.HELLO,
        FrameType.CHALLENGE,
        FrameType.PROOF,
        FrameType.WELCOME,
        FrameType.ERROR,
    }
)
_PIECES: Final = {
    FrameType.DATA: (MESSAGE_HEADER_BYTES, MAX_SLOT_PAYLOAD_BYTES),
    FrameType.OPEN: (OPENING_BYTES, MAX_GREETING_BYTES),
    FrameType.OPENED: (OPENING_BYTES, MAX_GREETING_BYTES),
    FrameType.REFUSED: (OPENING_BYTES, MAX_GREETING_BYTES),
}
"""Frames whose body may be a piece of something larger: what stands in front of the
payload, and the most that the payload may take, in bytes."""


class DamagedFrame(DecodeError):
    """A checksum is wrong: bytes changed on their way. Another link may do better."""


class Frame(NamedTuple):
    """A frame's header, checked.

    Attributes:
        type: What it is.
        channel: Number that the announcing end gave the channel; 0 for the link.
        incarnation: Of the session; 0 where there is none.
        session: Of the session; 0 where there is none.
        sequence: Of the message; in FIND and its answers the number of the question.
        publication: The slot's word ``published`` of the message.
        offset: Where in ``total`` bytes the body lies.
        total: Bytes of the whole of which the body is a piece.
        body_bytes: Of the body.
        flags: See :class:`FrameFlag`.
        body_crc: CRC-32 of the body, where flags say so.
    """

    type: FrameType
    channel: int = 0
    incarnation: int = 0
    session: int = 0
    sequence: int = 0
    publication: int = 0
    offset: int = 0
    total: int = 0
    body_bytes: int = 0
    flags: int = 0
    body_crc: int = 0

    @property
    def last(self) -> bool:
        """Whether the body reaches the end of the whole."""
        return self.offset + self.body_bytes == self.total


def pack_header(
    kind: int,
    channel: int = 0,
    incarnation: int = 0,
    session: int = 0,
    sequence: int = 0,
    publication: int = 0,
    offset: int = 0,
    total: int = 0,
    body_bytes: int = 0,
    body_crc: int | None = None,
) -> bytes:
    """Return the 64 bytes of a header; arguments as in :class:`Frame`.

    ``body_crc`` is None where the body goes without one.
    """
    head = _HEADER_WITHOUT_CRC.pack(
        FRAME_MAGIC,
        FRAME_VERSION,
        kind,
        0 if body_crc is None else FrameFlag.CRC,
        channel,
        body_bytes,
        incarnation,
        session,
        sequence,
        publication,
        offset,
        total,
        body_crc or 0,
    )
    return head + _CRC.pack(zlib.crc32(head))


def pack_frame(
    kind: int,
    body: bytes = b"",
    channel: int = 0,
    incarnation: int = 0,
    session: int = 0,
    sequence: int = 0,
    publication: int = 0,
    *,
    crc: bool = False,
) -> bytes:
    """Return a whole frame with a small body.

    Arguments as in :class:`Frame`; ``crc`` is whether the body goes with its CRC.
    """
    size = len(body)
    body_crc = zlib.crc32(body) if crc else None
    head = pack_header(
        kind, channel, incarnation, session, sequence, publication, 0, size, size,
        body_crc,
    )  # fmt: skip
    return head + body


def unpack_header(data: memoryview | bytes, start: int = 0) -> Frame:
    """Return the frame whose header is at ``start``.

    Raises:
        DecodeError: It is no header. DamagedFrame: its CRC is wrong.
        VersionMismatch: It is one of another version.
        MessageTooLarge: The body, or the whole, exceeds what its type allows.
    """
    if len(data) - start < FRAME_HEADER_BYTES:
        raise DecodeError(f"the header of a frame in {len(data) - start} bytes")
    (
        magic, version, kind, flags, channel, body_bytes, incarnation, session,
        sequence, publication, offset, total, body_crc, header_crc,
    ) = _HEADER.unpack_from(data, start)  # fmt: skip
    if magic != FRAME_MAGIC:
        raise DecodeError(f"no frame begins with {magic!r}", "$.magic")
    if header_crc != zlib.crc32(data[start : start + _CRC_SPAN]):
        raise DamagedFrame("the header of a frame is damaged", "$.header_crc")
    if version != FRAME_VERSION:
        raise VersionMismatch(FRAME_VERSION, version)
    known = _TYPES.get(kind)
    if known is None:
        raise DecodeError(f"unknown type of frame {kind}", "$.type")
    if flags & ~_KNOWN_FLAGS:
        raise DecodeError(f"unknown flags {flags:#06x}", "$.flags")
    if known is not _DATA or not (
        MESSAGE_HEADER_BYTES <= offset + body_bytes <= total <= _MOST_DATA
        and 0 < body_bytes <= MAX_BODY_BYTES
    ):
        _check_lengths(known, offset, total, body_bytes)
    return tuple.__new__(
        Frame,
        (known, channel, incarnation, session, sequence, publication, offset, total,
         body_bytes, flags, body_crc),
    )  # fmt: skip


_DATA: Final = FrameType.DATA
_MOST_DATA: Final = sum(_PIECES[FrameType.DATA])
"""What a step checks, written out for speed; a test compares it with the table."""


def _check_lengths(known: FrameType, offset: int, total: int, body_bytes: int) -> None:
    """Check a header's lengths; raises as :func:`unpack_header`."""
    pieces = _PIECES.get(known)
    if pieces is None:
        limit = MAX_GREETING_BODY_BYTES if known in _GREETINGS else MAX_CONTROL_BYTES
        if body_bytes > limit:
            raise MessageTooLarge(body_bytes, limit)
        if offset or total != body_bytes:
            raise DecodeError(f"a {known.name} comes whole", "$.total")
        return
    front, most = pieces
    if total > front + most:
        raise MessageTooLarge(total, front + most)
    if body_bytes > MAX_BODY_BYTES:
        raise MessageTooLarge(body_bytes, MAX_BODY_BYTES)
    if total < front:
        raise DecodeError(f"a {known.name} of {total} bytes in all", "$.total")
    if not body_bytes or offset + body_bytes > total:
        raise DecodeError(
            f"{body_bytes} bytes at {offset} are no piece of {total}", "$.offset"
        )


def _check_place(place: memoryview, size_bytes: int) -> None:
    if len(place) != size_bytes:
        raise LocalProtocolError(
            f"a place of {len(place)} bytes for a body of {size_bytes}"
        )


def _check_body(frame: Frame, body: memoryview) -> None:
    if frame.flags & FrameFlag.CRC and zlib.crc32(body) != frame.body_crc:
        raise DamagedFrame(f"the body of a {frame.type.name} is damaged", "$.body")


Place = Callable[[Frame], "memoryview | None"]
"""Says where a frame's body is to lie, or None for memory of the decoder's own."""
Deliver = Callable[[Frame, memoryview], None]
"""Takes a frame whose body has come; the body is valid during the call only."""


class FrameDecoder:
    """Takes a stream in pieces of any size, and delivers frames.

    The owner receives into :meth:`buffer` and says how much came; a large body then
    goes straight into the place that it was given, without a copy between::

        decoder.received(sock.recv_into(decoder.buffer()))

    Attributes:
        frames: How many were delivered.
    """

    def __init__(self, place: Place, deliver: Deliver) -> None:
        """Deliver to these two.

        Args:
            place: Called when a header is there. What it returns is of bytes, exactly
                ``body_bytes`` of them. It may raise: the stream is then of no use.
            deliver: Called when the body is there too, its CRC checked.
        """
        self._place = place
        self._deliver = deliver
        self._room = memoryview(bytearray(FIRST_RECEIVE_BYTES))
        self._begin = self._end = 0  # what came and was not delivered
        self._frame: Frame | None = None
        self._body = memoryview(b"")
        self._filled = 0
        self._greeted = False
        self.frames = 0

    def buffer(self) -> memoryview:
        """Return where the next bytes are to be received; it is never empty."""
        frame = self._frame
        if frame is not None and self._begin == self._end:
            return self._body[self._filled :]
        return self._room[self._end :]

    def behind(self) -> memoryview | None:
        """Return where the header behind the body in :meth:`buffer` may go with it.

        None where :meth:`buffer` is no body. A large message comes in pieces: with
        this each costs one system call.
        """
        if self._frame is None or self._begin != self._end:
            return None
        return self._room[:FRAME_HEADER_BYTES]

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes that came another way; raises as :meth:`received`."""
        view = memoryview(data)
        while view:
            buffer = self.buffer()
            size = min(len(view), len(buffer))
            buffer[:size] = view[:size]
            view = view[size:]
            self.received(size)

    def received(self, size_bytes: int) -> None:
        """Take note of how much came, and deliver what is whole.

        Args:
            size_bytes: Into :meth:`buffer`, and what exceeds that into :meth:`behind`.

        Raises:
            DecodeError: The stream holds no frames. DamagedFrame: a CRC is wrong.
            VersionMismatch: It is of another version.
            MessageTooLarge: A length exceeds its limit. Nothing was taken for it.
        """
        if self._frame is not None and self._begin == self._end:
            lacking = len(self._body) - self._filled
            self._filled += min(size_bytes, lacking)
            self._finish()
            size_bytes -= lacking
            if size_bytes <= 0:
                return
        self._end += size_bytes
        if self._frame is None:
            self._deliver_whole()
        while self._advance():
            pass
        self._compact()

    def _deliver_whole(self) -> None:
        """Deliver the frames that lie whole in the room: nearly all, nearly always."""
        room, end = self._room, self._end
        place, deliver = self._place, self._deliver
        while self._frame is None and end - self._begin >= FRAME_HEADER_BYTES:
            start = self._begin + FRAME_HEADER_BYTES
            frame = unpack_header(room, self._begin)
            size = frame.body_bytes
            if start + size > end:
                self._begin_frame(frame)
                self._begin = start
                return
            body = here = room[start : start + size]
            where = place(frame)
            if where is not None:
                _check_place(where, size)
                where[:] = here
                body = where
            self._begin = start + size
            self._greeted = self._greeted or frame.type not in _GREETINGS
            if frame.flags:
                _check_body(frame, body)
            self.frames += 1
            deliver(frame, body)

    def _advance(self) -> bool:
        """Take one header, or more of a body, from the room; False if it lacks."""
        if self._frame is None:
            begin = self._begin
            if self._end - begin < FRAME_HEADER_BYTES:
                return False
            self._begin_frame(unpack_header(self._room, begin))
            self._begin = begin + FRAME_HEADER_BYTES
        size = min(len(self._body) - self._filled, self._end - self._begin)
        here = self._room[self._begin : self._begin + size]
        self._body[self._filled : self._filled + size] = here
        self._filled += size
        self._begin += size
        return self._finish()

    def _begin_frame(self, frame: Frame) -> None:
        place = self._place(frame)
        if place is None:
            place = memoryview(bytearray(frame.body_bytes))
        _check_place(place, frame.body_bytes)
        self._frame, self._body, self._filled = frame, place, 0
        self._greeted = self._greeted or frame.type not in _GREETINGS

    def _finish(self) -> bool:
        """Deliver the frame if its body is whole; return whether it was."""
        frame, body = self._frame, self._body
        if frame is None or self._filled < len(body):
            return False
        self._frame, self._body = None, memoryview(b"")
        _check_body(frame, body)
        self.frames += 1
        self._deliver(frame, body)
        return True

    def _compact(self) -> None:
        """Move what is left, less than a header, to the front of the room."""
        left = self._end - self._begin
        if left and self._begin:
            self._room[:left] = bytes(self._room[self._begin : self._end])
        self._begin, self._end = 0, left
        if self._greeted and len(self._room) < RECEIVE_BYTES:
            rest = self._room[:left]
            self._room = memoryview(bytearray(RECEIVE_BYTES))
            self._room[:left] = rest
