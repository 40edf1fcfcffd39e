"""The two slots of a session in which a peer attaches directly.

They lie in this process's own memory and are written and read as mapped ones are. In
place of another process it is this module that reads what is published in the one and
publishes in the other: a publication goes out as DATA frames straight from its buffer,
and what comes is received straight into the buffer from which it will be read.

A publication stays in its buffer until the far reader took it. So whatever a broken
link has lost can be sent again: :meth:`SocketSlots.resume`.
"""

import zlib
from collections.abc import Callable
from typing import Final

from rlay.errors import DecodeError, RemoteProtocolError
from rlay.protocol.constants import (
    MESSAGE_HEADER_BYTES,
    PAYLOAD_ALIGNMENT,
    SLOT_CONTROL_BYTES,
    UINT32_MASK,
)
from rlay.protocol.frames import MAX_BODY_BYTES, Frame, FrameType, pack_header
from rlay.protocol.link_messages import SlotWords
from rlay.protocol.slot_layout import (
    INCARNATION_WORD,
    PAYLOAD_BYTES_WORD,
    PUBLISHED_BELL_WORD,
    PUBLISHED_WORD,
    SEQUENCE_WORD,
    TAKEN_BELL_WORD,
    TAKEN_WORD,
    buffer_offset,
    slot_bytes,
)
from rlay.transport.socket_link import SocketLink
from rlay.transport.socket_stream import Part
from rlay.transport.stores import End

_COUNTS: Final = 0x7FFF_FFFF
"""Bit 0 of a word says which buffer, the other 31 count."""
_NEWER: Final = 0x4000_0000

Ids = tuple[int, int]


def is_newer(word: int, than: int) -> bool:
    """Return whether one word ``published`` came after another one."""
    return 0 < (word >> 1) - (than >> 1) & _COUNTS < _NEWER


class PrivateSlot:
    """A slot in this process's memory.

    Attributes:
        memory: All of it.
        words: Its control words.
        capacity: Room for a payload, in bytes.
        messages: Its two buffers, header and payload.
        headers: The headers of these, as 32-bit words.
    """

    def __init__(self, capacity: int) -> None:
        """Take the memory."""
        self.capacity = capacity
        self.memory = memoryview(bytearray(slot_bytes(capacity)))
        self.words = self.memory[:SLOT_CONTROL_BYTES].cast("I")
        size = MESSAGE_HEADER_BYTES + capacity
        first, second = (buffer_offset(index, capacity) for index in (0, 1))
        self.messages = (
            self.memory[first : first + size],
            self.memory[second : second + size],
        )
        self.headers = tuple(
            message[:MESSAGE_HEADER_BYTES].cast("I") for message in self.messages
        )
        # Nobody sleeps on a futex here: the bell always rings, and ringing is sending.
        self.words[TAKEN_BELL_WORD] = 1
        self.words[PUBLISHED_BELL_WORD] = 1


class SocketSlots:
    """Both slots of a session, and what moves between them and a link.

    Attributes:
        outgoing: What this end writes.
        incoming: What it reads.
        attached: Whether the session is known to the other side of this connection.
        dropped: Frames that belong to no session, or came twice.
        send_published: Sends what was published last; the writer's bell.
        send_taken: Says that what came last was taken; the reader's bell.
    """

    def __init__(
        self, link: SocketLink, end: End, ids: Ids, capacities: tuple[int, int]
    ) -> None:
        """Take memory for a session that is attached.

        Args:
            link: To the bridge.
            end: Which end this is.
            ids: Incarnation and session.
            capacities: Of the request slot and the reply slot, in bytes.

        Raises:
            DecodeError: These are no capacities of slots.
        """
        for capacity in capacities:
            if not capacity or capacity % PAYLOAD_ALIGNMENT:
                raise DecodeError(f"a slot for {capacity} bytes")
        request, reply = map(PrivateSlot, capacities)
        client = end is End.CLIENT
        self._client = client
        self.outgoing, self.incoming = (request, reply) if client else (reply, request)
        self.attached = True
        self.dropped = 0
        self._link = link
        self._ids = ids
        self._id_words = tuple(
            word for one in ids for word in (one & UINT32_MASK, one >> 32)
        )
        self._channel = 0
        self._handed = 0
        self._coming = (0, 0)  # a publication that comes in pieces, and the next offset
        self.send_published = self._compile_send()
        self.send_taken = self._taken

    def on_channel(self, number: int) -> None:
        """Use this number for the channel on the present connection."""
        self._channel = number
        self.send_published = self._compile_send()

    # ------------------------------------------------------------------- going out

    def _compile_send(self) -> Callable[[int], None]:
        words, headers = self.outgoing.words, self.outgoing.headers
        messages, link = self.outgoing.messages, self._link
        channel, (incarnation, session) = self._channel, self._ids
        send, data = link.send, int(FrameType.DATA)

        def send_published(_offset: int = 0) -> None:
            if not self.attached:
                return
            number = words[PUBLISHED_WORD]
            index = number & 1
            header = headers[index]
            sequence = header[SEQUENCE_WORD]
            total = MESSAGE_HEADER_BYTES + header[PAYLOAD_BYTES_WORD]
            connection = link.connection
            crc = connection is not None and connection.crc
            parts: list[Part] = []
            offset = 0
            while offset < total:
                body = messages[index][offset : min(offset + MAX_BODY_BYTES, total)]
                size = len(body)
                head = pack_header(
                    data, channel, incarnation, session, sequence, number, offset,
                    total, size, zlib.crc32(body) if crc else None,
                )  # fmt: skip
                parts += (head, body)
                offset += size
            send(parts)
            self._handed = number

        return send_published

    def send_pending(self) -> None:
        """Send a publication that a signal kept from being sent."""
        if self.outgoing.words[PUBLISHED_WORD] != self._handed:
            self.send_published(0)

    @property
    def pending(self) -> bool:
        """Whether something was published and not handed to the link."""
        return self.outgoing.words[PUBLISHED_WORD] != self._handed

    def _taken(self, _offset: int = 0) -> None:
        if self.attached:
            self._link.send_frame(
                FrameType.TAKEN,
                b"",
                self._channel,
                self._ids,
                publication=self.incoming.words[TAKEN_WORD],
            )

    def tell_taken(self) -> None:
        """Say that what came last was taken, if it was: before a goodbye.

        In lock step nobody says so, the next message does.
        """
        words = self.incoming.words
        if words[TAKEN_WORD] == words[PUBLISHED_WORD] != 0:
            self._taken()

    # ------------------------------------------------------------------- coming in

    def is_ours(self, frame: Frame) -> bool:
        """Return whether a frame belongs to this session."""
        return (frame.incarnation, frame.session) == self._ids

    def place(self, frame: Frame) -> memoryview | None:
        """Return where the body of a DATA of this session goes, or None to drop it.

        Raises:
            RemoteProtocolError: It would overwrite what was not taken, or it is no
                message.
        """
        words = self.incoming.words
        number, published = frame.publication, words[PUBLISHED_WORD]
        if not self.is_ours(frame) or not is_newer(number, published):
            return None
        if words[TAKEN_WORD] != published:
            raise RemoteProtocolError(
                f"message {number} came before message {published} was taken"
            )
        offset, size = frame.offset, frame.body_bytes
        limit = MESSAGE_HEADER_BYTES + self.incoming.capacity
        if not MESSAGE_HEADER_BYTES <= frame.total <= limit:
            raise DecodeError(
                f"a message of {frame.total} bytes in room for {limit}", "$.total"
            )
        if offset and self._coming != (number, offset):
            raise DecodeError(
                f"a piece at {offset} came in place of {self._coming[1]}", "$.offset"
            )
        return self.incoming.messages[number & 1][offset : offset + size]

    def take_data(self, frame: Frame) -> None:
        """Take note that the body of a DATA is where :meth:`place` said.

        Raises:
            DecodeError: The message's own header says something else.
        """
        number, words = frame.publication, self.incoming.words
        if not self.is_ours(frame):
            self.dropped += 1
            return
        if not is_newer(number, words[PUBLISHED_WORD]):
            self.dropped += 1
            if number == words[TAKEN_WORD]:
                self._taken()
            return
        if not frame.last:
            self._coming = number, frame.offset + frame.body_bytes
            return
        header = self.incoming.headers[number & 1]
        claimed = header[PAYLOAD_BYTES_WORD]
        if MESSAGE_HEADER_BYTES + claimed != frame.total:
            raise DecodeError(
                f"a payload of {claimed} bytes in a message of {frame.total}",
                "$.payload_bytes",
            )
        if tuple(header[INCARNATION_WORD:PAYLOAD_BYTES_WORD]) != self._id_words:
            raise DecodeError("a message of another session than its frame", "$.ids")
        # A reply implies that its request was taken, the next request that the reply.
        ours = self.outgoing.words
        ours[TAKEN_WORD] = ours[PUBLISHED_WORD]
        words[PUBLISHED_WORD] = number & UINT32_MASK

    def take_taken(self, frame: Frame) -> None:
        """Take note of a TAKEN."""
        ours = self.outgoing.words
        if self.is_ours(frame) and frame.publication == ours[PUBLISHED_WORD]:
            ours[TAKEN_WORD] = frame.publication
        else:
            self.dropped += 1

    # ------------------------------------------------------------------ broken links

    def words(self) -> SlotWords:
        """Return what this end's slots hold, for RESUME and RESUMED."""
        outgoing, incoming = self.outgoing.words, self.incoming.words
        request, reply = (outgoing, incoming) if self._client else (incoming, outgoing)
        return SlotWords(
            request[PUBLISHED_WORD],
            request[TAKEN_WORD],
            reply[PUBLISHED_WORD],
            reply[TAKEN_WORD],
        )

    def resume(self, theirs: SlotWords) -> None:
        """Go on over a new connection: send again what the far end has not.

        Args:
            theirs: What the far end's slots hold.
        """
        if self._client:
            published, taken = theirs.request_published, theirs.request_taken
        else:
            published, taken = theirs.reply_published, theirs.reply_taken
        ours = self.outgoing.words
        self._coming = (0, 0)
        self.attached = True
        if published != ours[PUBLISHED_WORD]:
            if ours[TAKEN_WORD] != ours[PUBLISHED_WORD]:
                self.send_published(0)
            return
        self._handed = published
        if taken == published:
            ours[TAKEN_WORD] = taken
