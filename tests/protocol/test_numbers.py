"""Numbers with their type: eight bytes and a code, bit by bit."""

import enum
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.protocol.numbers import (
    ABSENT,
    BOOL,
    DTYPE_CODES,
    DTYPES,
    FLOAT,
    INT,
    SCALAR_CODES,
    dtype_code,
    is_bool,
    make_number_load,
    make_number_store,
)
from rlay.testing.info_strategies import numpy_scalars
from tests.support.equality import assert_identical

SIGNALLING_NAN_32 = np.uint32(0x7FA0_1234).view(np.float32)
SIGNALLING_NAN_64 = np.uint64(0x7FF4_0000_0000_1234).view(np.float64)


class Cell:
    """Eight bytes, with the functions that write and read them."""

    def __init__(self, data=bytes(8)):
        self.memory = memoryview(bytearray(data))
        self.store = make_number_store(self.memory)
        self.load = make_number_load(self.memory)

    def through(self, value):
        """Write a number and read it."""
        return self.load(self.store(value))


def test_dtype_table_is_this_one():
    """Codes and dtypes, written out a second time."""
    whole = ["?", "<i1", "<u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"]
    names = [*whole, "<f2", "<f4", "<f8", "<c8", "<c16"]
    assert {code: np.dtype(name) for code, name in enumerate(names, 1)} == DTYPES
    assert {dtype: code for code, dtype in DTYPES.items()} == DTYPE_CODES


@pytest.mark.parametrize("code", DTYPES)
def test_dtype_code_knows_either_byte_order(code):
    """A dtype's code does not depend on its byte order."""
    dtype = DTYPES[code]
    assert dtype_code(dtype) == dtype_code(dtype.newbyteorder(">")) == code


@pytest.mark.parametrize("dtype", ["O", "S3", "U3", "V5", "M8[s]", "m8[s]", "i4,f8"])
def test_dtype_code_of_other_dtypes_is_none(dtype):
    """Objects, text, structures and times have no code."""
    assert dtype_code(dtype) is None


@pytest.mark.parametrize(
    ("value", "code", "data"),
    [
        (1.5, FLOAT, "000000000000f83f"),
        (-2, INT, "feffffffffffffff"),
        (2**63 - 1, INT, "ffffffffffffff7f"),
        (True, BOOL, "0100000000000000"),
        (False, BOOL, "0000000000000000"),
        (np.bool_(True), 1, "0100000000000000"),
        (np.int8(-2), 2, "fe00000000000000"),
        (np.uint8(255), 3, "ff00000000000000"),
        (np.int16(-2), 4, "feff000000000000"),
        (np.uint16(258), 5, "0201000000000000"),
        (np.int32(-2), 6, "feffffff00000000"),
        (np.uint32(2**32 - 1), 7, "ffffffff00000000"),
        (np.int64(-2), 8, "feffffffffffffff"),
        (np.uint64(2**63 + 1), 9, "0100000000000080"),
        (np.float16(1.5), 10, "003e000000000000"),
        (np.float32(1.5), 11, "0000c03f00000000"),
        (np.float64(1.5), 12, "000000000000f83f"),
        (np.complex64(1 + 2j), 13, "0000803f00000040"),
    ],
)
def test_golden_bytes_both_ways(value, code, data):
    """Each type has its code and its bits, the rest of the cell is zero."""
    cell = Cell(b"\xff" * 8)
    assert cell.store(value) == code
    assert bytes(cell.memory).hex() == data
    assert_identical(cell.load(code), value)


@given(st.floats() | st.integers(-(2**63), 2**63 - 1) | st.booleans())
def test_python_number_comes_back(value):
    """A float, int or bool comes back with its type and its bits."""
    assert_identical(Cell().through(value), value)


@given(numpy_scalars().filter(lambda scalar: scalar.dtype.itemsize <= 8))
def test_numpy_number_comes_back(value):
    """A NumPy scalar comes back with its type and its bits, NaN payloads included."""
    assert_identical(Cell().through(value), value)


@pytest.mark.parametrize("value", [SIGNALLING_NAN_32, SIGNALLING_NAN_64])
def test_signalling_nan_is_not_quieted(value):
    """The bit that a conversion of a NaN sets is not set on the way."""
    assert Cell().through(value).tobytes() == value.tobytes()


def test_signalling_nan_of_python_is_not_quieted():
    """The same for a Python float."""
    value = float(SIGNALLING_NAN_64)
    assert struct.pack("<d", Cell().through(value)) == struct.pack("<d", value)


def test_cell_is_used_again():
    """A cell holds one number after another, of the same type or another."""
    cell = Cell()
    for value in (np.float32(1), np.float32(-2), np.int16(3), np.float32(4), 5):
        assert_identical(cell.through(value), value)


class Small(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        np.complex128(1j),
        np.longdouble(1),
        np.longlong(1) if np.longlong is not np.int64 else np.intc(1),
        1j,
        None,
        "1",
        Small.ONE,
        type("Real", (float,), {})(1.0),
        np.array(1.0),
        np.datetime64(1, "s"),
    ],
)
def test_store_other_values_are_absent(value):
    """Long ints, subclasses, 16-byte numbers and other things are no numbers here."""
    assert Cell().store(value) == ABSENT


@pytest.mark.parametrize("code", [ABSENT, 14, 15, 63, 67, 2**32 - 1])
def test_load_unknown_code_is_a_key_error(code):
    """A code that is in no cell, complex128 too, is refused and reads no memory."""
    with pytest.raises(KeyError):
        Cell().load(code)


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (BOOL, b"\2" + bytes(7)),
        (BOOL, b"\1" + bytes(6) + b"\1"),
        (BOOL, b"\xff" * 8),
        (SCALAR_CODES[np.bool_], b"\2" + bytes(7)),
    ],
)
def test_load_bool_beyond_one_is_a_key_error(code, data):
    """A bool is 0 or 1; anything else is no bool."""
    with pytest.raises(KeyError):
        Cell(data).load(code)


@given(st.binary(min_size=8, max_size=8), st.integers(0, 70))
def test_load_any_bytes_is_a_number_or_a_key_error(data, code):
    """Nothing else is raised, whatever the peer writes."""
    try:
        value = Cell(data).load(code)
    except KeyError:
        return
    assert Cell().store(value) == code


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", True), (b"\0\1\1", True), (b"\2", False), (b"\0\1\xff", False)],
)
def test_is_bool_looks_at_each_byte(data, expected):
    """Only zeros and ones are bools; no bytes at all are too."""
    assert is_bool(np.frombuffer(data, np.uint8)) is expected
