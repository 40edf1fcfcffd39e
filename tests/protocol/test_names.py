"""Names of channels: what may never leave its directory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import ChannelError
from rlay.protocol.names import check_name, group_member, group_prefix


@pytest.mark.parametrize("name", ["a", "0", "cart-pole_1.2", "x" * 64])
def test_check_name_allowed_name_is_returned(name):
    """Letters, digits, dots, dashes and underscores, up to 64 of them, are a name."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-a",
        "_a",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "a\n",
        "a b",
        "x" * 65,
        "naïve",
        "a*",
    ],
)
def test_check_name_other_text_is_refused(name):
    """Separators, leading dots, control characters and long names are refused (B18)."""
    with pytest.raises(ChannelError, match="cannot name a channel"):
        check_name(name)


def test_check_name_other_type_is_refused():
    """A name is a str: bytes are not taken for one."""
    with pytest.raises(ChannelError, match="is a str, not bytes"):
        check_name(b"cartpole")  # type: ignore[arg-type]


@given(st.text())
def test_check_name_any_text_stays_in_its_directory(text):
    """No allowed name holds a separator, a NUL or a leading dot."""
    try:
        name = check_name(text)
    except ChannelError:
        return
    assert name.isascii()
    assert not set(name) & set("/\\\0\n")
    assert not name.startswith(".")
    assert 0 < len(name) <= 64


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("n.*", "n"), ("a.b.*", "a.b"), ("n", None), ("n*", None), (".*", None)],
)
def test_group_prefix(name, prefix):
    """Only a name with a dot and an asterisk behind it is a group."""
    assert group_prefix(name) == prefix


def test_group_prefix_other_type_is_no_group():
    """What is no str is no group either; check_name says what is wrong with it."""
    assert group_prefix(None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("n.0", 0),
        ("n.17", 17),
        ("n", None),
        ("n.", None),
        ("n.x", None),
        ("m.0", None),
        ("n.0.1", None),
        ("n.²", None),
        ("n.٣", None),
    ],
)
def test_group_member(name, index):
    """Only decimal ASCII digits behind prefix and dot are a member."""
    assert group_member("n", name) == index
