"""Whatever a peer writes into a slot: documented errors, and nothing else.

Every reader is given valid messages with each truncation and each changed byte, and
arbitrary headers with arbitrary payloads. A fault of memory would end the process.
"""

import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol import spaces
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, CloseReason, Flag, Kind
from rlay.protocol.decisions import Operation
from rlay.protocol.failures import FailureFields
from rlay.protocol.slot_layout import (
    KIND_WORD,
    PAYLOAD_BYTES_WORD,
    REWARD_TYPE_WORD,
)
from rlay.protocol.values import GraphValue
from tests.protocol.rigs import TEXT, Rig, box, discrete, message_of

SPACES = {
    "plain": (box((2,)), discrete()),
    "bool": (box((3,), bool), spaces.MultiBinary((2,), flat=True)),
    "mixed": (
        spaces.Dict((("a", box((2,))), ("b", TEXT)), sort_keys=True),
        spaces.Tuple((discrete(), spaces.Graph(box(), None), TEXT)),
    ),
}
OBSERVATIONS = {
    "plain": np.array([1, 2], np.float32),
    "bool": np.array([True, False, True]),
    "mixed": {"a": np.array([1, 2], np.float32), "b": "ab"},
}
ACTIONS = {
    "plain": 1,
    "bool": np.array([1, 0], np.int8),
    "mixed": (1, GraphValue((np.zeros(2, np.float32), None, None)), "ab"),
}
INFO = {"a": (1, [None, np.zeros(2, bool)], {"b": np.float32(1)}), "c": "text"}


def messages():
    """Yield what a message is, its reader's name, and how it is written."""
    for name in SPACES:
        observation, action = OBSERVATIONS[name], ACTIONS[name]
        for info in ({}, {"a": 1, "b": np.float32(1)}, INFO):
            yield name, "transition", (observation, 1.5, True, np.False_, info)
        yield name, "transition", ([1], None, 0, None, None)
        yield name, "reset_result", (observation, INFO)
        yield name, "step", (action,)
        yield name, "step", ("other",)
    yield "plain", "reset", (2**70, {"a": [1]})
    yield "plain", "call", (Operation.CALL, "name", (1, "a"), {"b": None})
    yield "plain", "close", (CloseReason.CLOSED,)
    yield "plain", "call_result", (INFO,)
    yield "plain", "failure", (FailureFields(1, "E", "message", "trace"),)


def batches():
    """Yield the same for batches of two."""
    rewards, flags = np.zeros(2), np.array([True, False])
    yield "plain", "transition", (np.zeros((2, 2), "f4"), rewards, flags, flags, {})
    yield "plain", "transition", (np.zeros((2, 2), "f4"), [1], flags, flags, INFO)
    yield "plain", "step", (np.array([1, 2]), [True, False])
    yield "plain", "step", ([1, 2], [True, False])
    yield "plain", "reset", ([1, 2], None, [True, False])


CASES = [(*case, False) for case in messages()] + [(*case, True) for case in batches()]


def rig_of(name, *, batched):
    """Return a rig of these spaces."""
    observation, action = SPACES[name]
    return Rig(observation, action, 2 if batched else 1, batched=batched)


def sent(rig, name, args):
    """Return header and payload of a message; of the second one, where a record is."""
    for _ in range(2):
        buffer = rig.sent(name, *args)
    return bytes(buffer.words), bytes(buffer.body())


def readers(rig):
    """Return every reader of a rig."""
    return [
        *(getattr(rig.decision_reader, n) for n in ("step", "batch_step", "reset")),
        *(getattr(rig.decision_reader, n) for n in ("call", "close")),
        *(getattr(rig.report_reader, n) for n in ("transition", "reset_result")),
        *(getattr(rig.report_reader, n) for n in ("call_result", "failure")),
    ]


def check(read, header, payload):
    """Read a message from memory of its own size; only a DecodeError is raised."""
    buffer = message_of({}, payload)
    buffer.words[:] = memoryview(header).cast("I")
    with contextlib.suppress(DecodeError):
        read(buffer)


@pytest.mark.parametrize(("spaces_name", "name", "args", "batched"), CASES)
def test_each_truncation_is_read_or_a_decode_error(spaces_name, name, args, batched):
    """Memory that ends at any byte, the header saying so or not."""
    rig = rig_of(spaces_name, batched=batched)
    header, payload = sent(rig, name, args)
    for size in range(len(payload) + 1):
        shorter = bytearray(header)
        at = 4 * PAYLOAD_BYTES_WORD
        shorter[at : at + 4] = size.to_bytes(4, "little")
        for read in readers(rig):
            check(read, bytes(shorter), payload[:size])
            check(read, header, payload[:size])


@pytest.mark.parametrize(("spaces_name", "name", "args", "batched"), CASES)
def test_each_changed_byte_is_read_or_a_decode_error(spaces_name, name, args, batched):
    """One byte of header or payload is another one."""
    rig = rig_of(spaces_name, batched=batched)
    header, payload = sent(rig, name, args)
    by_name = {read.__name__: read for read in readers(rig)}
    for index in range(MESSAGE_HEADER_BYTES + len(payload)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(header + payload)
            changed[index] ^= change
            whole = bytes(changed)
            header, payload = whole[:MESSAGE_HEADER_BYTES], whole[MESSAGE_HEADER_BYTES:]
            check(by_name[name], header, payload)


WORDS = st.integers(0, 2**32 - 1)
KINDS = st.builds(
    lambda kind, flags: kind | flags << 8,
    st.sampled_from([int(kind) for kind in Kind]),
    st.integers(0, 0x7F),
)


@given(
    st.sampled_from(sorted(SPACES)),
    st.booleans(),
    KINDS | WORDS,
    st.sampled_from([0, 1, 13, 14, 64, 65, 66]) | WORDS,
    st.integers(0, 300) | WORDS,
    st.binary(max_size=200),
)
def test_any_message_is_read_or_a_decode_error(
    name, batched, kind, code, size, payload
):
    """Any header and any payload, in memory of its own and in a slot."""
    rig = rig_of(name, batched=batched)
    words = {KIND_WORD: kind, REWARD_TYPE_WORD: code, PAYLOAD_BYTES_WORD: size}
    header = bytes(message_of(words, payload).words)
    for slot in (rig.decision[1], rig.report[1]):
        slot.words[:] = memoryview(header).cast("I")
        slot.payload[: len(payload)] = payload
    ends = rig.decision[1], rig.report[1]
    short = [read for end in ends for read in (end.steady, end.steady_reset) if read]
    for read in short:
        with contextlib.suppress(DecodeError):
            read()
    for read in readers(rig):
        check(read, header, payload)
        is_report = read.__self__ is rig.report_reader
        with contextlib.suppress(DecodeError):
            read(rig.report[1] if is_report else rig.decision[1])


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x02",
        b"\xc7\x12\x02\x0c\x02" + b"\xff\xff\xff\x7f\0\0\0\0" * 2,
        b"\xc7\x12\x02\x0c\x02" + bytes(8) + b"\xff\xff\xff\xff\0\0\0\0",
    ],
)
def test_claimed_sizes_take_no_memory(payload):
    """Sizes that are not there allocate nothing (D10, D12)."""
    rig = Rig()
    buffer = message_of({KIND_WORD: Kind.CALL_RESULT | Flag.TAIL}, b"\x91" + payload)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            rig.report_reader.call_result(buffer)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "item", [b"\x80", b"\x90", b"\xc0", b"\xa0", b"\xd4\x01\x90", b"\xd4\x02\x00"]
)
def test_many_small_items_take_a_bounded_amount_of_memory(item):
    """100,000 empty containers take at most 120 bytes for each byte of theirs (D11)."""
    count = 100_000
    payload = b"\x91\xdd" + count.to_bytes(4, "big") + item * count
    buffer = message_of({KIND_WORD: Kind.CALL_RESULT | Flag.TAIL}, payload)
    rig = Rig()
    tracemalloc.start()
    try:
        with contextlib.suppress(DecodeError):
            rig.report_reader.call_result(buffer)
        assert tracemalloc.get_traced_memory()[1] < 120 * len(payload)
    finally:
        tracemalloc.stop()
