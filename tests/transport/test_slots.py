"""One slot: its words, its bells, and parts through it."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, MessageTooLarge, RLayError, StepTimeout
from rlay.protocol.slot_layout import slot_bytes
from rlay.transport import ordering, slots
from rlay.transport.slots import SlotReader, SlotWriter
from rlay.transport.spinning import WaitPolicy

CAPACITY = 64
PUBLISHED, TAKEN_BELL, TAKEN, PUBLISHED_BELL = 0, 4, 128, 132


class Slot:
    """Both ends of one slot in plain memory, and the rings that they make."""

    def __init__(self):
        self.memory = memoryview(bytearray(slot_bytes(CAPACITY)))
        self.rings: list[int] = []
        self.writer, self.reader = self.new_ends()

    def new_ends(self):
        """Return ends that come to the slot as it is."""
        ring, policy = self.rings.append, WaitPolicy(0)
        return (
            SlotWriter(self.memory, CAPACITY, ring, policy),
            SlotReader(self.memory, CAPACITY, ring, policy),
        )

    def word(self, offset, value=None):
        if value is None:
            return struct.unpack_from("<I", self.memory, offset)[0]
        struct.pack_into("<I", self.memory, offset, value)
        return value

    def write(self, sequence, payload):
        return self.writer.buffers[sequence & 1].write(2, payload)


class Never:
    """A patience with no patience at all."""

    def start(self):
        return 0.0

    def check(self):
        raise StepTimeout("nothing there")


class Then:
    """A patience that does something at each look, and raises when that is all."""

    def __init__(self, *actions):
        self.actions = list(actions)

    def start(self):
        return 0.0

    def check(self):
        if not self.actions:
            raise StepTimeout("nothing there")
        self.actions.pop(0)()
        return 0.0


@pytest.fixture
def slot():
    return Slot()


# ------------------------------------------------------------------------- words


def test_publication_is_counted_and_names_its_buffer(slot):
    """Bit 0 is that of the sequence, the others count, whatever the sequence."""
    seen = []
    for sequence in (1, 2, 2, 5, 4):
        slot.writer.publish(sequence)
        seen.append(slot.word(PUBLISHED))
    assert seen == [3, 4, 6, 9, 10]


def test_message_lies_where_the_layout_says(slot):
    """Sequence, size and payload of an odd sequence are those of buffer 1."""
    slot.write(7, b"abc")
    slot.writer.publish(7)
    start = 256 + 64 + CAPACITY
    assert struct.unpack_from("<II", slot.memory, start) == (2, 7)
    assert struct.unpack_from("<I", slot.memory, start + 24) == (3,)
    assert bytes(slot.memory[start + 64 : start + 67]) == b"abc"


@pytest.mark.parametrize("ordered", [True, False])
def test_count_wraps(monkeypatch, ordered):
    """The count of publications goes on over 2**32 on both ends."""
    monkeypatch.setattr(slots, "STORES_ARE_ORDERED", ordered)
    slot = Slot()
    slot.word(PUBLISHED, 0xFFFF_FFFC)
    slot.word(TAKEN, 0xFFFF_FFFC)
    writer, reader = slot.new_ends()
    for sequence in range(1, 7):
        assert not reader.pending
        writer.buffers[sequence & 1].write(2, b"%d" % sequence)
        writer.publish(sequence)
        assert reader.pending
        assert not writer.taken
        assert bytes(reader.receive(Never()).body()) == b"%d" % sequence
        reader.take()
        assert writer.taken
    assert slot.word(PUBLISHED) == 8


def test_message_is_the_next_until_taken(slot):
    """Receiving changes nothing; taking says so in the reader's word only."""
    slot.write(1, b"x")
    slot.writer.publish(1)
    before = bytes(slot.memory)
    for _ in range(2):
        assert bytes(slot.reader.receive(Never()).body()) == b"x"
        assert slot.reader.current is slot.reader.buffers[1]
    assert bytes(slot.memory) == before
    slot.reader.take()
    assert slot.word(TAKEN) == slot.word(PUBLISHED)
    with pytest.raises(StepTimeout):
        slot.reader.receive(Never())


def test_new_end_goes_on_where_the_last_one_stopped(slot):
    """A client that comes later finds the words as they are."""
    slot.writer.publish(1)
    slot.reader.take()
    writer, reader = slot.new_ends()
    assert not reader.pending
    writer.publish(1)
    assert reader.pending
    assert slot.reader.pending


# ------------------------------------------------------------------------- bells


def test_only_who_sleeps_is_rung(slot):
    """A publication rings if the reader's bell is up, and the word that it awaits."""
    slot.writer.publish(1)
    assert slot.rings == []
    slot.word(PUBLISHED_BELL, 1)
    slot.writer.publish(2)
    assert slot.rings == [PUBLISHED]


def test_steady_take_rings_nobody(slot):
    """A writer that waits is rung by take_and_ring alone."""
    slot.writer.publish(1)
    slot.word(TAKEN_BELL, 1)
    slot.reader.take()
    assert slot.rings == []
    slot.writer.publish(2)
    slot.reader.take_and_ring()
    assert slot.rings == [TAKEN]


def test_reader_can_be_woken_without_a_message(slot):
    """A goodbye rings whatever the bell says, and publishes nothing."""
    slot.writer.wake_reader()
    assert slot.rings == [PUBLISHED]
    assert not slot.reader.pending


def test_writer_waits_until_taken(slot):
    """A writer that has something out waits, and no longer than needed."""
    slot.writer.wait_until_taken(Never())
    slot.writer.publish(1)
    with pytest.raises(StepTimeout):
        slot.writer.wait_until_taken(Never())
    slot.writer.wait_until_taken(Then(slot.reader.take))


def test_wait_ends_with_the_publication(slot):
    """A reader that waits returns the message that comes meanwhile."""

    def publish():
        slot.write(1, b"came")
        slot.writer.publish(1)

    assert bytes(slot.reader.receive(Then(publish)).body()) == b"came"


# ------------------------------------------------------------------------- order


class Recorder:
    """Notes stores and fences, in order."""

    def __init__(self, words, log):
        self._words, self._log = words, log

    def __getitem__(self, index):
        return self._words[index]

    def __setitem__(self, index, value):
        self._log.append(f"store {4 * index}")
        self._words[index] = value

    def __getattr__(self, name):
        return getattr(self._words, name)


@pytest.mark.parametrize(
    ("ordered", "publication", "taking"),
    [
        (True, ["store 0"], ["store 128"]),
        (False, ["fence", "store 0", "fence"], ["fence", "fence", "store 128"]),
    ],
    ids=["x86", "ARM"],
)
def test_fences_stand_where_the_machine_needs_them(
    monkeypatch, ordered, publication, taking
):
    """Payload before word on both ends; where the machine does that, no fence."""
    log = []
    monkeypatch.setattr(slots, "STORES_ARE_ORDERED", ordered)
    monkeypatch.setattr(slots, "make_fence", lambda: lambda: log.append("fence"))
    slot = Slot()
    for end in (slot.writer, slot.reader):
        end._words = Recorder(end._words, log)
    slot.writer.publish = slot.writer._compile_publish(
        slot.rings.append, lambda: log.append("fence")
    )
    slot.reader.receive, slot.reader.take = slot.reader._compile(lambda *_: None)
    slot.writer.publish(1)
    assert log == publication
    log.clear()
    slot.reader.receive(Never())
    slot.reader.take()
    assert log == taking


def test_machines_whose_stores_are_ordered_are_listed():
    """Only the x86 family is trusted to keep stores in order."""
    machine = os.uname().machine
    assert (machine in ("x86_64", "i686", "i386")) == ordering.STORES_ARE_ORDERED


# ------------------------------------------------------------------------- parts


def _receive_all(slot, patience=None):
    first = slot.reader.receive(Never())
    return slot.reader.assemble(first, 10_000, patience or Never())


class Stepwise:
    """Publishes a message part by part, as the parts are taken."""

    def __init__(self, slot, sequence, payload):
        self.slot, self.sequence = slot, sequence
        overflow = slot.write(sequence, payload)
        self.pieces = [overflow[i : i + CAPACITY] for i in range(0, len(overflow), 64)]
        self.total, self.parts, self.index = len(payload), len(self.pieces), 0

    def next(self):
        """Publish the next part."""
        buffer = self.slot.writer.buffers[self.sequence & 1]
        piece = self.pieces[self.index]
        buffer.payload[: len(piece)] = piece
        buffer.set_part(self.index, self.parts, len(piece), self.total)
        self.index += 1
        self.slot.writer.publish(self.sequence)


def test_parts_are_published_one_after_the_other(slot):
    """Each part waits until the one before was taken; then one part is said again."""
    payload = os.urandom(CAPACITY * 2 + 5)
    overflow = slot.write(3, payload)
    got, parts = [], []

    def take():
        buffer = slot.reader.receive(Never())
        got.append(bytes(buffer.body()))
        parts.append(buffer.part)
        assert buffer.total_bytes == len(payload)
        slot.reader.take()

    slot.writer.publish_parts(3, overflow, Then(take, take, take))
    assert b"".join(got) == payload
    assert parts == [(0, 3), (1, 3), (2, 3)]
    assert slot.writer.buffers[1].part == (0, 1)


@given(size=st.integers(CAPACITY + 1, 500), breaks=st.sets(st.integers(1, 7)))
def test_a17_assembly_goes_on_after_any_interruption(size, breaks):
    """A17: wherever the wait for parts is broken off, what comes is the message."""
    slot = Slot()
    payload = bytes(index & 0xFF for index in range(size))
    message = Stepwise(slot, 1, payload)
    message.next()
    while True:
        actions = []
        for index in range(message.index, message.parts):
            if index in breaks:
                breaks = breaks - {index}
                break
            actions.append(message.next)
        try:
            whole = _receive_all(slot, Then(*actions))
            break
        except StepTimeout:
            message.next()
    assert bytes(whole.body()) == payload
    assert not slot.reader.pending
    assert slot.reader._coming is None


def test_a17_part_that_was_copied_but_not_taken_is_not_doubled(slot, monkeypatch):
    """A17: Ctrl-C between copying and taking does not repeat a part."""
    message = Stepwise(slot, 1, b"a" * CAPACITY + b"b" * CAPACITY)
    message.next()

    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slot.reader, "take_and_ring", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _receive_all(slot)
    assert slot.reader.expects(slot.reader.current)
    whole = _receive_all(slot, Then(message.next))
    assert bytes(whole.body()) == b"a" * CAPACITY + b"b" * CAPACITY


def test_first_part_begins_a_new_message(slot):
    """A message that was broken off is dropped when another begins."""
    broken = Stepwise(slot, 1, b"a" * 3 * CAPACITY)
    broken.next()
    with pytest.raises(StepTimeout):
        _receive_all(slot)
    again = Stepwise(slot, 1, b"b" * 3 * CAPACITY)  # the same sequence
    again.next()
    whole = _receive_all(slot, Then(again.next, again.next))
    assert bytes(whole.body()) == b"b" * 3 * CAPACITY


def test_part_without_its_beginning_is_not_expected(slot):
    """A later part of what somebody else began is told apart before it is read."""
    message = Stepwise(slot, 1, b"a" * 3 * CAPACITY)
    message.next()
    slot.reader.take()
    message.next()
    assert not slot.reader.expects(slot.reader.receive(Never()))
    with pytest.raises(DecodeError, match="without those before"):
        _receive_all(slot)


def test_b21_message_over_the_readers_limit_is_left_where_it_is(slot):
    """B21: a larger message is refused before memory is taken for it."""
    message = Stepwise(slot, 1, bytes(20 * 1024))
    message.next()
    with pytest.raises(MessageTooLarge):
        _receive_all(slot)
    assert slot.reader.pending


def test_empty_message_in_parts_is_one_part(slot):
    """An empty payload that is sent in parts is one empty part."""
    slot.writer.publish_parts(1, b"", Then(slot.reader.take))
    assert slot.word(PUBLISHED) == 3


# -------------------------------------------------------------------- corruption


@given(
    offset=st.integers(0, slot_bytes(CAPACITY) // 4 - 1),
    value=st.integers(0, 2**32 - 1),
    parts=st.booleans(),
)
def test_b6_any_word_of_a_live_slot_may_be_anything(offset, value, parts):
    """B6: a corrupted word gives a message, an error or a time-out, never a crash."""
    slot = Slot()
    if parts:
        Stepwise(slot, 1, bytes(3 * CAPACITY)).next()
    else:
        slot.write(1, b"abc")
        slot.writer.publish(1)
    slot.word(4 * offset, value)
    try:
        message = slot.reader.receive(Never())
        if message.part[1] != 1:
            message = slot.reader.assemble(message, 10_000, Never())
        assert len(message.body()) <= 10_000
        assert message.kind is not None
        slot.reader.take()
    except RLayError:
        pass
