"""Parts put together: what belongs together, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, MessageTooLarge
from rlay.protocol.buffers import MessageBuffer
from rlay.transport.parts import Assembly

LIMIT = 10_000


def part_of(payload, index, parts, total=None, *, sequence=1, ids=(7, 9)):
    """Return a buffer that holds one part."""
    buffer = MessageBuffer.private(64)
    buffer.stamp(*ids)
    buffer.words[1] = sequence
    buffer.words[0] = 18
    buffer.payload[: len(payload)] = payload
    buffer.set_part(
        index, parts, len(payload), len(payload) if total is None else total
    )
    return buffer


def begin(first, number=2):
    """Begin a message with its first part."""
    return Assembly(first, number, LIMIT)


def test_parts_become_one_message():
    """The whole has the header of the parts and says that it is one."""
    coming = begin(part_of(b"abc", 0, 3, 7))
    assert not coming.complete
    assert coming.add(part_of(b"de", 1, 3, 7), 4)
    assert coming.add(part_of(b"fg", 2, 3, 7), 6)
    assert coming.complete
    whole = coming.whole
    assert bytes(whole.body()) == b"abcdefg"
    assert whole.part == (0, 1)
    assert (whole.sequence, whole.incarnation, whole.session) == (1, 7, 9)
    assert whole.words[0] == 18


@pytest.mark.parametrize("parts", [0, 1])
def test_single_part_is_whole_at_once(parts):
    """A message of one part, however that is said, is complete."""
    coming = Assembly(part_of(b"abc", 0, parts), 2, LIMIT)
    assert coming.complete
    assert bytes(coming.whole.body()) == b"abc"


@given(st.binary(min_size=2, max_size=200), st.integers(1, 64))
def test_any_cut_is_put_together_again(payload, size):
    """However a message is cut, the whole is what was cut."""
    pieces = [payload[i : i + size] for i in range(0, len(payload), size)]
    buffers = [
        part_of(piece, index, len(pieces), len(payload))
        for index, piece in enumerate(pieces)
    ]
    coming = Assembly(buffers[0], 0, LIMIT)
    for number, buffer in enumerate(buffers[1:], 1):
        assert coming.continues(buffer)
        assert coming.add(buffer, number)
    assert coming.complete
    assert bytes(coming.whole.body()) == payload


def test_part_that_was_copied_is_not_copied_again():
    """After an interruption the same publication is seen again and belongs."""
    first = part_of(b"abc", 0, 2, 6)
    coming = Assembly(first, 2, LIMIT)
    assert coming.has(2)
    assert coming.add(first, 2)
    assert coming.add(part_of(b"def", 1, 2, 6), 4)
    assert coming.add(part_of(b"def", 1, 2, 6), 4)
    assert bytes(coming.whole.body()) == b"abcdef"


@pytest.mark.parametrize(
    "odd",
    [
        part_of(b"de", 0, 3, 7),
        part_of(b"de", 2, 3, 7),
        part_of(b"de", 1, 4, 7),
        part_of(b"de", 1, 3, 8),
        part_of(b"de", 1, 3, 7, sequence=2),
        part_of(b"de", 1, 3, 7, ids=(8, 9)),
        part_of(b"de", 1, 3, 7, ids=(7, 8)),
    ],
    ids=["first", "gap", "parts", "total", "sequence", "incarnation", "session"],
)
def test_part_of_another_message_does_not_belong(odd):
    """A part of anything else is told apart, and the message is left as it was."""
    coming = Assembly(part_of(b"abc", 0, 3, 7), 2, LIMIT)
    assert not coming.add(odd, 4)
    assert coming.add(part_of(b"de", 1, 3, 7), 6)


def test_b21_message_over_the_limit_is_refused_before_memory_is_taken():
    """B21: a claim of a terabyte is refused with both numbers."""
    with pytest.raises(MessageTooLarge) as caught:
        Assembly(part_of(b"abc", 0, 2**31, 2**40), 2, LIMIT)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (2**40, LIMIT)


@pytest.mark.parametrize(
    ("buffer", "text"),
    [
        (part_of(b"abc", 1, 3, 7), "without those before"),
        (part_of(b"abc", 0, 8, 7), "7 bytes cannot come in 8 parts"),
        (part_of(b"abc", 0, 2, 2), "sum up to 3"),
        (part_of(b"", 0, 2, 2), "empty"),
    ],
    ids=["no first part", "too many parts", "too long", "empty part"],
)
def test_b6_unsound_first_part_is_refused(buffer, text):
    """B6: a first part that contradicts itself is a DecodeError with its numbers."""
    with pytest.raises(DecodeError, match=text):
        Assembly(buffer, 2, LIMIT)


@pytest.mark.parametrize(
    ("payload", "text"), [(b"abcd", "sum up to 7"), (b"ab", "sum up to 5")]
)
def test_b6_parts_that_do_not_sum_up_are_refused(payload, text):
    """B6: parts that are more or less than was said are a DecodeError."""
    coming = Assembly(part_of(b"abc", 0, 2, 6), 2, LIMIT)
    with pytest.raises(DecodeError, match=text):
        coming.add(part_of(payload, 1, 2, 6), 4)
    assert not coming.complete


def test_b6_part_longer_than_its_room_is_refused():
    """B6: a part that claims more than its buffer has is a DecodeError."""
    buffer = part_of(b"abc", 0, 2, 600)
    buffer.words[6] = 65
    with pytest.raises(DecodeError, match="65 bytes in room for 64"):
        Assembly(buffer, 2, LIMIT)
