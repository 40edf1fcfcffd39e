"""Infos of unchanged scalar keys: golden bytes, and when they are no records."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol.numbers import make_number_store
from rlay.protocol.records import RecordReader, RecordWriter
from rlay.testing.info_strategies import numpy_scalars, plain_values
from tests.support.equality import assert_identical


def packed(info):
    """Return the record of an info that was seen before."""
    writer = RecordWriter()
    writer.pack(info)
    return writer.pack(info)


def unpacked(record):
    """Return what a reader makes of a record."""
    return RecordReader().unpack(memoryview(record))


def record(schema, values, *, schema_bytes=None, values_bytes=None):
    """Return a record as a peer may send it."""
    head = [schema_bytes, values_bytes]
    for index, default in enumerate((len(schema), len(values))):
        if head[index] is None:
            head[index] = default
    padding = bytes(-len(schema) % 8)
    return b"".join(n.to_bytes(4, "little") for n in head) + schema + padding + values


def test_golden_record():
    """Head, keys with type codes, zeros up to 8, eight bytes for each value."""
    info = {"a": 1, "b": 1.5, "c": True, "d": np.int8(-2), "e": np.float32(1.5)}
    assert packed(info).hex() == (
        "10000000" "28000000"
        "9a" "a16140" "a16241" "a16342" "a16402" "a1650b"
        "0100000000000000"
        "000000000000f83f"
        "0100000000000000"
        "fe00000000000000"
        "0000c03f00000000"
    )  # fmt: skip


def test_values_stand_as_in_number_cells():
    """A value's eight bytes are those that the same number has as a reward."""
    values: list[Any] = [
        -1,
        2.5,
        True,
        *(kind(1) for kind in (np.int8, np.uint8, np.bool_)),
    ]
    values += [np.int16(-1), np.uint16(9), np.int32(-1), np.uint32(9), np.int64(-1)]
    values += [np.uint64(2**63), np.float16(1), np.float32(1), np.float64(1)]
    values += [np.complex64(1j)]
    for value in values:
        cell = memoryview(bytearray(8))
        assert make_number_store(cell)(value)
        assert packed({"a": value})[-8:] == bytes(cell), type(value)


NUMBERS = (
    st.floats()
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | numpy_scalars().filter(lambda scalar: scalar.dtype.itemsize <= 8)
)


@given(st.dictionaries(st.text(max_size=8), NUMBERS, min_size=1, max_size=6))
def test_any_record_comes_back(info):
    """Keys in their order, types and bits are what they were."""
    assert_identical(unpacked(packed(info)), info)


def test_first_info_of_its_keys_is_no_record():
    """Only the second in a row is one: what always changes costs one comparison."""
    writer = RecordWriter()
    assert writer.pack({"a": 1}) is None
    assert writer.pack({"a": 2}) is not None
    assert writer.pack({"b": 2}) is None
    assert writer.pack({"a": 2}) is None
    assert writer.pack({"a": 2}) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"a": 1, "b": 2},
        {"b": 1},
        {"a": 1.0},
        {"a": True},
        {"a": np.int64(1)},
        {"a": None},
        {np.str_("a"): 1},
        {"a": np.bool_(True)},
    ],
)
def test_changed_keys_or_types_are_no_record(changed):
    """Another key, order or type goes as a value, never as the old type."""
    writer = RecordWriter()
    for _ in range(2):
        writer.pack({"a": 1})
    assert writer.pack(changed) is None


def test_changed_order_is_no_record():
    """The order of keys is part of an info."""
    writer = RecordWriter()
    for _ in range(2):
        writer.pack({"a": 1, "b": 2})
    assert writer.pack({"b": 2, "a": 1}) is None


@pytest.mark.parametrize(
    "info",
    [
        {"a": "text"},
        {"a": None},
        {"a": [1]},
        {"a": np.zeros(1)},
        {"a": np.complex128(1)},
        {"a": np.longdouble(1)},
        {1: 1},
        {"\ud800": 1},
        {"a": 2**63},
        {"a": -(2**63) - 1},
        dict.fromkeys(map(str, range(257)), 1),
    ],
)
def test_other_infos_are_never_records(info):
    """Text, containers, long ints, long numbers and many keys go as values."""
    writer = RecordWriter()
    for _ in range(3):
        assert writer.pack(info) is None


def test_256_keys_are_a_record():
    """The limit itself is allowed."""
    info = dict.fromkeys(map(str, range(256)), 1)
    assert_identical(unpacked(packed(info)), info)


def test_long_int_in_between_does_not_end_the_records():
    """One info that does not fit goes as a value; the next is a record again."""
    writer = RecordWriter()
    writer.pack({"a": 1})
    assert writer.pack({"a": 2**63}) is None
    assert writer.pack({"a": 2}) is not None


def test_reader_follows_a_changed_schema():
    """A record carries its keys: no record depends on one before."""
    reader = RecordReader()
    for info in ({"a": 1}, {"a": 1.0}, {"a": 1.0, "b": 2}, {"a": 1}, {"a": 2}):
        assert_identical(reader.unpack(memoryview(packed(info))), info)


def test_reader_keeps_its_schema_after_a_malformed_one():
    """A refused record leaves the reader as it was."""
    reader = RecordReader()
    good = packed({"a": 1})
    reader.unpack(memoryview(good))
    with pytest.raises(DecodeError):
        reader.unpack(memoryview(record(b"\x92\x01\x40", bytes(8))))
    assert reader.unpack(memoryview(good)) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "less than 8 bytes"),
        (bytes(7), "less than 8 bytes"),
        (record(b"\x90", b"", schema_bytes=2**32 - 1), "do not add up"),
        (record(b"\x90", b"", values_bytes=8), "do not add up"),
        (record(b"\x90", b"") + b"\0", "do not add up"),
        (record(b"", b""), "schema is malformed"),
        (record(b"\xc1", b""), "schema is malformed"),
        (record(b"\x90\x90", b""), "schema is malformed"),
        (record(b"\x01", b""), "schema is malformed"),
        (record(b"\x80", b""), "schema is malformed"),
        (record(b"\x91\xa1a", b""), "schema is malformed"),
        (record(b"\xdc\x02\x02" + b"\xa0\x40" * 257, bytes(8)), "is malformed"),
        (record(b"\x92\xc4\x01a\x40", bytes(8)), "keys are malformed"),
        (record(b"\x92\x01\x40", bytes(8)), "keys are malformed"),
        (record(b"\x94\xa1a\x40\xa1a\x40", bytes(16)), "keys are malformed"),
        (record(b"\x92\xa1a\x00", bytes(8)), "type codes are malformed"),
        (record(b"\x92\xa1a\x0e", bytes(16)), "type codes are malformed"),
        (record(b"\x92\xa1a\xc3", bytes(8)), "type codes are malformed"),
        (record(b"\x92\xa1a\x90", bytes(8)), "type codes are malformed"),
        (record(b"\x92\xa1a\x40", b""), "values do not fit"),
        (record(b"\x92\xa1a\x40", bytes(16)), "values do not fit"),
        (record(b"\x92\xa1a\x42", b"\2" + bytes(7)), "a bool is 0 or 1"),
        (record(b"\x92\xa1a\x01", b"\2" + bytes(7)), "a bool is 0 or 1"),
    ],
)
def test_malformed_record_is_a_decode_error(data, text):
    """Lengths, schema, keys, codes and bools are checked before they are used."""
    with pytest.raises(DecodeError, match=text) as caught:
        unpacked(data)
    assert caught.value.path == "$.info"


def test_empty_record_is_an_empty_info():
    """No keys are a record too, for who likes to send one."""
    assert unpacked(record(b"\x90", b"")) == {}


@given(st.binary(max_size=64))
def test_any_bytes_are_a_record_or_a_decode_error(data):
    """Nothing else is raised, whatever the peer sends."""
    try:
        unpacked(data)
    except DecodeError:
        return


@given(st.dictionaries(st.text(max_size=3), NUMBERS, min_size=1, max_size=3), st.data())
def test_changed_record_is_one_or_a_decode_error(info, data):
    """The same for each truncation and each changed byte of a record."""
    good = packed(info)
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(DecodeError):
        unpacked(good[:cut])
    changed = bytearray(good)
    changed[cut] = data.draw(st.integers(0, 255))
    try:
        unpacked(bytes(changed))
    except DecodeError:
        return


@given(
    st.lists(st.dictionaries(st.text("ab", max_size=1), plain_values(2)), max_size=6)
)
def test_any_infos_in_a_row_are_exact_or_no_records(infos):
    """Whatever comes after whatever, a record says exactly what was packed."""
    writer, reader = RecordWriter(), RecordReader()
    for info in infos:
        data = writer.pack(info)
        if data is not None:
            assert_identical(reader.unpack(memoryview(data)), info)
