"""Reading values from a peer: golden bytes, and whatever else it may send."""

import struct
import subprocess
import sys
import textwrap

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlay.errors import DecodeError
from rlay.protocol import value_decoding
from rlay.protocol.constants import MAX_DEPTH, ExtensionType
from rlay.protocol.value_decoding import (
    GraphValue,
    check_shape,
    decode_value,
    set_graph_type,
)
from rlay.protocol.values import encode_value
from rlay.testing.info_strategies import plain_values
from tests.support.equality import assert_identical


def ext(code, data):
    """Return an extension type as it travels."""
    return msgpack.packb(msgpack.ExtType(int(code), data))


def array_of(code, *shape, data=b""):
    """Return an ARRAY as it travels."""
    head = struct.pack(f"<BB{len(shape)}Q", code, len(shape), *shape)
    return ext(ExtensionType.ARRAY, head + data)


def object_array_of(*items):
    """Return an OBJECT_ARRAY as it travels; the first item is the shape."""
    return ext(ExtensionType.OBJECT_ARRAY, msgpack.packb(list(items)))


def nested(levels, code=None):
    """Return lists, or extension types of a code, within each other."""
    value = msgpack.packb([])
    for _ in range(levels):
        if code is None:
            value = b"\x91" + value
        elif code == ExtensionType.OBJECT_ARRAY:
            value = ext(code, b"\x92\x91\x01" + value)
        else:
            value = ext(code, b"\x91" + value)
    return value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("c0", None),
        ("c3", True),
        ("07", 7),
        ("ff", -1),
        ("cfffffffffffffffff", 2**64 - 1),
        ("d38000000000000000", -(2**63)),
        ("cb3ff8000000000000", 1.5),
        ("ca3fc00000", 1.5),
        ("a568c3a96c6c", "héll"),
        ("c4020102", b"\1\2"),
        ("9201c0", [1, None]),
        ("82a16101a16202", {"a": 1, "b": 2}),
        ("c70301920102", (1, 2)),
        ("c705030b0000c03f", np.float32(1.5)),
        ("d5030101", np.True_),
    ],
)
def test_golden_bytes(data, value):
    """Each form of a value is read as what it stands for."""
    assert_identical(decode_value(bytes.fromhex(data)), value)


def test_golden_array():
    """An array is its code, dimensions, sizes and raw data."""
    data = array_of(11, 2, 1, data=struct.pack("<2f", 1, 2))
    assert data.hex() == "c71a020b02" + "0200000000000000" + "0100000000000000" + (
        "0000803f00000040"
    )
    assert_identical(decode_value(data), np.array([[1], [2]], np.float32))


def test_golden_object_array():
    """An object array is a list of its shape and its items in C order."""
    expected = np.empty((2, 1), dtype=object)
    expected[0, 0], expected[1, 0] = None, (1,)
    data = ext(4, bytes.fromhex("93920201c0d5019101"))
    assert_identical(decode_value(data), expected)


def test_array_is_new_writeable_and_aligned():
    """What is decoded is the reader's own, whatever becomes of the message."""
    array = decode_value(array_of(12, 2, data=bytes(16)))
    assert array.flags.owndata
    assert array.flags.writeable
    assert array.flags.aligned


@pytest.mark.parametrize("size", [0, 1, 8, 1024])
def test_big_int_within_its_limit_is_read_in_a_reset(size):
    """Seeds may have up to 1024 bytes; without bytes there is no number."""
    data = ext(ExtensionType.BIG_INT, b"\x7f" * size)
    if size:
        expected = int.from_bytes(b"\x7f" * size, "little")
        assert decode_value(data, big_ints=True) == expected
    else:
        with pytest.raises(DecodeError, match="big integer of 0 bytes"):
            decode_value(data, big_ints=True)


def test_big_int_beyond_its_limit_is_refused():
    """One byte more is refused."""
    data = ext(ExtensionType.BIG_INT, bytes(1025))
    with pytest.raises(DecodeError, match="1025 bytes"):
        decode_value(data, big_ints=True)


def test_big_int_elsewhere_is_refused():
    """An info has no integers beyond 64 bits."""
    with pytest.raises(DecodeError, match="Reset only"):
        decode_value(ext(ExtensionType.BIG_INT, b"\1"))


def test_big_int_within_a_tuple_is_read_in_a_reset():
    """Extension types within others follow the same rule."""
    data = ext(ExtensionType.TUPLE, b"\x91" + ext(ExtensionType.BIG_INT, bytes(9)))
    assert decode_value(data, big_ints=True) == (0,)
    assert decode_value(b"\x91" + data, big_ints=True) == [(0,)]


def test_graph_is_what_was_set():
    """A graph comes as GraphValue until somebody sets a better type."""
    data = ext(ExtensionType.GRAPH, bytes.fromhex("9301c002"))
    before = value_decoding._graph_type
    try:
        set_graph_type(lambda *parts: GraphValue(parts))
        graph = decode_value(data)
        assert type(graph) is GraphValue
        assert graph == (1, None, 2)
        set_graph_type(lambda nodes, edges, links: [nodes, edges, links])
        assert decode_value(data) == [1, None, 2]
    finally:
        set_graph_type(before)


def test_graph_type_before_anybody_sets_one():
    """Without rlay.envs a graph is a tuple of its own class."""
    code = (
        "from rlay.protocol.value_decoding import decode_value\n"
        "print(repr(decode_value(bytes.fromhex('d605' '93c0c0c0'))),\n"
        "      type(decode_value(bytes.fromhex('d605' '93c0c0c0'))).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "(None, None, None) GraphValue\n")


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "malformed value"),
        (b"\xc1", "malformed value"),
        (b"\x01\x01", "malformed value"),
        (b"\x92\x01", "malformed value"),
        (b"\xa2\xff\xff", "malformed value"),
        (b"\xa3\xed\xa0\x80", "malformed value"),
        (b"\xdd\xff\xff\xff\xff", "malformed value"),
        (b"\xdf\xff\xff\xff\xff", "malformed value"),
        (b"\xdb\xff\xff\xff\xff", "malformed value"),
        (b"\xc6\xff\xff\xff\xff", "malformed value"),
        (b"\xc9\xff\xff\xff\xff\x02", "malformed value"),
        (b"\x91" * 2000, "malformed value"),
        (b"\x81\x01\x02", "malformed value"),
        (b"\x81\xc0\x02", "malformed value"),
        (b"\x81\x90\x02", "malformed value"),
        (b"\x81\xc4\x01a\x02", "key is bytes"),
        (b"\x91\x81\xc4\x01a\x02", "key is bytes"),
        (b"\x82\xa1a\x01\xa1a\x02", "occurs twice"),
        (msgpack.packb(msgpack.Timestamp(1, 2)), "timestamp"),
        (b"\x91" + msgpack.packb(msgpack.Timestamp(1, 2)), "timestamp"),
        (b"\xd4\xff\x00", "malformed value|timestamp"),
        (ext(7, b""), "unknown extension type 7"),
        (ext(0, b""), "unknown extension type 0"),
        (ext(127, b"x"), "unknown extension type 127"),
        (ext(ExtensionType.TUPLE, b""), "malformed value"),
        (ext(ExtensionType.TUPLE, b"\x01"), "expected an array, got int"),
        (ext(ExtensionType.TUPLE, b"\x80"), "expected an array, got dict"),
        (ext(ExtensionType.GRAPH, b"\x92\x01\x02"), "3 parts, here are 2"),
        (ext(ExtensionType.SCALAR, b""), "malformed scalar"),
        (ext(ExtensionType.SCALAR, b"\x0b\x00"), "malformed scalar of 2"),
        (ext(ExtensionType.SCALAR, b"\x00\x00"), "malformed scalar"),
        (ext(ExtensionType.SCALAR, b"\x0f" + bytes(8)), "malformed scalar"),
        (ext(ExtensionType.SCALAR, b"O" + bytes(8)), "malformed scalar"),
        (ext(ExtensionType.SCALAR, b"\x01\x02"), "bool is a byte 0 or 1"),
        (ext(ExtensionType.ARRAY, b""), "malformed array head"),
        (ext(ExtensionType.ARRAY, b"\x0b"), "malformed array head"),
        (ext(ExtensionType.ARRAY, b"\x0b\x01"), "malformed array head"),
        (ext(ExtensionType.ARRAY, b"\x0b\x21" + bytes(8 * 33)), "array head"),
        (array_of(0, 1, data=b"\0"), "malformed array head"),
        (array_of(ord("O"), 1, data=bytes(8)), "malformed array head"),
        (array_of(15, 1, data=bytes(8)), "malformed array head"),
        (array_of(11, 2, data=bytes(4)), "takes 8 bytes, 4 are here"),
        (array_of(11, 1, data=bytes(8)), "takes 4 bytes, 8 are here"),
        (array_of(11, 2**32, 2**32), "out of range"),
        (array_of(11, 0, 2**62), "out of range"),
        (array_of(11, 2**64 - 1, data=bytes(4)), "out of range"),
        (array_of(12, 0, *[2**31 - 1] * 3), "malformed value"),
        (array_of(1, 2, data=b"\1\2"), "bool is a byte 0 or 1"),
        (object_array_of(), "malformed object array"),
        (object_array_of(2, 1, 1), "malformed object array"),
        (object_array_of([-1], 1), "malformed object array"),
        (object_array_of([1.0], 1), "malformed object array"),
        (object_array_of([True], 1), "malformed object array"),
        (object_array_of([1] * 33, 1), "malformed object array"),
        (object_array_of([2], 1), "takes 2 bytes, 1 are here"),
        (object_array_of([2**31]), "out of range"),
        (object_array_of([0, 2**31 - 1, 2**31 - 1, 2**31 - 1]), "malformed value"),
    ],
)
def test_malformed_value_is_a_decode_error(data, text):
    """Wrong lengths, codes, shapes, keys and forms are refused (D10, D11, D12)."""
    with pytest.raises(DecodeError, match=text):
        decode_value(data)


@pytest.mark.parametrize(
    "code", [None, ExtensionType.TUPLE, ExtensionType.OBJECT_ARRAY]
)
def test_depth_is_counted_through_every_container(code):
    """32 levels are read and 33 are refused, of lists and of extension types."""
    decode_value(nested(MAX_DEPTH - 1, code))
    with pytest.raises(DecodeError, match="deeper than 32"):
        decode_value(nested(MAX_DEPTH, code))


def test_depth_of_maps_is_counted():
    """Maps count as lists do, and an empty container is one too."""
    data = b"\x80"
    for _ in range(MAX_DEPTH - 1):
        data = b"\x81\xa1a" + data
    decode_value(data)
    with pytest.raises(DecodeError, match="deeper than 32"):
        decode_value(b"\x81\xa1a" + data)


def test_deeply_nested_extensions_do_not_end_the_process():
    """100,000 tuples within each other are a DecodeError, in a small stack too (D11).

    msgpack within msgpack's callback took 40 KiB of stack for each level.
    """
    code = textwrap.dedent(
        """
        import threading
        import msgpack
        from rlay.errors import DecodeError
        from rlay.protocol.value_decoding import decode_value

        def nested(levels):
            heads, size = [], 1
            for _ in range(levels):
                size += 1
                heads.append(b"\\xc9" + size.to_bytes(4, "big") + b"\\x01\\x91")
                size += 6
            return b"".join(reversed(heads)) + b"\\x90"

        def attack():
            for levels in (25, 1000, 100_000):
                try:
                    decode_value(nested(levels))
                    print(levels, "read")
                except DecodeError as error:
                    print(levels, error.message)

        threading.stack_size(1 << 19)
        thread = threading.Thread(target=attack)
        thread.start()
        thread.join()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    deep = "a value is nested deeper than 32 levels"
    assert done.stdout == f"25 read\n1000 {deep}\n100000 {deep}\n"
    assert done.returncode == 0


def test_check_shape_does_not_wrap():
    """The product is computed in Python's integers: 2**64 elements are not none."""
    with pytest.raises(DecodeError, match="takes 18446744073709551616 bytes"):
        check_shape((2**22, 2**22, 2**20), 1, 0)


@given(st.binary(max_size=200))
@example(b"\xc7\x00\x01")
def test_any_bytes_are_a_value_or_a_decode_error(data):
    """Nothing else is raised, whatever the peer sends; what is read can be sent."""
    try:
        value = decode_value(data)
    except DecodeError:
        return
    assert_identical(decode_value(encode_value(value)), value)


@given(st.sampled_from(list(ExtensionType)), st.binary(max_size=60))
def test_any_extension_is_a_value_or_a_decode_error(code, data):
    """The same for the data of each extension type, alone and in a list."""
    for packed in (ext(code, data), b"\x91" + ext(code, data)):
        try:
            decode_value(packed, big_ints=True)
        except DecodeError:
            continue


@given(plain_values(), st.data())
def test_changed_value_is_a_value_or_a_decode_error(value, data):
    """Each truncation is refused; each changed byte is a value or is refused."""
    packed = encode_value(value)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(DecodeError):
        decode_value(packed[:cut])
    index, byte = data.draw(st.integers(0, len(packed) - 1)), data.draw(st.binary())
    changed = bytearray(packed)
    changed[index : index + 1] = byte
    try:
        decode_value(bytes(changed))
    except DecodeError:
        return
