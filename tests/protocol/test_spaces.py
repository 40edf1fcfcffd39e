"""Descriptions of spaces: golden forms, round trips, and what is refused."""

import copy
import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol import spaces
from rlay.protocol.constants import MAX_DEPTH
from rlay.protocol.spaces import (
    decode_space,
    encode_space,
    pack_space,
    same_space,
    unpack_space,
)
from rlay.protocol.values import decode_value, encode_value
from tests.protocol.rigs import TEXT, box, discrete
from tests.protocol.strategies import descriptions
from tests.support.equality import assert_identical

UNIFORM = box((2, 2))
MIXED = dataclasses.replace(UNIFORM, low=np.array([[0, 1], [0, 0]], np.float32))


def zero_d(value, dtype):
    """Return an array of no dimensions."""
    return np.array(value, dtype)


PACKED = [
    (
        UNIFORM,
        [
            "box",
            11,
            [2, 2],
            zero_d(0, "f4"),
            zero_d(1, "f4"),
            zero_d(True, bool),
            zero_d(True, bool),
        ],
    ),
    (
        MIXED,
        [
            "box",
            11,
            [2, 2],
            np.array([[0, 1], [0, 0]], np.float32),
            zero_d(1, "f4"),
            zero_d(True, bool),
            zero_d(True, bool),
        ],
    ),
    (spaces.Discrete(8, 3, -1), ["discrete", 8, 3, -1]),
    (spaces.MultiBinary((3,), flat=True), ["multi_binary", [3], True]),
    (spaces.MultiBinary((3, 2), flat=False), ["multi_binary", [3, 2], False]),
    (
        spaces.MultiDiscrete(6, (2,), np.array([2, 3], "i4"), np.zeros(2, "i4")),
        ["multi_discrete", 6, [2], np.array([2, 3], "i4"), zero_d(0, "i4")],
    ),
    (TEXT, ["text", 0, 4, "ab"]),
    (
        spaces.Dict((("b", TEXT), ("a", discrete())), sort_keys=False),
        ["dict", False, "b", ["text", 0, 4, "ab"], "a", ["discrete", 8, 3, 0]],
    ),
    (spaces.Tuple((TEXT,)), ["tuple", ["text", 0, 4, "ab"]]),
    (spaces.Tuple(()), ["tuple"]),
    (
        spaces.Sequence(discrete(), stack=True),
        ["sequence", ["discrete", 8, 3, 0], True],
    ),
    (spaces.Graph(TEXT, None), ["graph", ["text", 0, 4, "ab"], None]),
    (
        spaces.Graph(TEXT, discrete()),
        ["graph", ["text", 0, 4, "ab"], ["discrete", 8, 3, 0]],
    ),
    (spaces.OneOf((discrete(),)), ["one_of", ["discrete", 8, 3, 0]]),
    (spaces.Opaque("m.Space", "Space()"), ["opaque", "m.Space", "Space()"]),
]


@pytest.mark.parametrize(("space", "packed"), PACKED)
def test_golden_description(space, packed):
    """Each kind of space is this list, for ever."""
    assert_identical(pack_space(space), packed)


@pytest.mark.parametrize(("space", "packed"), PACKED)
def test_golden_description_is_read(space, packed):
    """And is read as the same space."""
    assert same_space(unpack_space(packed), space)


@given(descriptions())
def test_any_description_comes_back(space):
    """Bounds by their bits, orders, dtypes and flags are what they were."""
    back = decode_space(encode_space(space))
    assert same_space(back, space)
    assert pack_kinds(back) == pack_kinds(space)


def pack_kinds(space):
    """Return what same_space does not look at: shapes of the arrays."""
    arrays = [v for v in vars_of(space) if isinstance(v, np.ndarray)]
    return [(a.shape, a.dtype) for a in arrays]


def vars_of(space):
    """Return the fields of a description."""
    return [getattr(space, field.name) for field in dataclasses.fields(space)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (discrete(3), discrete(4)),
        (spaces.Discrete(8, 3, 0), spaces.Discrete(6, 3, 0)),
        (UNIFORM, MIXED),
        (UNIFORM, dataclasses.replace(UNIFORM, bounded_below=np.zeros((2, 2), bool))),
        (
            spaces.MultiBinary((3,), flat=True),
            spaces.MultiBinary((3,), flat=False),
        ),
        (
            spaces.Dict((("a", TEXT), ("b", TEXT)), sort_keys=True),
            spaces.Dict((("b", TEXT), ("a", TEXT)), sort_keys=True),
        ),
        (spaces.Dict((), sort_keys=True), spaces.Dict((), sort_keys=False)),
        (spaces.Text(0, 4, "ab"), spaces.Text(0, 4, "ba")),
        (box((1,), np.float32), box((1,), np.float64)),
    ],
)
def test_same_space_sees_each_difference(one, other):
    """Everything that a description holds makes two of them different."""
    assert not same_space(one, other)
    assert same_space(one, copy.deepcopy(one))


def test_same_space_compares_bits():
    """-0.0 and 0.0 are equal, and other bounds; NaN is equal to itself."""
    minus = dataclasses.replace(UNIFORM, low=np.full((2, 2), -0.0, np.float32))
    nan = dataclasses.replace(UNIFORM, low=np.full((2, 2), np.nan, np.float32))
    assert not same_space(UNIFORM, minus)
    assert same_space(nan, copy.deepcopy(nan))


def test_uniform_bound_takes_no_memory():
    """A few bytes that stand for a box of a gibibyte allocate none of it."""
    packed = pack_space(box((2,), np.uint8))
    packed[2] = [2**30]
    data = encode_value(packed)
    tracemalloc.start()
    try:
        space = decode_space(data)
        assert isinstance(space, spaces.Box)
        assert space.low.shape == (2**30,)
        assert len(encode_space(space)) == len(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_box_of_one_element_keeps_its_shape():
    """One element is one bound, of the box's own shape."""
    back = decode_space(encode_space(box((1, 1))))
    assert isinstance(back, spaces.Box)
    assert back.low.shape == (1, 1)


# --- what is refused ------------------------------------------------------------------

F4 = np.zeros((), np.float32)
TRUE = np.ones((), bool)


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (None, "expected the description of a space"),
        ([], "expected the description"),
        ([1], "expected the description"),
        ({"box": 1}, "expected the description"),
        (["cube"], "unknown kind of space 'cube'"),
        (["x" * 100], "unknown kind of space 'x{40}'"),
        (["box"], "malformed box"),
        (["box", 11, [], F4, F4, TRUE], "malformed box"),
        (["box", 11, [], F4, F4, TRUE, TRUE, 1], "malformed box"),
        (["box", 0, [], F4, F4, TRUE, TRUE], "dtype code 0"),
        (["box", 15, [], F4, F4, TRUE, TRUE], "dtype code 15"),
        (["box", True, [], F4, F4, TRUE, TRUE], "dtype code True"),
        (["box", "f4", [], F4, F4, TRUE, TRUE], "dtype code 'f4'"),
        (["box", 11, None, F4, F4, TRUE, TRUE], "malformed shape"),
        (["box", 11, [1] * 32, F4, F4, TRUE, TRUE], "malformed shape"),
        (["box", 11, [-1], F4, F4, TRUE, TRUE], "shape"),
        (["box", 11, [1.0], F4, F4, TRUE, TRUE], "shape"),
        (["box", 11, [True], F4, F4, TRUE, TRUE], "shape"),
        (["box", 11, [2**28 + 1], F4, F4, TRUE, TRUE], "takes more than"),
        (["box", 11, [2**32, 2**32], F4, F4, TRUE, TRUE], "takes more than"),
        (["box", 11, [0, 2**62], F4, F4, TRUE, TRUE], "takes more than"),
        (["box", 11, [2], 0.0, F4, TRUE, TRUE], "bound is an array of float32"),
        (["box", 11, [2], F4, np.float32(0), TRUE, TRUE], "bound is an array"),
        (["box", 11, [2], np.zeros(()), F4, TRUE, TRUE], "bound is an array"),
        (["box", 11, [2], np.zeros(3, "f4"), F4, TRUE, TRUE], "bound has shape"),
        (["box", 11, [2], F4, F4, F4, TRUE], "an array of bool"),
        (["box", 11, [2], F4, F4, TRUE, np.ones(3, bool)], "bound has shape"),
        (["discrete", 8, 3], "malformed discrete"),
        (["discrete", 11, 3, 0], "dtype code 11"),
        (["discrete", 1, 3, 0], "dtype code 1"),
        (["discrete", 8, 0, 0], "n=0"),
        (["discrete", 8, 3.0, 0], "n=3.0"),
        (["discrete", 8, 3, None], "start=None"),
        (["multi_binary", [3], 1], "n is an int is a bool"),
        (["multi_binary", [3, 3], True], "n is an int, the shape is"),
        (["multi_discrete", 8, [1], np.zeros(1)], "malformed multi_discrete"),
        (["multi_discrete", 11, [1], F4, F4], "dtype code 11"),
        (["multi_discrete", 8, [1], F4, F4], "an array of int64"),
        (["text", 0, 4], "malformed text"),
        (["text", 0, 4, b"ab"], "two integers and a str"),
        (["text", 0.0, 4, "ab"], "two integers and a str"),
        (["text", 5, 4, "ab"], "lengths from 5 to 4"),
        (["text", -1, 4, "ab"], "lengths from -1"),
        (["dict"], "malformed dict"),
        (["dict", 1], "sort_keys is a bool"),
        (["dict", True, "a"], "pairs of a str and a space"),
        (["dict", True, 1, ["tuple"]], "pairs of a str and a space"),
        (["dict", True, "a", ["tuple"], "a", ["tuple"]], "a key occurs twice"),
        (["sequence", ["tuple"]], "malformed sequence"),
        (["sequence", ["tuple"], 1], "stack is a bool"),
        (["graph", ["tuple"]], "malformed graph"),
        (["graph", None, None], "expected the description"),
        (["opaque", "a"], "malformed opaque"),
        (["opaque", "a", 1], "two str"),
    ],
)
def test_other_description_is_a_decode_error(packed, text):
    """Each field is checked before it is used; nothing of its size is allocated."""
    with pytest.raises(DecodeError, match=text):
        unpack_space(packed)


@pytest.mark.parametrize(
    ("packed", "path"),
    [
        (["tuple", ["tuple"], 1], "$[1]"),
        (["dict", True, "a", ["one_of", 1]], "$.a[0]"),
        (["sequence", ["text", 0, 4, 1], True], "$[*]"),
        (["graph", ["tuple"], 1], "$.edges"),
        (["graph", 1, None], "$.nodes"),
    ],
)
def test_error_names_the_path(packed, path):
    """The fault is found in a nested description."""
    with pytest.raises(DecodeError) as caught:
        unpack_space(packed)
    assert caught.value.path == path


def test_depth_has_a_limit():
    """A description is nested at most 32 levels below the first."""
    packed: list[Any] = ["tuple"]
    for _ in range(MAX_DEPTH):
        packed = ["tuple", packed]
    unpack_space(packed)
    with pytest.raises(DecodeError, match="deeper than 32"):
        unpack_space(["tuple", packed])


@given(descriptions(), st.data())
def test_changed_description_is_one_or_a_decode_error(space, data):
    """Each changed byte of a description gives another one, or is refused."""
    packed = bytearray(encode_space(space))
    index = data.draw(st.integers(0, len(packed) - 1))
    packed[index] = data.draw(st.integers(0, 255))
    try:
        decode_space(bytes(packed))
    except DecodeError:
        return


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=2),
    lambda parts: st.lists(parts, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(
        [
            "box",
            "discrete",
            "multi_binary",
            "multi_discrete",
            "text",
            "dict",
            "tuple",
            "sequence",
            "graph",
            "one_of",
            "opaque",
        ]
    ),
    st.lists(PLAIN | st.just(F4) | st.just(["tuple"]), max_size=7),
)
def test_any_fields_are_a_space_or_a_decode_error(kind, fields):
    """Whatever stands behind a kind, nothing else is raised."""
    try:
        space = unpack_space(decode_value(encode_value([kind, *fields])))
    except DecodeError:
        return
    assert same_space(unpack_space(pack_space(space)), space)
