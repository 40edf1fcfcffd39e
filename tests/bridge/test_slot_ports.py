"""One slot, mirrored: what may be written, what is told, what is refused."""

import pytest

from rlay.bridge.metrics import Counts
from rlay.bridge.slot_ports import Inlet, Outlet, is_newer
from rlay.errors import RemoteProtocolError
from rlay.protocol import slot_layout as at
from rlay.protocol.frames import Frame, FrameType

IDS = (11, 22)
CAPACITY = 64
MESSAGE_BYTES = 64 + CAPACITY


class Slot:
    """A slot, and what the process at its other end does with it.

    Attributes:
        memory: All of it.
        words: Its control words.
        rings: Offsets at which the bridge rang.
    """

    def __init__(self):
        self.memory = memoryview(bytearray(at.slot_bytes(CAPACITY)))
        self.words = self.memory[:256].cast("I")
        self.rings = []

    def header(self, index):
        start = at.buffer_offset(index, CAPACITY)
        return self.memory[start : start + 64].cast("I")

    def write(self, publication, payload_bytes=CAPACITY, ids=IDS):
        header = self.header(publication & 1)
        header[at.INCARNATION_WORD], header[at.SESSION_WORD] = ids
        header[at.PAYLOAD_BYTES_WORD] = payload_bytes
        header[at.SEQUENCE_WORD] = publication >> 1

    def publish(self, publication, **content):
        self.write(publication, **content)
        self.words[at.PUBLISHED_WORD] = publication

    def take(self):
        self.words[at.TAKEN_WORD] = self.words[at.PUBLISHED_WORD]


@pytest.fixture
def slot():
    """An empty slot."""
    return Slot()


@pytest.fixture
def outlet(slot):
    """The bridge's end of a slot that a process writes."""
    return Outlet(slot.memory, CAPACITY, slot.rings.append)


@pytest.fixture
def inlet(slot):
    """The bridge's end of a slot that a process reads."""
    return Inlet(slot.memory, CAPACITY, slot.rings.append, IDS, Counts())


def piece(publication, offset=0, size=MESSAGE_BYTES, total=MESSAGE_BYTES):
    """The frame of a piece of a message."""
    return Frame(FrameType.DATA, 2, *IDS, 1, publication, offset, total, size)


@pytest.mark.parametrize(
    ("publication", "than", "newer"),
    [
        (2, 0, True),
        (3, 0, True),
        (0, 2, False),
        (2, 2, False),
        (3, 2, False),
        (0, 2**32 - 2, True),
        (2**32 - 2, 0, False),
        (2**31 - 2, 0, True),
        (2**31 + 2, 0, False),
    ],
)
def test_later_is_a_difference_of_31_bits(publication, than, newer):
    """Bit 0 names a buffer and does not count; the count wraps."""
    assert is_newer(publication, than) is newer


def test_bells_are_raised_for_good(slot, outlet):
    """Whoever publishes rings the bridge, which never sleeps on a word."""
    assert slot.words[at.PUBLISHED_BELL_WORD] == 1


def test_message_is_news_once(slot, outlet):
    """However often the bell rings for it."""
    assert not outlet.has_news()
    slot.publish(3)
    assert outlet.has_news()
    assert not outlet.has_news()
    assert (outlet.queued, outlet.sequence) == (3, 1)
    assert len(outlet.message()) == MESSAGE_BYTES


def test_what_was_taken_before_is_no_news(slot):
    """A bridge that starts finds an old session."""
    slot.publish(7)
    slot.take()
    assert not Outlet(slot.memory, CAPACITY, slot.rings.append).has_news()


def test_message_larger_than_its_slot_is_refused(slot, outlet):
    """A local process may write anything into the header."""
    slot.publish(2, payload_bytes=CAPACITY + 1)
    outlet.has_news()
    with pytest.raises(RemoteProtocolError, match="65 bytes in a slot for 64"):
        outlet.message()


def test_taken_is_set_for_the_last_publication_only(slot, outlet):
    """A word of taking that comes late says nothing of the next message."""
    slot.publish(2)
    outlet.mark_taken(0)
    outlet.mark_taken(4)
    assert outlet.taken == 0
    outlet.mark_taken(2)
    assert outlet.taken == 2


@pytest.mark.parametrize("asleep", [0, 1])
def test_writer_who_sleeps_is_rung(slot, outlet, asleep):
    """And nobody else: it costs a system call."""
    slot.publish(2)
    slot.words[at.TAKEN_BELL_WORD] = asleep
    outlet.mark_taken(2)
    assert slot.rings == [at.TAKEN_OFFSET] * asleep


def test_answer_implies_taking_only_of_what_was_sent(slot, outlet):
    """A reply to the message before says nothing of one that is still on its way."""
    slot.publish(2)
    outlet.has_news()
    outlet.mark_answered()
    assert outlet.taken == 0
    outlet.sent = outlet.queued
    outlet.mark_answered()
    assert outlet.taken == 2


@pytest.mark.parametrize(("known", "sends"), [(0, True), (2, False), (99, True)])
def test_after_a_cut_what_the_far_slot_lacks_is_sent_again(slot, outlet, known, sends):
    """It is known by its word: what is there is never sent a second time."""
    slot.publish(2)
    outlet.has_news()
    outlet.sent = 2
    assert outlet.repeat(known) is sends
    assert outlet.sent == (0 if sends else 2)


def test_message_is_published_under_its_own_word(slot, inlet):
    """In the buffer that bit 0 names; a reader who sleeps is rung."""
    slot.words[at.PUBLISHED_BELL_WORD] = 1
    place = inlet.place(piece(5))
    assert len(place) == MESSAGE_BYTES
    slot.write(5)
    assert inlet.filled(piece(5))
    assert inlet.published == 0
    inlet.publish(5)
    assert (inlet.published, slot.rings) == (5, [at.PUBLISHED_OFFSET])


def test_pieces_lie_one_behind_the_other(slot, inlet):
    """Nothing is shown before the last one."""
    for offset in (0, 48, 96):
        size = min(48, MESSAGE_BYTES - offset)
        frame = piece(2, offset, size)
        inlet.place(frame)[:] = bytes([offset]) * size
        if offset == 96:
            slot.write(2)
        assert inlet.filled(frame) is (offset == 96)


@pytest.mark.parametrize(
    "second", [piece(2, 64, 64), piece(2, 16, 32), piece(4, 32, 32)]
)
def test_piece_that_does_not_follow_is_refused(inlet, second):
    """A hole would be shown as a message."""
    inlet.place(piece(2, 0, 32))
    inlet.filled(piece(2, 0, 32))
    with pytest.raises(RemoteProtocolError, match="came after"):
        inlet.place(second)


@pytest.mark.parametrize("publication", [0, 2, 3])
def test_publication_that_is_not_newer_is_dropped(slot, inlet, publication):
    """It was seen already: it is counted, and written nowhere."""
    slot.publish(2)
    slot.take()
    assert inlet.place(piece(publication)) is None
    assert inlet._counts.dropped == {"stale": 1}


def test_message_that_nobody_took_is_never_overwritten(slot, inlet):
    """Not even where the far end claims that it was taken."""
    slot.publish(2)
    with pytest.raises(RemoteProtocolError, match="before 2 was taken"):
        inlet.place(piece(4))


@pytest.mark.parametrize("total", [0, 63, MESSAGE_BYTES + 1, 2**32 - 1])
def test_size_that_fits_no_slot_is_refused(inlet, total):
    """Before anything is written."""
    with pytest.raises(RemoteProtocolError, match="in a slot for 64"):
        inlet.place(piece(2, 0, 32, total))


@pytest.mark.parametrize(
    "content", [{"ids": (11, 23)}, {"ids": (0, 22)}, {"payload_bytes": 3}]
)
def test_header_that_differs_from_its_frame_is_refused(slot, inlet, content):
    """Nobody puts a message of another session into this one."""
    inlet.place(piece(2))
    slot.write(2, **content)
    with pytest.raises(RemoteProtocolError, match="differs"):
        inlet.filled(piece(2))
    assert inlet.published == 0


def test_taking_is_told_once(slot, inlet):
    """And not before it has happened."""
    assert inlet.untold() is None
    slot.publish(2)
    assert inlet.untold() is None
    slot.take()
    assert inlet.untold() == 2
    assert inlet.untold() is None
