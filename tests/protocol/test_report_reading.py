"""Reading reports: what is refused, and what is valid for how long."""

import struct
from typing import Any

import numpy as np
import pytest

from rlay.errors import DecodeError
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Flag, Kind
from rlay.protocol.failures import FailureFields
from rlay.protocol.numbers import BOOL, FLOAT, INT
from rlay.protocol.report_reading import ReportReader
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD, REWARD_TYPE_WORD
from rlay.protocol.values import encode_value
from tests.protocol.rigs import TEXT, Rig, box, discrete, message_of
from tests.support.equality import assert_identical

OBSERVATION = np.array([1, 2], np.float32)
STEADY: Any = (OBSERVATION, 1.5, False, False, {})
FIXED = struct.pack("<2f", 1, 2)
TRANSITION = Kind.TRANSITION
BATCH: Any = (
    np.array([1, 2]),
    np.array([0.5, 1]),
    np.array([True, False]),
    np.array([False, True]),
    {},
)


def reader(observation=None, num_envs=1, *, batched=False):
    """Return a reader of reports that has no slot of its own."""
    agreement = Agreement.compile(
        observation or box(), discrete(), num_envs, batched=batched
    )
    return ReportReader(agreement, ())


def message(word, payload, code=FLOAT):
    """Return a report as a peer may send it, its reward 0.0."""
    return message_of({KIND_WORD: int(word), REWARD_TYPE_WORD: code}, payload)


def tail(*items):
    """Return a tail."""
    return encode_value(list(items))


def test_steady_transition_is_read():
    """Kind, size and reward type are right: the element is loaded."""
    assert_identical(Rig().through("transition", *STEADY), STEADY)


@pytest.mark.parametrize("info", [{}, {"a": 1}, {"a": "x"}])
@pytest.mark.parametrize("flag", [True, np.True_, 1])
def test_unsteady_transition_is_read(info, flag):
    """Records, tails and flags of other types: each arrives as it was."""
    rig = Rig()
    transition = (OBSERVATION, 2, flag, flag, info)
    for _ in range(2):
        assert_identical(rig.through("transition", *transition), transition)


def test_transition_of_private_memory_is_bound_once():
    """A message that was put together is compiled when it comes."""
    buffer = message(TRANSITION | Flag.FIXED, FIXED)
    reports = reader()
    expected: Any = (OBSERVATION, 0.0, False, False, {})
    assert_identical(reports.transition(buffer), expected)
    bound = buffer.bound
    assert_identical(reports.transition(buffer), expected)
    assert buffer.bound is bound


@pytest.mark.parametrize("copy", [True, False])
def test_views_follow_the_memory_and_copies_do_not(copy):
    """Without copies an observation is a read-only view of the slot."""
    rig = Rig(copy=copy)
    observation = rig.through("transition", *STEADY)[0]
    rig.sent("transition", np.zeros(2, np.float32), 0.0, False, False, {})
    assert observation.tolist() == ([1, 2] if copy else [0, 0])
    assert observation.flags.writeable == copy


def test_message_that_was_put_together_gives_copies():
    """Memory of its own need not be shared, whatever was asked for."""
    rig = Rig(copy=False, tail_room=0)
    observation = rig.through("transition", *STEADY[:4], {"a": "long"})[0]
    assert observation.flags.writeable


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 7, 9, 2**32 - 1])
@pytest.mark.parametrize("flags", [0, Flag.TERMINATED, Flag.NUMPY_TERMINATED])
def test_transition_of_another_size_is_a_decode_error(size, flags):
    """A payload shorter than the fixed area must not show what was there before."""
    rig = Rig()
    buffer = rig.sent("transition", *STEADY)
    buffer.words[KIND_WORD] |= flags
    buffer.words[PAYLOAD_BYTES_WORD] = size
    with pytest.raises(DecodeError, match=f"{size} bytes in place of a fixed area"):
        rig.report_reader.transition(buffer)


@pytest.mark.parametrize("flags", [0, Flag.TAIL, Flag.RECORD])
def test_transition_in_memory_that_is_too_small_is_a_decode_error(flags):
    """A message that was put together may be shorter than its fixed area."""
    with pytest.raises(DecodeError):
        reader().transition(message(TRANSITION | Flag.FIXED | flags, bytes(4)))


def test_slot_that_is_too_small_is_a_decode_error():
    """A peer that makes too small slots is found out before the first step."""
    agreement = Agreement.compile(box((100,)), discrete(), 1, batched=False)
    with pytest.raises(DecodeError, match="64 bytes lacks its fixed area of 400"):
        ReportReader(agreement, (MessageBuffer.private(64),))


@pytest.mark.parametrize("code", [0, 14, 15, 67, 2**32 - 1])
@pytest.mark.parametrize(
    "flags", [0, Flag.TERMINATED, Flag.NUMPY_TRUNCATED, Flag.RECORD]
)
def test_reward_of_unknown_type_is_a_decode_error(code, flags):
    """A type code that is not in the table is refused, 0 without a tail too."""
    payload = FIXED
    if flags & Flag.RECORD:
        payload += bytes.fromhex("01000000000000009000000000000000")
    buffer = message(TRANSITION | Flag.FIXED | flags, payload, code)
    with pytest.raises(DecodeError, match=f"unknown type code {code}, at"):
        reader().transition(buffer)


def test_reward_of_a_bool_beyond_one_is_a_decode_error():
    """A bool as reward is 0 or 1."""
    buffer = message(TRANSITION | Flag.FIXED, FIXED, BOOL)
    buffer.words[10] = 2
    with pytest.raises(DecodeError, match="unknown type code 66"):
        reader().transition(buffer)


@pytest.mark.parametrize("kind", [k for k in Kind if k is not TRANSITION])
def test_transition_of_another_kind_is_a_decode_error(kind):
    """A message of another kind is not read as this one."""
    with pytest.raises(DecodeError, match=f"{kind} came in place of TRANSITION"):
        reader().transition(message(kind | Flag.FIXED, FIXED))


@pytest.mark.parametrize("name", ["reset_result", "call_result", "failure"])
def test_other_report_of_another_kind_is_a_decode_error(name):
    """The same for the others."""
    with pytest.raises(DecodeError, match=f"came in place of {name.upper()}"):
        getattr(reader(), name)(message(Kind.CLOSE | Flag.TAIL, tail(1, 2, 3, 4)))


NIL = (None,) * 6


@pytest.mark.parametrize(
    ("flags", "fixed", "items", "code", "text"),
    [
        (Flag.TAIL, b"", NIL, FLOAT, r"array of one, at \$.observation"),
        (Flag.TAIL, b"", (None, 1, None, None, None, None), FLOAT, "array of one"),
        (Flag.TAIL, b"", (None, [1], 1, None, None, None), INT, r"one, at \$.info"),
        (Flag.TAIL, b"", (None, [1], None, None, None, None), 0, r"at \$.reward"),
        (Flag.TAIL, b"", (None, [1], None, None, 1, None), INT, r"at \$.terminated"),
        (Flag.TAIL, b"", (None, [1], None, None, None, 1), INT, r"at \$.truncated"),
        (Flag.TAIL, b"", (None, [1], None, None, None), INT, "tail of a message TRANS"),
        (Flag.TAIL, b"", NIL, 15, "unknown type code 15"),
        (Flag.FIXED | Flag.TAIL, FIXED[:6], (), FLOAT, "lacks its fixed area"),
        (Flag.FIXED | Flag.TAIL, FIXED, (), FLOAT, "tail of a message TRANSITION"),
        (Flag.RECORD, b"", (), FLOAT, "a record belongs behind a fixed area"),
        (Flag.RECORD | Flag.FIXED, FIXED, (), FLOAT, r"record.*, at \$.info"),
    ],
)
def test_malformed_transition_is_a_decode_error(flags, fixed, items, code, text):
    """Each item of a Transition's tail is checked."""
    with pytest.raises(DecodeError, match=text):
        reader().transition(message(TRANSITION | flags, fixed + tail(*items), code))


def test_transition_without_anything_is_a_decode_error():
    """No fixed area and no tail: there is no observation."""
    with pytest.raises(DecodeError):
        reader().transition(message(TRANSITION, b""))
    # A fixed area of no size is none, too.
    with pytest.raises(DecodeError, match=r"array of one, at \$.observation"):
        reader(TEXT).transition(message(TRANSITION, b""))


def test_record_beside_variable_parts_is_a_decode_error():
    """Variable parts need a tail, so there is no room for a record."""
    with pytest.raises(DecodeError, match="a record belongs behind a fixed area"):
        reader(TEXT).transition(message(TRANSITION | Flag.FIXED | Flag.RECORD, b""))


@pytest.mark.parametrize(
    ("parts", "text"),
    [(None, "expected the variable"), ([], "too few"), (["a", "b"], "too many")],
)
def test_wrong_variable_parts_are_a_decode_error(parts, text):
    """There are as many variable parts as the space has."""
    payload = tail(parts, None, None, None, None, None)
    with pytest.raises(DecodeError, match=text):
        reader(TEXT).transition(message(TRANSITION | Flag.FIXED | Flag.TAIL, payload))


def test_variable_parts_without_a_tail_are_a_decode_error():
    """A fixed area alone is no observation of such a space."""
    with pytest.raises(DecodeError, match="expected the variable parts"):
        reader(TEXT).transition(message(TRANSITION | Flag.FIXED, b""))


# --- batches --------------------------------------------------------------------------


def batch_rig():
    """Return a rig whose reader has just been sent a batch, and the buffer."""
    rig = Rig(discrete(), num_envs=2, batched=True)
    return rig, rig.sent("transition", *BATCH)


def test_batch_is_read():
    """Arrays are copies that stay when the memory changes."""
    rig, buffer = batch_rig()
    read = rig.report_reader.transition(buffer)
    buffer.payload[:] = bytes(len(buffer.payload))
    assert_identical(read, BATCH)


@pytest.mark.parametrize(
    ("place", "byte", "text"),
    [
        (32, 2, r"byte 0 or 1, at \$terminated"),
        (41, 255, r"byte 0 or 1, at \$truncated"),
        (48, 1, r"status 1, which this version does not know, at \$status"),
        (49, 2, "status 2"),
    ],
)
def test_malformed_batch_is_a_decode_error(place, byte, text):
    """Flags are bools; a status that is not known here is not passed over."""
    rig, buffer = batch_rig()
    buffer.payload[place] = byte
    with pytest.raises(DecodeError, match=text):
        rig.report_reader.transition(buffer)


@pytest.mark.parametrize("size", [0, 55, 57])
def test_batch_of_another_size_is_a_decode_error(size):
    """A shorter payload must not show what was there before."""
    rig, buffer = batch_rig()
    buffer.words[PAYLOAD_BYTES_WORD] = size
    with pytest.raises(DecodeError, match="in place of a fixed area of 56"):
        rig.report_reader.transition(buffer)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (NIL, r"a batch lacks its arrays, at \$reward"),
        ((None, [1], None, [1], None, [1]), r"lacks its arrays, at \$terminated"),
        ((None, [1], None, [1], [1], None), r"lacks its arrays, at \$truncated"),
        ((None, None, None, [1], [1], [1]), r"array of one, at \$.observation"),
        ((None, [1], None, 1, [1], [1]), r"array of one, at \$reward"),
        ((None, [1], {}, [1], [1], [1]), r"array of one, at \$.info"),
    ],
)
def test_batch_of_values_lacks_nothing(items, text):
    """Without a fixed area everything stands in the tail."""
    buffer = message(TRANSITION | Flag.TAIL, tail(*items))
    with pytest.raises(DecodeError, match=text):
        reader(discrete(), 2, batched=True).transition(buffer)


def test_batch_with_a_record_is_a_decode_error():
    """Batches have no records."""
    rig, buffer = batch_rig()
    buffer.words[KIND_WORD] |= Flag.RECORD
    with pytest.raises(DecodeError, match="a record belongs behind"):
        rig.report_reader.transition(buffer)


# --- the others -----------------------------------------------------------------------


def test_reset_result_is_read():
    """With and without a fixed area, with and without an info."""
    rig = Rig()
    firsts: Any = [(OBSERVATION, {}), ([1], {}), (OBSERVATION, {"a": 1})]
    for first in firsts:
        assert_identical(rig.through("reset_result", *first), first)


def test_reset_result_without_a_tail_is_a_decode_error():
    """A first observation always has a tail."""
    with pytest.raises(DecodeError, match="RESET_RESULT has no tail"):
        reader().reset_result(message(Kind.RESET_RESULT | Flag.FIXED, FIXED))


@pytest.mark.parametrize("value", [None, [1], {"a": (1,)}])
def test_call_result_is_read(value):
    """Any value arrives."""
    assert_identical(Rig().through("call_result", value), value)


def test_failure_is_read():
    """A code, also one that is not known here, and three texts."""
    failure = FailureFields(0x8001, "E", "message", "trace")
    assert Rig().through("failure", failure) == failure


@pytest.mark.parametrize(
    "items",
    [(True, "", "", ""), ("1", "", "", ""), (1, None, "", ""), (1, "", b"", "")],
)
def test_malformed_failure_is_a_decode_error(items):
    """A failure is an int and three str."""
    with pytest.raises(DecodeError, match="a failure is a code and three str"):
        reader().failure(message(Kind.FAILURE | Flag.TAIL, tail(*items)))
