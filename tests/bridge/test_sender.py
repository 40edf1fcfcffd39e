"""What goes out over a link: in which order, and how much may wait."""

import pytest

from rlay.bridge.sender import (
    MAX_CONTROL_PENDING_BYTES,
    MAX_PIECES_PENDING_BYTES,
    Sender,
)
from rlay.errors import SlowPeer
from rlay.protocol.frames import MAX_BODY_BYTES


class Wire:
    """Takes so many bytes, then none."""

    def __init__(self, room=10**9):
        self.room = room
        self.data = bytearray()
        self.wants = []

    def write(self, buffers):
        taken = 0
        for buffer in buffers:
            size = min(len(buffer), self.room)
            self.data += bytes(buffer[:size])
            self.room -= size
            taken += size
        return taken


class Outlet:
    """A slot with one message."""

    def __init__(self, message):
        self.content = bytearray(message)
        self.queued, self.sent = 2, 0

    def message(self):
        return memoryview(self.content)


class Session:
    """As much of a session as a sender asks for."""

    def __init__(self, message):
        self.outlet = Outlet(message)

    def head(self, offset, size, total, crc):
        return b"<%d+%d/%d>" % (offset, size, total)


@pytest.fixture
def wire():
    """A wire that takes everything at first."""
    return Wire()


@pytest.fixture
def sender(wire):
    """A sender over the wire."""
    return Sender(wire.write, wire.wants.append)


def test_control_frames_go_before_messages(sender, wire):
    """What says how the link fares does not wait for observations."""
    sender.enqueue(Session(b"message"))
    sender.control(b"control")
    sender.flush()
    assert wire.data == b"control<0+7/7>message"


def test_large_message_shares_the_wire_piece_by_piece(sender, wire):
    """A small message queued behind a large one waits for one piece of it."""
    sender.enqueue(Session(bytes(2 * MAX_BODY_BYTES)))
    sender.enqueue(Session(b"small"))
    sender.flush()
    assert 0 < wire.data.index(b"small") < MAX_BODY_BYTES + 100


def test_message_is_sent_once_all_of_it_is_out(sender, wire):
    """``sent`` names a publication when its last piece was given to the socket."""
    session = Session(bytes(2 * MAX_BODY_BYTES))
    sender.enqueue(session)
    wire.room = MAX_BODY_BYTES
    sender.flush()
    assert session.outlet.sent == 0
    wire.room = 10**9
    sender.flush()
    assert session.outlet.sent == 2


def test_full_socket_is_waited_for(sender, wire):
    """It is asked to tell when there is room, and not any more once all is out."""
    wire.room = 3
    sender.control(b"control")
    sender.flush()
    assert wire.wants == [True]
    assert sender.stalled_since is not None
    wire.room = 100
    sender.flush()
    assert (bytes(wire.data), wire.wants) == (b"control", [True, False])
    assert sender.stalled_since is None


def test_farewell_comes_behind_the_message_that_is_on_its_way(sender, wire):
    """A goodbye never overtakes what the session still sends."""
    session = Session(bytes(MAX_BODY_BYTES + 1))
    sender.enqueue(session)
    sender.behind(session, b"farewell")
    sender.control(b"control")
    sender.flush()
    assert wire.data.startswith(b"control")
    assert wire.data.endswith(b"farewell")


def test_cancelled_message_is_not_sent(sender, wire):
    """A session that ended sends nothing any more, nor its farewell."""
    session = Session(b"message")
    sender.enqueue(session)
    sender.behind(session, b"farewell")
    sender.cancel(session)
    sender.flush()
    assert (bytes(wire.data), sender.empty) == (b"", True)


def test_half_sent_frame_survives_the_next_use_of_its_slot(sender, wire):
    """The rest of a frame is as it was, whatever the next session writes there."""
    session = Session(b"a message")
    wire.room = 10
    sender.enqueue(session)
    sender.flush()
    sender.cancel(session)
    session.outlet.content[:] = b"*********"
    wire.room = 100
    sender.flush()
    assert wire.data == b"<0+9/9>a message"


def test_peer_that_does_not_read_is_told_of_at_the_flush(sender, wire):
    """Queueing never raises, and takes no more memory than the limit."""
    wire.room = 0
    frame = bytes(64 * 1024)
    for _ in range(2 * MAX_CONTROL_PENDING_BYTES // len(frame)):
        sender.control(frame)
    with pytest.raises(SlowPeer, match="does not read"):
        sender.flush()
    assert sum(map(len, sender._control)) <= MAX_CONTROL_PENDING_BYTES


def test_pieces_are_made_as_the_socket_takes_them(sender, wire):
    """A long greeting does not lie in memory; what comes later is behind it."""
    made = []

    def pieces():
        for number in range(4):
            made.append(number)
            yield b"piece%d " % number

    sender.control(b"first ")
    sender.control_in_pieces(pieces(), 28)
    sender.control(b"last")
    wire.room = 8
    sender.flush()
    assert made == [0]
    wire.room = 100
    sender.flush()
    assert wire.data == b"first piece0 piece1 piece2 piece3 last"


def test_messages_go_on_between_the_pieces(sender, wire):
    """A long greeting does not hold up the steps of other channels."""
    sender.control_in_pieces(iter([b"piece0 ", b"piece1 "]), 14)
    sender.enqueue(Session(b"step"))
    sender.flush()
    assert wire.data == b"piece0 <0+4/4>steppiece1 "


def test_too_many_long_greetings_are_a_slow_peer(sender, wire):
    """Their sum is bounded too."""
    wire.room = 0
    for _ in range(3):
        sender.control_in_pieces(iter([b"x"]), MAX_PIECES_PENDING_BYTES // 2)
    with pytest.raises(SlowPeer):
        sender.flush()
