"""Layouts bound to memory: what goes in, what comes out, what does not fit."""

import struct

import numpy as np
import pytest
from hypothesis import given

from rlay.errors import DecodeError
from rlay.protocol import spaces
from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.layout import REPORT_EXTRA, compile_layout
from tests.protocol.rigs import TEXT, box, discrete
from tests.protocol.strategies import spaces_with_elements
from tests.support.equality import assert_identical


class Bound:
    """A writer's and a reader's binding over one memory."""

    def __init__(self, space, num_envs=1, *, batched=False, copy=True):
        extra = REPORT_EXTRA if batched else ()
        layout = compile_layout(space, num_envs, extra, batched=batched)
        self.memory = memoryview(bytearray(layout.fixed_bytes))
        self.writer = Binding(space, layout, self.memory, batched=batched)
        self.reader = Binding(space, layout, self.memory, batched=batched, copy=copy)

    def through(self, value):
        """Store an element and load it, its variable parts passed by hand."""
        self.writer.store(value)
        self.reader.variable.extend(self.writer.variable)
        self.writer.variable.clear()
        loaded = self.reader.load()
        assert not self.reader.variable
        return loaded


POSE = spaces.Dict(
    (
        ("position", box((2,))),
        ("name", TEXT),
        ("grip", spaces.Tuple((discrete(), box((), np.float64)))),
    ),
    sort_keys=False,
)
POSITION = np.array([1, 2], np.float32)


def test_golden_bytes():
    """Arrays lie as they are, a number in its cell; text is not in the memory."""
    bound = Bound(POSE)
    bound.writer.store(
        {"position": POSITION, "name": "ab", "grip": (-1, np.array(0.5))}
    )
    assert bytes(bound.memory) == (
        struct.pack("<2f", 1, 2)
        + struct.pack("<qII", -1, 64, 0)
        + struct.pack("<d", 0.5)
    )
    assert list(bound.writer.variable) == ["ab"]


@given(spaces_with_elements())
def test_any_element_comes_back(case):
    """An element of any space is loaded as it was stored: types, orders and bits."""
    space, element = case
    assert_identical(Bound(space).through(element), element)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.arange(12, dtype=np.float32).reshape(6, 2)[::2],
        np.broadcast_to(np.float32(1), (3, 2)),
    ],
)
def test_store_any_memory_layout_fits(array):
    """Strides are no matter of the space: the copy is in C order (E9)."""
    loaded = Bound(box((3, 2))).through(array)
    assert_identical(loaded, array)
    assert loaded.flags.c_contiguous


@pytest.mark.parametrize("step", [1, 2, -1])
def test_store_strided_vector_fits(step):
    """The same for one dimension, which has a way of its own."""
    vector = np.arange(8, dtype=np.float32)[::step][:4]
    assert_identical(Bound(box((4,))).through(vector), vector)


@pytest.mark.parametrize("shape", [(4,), (2, 2), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_store_keeps_the_bits_of_a_nan(shape, dtype):
    """A signalling NaN is copied, not computed with (E1)."""
    whole = {4: np.uint32(0x7FA0_1234), 8: np.uint64(0x7FF4_0000_0000_1234)}
    array = np.full(shape, whole[np.dtype(dtype).itemsize]).view(dtype)
    loaded = Bound(box(shape, dtype)).through(array)
    assert loaded.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (box((2,)), [1.0, 2.0]),
        (box((2,)), np.zeros(2, np.float64)),
        (box((2,)), np.zeros(2, np.int32)),
        (box((2,)), np.zeros(2, ">f4")),
        (box((2,)), np.zeros(3, np.float32)),
        (box((2,)), np.zeros(1, np.float32)),
        (box((2,)), np.zeros((1, 2), np.float32)),
        (box((2,)), np.zeros((), np.float32)),
        (box((2,)), np.zeros(2, object)),
        (box((2,)), np.zeros(2, "M8[s]")),
        (box((2,)), np.zeros(2, "i4,f8")),
        (box((2,)), np.array(["a", "b"])),
        (box((2,)), np.ma.masked_array(np.zeros(2, np.float32))),
        (box((2,)), memoryview(bytes(8)).cast("f")),
        (box((2,)), None),
        (box((2, 2)), np.zeros((2, 2))),
        (box((2, 2)), np.zeros(4, np.float32)),
        (box(()), np.float32(1)),
        (box((2,), bool), np.zeros(2, np.int8)),
        (box((2,), bool), np.zeros(3, bool)),
        (discrete(), 1.0),
        (discrete(), np.float32(1)),
        (discrete(), np.zeros((), np.int64)),
        (discrete(), 2**63),
        (discrete(), None),
        (spaces.MultiBinary((2,), flat=True), np.zeros(2, np.int64)),
        (spaces.Dict((("a", discrete()),), sort_keys=True), {}),
        (spaces.Dict((("a", discrete()),), sort_keys=True), {"b": 1}),
        (spaces.Dict((("a", discrete()),), sort_keys=True), [("a", 1)]),
        (
            spaces.Dict((("a", discrete()), ("b", discrete())), sort_keys=True),
            {"b": 1, "a": 1},
        ),
        (spaces.Tuple((discrete(),)), [1]),
        (spaces.Tuple((discrete(),)), (1, 2)),
        (spaces.Tuple((discrete(),)), (1.0,)),
    ],
)
def test_store_anything_else_is_a_misfit(space, value):
    """Another type, dtype, shape, key or order does not fit, and is no error yet."""
    with pytest.raises(Misfit):
        Bound(space).writer.store(value)


def test_store_string_dtype_is_a_misfit():
    """NumPy's strings of any length have no memory to copy."""
    if not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this NumPy has no StringDType")
    strings = np.array(["a", "b"], np.dtypes.StringDType())
    with pytest.raises(Misfit):
        Bound(box((2,))).writer.store(strings)


@pytest.mark.parametrize(
    "number",
    [1, -(2**63), np.int64(-1), np.int32(1), np.uint64(2**63), True, np.bool_(False)],
)
def test_discrete_number_keeps_its_type(number):
    """Training code can tell 1 from numpy.int64(1), and True from both."""
    assert_identical(Bound(discrete()).through(number), number)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2)])
def test_empty_arrays_fit(shape):
    """An array without elements has a place of no size."""
    value = np.zeros(shape, np.float32)
    assert_identical(Bound(box(shape)).through(value), value)


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_bools_are_normalised(shape):
    """True may be any byte but 0; the peer gets 1."""
    bound = Bound(box(shape, bool))
    array = np.array([0, 1, 2, 255], np.uint8).view(bool).reshape(shape)
    bound.writer.store(array)
    assert bytes(bound.memory[:4]) == b"\0\1\1\1"


def test_load_copies():
    """What was loaded stays when the memory changes, and may be written."""
    bound = Bound(box((2,)))
    loaded = bound.through(POSITION)
    bound.writer.store(np.zeros(2, np.float32))
    assert_identical(loaded, POSITION)
    loaded[0] = 5
    assert bound.memory[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, bool])
def test_load_views_are_read_only(dtype):
    """Without a copy the memory itself is shown, and cannot be written."""
    bound = Bound(box((2,), dtype), copy=False)
    loaded = bound.through(np.zeros(2, dtype))
    bound.writer.store(np.ones(2, dtype))
    assert_identical(loaded, np.ones(2, dtype))
    with pytest.raises(ValueError, match="read-only"):
        loaded[0] = 0


@pytest.mark.parametrize("copy", [True, False])
def test_load_bool_beyond_one_is_a_decode_error(copy):
    """A byte 2 would be a bool whose sum is 2."""
    bound = Bound(spaces.Tuple((box((3,), bool),)), copy=copy)
    bound.memory[1] = 2
    with pytest.raises(DecodeError, match=r"byte 0 or 1, at \$\[0\]"):
        bound.reader.load()


@pytest.mark.parametrize("code", [0, 10, 11, 12, 13, 14, 65, 99, 2**32 - 1])
def test_load_discrete_of_other_type_is_a_decode_error(code):
    """A discrete value is a whole number, whatever the peer says."""
    bound = Bound(discrete())
    bound.memory[8:12] = struct.pack("<I", code)
    with pytest.raises(DecodeError, match=f"type code {code}, at"):
        bound.reader.load()


@pytest.mark.parametrize("code", [1, 66])
def test_load_discrete_bool_beyond_one_is_a_decode_error(code):
    """A bool in a number's cell is 0 or 1 as well."""
    bound = Bound(discrete())
    bound.memory[:12] = struct.pack("<qI", 2, code)
    with pytest.raises(DecodeError, match="byte 0 or 1"):
        bound.reader.load()


def test_batch_has_arrays_behind_its_leaves():
    """Rewards, flags and status of a batch are views by name."""
    bound = Bound(discrete(), 2, batched=True)
    assert_identical(bound.through(np.array([3, 4])), np.array([3, 4]))
    assert {name: array.dtype.str for name, array in bound.writer.extra.items()} == {
        "$reward": "<f8",
        "$terminated": "|b1",
        "$truncated": "|b1",
        "$status": "|u1",
    }
    bound.writer.extra["$reward"][1] = 1.5
    assert bound.reader.extra["$reward"].tolist() == [0.0, 1.5]


@pytest.mark.parametrize("size", [0, 7])
def test_memory_that_is_too_small_is_a_decode_error(size):
    """A slot smaller than the fixed area is the peer's fault, found at once."""
    space = box((2,))
    with pytest.raises(DecodeError, match=f"{size} bytes lacks its fixed area of 8"):
        Binding(space, compile_layout(space), memoryview(bytes(size)), batched=False)


def test_memory_without_write_permission_can_be_loaded():
    """A reader needs no right to write."""
    space = spaces.Tuple((box((2,)), discrete()))
    data = struct.pack("<2fqII", 1, 2, 7, 8, 0)
    reader = Binding(space, compile_layout(space), memoryview(data), batched=False)
    assert_identical(reader.load(), (POSITION, np.int64(7)))
