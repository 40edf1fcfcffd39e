"""Maps of plain data in control frames."""

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, LocalProtocolError, MessageTooLarge
from rlay.protocol.control import (
    MAX_MAP_BYTES,
    MapFields,
    pack_map,
    printable,
    unpack_map,
)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def depth(value):
    """Return how deep a value is nested."""
    if not isinstance(value, (dict, list)):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, items), default=0)


@given(st.dictionaries(st.text(max_size=5), plain, max_size=5))
def test_plain_data_come_back(fields):
    """A map of plain data is unpacked as it was packed, or too deep."""
    try:
        body = pack_map(fields)
    except LocalProtocolError:  # lone surrogates
        return
    if depth(fields) > 4:
        with pytest.raises(DecodeError, match="deeper than 4"):
            unpack_map(body)
    else:
        assert unpack_map(body)._data == fields


@given(st.binary(max_size=200))
def test_anything_else_is_a_decode_error(body):
    """D9: arbitrary bytes raise documented errors only."""
    with contextlib.suppress(DecodeError):
        unpack_map(body)


def nested(levels):
    """Return a map with so many levels below it."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return msgpack.packb(value)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "malformed value"),
        (b"\x81\xa1a", "malformed value"),
        (b"\x81\xa1a\x01\x01", "malformed value"),
        (b"\xc1", "malformed value"),
        (b"\x81\xa1\xff\x01", "malformed value"),
        (b"\xdf\xff\xff\xff\xff", "malformed value"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "malformed value"),
        (b"\x81\x01\x01", "malformed value"),
        (b"\x81\xc4\x01a\x01", "key is bytes, not str"),
        (b"\x82\xa1a\x01\xa1a\x02", "occurs twice"),
        (b"\x81\xa1a\xd4\x01\x00", "extension type 1"),
        (b"\x81\xa1a\xd6\xff\x00\x00\x00\x00", "Timestamp in a map"),
        (b"\x01", "expected a map"),
        (b"\x90", "expected a map"),
        (nested(5), "deeper than 4"),
        (nested(500), "deeper than 4"),
        (b"\x81\xa1a" * 1030 + b"\x01", "malformed value"),
        (b"\x81\xa1a" + b"\x91" * 30_000 + b"\x01", "malformed value"),
    ],
)
def test_d11_bombs_and_nonsense_are_refused(body, text):
    """D11: depth, headers that claim, foreign keys, twins, bad UTF-8, extensions."""
    with pytest.raises(DecodeError, match=text):
        unpack_map(body)


def test_four_levels_are_allowed():
    """The limit is a limit, and not below it."""
    assert unpack_map(nested(4)).get("a", dict) == {"a": {"a": {"a": 1}}}


def test_map_has_a_largest_size():
    """64 KiB may be packed and unpacked, one byte more may not."""
    body = pack_map({"a": "x" * (MAX_MAP_BYTES - 6)})
    assert len(body) == MAX_MAP_BYTES
    assert len(body) == MAX_MAP_BYTES
    unpack_map(body)
    with pytest.raises(MessageTooLarge):
        unpack_map(body + b" " * (MAX_MAP_BYTES + 1 - len(body)))
    with pytest.raises(LocalProtocolError, match="exceeds the limit of 65536"):
        pack_map({"a": "x" * MAX_MAP_BYTES})


@pytest.mark.parametrize("value", [object(), 2**64, {1, 2}, "\ud800"])
def test_what_is_not_plain_is_our_own_mistake(value):
    """Nothing is sent where a field cannot be packed."""
    with pytest.raises(LocalProtocolError, match="cannot be packed"):
        pack_map({"a": value})


# ------------------------------------------------------------------------- fields

FIELDS = MapFields(
    {"one": 1, "yes": True, "text": "ab", "nil": None, "minus": -1, "raw": b"x"}
)


def test_fields_are_read_by_type():
    """A field of the wanted type is returned."""
    assert FIELDS.get("one", int) == 1
    assert FIELDS.optional("text", str) == "ab"
    assert FIELDS.optional("nil", str) is None
    assert FIELDS.optional("missing", str) is None
    assert FIELDS.count("one", 1, 1) == 1
    assert FIELDS.text("text", 2) == "ab"


@pytest.mark.parametrize(
    ("read", "path"),
    [
        (lambda: FIELDS.get("missing", int), r"\$\.missing"),
        (lambda: FIELDS.get("yes", int), r"expected int, got bool, at \$\.yes"),
        (lambda: FIELDS.get("one", bool), r"expected bool, got int, at \$\.one"),
        (lambda: FIELDS.get("nil", str), r"expected str, got NoneType"),
        (lambda: FIELDS.optional("one", str), r"\$\.one"),
        (lambda: FIELDS.count("minus"), r"-1 is out of range, at \$\.minus"),
        (lambda: FIELDS.count("one", 5, 2), r"1 is out of range"),
        (lambda: FIELDS.count("one", 0), r"1 is out of range"),
        (lambda: FIELDS.count("yes"), r"expected int, got bool"),
        (lambda: FIELDS.text("text", 1), r"2 characters exceeds 1, at \$\.text"),
        (lambda: FIELDS.text("raw", 1), r"expected str, got bytes"),
    ],
)
def test_field_of_another_kind_is_a_decode_error(read, path):
    """It names the path, and what was expected."""
    with pytest.raises(DecodeError, match=path):
        read()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢", "plain äöü 漢"),
        ("two\nlines\r\x1b[31m", "two?lines??[31m"),
        ("\ud800\u202e", "??"),
        ("long" * 10, "longlong"),
    ],
)
def test_text_from_a_peer_is_safe_to_show(text, shown):
    """No control character, no line of its own in a log, no lone surrogate."""
    assert printable(text, 8 if text.startswith("long") else 64) == shown


def test_text_field_is_shown_safely():
    """What is read as text is printable already."""
    assert MapFields({"a": "x\ny"}).text("a", 3) == "x?y"
