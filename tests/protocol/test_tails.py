"""The tail of a message: where it lies, and what its kind demands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Flag, Kind
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.tails import (
    boxed,
    check_fixed,
    inner_path,
    read_tail,
    write_behind,
    write_tail,
)
from rlay.protocol.values import Unsendable, encode_value
from tests.protocol.rigs import message_of

ITEMS = {
    Kind.READY: 0,
    Kind.RESET: 3,
    Kind.STEP: 3,
    Kind.CALL: 4,
    Kind.CLOSE: 1,
    Kind.RESET_RESULT: 3,
    Kind.TRANSITION: 6,
    Kind.CALL_RESULT: 1,
    Kind.FAILURE: 4,
}


def message(word, payload):
    """Return a message of kind, flags and payload."""
    return message_of({KIND_WORD: word}, payload)


def test_golden_tail_behind_a_fixed_area():
    """The tail follows the fixed area; the header says both are there."""
    buffer = MessageBuffer.private(16)
    buffer.payload[:8] = b"12345678"
    assert write_tail(buffer, Kind.CLOSE | Flag.FIXED, 8, [1]) is None
    assert bytes(buffer.body()) == b"12345678\x91\x01"
    assert buffer.words[KIND_WORD] == 4 | 1 << 8 | 1 << 9


def test_golden_tail_without_a_fixed_area():
    """Without one the tail begins the payload."""
    buffer = MessageBuffer.private(16)
    assert write_tail(buffer, Kind.CLOSE, 0, [1]) is None
    assert bytes(buffer.body()) == b"\x91\x01"


def test_tail_that_fits_exactly_is_written():
    """The last byte of the room can be used."""
    buffer = MessageBuffer.private(2)
    assert write_tail(buffer, Kind.CLOSE, 0, [1]) is None
    assert read_tail(buffer, 0, Kind.CLOSE) == [1]


def test_tail_beyond_the_room_is_returned_whole():
    """The fixed area comes back with it, and the word says what it is."""
    buffer = MessageBuffer.private(9)
    buffer.payload[:8] = b"12345678"
    whole = write_tail(buffer, Kind.CLOSE | Flag.FIXED, 8, [1])
    assert whole == b"12345678\x91\x01"
    assert buffer.words[KIND_WORD] == 4 | 1 << 8 | 1 << 9


def test_write_behind_takes_any_bytes():
    """A record lies where a tail would."""
    buffer = MessageBuffer.private(16)
    assert write_behind(buffer, Kind.TRANSITION | Flag.RECORD, 8, b"abc") is None
    assert bytes(buffer.body()) == bytes(8) + b"abc"


def test_unsendable_item_is_refused_before_anything_is_written():
    """The word of the message before stays."""
    buffer = MessageBuffer.private(16)
    with pytest.raises(Unsendable) as caught:
        write_tail(buffer, Kind.CALL, 0, [0, "name", [{1}], {}])
    assert caught.value.keys == [2, 0]
    assert buffer.words[KIND_WORD] == 0


@pytest.mark.parametrize("kind", ITEMS)
def test_tail_of_each_kind_is_read(kind):
    """Each kind demands its items; further ones are for later versions."""
    count = ITEMS[kind]
    for items in ([None] * count, [None] * (count + 2)):
        assert read_tail(message(kind | Flag.TAIL, encode_value(items)), 0, kind) == (
            items
        )


@pytest.mark.parametrize("kind", [kind for kind in ITEMS if ITEMS[kind]])
def test_tail_with_too_few_items_is_a_decode_error(kind):
    """One item less than the kind demands is refused."""
    data = encode_value([None] * (ITEMS[kind] - 1))
    with pytest.raises(DecodeError, match=f"tail of a message {kind.name}"):
        read_tail(message(kind | Flag.TAIL, data), 0, kind)


def test_tail_that_is_no_array_is_a_decode_error():
    """A map or a number is no tail."""
    with pytest.raises(DecodeError, match="tail of a message CLOSE"):
        read_tail(message(Kind.CLOSE | Flag.TAIL, b"\x81\xa1a\x01"), 0, Kind.CLOSE)


@pytest.mark.parametrize("number", [0, 3, 17, 33, 99, 255])
def test_other_kind_is_a_decode_error(number):
    """A message of another kind, or of none, is not read as this one."""
    with pytest.raises(DecodeError, match=f"message {number} came in place of CLOSE"):
        read_tail(message(number | Flag.TAIL, b"\x91\x01"), 0, Kind.CLOSE)


def test_missing_tail_is_a_decode_error():
    """Bytes without the flag are no tail."""
    with pytest.raises(DecodeError, match="a message CLOSE has no tail"):
        read_tail(message(Kind.CLOSE, b"\x91\x01"), 0, Kind.CLOSE)


def test_tail_within_the_fixed_area_is_a_decode_error():
    """A payload shorter than its fixed area is refused before it is read."""
    with pytest.raises(DecodeError, match="7 bytes lacks its fixed area"):
        read_tail(message(Kind.CLOSE | Flag.FIXED | Flag.TAIL, bytes(7)), 8, Kind.CLOSE)


def test_longer_payload_than_the_room_is_a_decode_error():
    """The header's length is not believed."""
    buffer = message(Kind.CLOSE | Flag.TAIL, b"\x91\x01")
    buffer.words[PAYLOAD_BYTES_WORD] = 3
    with pytest.raises(DecodeError, match="3 bytes in room for 2"):
        read_tail(buffer, 0, Kind.CLOSE)


def test_big_ints_are_read_in_a_reset_only():
    """A seed may have more than 64 bits; an action may not."""
    data = encode_value([2**70, None, None], big_ints=True)
    assert read_tail(message(Kind.RESET | Flag.TAIL, data), 0, Kind.RESET)[0] == 2**70
    with pytest.raises(DecodeError, match="Reset only"):
        read_tail(message(Kind.STEP | Flag.TAIL, data), 0, Kind.STEP)


@pytest.mark.parametrize("size", [0, 7, 9, 2**32 - 1])
def test_check_fixed_other_length_is_a_decode_error(size):
    """Without a tail the payload is the fixed area, no byte less or more."""
    buffer = MessageBuffer.private(16)
    buffer.words[PAYLOAD_BYTES_WORD] = 8
    check_fixed(buffer, 8)
    buffer.words[PAYLOAD_BYTES_WORD] = size
    with pytest.raises(
        DecodeError, match=f"{size} bytes in place of a fixed area of 8"
    ):
        check_fixed(buffer, 8)


def test_boxed_value_is_taken_out():
    """A value stands in an array of one, so that nil can be a value."""
    assert boxed([None], "$.info") is None
    assert boxed([[1]], "$.info") == [1]


@pytest.mark.parametrize("item", [None, 1, [], [1, 2], (1,), {"a": 1}])
def test_boxed_other_item_is_a_decode_error(item):
    """Anything but an array of one is refused with its path."""
    with pytest.raises(DecodeError, match=r"array of one, at \$\.info"):
        boxed(item, "$.info")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([2, 0, "a", 1], ("info", "$.a[1]")),
        ([2, 0], ("info", "$")),
        ([2], ("info", "$")),
        ([2, "a"], ("info", "$.a")),
        ([1, 0, 0], ("observation", "$[0]")),
        ([9, 0], ("value", "$")),
        (["a", 0], ("observation", "$")),
        ([], ("observation", "$")),
    ],
)
def test_inner_path_names_the_item(keys, expected):
    """The item's name and the path within it, without the array of one."""
    error = Unsendable("no", None)
    error.keys = keys
    assert (
        inner_path(error, {0: "observation", 1: "observation", 2: "info"}) == expected
    )


@given(st.binary(max_size=80), st.integers(0, 2**16 - 1), st.sampled_from(list(ITEMS)))
def test_any_message_has_a_tail_or_is_a_decode_error(payload, word, kind):
    """Nothing else is raised for any kind, flags and bytes."""
    try:
        items = read_tail(message(word, payload), 8, kind)
    except DecodeError:
        return
    assert len(items) >= ITEMS[kind]
