"""One message in memory: header words and payload."""

import pytest

from rlay.errors import DecodeError
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Kind
from rlay.protocol.numbers import bind_reward
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD


def test_golden_header():
    """Ids, sequence, parts and lengths lie where the specification says."""
    memory = memoryview(bytearray(64 + 8))
    buffer = MessageBuffer(memory)
    buffer.stamp(0x1122334455667788, 0x99AABBCCDDEEFF00)
    buffer.write(int(Kind.CLOSE), b"abc")
    buffer.words[1] = 7
    buffer.set_part(2, 3, 3, 0x1_0000_0005)
    assert bytes(memory[:64]).hex() == (
        "04000000"  # kind
        "07000000"  # sequence
        "8877665544332211"  # incarnation
        "00ffeeddccbbaa99"  # session
        "03000000"  # payload bytes
        "02000000"  # part
        "03000000"  # parts
        "00000000"  # reward type
        "0000000000000000"  # reward
        "0500000001000000"  # total bytes
        "0000000000000000"  # reserved
    )
    assert bytes(memory[64:67]) == b"abc"


def test_stamp_clears_what_was_there():
    """A new session's buffer says nothing of the last one."""
    buffer = MessageBuffer(memoryview(bytearray(b"\xff" * 64)))
    buffer.stamp(1, 2)
    assert buffer.words.tolist() == [0, 0, 1, 0, 2, 0, 0, 0, 1, *[0] * 7]


def test_properties_read_the_words():
    """Ids, sequence, kind and parts come back."""
    buffer = MessageBuffer.private(16)
    buffer.stamp(2**64 - 2, 2**63)
    buffer.words[KIND_WORD] = Kind.STEP | 0x100
    buffer.words[1] = 9
    buffer.set_part(1, 4, 16, 2**40 + 1)
    assert (buffer.incarnation, buffer.session) == (2**64 - 2, 2**63)
    assert (buffer.sequence, buffer.kind) == (9, Kind.STEP)
    assert (buffer.part, buffer.total_bytes) == ((1, 4), 2**40 + 1)


@pytest.mark.parametrize("number", [0, 5, 15, 21, 35, 255])
def test_kind_unknown_is_a_decode_error(number):
    """A kind that is not in the table is the peer's fault, not a ValueError."""
    buffer = MessageBuffer.private(0)
    buffer.words[KIND_WORD] = number
    with pytest.raises(DecodeError, match=f"unknown kind of message {number}"):
        _ = buffer.kind


@pytest.mark.parametrize("size", [0, 1, 8])
def test_body_is_what_the_header_says(size):
    """The body is as long as the message, not as the room."""
    buffer = MessageBuffer.private(8)
    buffer.write(1, b"abcdefgh"[:size])
    assert bytes(buffer.body()) == b"abcdefgh"[:size]


@pytest.mark.parametrize("size", [9, 2**31, 2**32 - 1])
def test_body_longer_than_the_room_is_a_decode_error(size):
    """A length from the peer is never believed beyond the memory that is there."""
    buffer = MessageBuffer.private(8)
    buffer.words[PAYLOAD_BYTES_WORD] = size
    with pytest.raises(DecodeError, match=f"{size} bytes in room for 8"):
        buffer.body()


def test_write_payload_that_fits_is_written():
    """A payload of exactly the room is no overflow."""
    buffer = MessageBuffer.private(4)
    assert buffer.write(3, b"1234") is None
    assert bytes(buffer.body()) == b"1234"


def test_write_larger_payload_is_returned_whole():
    """One byte more comes back, to go in parts; the kind is written."""
    buffer = MessageBuffer.private(4)
    assert buffer.write(3, memoryview(b"12345")) == b"12345"
    assert buffer.words[KIND_WORD] == 3


def test_number_cell_is_the_reward():
    """Numbers go to the reward's eight bytes, which are a float as well."""
    buffer = MessageBuffer.private(0)
    bind_reward(buffer)
    assert buffer.store_number(2.5) == 65
    assert (buffer.reward[0], buffer.load_number(65)) == (2.5, 2.5)


def test_read_only_memory_can_be_read():
    """A mapping without write permission gives a buffer that only reads."""
    memory = memoryview(bytes(40) + bytes.fromhex("0000000000000440") + bytes(16))
    buffer = MessageBuffer(memory)
    bind_reward(buffer)
    assert buffer.load_number(65) == 2.5
    with pytest.raises(LookupError):
        buffer.store_number(1.0)
