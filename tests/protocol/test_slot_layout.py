"""Offsets: nothing overlaps, everything is aligned."""

import pytest

from rlay.protocol import slot_layout as at
from rlay.protocol.constants import (
    GREETING_SLOT_BYTES,
    HEADER_BYTES,
    MESSAGE_HEADER_BYTES,
    SLOT_CONTROL_BYTES,
)


@pytest.mark.parametrize(
    ("offset", "alignment", "expected"),
    [(0, 64, 0), (1, 64, 64), (64, 64, 64), (65, 64, 128), (4097, 4096, 8192)],
)
def test_align_rounds_up(offset, alignment, expected):
    """An aligned offset stays, another goes up."""
    assert at.align(offset, alignment) == expected


def test_golden_header_file():
    """The header file is one page and two greeting slots of 64 KiB."""
    assert at.HEADER_FILE_BYTES == 4096 + 2 * 65536
    assert at.REQUEST_GREETING_OFFSET == 4096
    assert at.REPLY_GREETING_OFFSET == 69632
    assert at.greeting_capacity() == 32576


def test_greeting_slot_fits_its_area():
    """A greeting slot of the stated capacity takes at most its area."""
    assert at.slot_bytes(at.greeting_capacity()) <= GREETING_SLOT_BYTES


def test_ends_do_not_overlap():
    """The two ends' lines lie behind each other and within the page."""
    assert at.HEADER_ORIGIN_OFFSET + 8 <= at.SERVER_LINE_OFFSET
    assert at.SERVER_LINE_OFFSET + at.END_LINE_BYTES == at.CLIENT_LINE_OFFSET
    assert at.CLIENT_LINE_OFFSET + at.END_LINE_BYTES <= HEADER_BYTES
    assert at.END_PROGRAM_OFFSET + at.END_PROGRAM_BYTES == at.END_LINE_BYTES


def test_words_of_both_ends_lie_two_cache_lines_apart():
    """What the writer stores is never on a line that the reader stores to."""
    writers = {at.PUBLISHED_OFFSET, at.TAKEN_BELL_OFFSET}
    readers = {at.TAKEN_OFFSET, at.PUBLISHED_BELL_OFFSET}
    assert min(readers) - max(writers) > 64
    assert min(readers) // 128 > max(writers) // 128
    assert max(readers) + 4 <= SLOT_CONTROL_BYTES


@pytest.mark.parametrize(
    ("wanted", "capacity"), [(0, 64), (1, 64), (64, 64), (65, 128), (1000, 1024)]
)
def test_slot_capacity_is_a_multiple_of_a_cache_line(wanted, capacity):
    """Room is rounded up to 64 bytes, and is never none."""
    assert at.slot_capacity(wanted) == capacity


@pytest.mark.parametrize("capacity", [64, 128, 65536 + 64])
def test_buffers_follow_each_other(capacity):
    """Buffer 0 lies behind the words, buffer 1 behind it, payloads aligned to 64."""
    first, second = at.buffer_offset(0, capacity), at.buffer_offset(1, capacity)
    assert first == SLOT_CONTROL_BYTES
    assert second == first + MESSAGE_HEADER_BYTES + capacity
    assert second + MESSAGE_HEADER_BYTES + capacity == at.slot_bytes(capacity)
    assert (first + MESSAGE_HEADER_BYTES) % 64 == 0
    assert (second + MESSAGE_HEADER_BYTES) % 64 == 0


def test_golden_slots_file():
    """The reply slot begins at a page of its own, the file ends with one."""
    assert at.slots_file_offsets(65600, 131136) == (139264, 405504)


@pytest.mark.parametrize("capacities", [(64, 64), (2**30, 64), (64, 2**30)])
def test_slots_file_holds_both_slots(capacities):
    """Neither slot reaches into what is behind it."""
    reply, size = at.slots_file_offsets(*capacities)
    assert at.SLOTS_HEADER_BYTES + at.slot_bytes(capacities[0]) <= reply
    assert reply + at.slot_bytes(capacities[1]) <= size
    assert reply % 4096 == size % 4096 == 0
