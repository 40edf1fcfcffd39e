"""Writing values: golden bytes, exactness, and what is refused with its path."""

import collections
import enum

import msgpack
import numpy as np
import pytest
from hypothesis import given

from rlay.protocol import value_decoding, values
from rlay.protocol.constants import MAX_DEPTH
from rlay.protocol.values import (
    GraphValue,
    Unsendable,
    array_data,
    array_head,
    decode_value,
    dtype_code_of,
    encode_value,
    lower,
    path_text,
)
from rlay.testing.info_strategies import (
    lookalikes,
    object_array,
    plain_values,
    unsendables,
)
from tests.support.equality import assert_identical


def nested(levels, container=list):
    """Return containers within each other."""
    value = container([])
    for _ in range(levels):
        value = container([value])
    return value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, "c0"),
        (True, "c3"),
        (False, "c2"),
        (7, "07"),
        (-33, "d0df"),
        (2**64 - 1, "cfffffffffffffffff"),
        (-(2**63), "d38000000000000000"),
        (1.5, "cb3ff8000000000000"),
        ("héll", "a568c3a96c6c"),
        (b"\1\2", "c4020102"),
        ([1, None], "9201c0"),
        ({"b": 1, "a": 2}, "82a16201a16102"),
        ((1, 2), "c70301920102"),
        ((), "d40190"),
        (np.float32(1.5), "c705030b0000c03f"),
        (np.bool_(True), "d5030101"),
        (np.complex128(1), "c711030e" + "000000000000f03f" + "00" * 8),
        (np.array(2, np.int16), "d60204000200"),
        (np.zeros((0, 2), bool), "c712020102" + "00" * 8 + "0200000000000000"),
        (np.array([1, 2], ">u2"), "c70e0205010200000000000000" + "01000200"),
        (object_array([None, 1]), "c70504939102c001"),
        (GraphValue((1, None, 2)), "d605" + "9301c002"),
    ],
)
def test_golden_bytes(value, data):
    """Each kind of value has this form, for ever."""
    assert encode_value(value).hex() == data


@given(plain_values(20))
def test_any_value_comes_back(value):
    """What arrives equals what was sent: types, order, dtypes and bits."""
    assert_identical(decode_value(encode_value(value)), native(value))


def native(value):
    """Return a value with its arrays in the byte order that travels."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            items = object_array([native(item) for item in value.reshape(-1)])
            return items.reshape(value.shape)
        return value.astype(value.dtype.newbyteorder("<"))
    if isinstance(value, dict):
        return {key: native(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(native(item) for item in value)
    return value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int16).reshape(2, 3).T,
        np.arange(10, dtype=np.float32)[::-2],
        np.asfortranarray(np.eye(3)),
        np.arange(4, dtype=">f8"),
        np.broadcast_to(np.int8(3), (2, 2)),
        np.array(5.0),
        np.zeros((3, 0, 2), np.complex64),
        np.zeros((1,) * 32, np.int8),
    ],
)
def test_array_of_any_layout_is_normalised(array):
    """Strides, orders and byte orders are not seen by the peer (E9)."""
    result = decode_value(encode_value(array))
    assert_identical(result, array.astype(array.dtype.newbyteorder("<")))
    assert result.flags.c_contiguous


def test_memmap_arrives_as_an_array(tmp_path):
    """A mapped file's array travels like any other (E9)."""
    mapped = np.memmap(tmp_path / "file", np.uint8, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert_identical(decode_value(encode_value(mapped)), np.array([1, 2, 3], np.uint8))


@pytest.mark.parametrize(
    "bits",
    [0x7FF4_0000_0000_1234, 0xFFF8_0000_0000_0001, 0x7FF0_0000_0000_0000, 1 << 63],
)
def test_float_keeps_its_bits(bits):
    """NaN payloads, signalling or not, infinities and -0.0 are not touched (E1)."""
    array = np.array([bits], np.uint64).view(np.float64)
    for value in (float(array[0]), array[0], array, array.astype(np.float64)[0]):
        assert_identical(decode_value(encode_value(value)), value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_signalling_nan_keeps_its_bits(dtype):
    """The bits of small NaNs are not touched either (E1)."""
    whole: dict[type, np.generic] = {
        np.float16: np.uint16(0x7D01),
        np.float32: np.uint32(0x7FA0_0001),
    }
    scalar = whole[dtype].view(dtype)
    assert decode_value(encode_value(scalar)).tobytes() == scalar.tobytes()


def test_bools_are_normalised_to_one():
    """An array of bytes viewed as bools is one of zeros and ones for the peer."""
    array = np.array([0, 1, 2, 255], np.uint8).view(bool)
    assert_identical(
        decode_value(encode_value(array)), np.array([False, True, True, True])
    )


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 2**8000])
def test_big_int_travels_only_where_allowed(value):
    """A Reset carries integers beyond 64 bits, an info refuses them."""
    assert decode_value(encode_value([value], big_ints=True), big_ints=True) == [value]
    with pytest.raises(Unsendable, match="beyond 64 bits") as caught:
        encode_value({"a": [value]})
    assert caught.value.path == "$.a[0]"


def test_big_int_beyond_its_limit_is_refused():
    """1024 bytes are the limit, also in a Reset."""
    limit = 2**8191
    for value in (limit - 1, 1 - limit):
        assert decode_value(encode_value(value, big_ints=True), big_ints=True) == value
    with pytest.raises(Unsendable, match="more than 1024 bytes"):
        encode_value(limit, big_ints=True)


# --- what is refused ------------------------------------------------------------------


@given(unsendables())
def test_unsendable_info_is_refused_with_its_path(case):
    """What cannot travel is refused, and the path leads to it."""
    with pytest.raises(Unsendable) as caught:
        encode_value(case.info)
    assert caught.value.path.startswith(case.path)


@given(lookalikes())
def test_lookalike_arrives_as_it_was_or_is_refused(case):
    """What is almost plain is never changed in silence."""
    try:
        packed = encode_value(case.info)
    except Unsendable as error:
        assert error.path.startswith(case.path)  # noqa: PT017 - either way is right
        return
    assert_identical(decode_value(packed), native(case.info))


class Mode(enum.IntEnum):
    ONE = 1


Pair = collections.namedtuple("Pair", "one two")


class Tensor:
    def detach(self):
        """Stand for a tensor of a deep-learning library."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Mode.ONE, r"Mode cannot travel; convert it with int"),
        (Pair(1, 2), r"Pair cannot travel; convert it with tuple"),
        (collections.OrderedDict(), r"OrderedDict cannot travel; convert it with dict"),
        (np.str_("a"), r"numpy.str_ cannot travel; convert it with str"),
        (np.bytes_(b"a"), r"numpy.bytes_ cannot travel; convert it with bytes"),
        ({1}, r"type set cannot travel; convert it to plain data or to an array"),
        (Tensor(), r"Tensor cannot travel; convert it with .detach\(\).cpu\(\).numpy"),
        (np.longdouble(1), r"longdouble cannot travel"),
        ("\ud800", "lone surrogates"),
        (np.array(["a"]), "an array of dtype <U1 cannot travel: use bool"),
        (np.zeros(1, "V3"), "dtype .V3 cannot travel"),
        (np.zeros(1, "i4,O"), "cannot travel"),
        (np.zeros(1, "M8[s]"), "datetime64"),
        (np.zeros(2).view(np.recarray), "recarray"),
        (np.zeros((1,) * 33), "more than 32 dimensions"),
        (np.zeros((0, 2**31)), "may exceed 2147483647"),
        (np.broadcast_to(np.int8(0), (2**31,)), "takes 2147483648 bytes"),
    ],
)
def test_refusal_names_the_remedy(value, text):
    """The message says what it is and what to do, at its path."""
    if isinstance(value, np.ndarray) and value.ndim > 32 and np.__version__ < "2":
        pytest.skip("NumPy 1 has no more than 32 dimensions")
    with pytest.raises(Unsendable, match=text) as caught:
        encode_value({"a": (1, value)})
    assert caught.value.path == "$.a[1]"
    assert caught.value.value is value


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), np.str_("a"), Mode.ONE])
def test_other_keys_are_refused(key):
    """A dict's keys are str, exactly."""
    with pytest.raises(Unsendable, match="keys must be str") as caught:
        encode_value({"a": {key: 1}})
    assert caught.value.path == f"$.a.{key!r}"


def test_surrogate_key_is_refused():
    """A key that is no UTF-8 is refused at its own path."""
    with pytest.raises(Unsendable, match="surrogates") as caught:
        encode_value({"a": {"\ud800": 1}})
    assert caught.value.keys == ["a", "\ud800"]


@pytest.mark.parametrize("container", [list, tuple, object_array])
def test_depth_has_a_limit(container):
    """32 levels travel, 33 are refused, whatever the containers are."""
    assert_identical(
        decode_value(encode_value(nested(MAX_DEPTH - 1, container))),
        nested(MAX_DEPTH - 1, container),
    )
    with pytest.raises(Unsendable, match="nested deeper than 32"):
        encode_value(nested(MAX_DEPTH, container))


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH])
def test_sender_and_reader_agree_on_depth(levels):
    """What is refused at one end is refused at the other, to the level."""
    packed = b"\x91" * levels + b"\x90"
    if levels < MAX_DEPTH:
        assert encode_value(decode_value(packed)) == packed
    else:
        with pytest.raises(Unsendable):
            encode_value(msgpack.unpackb(packed))


def test_value_that_contains_itself_is_refused():
    """A cycle ends at the limit of the depth, also where it branches."""
    cycle: list[object] = []
    cycle += [cycle, cycle]
    with pytest.raises(Unsendable, match="contains itself"):
        encode_value(cycle)


def test_more_than_msgpack_takes_is_refused(monkeypatch):
    """What msgpack itself refuses is unsendable, not a ValueError."""

    def refuse(*_args, **_options):
        raise ValueError("too large data")

    monkeypatch.setattr(msgpack, "packb", refuse)
    with pytest.raises(Unsendable, match="too large for msgpack: too large data"):
        encode_value(b"")


@pytest.mark.parametrize(
    ("keys", "text"),
    [([], "$"), (["a"], "$.a"), ([0, "a", 2], "$[0].a[2]")],
)
def test_path_text(keys, text):
    """Indices stand in brackets, keys behind dots."""
    assert path_text(keys) == text


def test_unsendable_collects_its_path_outwards():
    """Each level prepends its step."""
    error = Unsendable("no", 1).at(2).at("a")
    assert (error.path, error.keys, str(error)) == ("$.a[2]", ["a", 2], "no")


def test_parts_of_an_array():
    """Head and data are what the ARRAY type consists of."""
    array = np.array([[1], [2]], ">i2")
    code = dtype_code_of(array)
    assert (code, array_head(code, array.shape)) == (
        4,
        b"\x04\x02" + bytes([2, *[0] * 7, 1, *[0] * 7]),
    )
    assert array_data(array, code) == b"\1\0\2\0"


def test_lower_leaves_the_value_alone():
    """The caller's containers are not changed."""
    value = {"a": [1, (2,)]}
    lower(value)
    assert value == {"a": [1, (2,)]}


def test_reading_half_is_reached_from_here():
    """Whoever imports this module has both halves."""
    assert values.decode_value is value_decoding.decode_value
    assert values.set_graph_type is value_decoding.set_graph_type
