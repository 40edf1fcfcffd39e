"""The slots of a direct peer: what a bridge may say of them, and what it may not."""

import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from rlay.errors import DecodeError, RemoteProtocolError
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, Kind
from rlay.protocol.frames import (
    FRAME_HEADER_BYTES,
    MAX_BODY_BYTES,
    Frame,
    FrameDecoder,
    FrameType,
    pack_frame,
    pack_header,
)
from rlay.protocol.link_messages import SlotWords
from rlay.protocol.slot_layout import PAYLOAD_BYTES_OFFSET, PUBLISHED_WORD, TAKEN_WORD
from rlay.transport.slots import SlotReader, SlotWriter
from rlay.transport.socket_slots import SocketSlots, is_newer
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End

IDS = 0x1122334455667788, 0x99AABBCCDDEEFF00
CAPACITY = 64
NO_SPIN = WaitPolicy(0)


class Wire:
    """Stands for a link: keeps what is sent."""

    def __init__(self):
        self.sent = []
        self.connection = None

    def send(self, parts):
        self.sent.append(b"".join(parts))

    def send_frame(self, kind, body, channel, ids, sequence=0, publication=0):
        self.send(
            [pack_frame(kind, body, channel, ids[0], ids[1], sequence, publication)]
        )

    def kinds(self):
        """Return the types of the frames that were sent."""
        kinds = []
        decoder = FrameDecoder(
            lambda frame: None, lambda frame, body: kinds.append(frame.type)
        )
        decoder.feed(b"".join(self.sent))
        return kinds


class Peer:
    """One end of a session: its slots, and a writer and a reader of them."""

    def __init__(self, end, capacity=CAPACITY):
        self.wire = Wire()
        link: Any = self.wire
        self.slots = SocketSlots(link, end, IDS, (capacity, capacity))
        self.slots.on_channel(3)
        out, come = self.slots.outgoing, self.slots.incoming

        def never(expected, patience):
            raise AssertionError("nobody waits here")

        self.writer = SlotWriter(
            out.memory, out.capacity, lambda at: self.slots.send_published(at),
            NO_SPIN, never,
        )  # fmt: skip
        self.reader = SlotReader(
            come.memory, come.capacity, lambda at: self.slots.send_taken(at),
            NO_SPIN, never,
        )  # fmt: skip
        for buffer in self.writer.buffers:
            buffer.stamp(*IDS)

    def say(self, sequence, payload):
        """Publish a message; return the bytes that went out."""
        before = len(self.wire.sent)
        assert self.writer.buffers[sequence & 1].write(int(Kind.STEP), payload) is None
        self.writer.publish(sequence)
        return b"".join(self.wire.sent[before:])

    def hear(self, data):
        """Take bytes as a link does."""
        slots = self.slots

        def take(frame, body):
            if frame.type is FrameType.DATA:
                slots.take_data(frame)
            else:
                slots.take_taken(frame)

        def place(frame):
            return slots.place(frame) if frame.type is FrameType.DATA else None

        FrameDecoder(place, take).feed(data)

    @property
    def published(self):
        """The word of the slot that is read here."""
        return self.slots.incoming.words[PUBLISHED_WORD]

    def message(self):
        """Return what lies where the last message was published."""
        return bytes(self.reader.buffers[self.published & 1].body())


@pytest.fixture
def client():
    """The end that asks."""
    return Peer(End.CLIENT)


@pytest.fixture
def server():
    """The end that answers."""
    return Peer(End.SERVER)


def changed(data, **fields):
    """Return a single DATA frame with other fields in its header."""
    frames = []
    decoder = FrameDecoder(
        lambda frame: None, lambda frame, body: frames.append((frame, bytes(body)))
    )
    decoder.feed(data)
    ((frame, body),) = frames
    frame = frame._replace(**fields)
    return pack_header(
        frame.type, frame.channel, frame.incarnation, frame.session, frame.sequence,
        frame.publication, frame.offset, frame.total, len(body),
    ) + body  # fmt: skip


# ---------------------------------------------------------------------------- in order


def test_message_has_the_senders_word(client, server):
    """And its payload."""
    server.hear(client.say(1, b"one"))
    assert server.published == client.slots.outgoing.words[PUBLISHED_WORD]
    assert server.message() == b"one"


def test_reply_says_that_the_request_was_taken(client, server):
    """Nobody has to say it besides."""
    server.hear(client.say(1, b"one"))
    assert not client.writer.taken
    client.hear(server.say(1, b"answer"))
    assert client.writer.taken


def test_taken_of_the_last_publication_counts(client, server):
    """Where nothing else says it."""
    server.hear(client.say(1, b"one"))
    server.reader.take_and_ring()
    client.hear(server.wire.sent[-1])
    assert client.writer.taken


def test_data_carries_a_crc_where_it_is_in_force(client):
    """Of the body."""
    client.wire.connection = SimpleNamespace(crc=True)
    frames = []
    decoder = FrameDecoder(
        lambda frame: None, lambda frame, body: frames.append((frame, bytes(body)))
    )
    decoder.feed(client.say(1, b"one"))
    ((frame, body),) = frames
    assert (frame.flags, frame.body_crc) == (1, zlib.crc32(body))


def test_nothing_is_sent_outside_the_session(client):
    """Before the session is resumed nobody there knows it."""
    client.slots.attached = False
    client.say(1, b"one")
    client.slots.send_taken(0)
    assert client.wire.sent == []
    assert client.slots.pending


def test_what_a_signal_kept_back_is_sent(client):
    """Published, and not handed on: the next wait does it."""
    client.slots.attached = False
    client.say(1, b"one")
    client.slots.attached = True
    client.slots.send_pending()
    client.slots.send_pending()
    assert client.wire.kinds() == [FrameType.DATA]
    assert not client.slots.pending


# ---------------------------------------------------------------------- not in order


def test_message_that_comes_twice_is_dropped(client, server):
    """Before it was taken: it stays as it is."""
    data = client.say(1, b"one")
    server.hear(data)
    server.hear(data[:-3] + b"two")
    assert server.message() == b"one"
    assert server.slots.dropped == 1
    assert server.wire.sent == []


def test_message_that_comes_twice_is_said_to_be_taken(client, server):
    """Once it was: the sender has not heard it."""
    data = client.say(1, b"one")
    server.hear(data)
    server.reader.receive(None)
    server.reader.take()
    server.wire.sent.clear()
    server.hear(data)
    assert server.wire.kinds() == [FrameType.TAKEN]
    assert server.slots.dropped == 1


def test_older_message_is_dropped(client, server):
    """Late, behind a newer one."""
    data = client.say(1, b"one")
    server.hear(data)
    client.hear(server.say(1, b""))
    server.slots.incoming.words[TAKEN_WORD] = server.published
    server.hear(client.say(2, b"two"))
    server.slots.incoming.words[TAKEN_WORD] = server.published
    server.wire.sent.clear()
    server.hear(data)
    assert server.message() == b"two"
    assert server.slots.dropped == 1
    assert server.wire.sent == []


def test_message_before_the_last_was_taken_ends_the_link(client, server):
    """It would be written over one that somebody may be reading."""
    server.hear(client.say(1, b"one"))
    with pytest.raises(RemoteProtocolError, match="before message"):
        server.hear(client.say(2, b"two"))
    assert server.message() == b"one"


@pytest.mark.parametrize("field", ["incarnation", "session"])
def test_message_of_another_session_is_dropped(client, server, field):
    """It may be late: no breach."""
    server.hear(changed(client.say(1, b"one"), **{field: 5}))
    assert server.published == 0
    assert server.slots.dropped == 1


@pytest.mark.parametrize("field", ["incarnation", "session"])
def test_message_whose_header_has_other_ids_ends_the_link(client, server, field):
    """Nothing of it is published."""
    ids = {"incarnation": (5, IDS[1]), "session": (IDS[0], 5)}[field]
    for buffer in client.writer.buffers:
        buffer.stamp(*ids)
    with pytest.raises(DecodeError, match="another session"):
        server.hear(client.say(1, b"one"))
    assert server.published == 0


def test_message_whose_header_has_another_length_ends_the_link(client, server):
    """Nothing of it is published."""
    data = bytearray(client.say(1, b"one"))
    data[FRAME_HEADER_BYTES + PAYLOAD_BYTES_OFFSET] = 2
    with pytest.raises(DecodeError, match="2 bytes"):
        server.hear(bytes(data))
    assert server.published == 0


def test_message_larger_than_the_slot_ends_the_link(server):
    """Before a byte of it is written anywhere."""
    large = Peer(End.CLIENT, CAPACITY + 64)
    with pytest.raises(DecodeError, match=f"room for {MESSAGE_HEADER_BYTES + 64}"):
        server.hear(large.say(1, bytes(CAPACITY + 1)))


def test_message_shorter_than_its_header_ends_the_link(server):
    """It is none."""
    frame = Frame(FrameType.DATA, 3, *IDS, 1, 3, 0, 10, 10)
    with pytest.raises(DecodeError, match="10 bytes"):
        server.slots.place(frame)


@pytest.mark.parametrize("field", ["incarnation", "session", "publication"])
def test_taken_of_something_else_is_dropped(client, server, field):
    """Of another session, or of what was sent before."""
    server.hear(client.say(1, b"one"))
    taken = {
        "incarnation": IDS[0],
        "session": IDS[1],
        "publication": client.slots.outgoing.words[PUBLISHED_WORD],
    }
    taken[field] -= 2
    client.hear(pack_frame(FrameType.TAKEN, b"", 3, sequence=0, **taken))
    assert not client.writer.taken
    assert client.slots.dropped == 1


# --------------------------------------------------------------------------- in pieces

LARGE = 2 * MAX_BODY_BYTES


def pieces_of(data):
    """Cut a stream of frames into its frames."""
    found = []

    def take(frame, body):
        head = pack_header(
            frame.type, frame.channel, frame.incarnation, frame.session,
            frame.sequence, frame.publication, frame.offset, frame.total, len(body),
        )  # fmt: skip
        found.append(head + bytes(body))

    FrameDecoder(lambda frame: None, take).feed(data)
    return found


def test_pieces_are_one_message():
    """Published with the last."""
    client, server = Peer(End.CLIENT, LARGE), Peer(End.SERVER, LARGE)
    payload = bytes(range(256)) * (LARGE // 256)
    *first, last = pieces_of(client.say(1, payload))
    assert len(first) == 2
    for piece in first:
        server.hear(piece)
        assert server.published == 0
    server.hear(last)
    assert server.message() == payload


@pytest.mark.parametrize("order", [[1], [2], [0, 2], [0, 1, 1], [0, 0, 2]])
def test_pieces_out_of_order_end_the_link(order):
    """A hole in a message is never published."""
    client, server = Peer(End.CLIENT, LARGE), Peer(End.SERVER, LARGE)
    pieces = pieces_of(client.say(1, bytes(LARGE)))
    *first, last = order
    for number in first:
        server.hear(pieces[number])
    with pytest.raises(DecodeError, match="in place of"):
        server.hear(pieces[last])
    assert server.published == 0


def test_pieces_of_a_broken_link_are_forgotten():
    """The message comes again from its first byte."""
    client, server = Peer(End.CLIENT, LARGE), Peer(End.SERVER, LARGE)
    pieces = pieces_of(client.say(1, bytes(LARGE)))
    server.hear(pieces[0])
    server.slots.resume(client.slots.words())
    with pytest.raises(DecodeError, match="in place of"):
        server.hear(pieces[1])
    for piece in pieces:
        server.hear(piece)
    assert server.published


# ------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("end", [End.CLIENT, End.SERVER])
class TestResume:
    """The far slot shows what it has of our last publication."""

    def resumed(self, end, **far):
        """Say a message, lose the link, and resume; what the far end shows is given."""
        peer = Peer(end)
        peer.say(1, b"one")
        word = peer.slots.outgoing.words[PUBLISHED_WORD]
        peer.wire.sent.clear()
        peer.slots.attached = False
        mine = "request" if end is End.CLIENT else "reply"
        shown = dict.fromkeys(
            ("request_published", "request_taken", "reply_published", "reply_taken"), 0
        )
        # The other slot is full of what would mislead who looks there.
        other = "reply" if end is End.CLIENT else "request"
        shown[f"{other}_published"] = word if not far["published"] else 0
        shown |= {f"{mine}_published": word if far["published"] else 0}
        shown |= {f"{mine}_taken": word if far["taken"] else 0}
        peer.slots.resume(SlotWords(**shown))
        assert peer.slots.attached
        return peer

    def test_nothing_of_it(self, end):
        """It is sent again."""
        peer = self.resumed(end, published=False, taken=False)
        assert peer.wire.kinds() == [FrameType.DATA]
        assert not peer.writer.taken

    def test_all_of_it(self, end):
        """It is not sent again; TAKEN will come."""
        peer = self.resumed(end, published=True, taken=False)
        assert peer.wire.sent == []
        assert not peer.writer.taken
        assert not peer.slots.pending

    def test_taken(self, end):
        """Then we know it too."""
        peer = self.resumed(end, published=True, taken=True)
        assert peer.wire.sent == []
        assert peer.writer.taken

    def test_an_older_one_though_ours_was_taken(self, end):
        """A far end that forgot what we know to be taken gets nothing again."""
        peer = Peer(end)
        peer.say(1, b"one")
        words = peer.slots.outgoing.words
        words[TAKEN_WORD] = words[PUBLISHED_WORD]
        peer.wire.sent.clear()
        peer.slots.resume(SlotWords(0, 0, 0, 0))
        assert peer.wire.sent == []

    def test_words_are_those_of_the_slots(self, end):
        """Requests first, whoever sends them."""
        peer = Peer(end)
        peer.slots.outgoing.words[PUBLISHED_WORD] = 11
        peer.slots.outgoing.words[TAKEN_WORD] = 9
        peer.slots.incoming.words[PUBLISHED_WORD] = 7
        peer.slots.incoming.words[TAKEN_WORD] = 5
        ours, theirs = (11, 9), (7, 5)
        both = (*ours, *theirs) if end is End.CLIENT else (*theirs, *ours)
        assert peer.slots.words() == SlotWords(*both)


def test_goodbye_says_that_the_last_was_taken(client, server):
    """And nothing where nothing has come, or it was not taken."""
    server.slots.tell_taken()
    server.hear(client.say(1, b"one"))
    server.slots.tell_taken()
    assert server.wire.sent == []
    server.slots.incoming.words[TAKEN_WORD] = server.published
    server.slots.tell_taken()
    assert server.wire.kinds() == [FrameType.TAKEN]


# ------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("word", "than", "newer"),
    [
        (2, 0, True), (3, 0, True), (1, 0, False), (0, 0, False), (0, 2, False),
        (2, 0xFFFF_FFFE, True), (0xFFFF_FFFE, 2, False),
        (0x7FFF_FFFE, 0, True), (0x8000_0000, 0, False),
    ],
)  # fmt: skip
def test_newer_is_less_than_half_a_turn_ahead(word, than, newer):
    """Bit 0 says which buffer; the rest counts, and goes over its end."""
    assert is_newer(word, than) is newer


@pytest.mark.parametrize("capacities", [(0, 64), (64, 0), (65, 64), (64, 100)])
def test_capacities_that_no_slot_has_are_refused(capacities):
    """Before memory is taken."""
    wire: Any = Wire()
    with pytest.raises(DecodeError, match="a slot for"):
        SocketSlots(wire, End.CLIENT, IDS, capacities)
