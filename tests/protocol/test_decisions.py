"""Decisions on the wire: golden bytes, round trips, and what is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, LocalProtocolError
from rlay.protocol import spaces
from rlay.protocol.agreement import Agreement
from rlay.protocol.binding import Binding
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, Flag, Kind
from rlay.protocol.decisions import (
    CallFields,
    DecisionReader,
    DecisionWriter,
    Operation,
    ResetFields,
    load_variable,
)
from rlay.protocol.layout import compile_layout
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.values import Unsendable, encode_value
from rlay.testing.info_strategies import infos, plain_values
from tests.protocol.rigs import TEXT, Rig, box, discrete, message_of
from tests.protocol.strategies import spaces_with_elements
from tests.protocol.test_values import native
from tests.support.equality import assert_identical

MIXED = spaces.Tuple((discrete(), TEXT, box((2,))))
MIXED_ACTION = (1, "ab", np.array([1, 2], np.float32))


def body(buffer):
    """Return a message's kind, flags and payload."""
    return hex(buffer.words[KIND_WORD]), bytes(buffer.body()).hex()


def message(word, payload):
    """Return a message of kind, flags and payload, as a peer may send it."""
    return message_of({KIND_WORD: int(word)}, payload)


def reader(action=None, num_envs=1, *, batched=False):
    """Return a reader of decisions."""
    agreement = Agreement.compile(TEXT, action or discrete(), num_envs, batched=batched)
    return DecisionReader(agreement, ())


# --- golden bytes ---------------------------------------------------------------------


def test_golden_step():
    """An action of its space's types is the fixed area and nothing else."""
    assert body(Rig().sent("step", np.int64(2))) == (
        "0x102",
        "02000000000000000800000000000000",
    )


def test_golden_step_of_another_type():
    """Any other action is a value; the fixed area is not used."""
    assert body(Rig().sent("step", 1.5)) == (
        "0x202",
        "93c091cb3ff8000000000000c0",
    )


def test_golden_step_with_variable_parts():
    """Parts of no fixed size follow the fixed area, in order."""
    assert body(Rig(action=MIXED).sent("step", MIXED_ACTION)) == (
        "0x302",
        "010000000000000040000000000000000000803f000000409391a26162c0c0",
    )


def test_golden_step_of_a_batch():
    """A batch has its actions, and who is to be reset."""
    rig = Rig(num_envs=2, batched=True)
    assert body(rig.sent("step", np.array([1, 2]), [False, True])) == (
        "0x102",
        "010000000000000002000000000000000001000000000000",
    )


def test_golden_reset():
    """Seed, options and mask; a seed may have any size."""
    assert body(Rig().sent("reset", 2**64, {"a": 1})) == (
        "0x201",
        "93c7090600000000000000000181a16101c0",
    )


def test_golden_call():
    """What is asked for, of what, with what."""
    assert body(Rig().sent("call", Operation.CALL, "f", (1,), {"a": 2})) == (
        "0x203",
        "9401a166910181a16102",
    )


def test_golden_close():
    """A goodbye has its reason."""
    assert body(Rig().sent("close", CloseReason.DRAINING)) == ("0x204", "9102")


def test_operations_are_these():
    """Numbers of operations, written out a second time."""
    assert {op.name: op.value for op in Operation} == {
        "GET": 0,
        "CALL": 1,
        "SET": 2,
        "RENDER": 3,
    }


# --- round trips ----------------------------------------------------------------------


@given(spaces_with_elements(), st.sampled_from([0, 65536]))
def test_any_action_comes_back(case, tail_room):
    """An element of any space arrives as it was, in its buffer or put together."""
    space, action = case
    assert_identical(
        Rig(action=space, tail_room=tail_room).through("step", action), action
    )


@given(plain_values(6), st.sampled_from([0, 65536]))
def test_any_value_as_action_comes_back(value, tail_room):
    """An action that is no element of its space arrives as it was, too."""
    assert_identical(Rig(tail_room=tail_room).through("step", value), native(value))


@given(
    st.none() | st.integers() | st.lists(st.none() | st.integers(), max_size=3),
    st.none() | infos(4),
)
def test_any_reset_comes_back(seed, options):
    """Seeds of any size and any options arrive as they were."""
    assert_identical(
        Rig().through("reset", seed, options), ResetFields(seed, native(options), None)
    )


@given(
    st.sampled_from(Operation),
    st.text(),
    st.lists(plain_values(2), max_size=2),
    infos(2),
)
def test_any_call_comes_back(operation, name, args, kwargs):
    """Arguments arrive as they were, in a list."""
    fields = Rig().through("call", operation, name, tuple(args), kwargs)
    expected = CallFields(operation, name, native(args), native(kwargs))
    assert_identical(fields, expected)


def test_call_without_arguments():
    """No arguments are none."""
    assert Rig().through("call", Operation.RENDER, "") == (3, "", [], {})


@pytest.mark.parametrize("reason", CloseReason)
def test_any_close_comes_back(reason):
    """Each reason arrives."""
    assert Rig().through("close", reason) is reason


def test_steps_follow_each_other_in_one_buffer():
    """What one step left in the buffer is not seen by the next."""
    rig = Rig(action=MIXED)
    for action in (MIXED_ACTION, None, MIXED_ACTION, "x" * 100, (1, "b"), MIXED_ACTION):
        assert_identical(rig.through("step", action), action)


# --- batches --------------------------------------------------------------------------


@pytest.mark.parametrize("num_envs", [1, 2, 5])
@pytest.mark.parametrize("marked", [True, False])
def test_batch_step_with_its_mask(num_envs, marked):
    """Actions and mask arrive; a mask without a mark is none."""
    rig = Rig(num_envs=num_envs, batched=True)
    actions, mask = np.arange(num_envs), np.zeros(num_envs, bool)
    mask[-1] = marked
    read, read_mask = rig.decision_reader.batch_step(rig.sent("step", actions, mask))
    assert_identical(read, actions)
    assert_identical(read_mask, mask if marked else None)


@pytest.mark.parametrize("actions", [[1, 2], np.array([1.0, 2.0])])
@pytest.mark.parametrize("mask", [None, [False, False], [True, False]])
def test_batch_step_of_another_type(actions, mask):
    """Actions that are no batch of the space go as a value, and the mask with them."""
    rig = Rig(num_envs=2, batched=True)
    read, read_mask = rig.decision_reader.batch_step(rig.sent("step", actions, mask))
    assert_identical(read, actions)
    marked = mask is not None and any(mask)
    assert_identical(read_mask, np.array(mask) if marked else None)


def test_batch_step_with_variable_parts():
    """Variable parts of a batch travel as one value each, the mask in its place."""
    rig = Rig(action=spaces.Tuple((discrete(), TEXT)), num_envs=2, batched=True)
    actions = (np.array([1, 2]), ("a", "b"))
    for mask in (None, np.array([True, False])):
        read, read_mask = rig.decision_reader.batch_step(
            rig.sent("step", actions, mask)
        )
        assert_identical(read, actions)
        assert_identical(read_mask, mask)


def test_batch_step_without_a_mask_after_one_with_it():
    """The mask of one step is not that of the next."""
    rig = Rig(num_envs=2, batched=True)
    rig.sent("step", np.array([1, 2]), [True, True])
    buffer = rig.sent("step", np.array([1, 2]))
    assert rig.decision_reader.batch_step(buffer)[1] is None


def test_batch_step_of_one_environment_has_no_mask():
    """Without a batch there is nothing to mark."""
    rig = Rig()
    assert rig.decision_reader.batch_step(rig.sent("step", 1)) == (1, None)


def test_reset_with_a_mask():
    """Some environments of a batch are reset."""
    rig = Rig(num_envs=3, batched=True)
    fields = rig.through("reset", [1, None, 3], {}, [True, False, True])
    assert_identical(
        fields, ResetFields([1, None, 3], {}, np.array([True, False, True]))
    )


@pytest.mark.parametrize("mask", [[True], [True] * 3, True, [[True, False]]])
@pytest.mark.parametrize(
    "decision",
    [("step", (np.array([1, 2]), "a")), ("step", ([1, 2], "a")), ("reset", None, None)],
)
def test_mask_of_another_shape_is_our_own_fault(mask, decision):
    """A wrong mask is refused before anything is sent, and the next step is sound."""
    rig = Rig(action=spaces.Tuple((discrete(), TEXT)), num_envs=2, batched=True)
    with pytest.raises(LocalProtocolError, match=r"a reset mask has shape \(2,\)"):
        rig.sent(*decision, mask)
    actions = (np.array([1, 2]), ("a", "b"))
    assert_identical(rig.through("step", actions), actions)


# --- what is not sent -----------------------------------------------------------------


@pytest.mark.parametrize("action", [{1}, (1, "\ud800", MIXED_ACTION[2]), 2**70])
def test_unsendable_action_is_refused_and_the_next_is_sound(action):
    """What cannot be encoded raises, and leaves nothing behind."""
    rig = Rig(action=MIXED)
    with pytest.raises(Unsendable):
        rig.sent("step", action)
    assert_identical(rig.through("step", MIXED_ACTION), MIXED_ACTION)


def test_unsendable_action_has_its_path():
    """The path leads through the tail's items."""
    with pytest.raises(Unsendable) as caught:
        Rig().sent("step", {"a": [1, {2}]})
    assert caught.value.keys == [1, 0, "a", 1]


@pytest.mark.parametrize("options", [1, [], "a", ()])
def test_other_options_are_refused(options):
    """Options are a dict or None: the peer would end the session."""
    with pytest.raises(Unsendable, match="a dict or None") as caught:
        Rig().sent("reset", 1, options)
    assert caught.value.keys == [1]


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 15, 17, 2**32 - 1])
def test_step_of_another_size_is_a_decode_error(size):
    """A payload shorter than the fixed area must not show what was there before."""
    rig = Rig()
    buffer = rig.sent("step", 1)
    buffer.words[PAYLOAD_BYTES_WORD] = size
    for read in (rig.decision_reader.step, rig.decision_reader.batch_step):
        with pytest.raises(DecodeError, match=f"{size} bytes in place of a fixed area"):
            read(buffer)


def test_step_in_memory_that_is_too_small_is_a_decode_error():
    """A message that was put together may be shorter than its fixed area."""
    with pytest.raises(DecodeError, match="8 bytes in place of a fixed area of 16"):
        reader().step(message(Kind.STEP | Flag.FIXED, bytes(8)))
    with pytest.raises(DecodeError, match="lacks its fixed area"):
        reader().step(message(Kind.STEP | Flag.FIXED | Flag.TAIL, b"\x93\xc0\xc0\xc0"))


@pytest.mark.parametrize("make", [DecisionReader, DecisionWriter])
def test_slot_that_is_too_small_is_a_decode_error(make):
    """A peer that makes too small slots is found out before the first step."""
    agreement = Agreement.compile(TEXT, box((100,)), 1, batched=False)
    with pytest.raises(DecodeError, match="64 bytes lacks its fixed area of 400"):
        make(agreement, (MessageBuffer.private(64),))


def test_step_that_was_put_together_is_bound_once():
    """A private buffer is compiled when it comes."""
    buffer = message(Kind.STEP | Flag.FIXED, struct.pack("<qII", 2, 64, 0))
    decisions = reader()
    assert decisions.step(buffer) == 2
    bound = buffer.bound
    assert decisions.step(buffer) == 2
    assert buffer.bound is bound


@pytest.mark.parametrize("word", [Kind.STEP, Kind.STEP | Flag.FIXED])
def test_variable_step_without_a_tail_is_a_decode_error(word):
    """Without its variable parts there is no action."""
    with pytest.raises(DecodeError, match=r"has no tail|lacks"):
        reader(TEXT).step(message(word, b""))


FIXED_TAIL = Kind.STEP | Flag.FIXED | Flag.TAIL
VALUE = Kind.STEP | Flag.TAIL
ACTION_BYTES = struct.pack("<qII2f", 1, 64, 0, 1, 2)


@pytest.mark.parametrize(
    ("word", "fixed", "items", "text"),
    [
        (FIXED_TAIL, ACTION_BYTES, [None, None, None], "expected the variable parts"),
        (FIXED_TAIL, ACTION_BYTES, [{}, None, None], "expected the variable parts"),
        (FIXED_TAIL, ACTION_BYTES, [[], None, None], "too few variable parts"),
        (FIXED_TAIL, ACTION_BYTES, [["a", "b"], None, None], "too many variable parts"),
        (VALUE, b"", [None, None, None], r"array of one, at \$.action"),
        (VALUE, b"", [None, [], None], r"array of one, at \$.action"),
        (VALUE, b"", [None, [1], []], r"array of one, at \$reset_mask"),
        (VALUE, b"", [None, [1], 0], r"array of one, at \$reset_mask"),
        (VALUE, b"", [None, [1], [None]], "reset mask is a bool array of shape"),
        (VALUE, b"", [None, [1], [[True]]], "reset mask is a bool array of shape"),
        (VALUE, b"", [None, [1], [np.ones(1)]], "reset mask is a bool array"),
        (VALUE, b"", [None, [1], [np.ones(2, bool)]], r"bool array of shape \(1,\)"),
    ],
)
def test_malformed_step_is_a_decode_error(word, fixed, items, text):
    """Each item of a Step's tail is checked."""
    with pytest.raises(DecodeError, match=text):
        reader(MIXED).step(message(word, fixed + encode_value(items)))


def test_step_after_a_malformed_one_is_sound():
    """Variable parts of a refused message are not those of the next."""
    decisions = reader(MIXED)
    bad = message(FIXED_TAIL, ACTION_BYTES + encode_value([["a", "b"], None, None]))
    with pytest.raises(DecodeError):
        decisions.step(bad)
    good = message(FIXED_TAIL, ACTION_BYTES + encode_value([["ab"], None, None]))
    assert_identical(decisions.step(good), MIXED_ACTION)


def test_mask_beyond_one_is_a_decode_error():
    """A mask's bytes are bools."""
    rig = Rig(num_envs=2, batched=True)
    buffer = rig.sent("step", np.array([1, 2]), [True, False])
    buffer.payload[17] = 2
    with pytest.raises(DecodeError, match=r"byte 0 or 1, at \$reset_mask"):
        rig.decision_reader.batch_step(buffer)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([None, 1, None], r"options are a dict or nil, at \$.options"),
        ([None, {}, True], r"bool array of shape \(1,\), at \$.mask"),
        ([None, {}, np.ones(2, bool)], "bool array of shape"),
        ([None, {}], "tail of a message RESET is malformed"),
    ],
)
def test_malformed_reset_is_a_decode_error(items, text):
    """Each item of a Reset is checked."""
    with pytest.raises(DecodeError, match=text):
        reader().reset(message(Kind.RESET | Flag.TAIL, encode_value(items)))


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([4, "a", [], {}], "unknown operation 4"),
        ([True, "a", [], {}], "unknown operation True"),
        ([1.0, "a", [], {}], "unknown operation 1.0"),
        ([None, "a", [], {}], "unknown operation None"),
        ([[], "a", [], {}], r"unknown operation \[\]"),
        ([np.array([1, 1]), "a", [], {}], "unknown operation"),
        ([0, b"a", [], {}], "a call is operation, name, args, kwargs"),
        ([0, "a", (), {}], "a call is operation"),
        ([0, "a", [], None], "a call is operation"),
    ],
)
def test_malformed_call_is_a_decode_error(items, text):
    """Each item of a Call is checked, by its exact type."""
    with pytest.raises(DecodeError, match=text):
        reader().call(message(Kind.CALL | Flag.TAIL, encode_value(items)))


@pytest.mark.parametrize("reason", [None, True, 1.0, [], np.zeros(0)])
def test_malformed_close_is_a_decode_error(reason):
    """A reason is a number."""
    with pytest.raises(DecodeError, match="a reason is an int"):
        reader().close(message(Kind.CLOSE | Flag.TAIL, encode_value([reason])))


@pytest.mark.parametrize("reason", [-1, len(CloseReason), 0x8000])
def test_unknown_reason_is_closed(reason):
    """A newer peer's reason still is a goodbye."""
    buffer = message(Kind.CLOSE | Flag.TAIL, encode_value([reason]))
    assert reader().close(buffer) is CloseReason.CLOSED


@pytest.mark.parametrize("name", ["step", "reset", "call", "close"])
def test_other_kind_is_a_decode_error(name):
    """A message of another kind is not read as this one."""
    buffer = message(Kind.READY | Flag.TAIL, encode_value([1, 2, 3, 4]))
    with pytest.raises(DecodeError, match=f"came in place of {name.upper()}"):
        getattr(reader(), name)(buffer)


def test_load_variable_leaves_the_binding_clean():
    """After too many parts the next value is read from its own."""
    binding = Binding(TEXT, compile_layout(TEXT), memoryview(b""), batched=False)
    with pytest.raises(DecodeError, match="too many"):
        load_variable(binding, ["a", "b"])
    assert load_variable(binding, ["c"]) == "c"
