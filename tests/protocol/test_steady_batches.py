"""The short way of a batch's steady steps: the same bytes as the long way."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rlay.errors import DecodeError
from rlay.protocol.constants import Flag, Kind
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.steady import UNSTEADY, never
from tests.protocol.rigs import TEXT, Rig, box
from tests.support.equality import assert_identical

LANES = 3
OBSERVATIONS = np.arange(6, dtype=np.float32).reshape(LANES, 2)
ACTIONS = np.array([2, 0, 1])
REWARDS = np.array([1.0, -0.0, np.inf])
NOBODY = np.zeros(LANES, bool)
SOME = np.array([True, False, True])


def batch_rig(**options):
    """Return both ends of a batch."""
    return Rig(num_envs=LANES, batched=True, **options)


def image(buffer):
    """Return everything that a message is."""
    return buffer.words.tolist(), bytes(buffer.body())


def flags():
    """Return one bool for each lane."""
    return arrays.arrays(np.bool_, LANES)


@given(arrays.arrays(np.int64, LANES, elements=st.integers(-(2**63), 2**63 - 1)))
def test_step_is_written_as_the_long_way_does(actions):
    """Both ways leave the same message, and the same actions arrive by each."""
    short, long = batch_rig(), batch_rig()
    assert short.decision[0].steady(actions)
    assert image(short.decision[0]) == image(long.sent("step", actions))
    assert_identical(short.decision[1].steady(), actions)
    assert_identical(long.decision[1].steady(), actions)


@pytest.mark.parametrize(
    "actions", [None, [0, 1, 2], ACTIONS[:2], ACTIONS.astype(np.int32), (1, 2, 3)]
)
def test_actions_that_do_not_fit_are_left_to_the_long_way(actions):
    """Whatever is no element of the batched space: the writer says so."""
    assert batch_rig().decision[0].steady(actions) is False


def test_steady_step_resets_nobody_though_the_one_before_did():
    """The mask lies in the buffer: what an earlier message left there is wiped."""
    rig = batch_rig()
    rig.sent("step", ACTIONS, SOME)
    assert rig.decision[0].steady(ACTIONS)
    assert_identical(rig.decision_reader.batch_step(rig.decision[1]), (ACTIONS, None))


def test_step_with_a_mask_is_left_to_the_long_way():
    """The short reader returns actions and nothing else."""
    rig = batch_rig()
    rig.sent("step", ACTIONS, SOME)
    assert rig.decision[1].steady() is UNSTEADY


@given(
    arrays.arrays(np.float32, (LANES, 2)),
    arrays.arrays(np.float64, LANES),
    flags(),
    flags(),
)
def test_transition_is_written_as_the_long_way_does(
    observations, rewards, terminations, truncations
):
    """Both ways leave the same message, and the same transition arrives by each."""
    short, long = batch_rig(), batch_rig()
    transition: Any = (observations, rewards, terminations, truncations, {})
    assert short.report[0].steady(*transition)
    assert image(short.report[0]) == image(long.sent("transition", *transition))
    assert_identical(short.report[1].steady(), transition)
    assert_identical(short.report_reader.transition(short.report[1]), transition)


@pytest.mark.parametrize(
    "odd",
    [
        {0: OBSERVATIONS.astype(float)},
        {0: OBSERVATIONS[:2]},
        {1: REWARDS.astype(np.float32)},
        {1: REWARDS.tolist()},
        {1: REWARDS[:2]},
        {2: NOBODY.astype(np.int8)},
        {2: False},
        {3: NOBODY[:1]},
        {4: {"a": np.zeros(LANES)}},
        {4: [{}, {"a": 1}, {}]},
        {4: None},
    ],
)
def test_unusual_transition_is_left_to_the_long_way(odd):
    """Another type anywhere, or an info: the writer says so."""
    transition: list[Any] = [OBSERVATIONS, REWARDS, NOBODY, SOME, {}]
    for index, value in odd.items():
        transition[index] = value
    assert batch_rig().report[0].steady(*transition) is False


def test_what_is_read_stays_when_the_next_message_comes():
    """Copies, of observations too unless views are wished."""
    rig = batch_rig()
    assert rig.report[0].steady(OBSERVATIONS, REWARDS, SOME, NOBODY, {})
    read = rig.report[1].steady()
    assert rig.report[0].steady(OBSERVATIONS + 1, REWARDS + 1, NOBODY, SOME, {})
    assert_identical(read, (OBSERVATIONS, REWARDS, SOME, NOBODY, {}))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (KIND_WORD, Kind.TRANSITION),
        (KIND_WORD, Kind.TRANSITION | Flag.FIXED | Flag.TAIL),
        (KIND_WORD, Kind.RESET_RESULT | Flag.FIXED),
        (PAYLOAD_BYTES_WORD, 8),
    ],
)
def test_unusual_message_is_left_to_the_long_way(word, value):
    """The reader looks at kind, flags and size before it loads."""
    rig = batch_rig()
    rig.sent("transition", OBSERVATIONS, REWARDS, SOME, NOBODY, {})
    assert rig.report[1].steady() is not None
    rig.report[1].words[word] = value
    assert rig.report[1].steady() is None


@pytest.mark.parametrize("name", ["$terminated", "$truncated", "$status"])
def test_malformed_array_is_a_decode_error_of_the_long_way(name):
    """A bool of 2, and a status that nobody knows, are not returned."""
    rig = batch_rig()
    rig.sent("transition", OBSERVATIONS, REWARDS, SOME, NOBODY, {})
    rig.report[1].bound.extra[name].view(np.uint8)[1] = 2
    assert rig.report[1].steady() is None
    with pytest.raises(DecodeError):
        rig.report_reader.transition(rig.report[1])


def test_flags_are_told_by_one_though_memory_has_another_byte():
    """An array of bytes viewed as bool may hold any byte for True."""
    rig = batch_rig()
    odd = np.array([7, 0, 255], np.uint8).view(np.bool_)
    assert rig.report[0].steady(OBSERVATIONS, REWARDS, odd, NOBODY, {})
    assert_identical(rig.report[1].steady()[2], SOME)


def test_batch_with_variable_parts_has_no_short_way():
    """Its messages need a tail."""
    rig = batch_rig(observation=TEXT, action=TEXT)
    assert rig.report[0].steady is never
    assert rig.decision[0].steady is never
    assert rig.report[1].steady is None
    assert rig.decision[1].steady is None


def test_batch_of_flags_is_checked_as_the_long_way_does():
    """Observations of bools are bytes 0 or 1."""
    rig = batch_rig(observation=box((2,), bool))
    rig.sent("transition", np.ones((LANES, 2), bool), REWARDS, SOME, NOBODY, {})
    rig.report[1].payload[0] = 2
    with pytest.raises(DecodeError):
        rig.report[1].steady()
