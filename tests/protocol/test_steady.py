"""The short way of steady steps writes and reads the same bytes as the long way."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol import spaces
from rlay.protocol.constants import Flag, Kind
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD, REWARD_TYPE_WORD
from rlay.protocol.steady import UNSTEADY, never
from rlay.testing.info_strategies import plain_values
from tests.protocol.rigs import TEXT, Rig, box, discrete
from tests.protocol.strategies import spaces_with_elements
from tests.support.equality import assert_identical


def image(buffer):
    """Return everything that a message is."""
    return buffer.words.tolist(), bytes(buffer.body())


OBSERVATION = np.array([1, 2], np.float32)


@given(spaces_with_elements())
def test_step_is_written_as_the_long_way_does(case):
    """Both ways leave the same message, and the same action arrives by each."""
    space, action = case
    short, long = Rig(action=space), Rig(action=space)
    if not short.decision[0].steady(action):
        assert short.agreement.decision_layout.variable
        return
    assert image(short.decision[0]) == image(long.sent("step", action))
    assert_identical(short.decision[1].steady(), action)
    assert_identical(long.decision[1].steady(), action)


@given(plain_values(4))
def test_step_that_does_not_fit_is_left_to_the_long_way(value):
    """Whatever is no element of the space: the writer says so."""
    rig = Rig()
    if not rig.decision[0].steady(value):
        assert_identical(rig.decision[1].steady(), UNSTEADY)


REWARDS: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32).map(np.float32),
)


@given(spaces_with_elements(), REWARDS, st.booleans(), st.booleans())
def test_transition_is_written_as_the_long_way_does(case, reward, ended, cut):
    """Both ways leave the same message."""
    space, observation = case
    short, long = Rig(observation=space), Rig(observation=space)
    transition: Any = (observation, reward, ended, cut, {})
    if not short.report[0].steady(*transition):
        assert short.agreement.report_layout.variable
        return
    assert image(short.report[0]) == image(long.sent("transition", *transition))
    assert_identical(short.report_reader.transition(short.report[1]), transition)
    read = short.report[1].steady()
    if type(reward) is float:
        assert_identical(read, transition)
    else:
        assert read is None


@pytest.mark.parametrize(
    "transition",
    [
        (None, 1.0, False, False, {}),
        (OBSERVATION.astype(float), 1.0, False, False, {}),
        (OBSERVATION, None, False, False, {}),
        (OBSERVATION, 2**63, False, False, {}),
        (OBSERVATION, 1.0, np.bool_(False), False, {}),
        (OBSERVATION, 1.0, False, 0, {}),
        (OBSERVATION, 1.0, False, False, {"a": 1}),
        (OBSERVATION, 1.0, False, False, None),
        (OBSERVATION, 1.0, False, False, []),
        (OBSERVATION, 1.0, False, False, np.zeros(2)),
    ],
)
def test_unusual_transition_is_left_to_the_long_way(transition):
    """Another type anywhere, or an info: the writer says so."""
    assert Rig().report[0].steady(*transition) is False


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (KIND_WORD, Kind.TRANSITION),
        (KIND_WORD, Kind.TRANSITION | Flag.FIXED | Flag.TAIL),
        (KIND_WORD, Kind.TRANSITION | Flag.FIXED | Flag.RECORD),
        (KIND_WORD, Kind.TRANSITION | Flag.FIXED | Flag.NUMPY_TRUNCATED),
        (KIND_WORD, Kind.RESET_RESULT | Flag.FIXED),
        (REWARD_TYPE_WORD, 64),
        (PAYLOAD_BYTES_WORD, 7),
        (PAYLOAD_BYTES_WORD, 9),
    ],
)
def test_unusual_message_is_left_to_the_long_way(word, value):
    """The reader looks at kind, flags, reward type and size before it loads."""
    rig = Rig()
    rig.sent("transition", OBSERVATION, 1.0, False, False, {})
    assert rig.report[1].steady() is not None
    rig.report[1].words[word] = value
    assert rig.report[1].steady() is None


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (KIND_WORD, Kind.STEP),
        (KIND_WORD, Kind.STEP | Flag.FIXED | Flag.TAIL),
        (KIND_WORD, Kind.RESET | Flag.FIXED),
        (PAYLOAD_BYTES_WORD, 15),
    ],
)
def test_unusual_step_is_left_to_the_long_way(word, value):
    """The reader looks at kind, flags and size before it loads."""
    rig = Rig()
    rig.sent("step", 1)
    rig.decision[1].words[word] = value
    assert rig.decision[1].steady() is UNSTEADY


def test_malformed_element_is_a_decode_error():
    """The short way checks what it loads as the long way does."""
    rig = Rig(observation=box((2,), bool))
    rig.sent("transition", np.ones(2, bool), 1.0, False, False, {})
    rig.report[1].payload[0] = 2
    with pytest.raises(DecodeError):
        rig.report[1].steady()


@pytest.mark.parametrize(
    "rig",
    [
        Rig(observation=TEXT, action=TEXT),
        Rig(
            observation=spaces.Tuple((TEXT,)),
            action=spaces.Tuple((discrete(), TEXT)),
        ),
    ],
)
def test_layouts_without_steady_steps_have_no_short_way(rig):
    """Variable parts always go the long way."""
    assert rig.report[0].steady is never
    assert rig.decision[0].steady is never
    assert rig.report[1].steady is None
    assert rig.decision[1].steady is None
    assert never(1, 2, 3) is False
