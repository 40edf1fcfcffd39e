"""The short way of steady resets writes and reads the same bytes as the long way."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, Flag, Kind
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.steady import never
from rlay.protocol.steady_resets import (
    reset_reader,
    reset_result_reader,
    reset_result_writer,
    reset_writer,
)
from rlay.testing.info_strategies import plain_values
from tests.protocol.rigs import TEXT, Rig, box
from tests.protocol.strategies import spaces_with_elements
from tests.support.equality import assert_identical

OBSERVATION = np.array([1, 2], np.float32)
JUNK = st.integers(0, 255)


def image(buffer):
    """Return everything that a message is."""
    return buffer.words.tolist(), bytes(buffer.body())


def dirtied(rig, junk):
    """Return ``rig``, whose buffers hold the rest of other messages."""
    for buffer in (rig.decision[0], rig.report[0]):
        buffer.payload[:] = bytes((junk,)) * len(buffer.payload)
    return rig


@given(JUNK)
def test_reset_is_written_as_the_long_way_does(junk):
    """Both ways leave the same message, and each reader understands it."""
    short, long = dirtied(Rig(), junk), dirtied(Rig(), junk)
    assert short.decision[0].steady_reset() is True
    assert image(short.decision[0]) == image(long.sent("reset", None, None))
    assert long.decision[1].steady_reset() is True
    fields = short.decision_reader.reset(short.decision[1])
    assert_identical(tuple(fields), (None, None, None))


@given(
    st.none() | st.integers(-(2**70), 2**70),
    st.none() | st.dictionaries(st.text(max_size=3), plain_values(3), max_size=2),
)
def test_reset_that_asks_for_something_is_left_to_the_long_way(seed, options):
    """The reader takes no seed and no options for nothing."""
    rig = Rig()
    steady = rig.sent("reset", seed, options).steady_reset()
    assert steady is (seed is None and options is None)


def test_reset_with_a_mask_is_left_to_the_long_way():
    """A mask is for some of a batch: no steady reset."""
    rig = Rig(num_envs=1)
    assert not rig.sent("reset", None, None, np.ones(1, bool)).steady_reset()


@given(spaces_with_elements(), JUNK)
def test_reset_result_is_written_as_the_long_way_does(case, junk):
    """Both ways leave the same message, and the same observation arrives by each."""
    space, observation = case
    short, long = (dirtied(Rig(observation=space), junk) for _ in range(2))
    if not short.report[0].steady_reset(observation, {}):
        assert short.agreement.report_layout.variable
        return
    assert image(short.report[0]) == image(long.sent("reset_result", observation, {}))
    expected: Any = (observation, {})
    assert_identical(short.report_reader.reset_result(short.report[1]), expected)
    assert_identical(long.report[1].steady_reset(), expected)


@pytest.mark.parametrize(
    ("observation", "info"),
    [
        (None, {}),
        (OBSERVATION.astype(float), {}),
        (OBSERVATION[:1], {}),
        (OBSERVATION.tolist(), {}),
        (OBSERVATION, {"a": 1}),
        (OBSERVATION, None),
        (OBSERVATION, []),
        (OBSERVATION, np.zeros(2)),
    ],
)
def test_unusual_reset_result_is_left_to_the_long_way(observation, info):
    """Another type, dtype or shape, or an info: the writer says so."""
    assert Rig().report[0].steady_reset(observation, info) is False


@given(plain_values(4))
def test_reset_result_with_any_info_arrives(info):
    """What the short way refuses, the long way's reader gets, and the short one not."""
    rig = Rig()
    if rig.report[0].steady_reset(OBSERVATION, info):
        assert_identical(info, {})
        return
    buffer = rig.sent("reset_result", OBSERVATION, info)
    assert buffer.steady_reset() is None
    assert_identical(rig.report_reader.reset_result(buffer), (OBSERVATION, info))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (KIND_WORD, Kind.RESET),
        (KIND_WORD, Kind.RESET | Flag.TAIL | Flag.FIXED),
        (KIND_WORD, Kind.STEP | Flag.TAIL),
        (PAYLOAD_BYTES_WORD, 3),
        (PAYLOAD_BYTES_WORD, 5),
    ],
)
def test_unusual_message_is_no_steady_reset(word, value):
    """The reader looks at kind, flags and size."""
    rig = Rig()
    rig.sent("reset", None, None)
    rig.decision[1].words[word] = value
    assert rig.decision[1].steady_reset() is False


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (KIND_WORD, Kind.RESET_RESULT | Flag.FIXED),
        (KIND_WORD, Kind.RESET_RESULT | Flag.TAIL),
        (KIND_WORD, Kind.TRANSITION | Flag.FIXED | Flag.TAIL),
        (PAYLOAD_BYTES_WORD, 8),
        (PAYLOAD_BYTES_WORD, 13),
    ],
)
def test_unusual_message_is_no_steady_reset_result(word, value):
    """The reader looks at kind, flags and size before it loads."""
    rig = Rig()
    rig.sent("reset_result", OBSERVATION, {})
    assert rig.report[1].steady_reset() is not None
    rig.report[1].words[word] = value
    assert rig.report[1].steady_reset() is None


@pytest.mark.parametrize("index", range(4))
def test_another_tail_is_left_to_the_long_way(index):
    """The reader compares each byte of the tail."""
    rig = Rig()
    rig.sent("reset", None, None)
    rig.sent("reset_result", OBSERVATION, {})
    rig.decision[1].payload[index] ^= 1
    rig.report[1].payload[8 + index] ^= 1
    assert rig.decision[1].steady_reset() is False
    assert rig.report[1].steady_reset() is None


def test_malformed_observation_is_a_decode_error():
    """The short way checks what it loads as the long way does."""
    rig = Rig(observation=box((2,), bool))
    rig.sent("reset_result", np.ones(2, bool), {})
    rig.report[1].payload[0] = 2
    with pytest.raises(DecodeError):
        rig.report[1].steady_reset()


@pytest.mark.parametrize(
    "rig", [Rig(observation=TEXT, action=TEXT), Rig(num_envs=2, batched=True)]
)
def test_layouts_without_steady_steps_have_no_short_way(rig):
    """Batches and variable parts always go the long way."""
    assert rig.report[0].steady_reset is never
    assert rig.decision[0].steady_reset is never
    assert rig.report[1].steady_reset is None
    assert rig.decision[1].steady_reset is None


def test_buffer_without_room_for_a_tail_has_no_short_way():
    """A message that must go in parts is not steady."""
    buffer = MessageBuffer(memoryview(bytearray(MESSAGE_HEADER_BYTES + 11)))
    small = MessageBuffer(memoryview(bytearray(MESSAGE_HEADER_BYTES + 3)))
    binding = Rig().report[0].bound
    assert reset_result_writer(buffer, binding, 8) is never
    assert reset_result_reader(buffer, binding, 8)() is None
    assert reset_writer(small) is never
    assert reset_reader(small) is never
