"""Maps from a peer: every field is checked when it is read."""

import pytest

from rlay.errors import DecodeError
from rlay.protocol.fields import AUTORESET_MODES, Fields
from rlay.protocol.spaces import Tuple


@pytest.mark.parametrize("data", [None, [], "a", 1])
def test_other_than_a_map_is_a_decode_error(data):
    """Fields stand in a map."""
    with pytest.raises(DecodeError, match=r"expected a map, at \$\.wishes"):
        Fields(data, "$.wishes")


def test_get_returns_a_field_of_its_type():
    """The type is the exact one."""
    assert Fields({"a": 1, "b": None}, "$").get("a", int) == 1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, r"expected int, got NoneType, at \$\.a"),
        ({"a": None}, "expected int, got NoneType"),
        ({"a": True}, "expected int, got bool"),
        ({"a": 1.0}, "expected int, got float"),
    ],
)
def test_get_missing_or_other_field_is_a_decode_error(data, text):
    """A bool is no int, and nil is nothing."""
    with pytest.raises(DecodeError, match=text):
        Fields(data, "$").get("a", int)


@pytest.mark.parametrize("data", [{}, {"a": None}])
def test_optional_missing_field_is_none(data):
    """A missing field and nil are the same."""
    fields = Fields(data, "$")
    assert fields.optional("a", str) is None
    assert fields.optional_count("a", 5, least=1) is None
    assert fields.optional_space("a") is None


def test_optional_present_field_is_checked():
    """What is there must be right."""
    assert Fields({"a": "x"}, "$").optional("a", str) == "x"
    with pytest.raises(DecodeError, match="expected str, got int"):
        Fields({"a": 1}, "$").optional("a", str)


@pytest.mark.parametrize("value", [0, 1, 5])
def test_count_within_its_range(value):
    """Both limits are allowed."""
    assert Fields({"a": value}, "$").count("a", 5) == value


@pytest.mark.parametrize("value", [-1, 6, 2**63])
def test_count_beyond_its_range_is_a_decode_error(value):
    """Below zero and above the limit are refused."""
    with pytest.raises(DecodeError, match=f"{value} is out of range"):
        Fields({"a": value}, "$").count("a", 5)


@pytest.mark.parametrize("value", [0, 6])
def test_optional_count_beyond_its_range_is_a_decode_error(value):
    """Where 1 is the least, 0 is refused."""
    assert Fields({"a": 1}, "$").optional_count("a", 5, least=1) == 1
    with pytest.raises(DecodeError, match="out of range"):
        Fields({"a": value}, "$").optional_count("a", 5, least=1)


def test_optional_space_is_unpacked():
    """An empty list is no space, and not nothing either."""
    assert Fields({"a": ["tuple"]}, "$").optional_space("a") == Tuple(())
    with pytest.raises(DecodeError, match=r"description of a space, at \$\.a"):
        Fields({"a": []}, "$").optional_space("a")


@pytest.mark.parametrize("mode", [None, *sorted(AUTORESET_MODES)])
def test_autoreset_mode_is_one_of_gymnasiums(mode):
    """Gymnasium's names, or none."""
    assert Fields({"autoreset_mode": mode}, "$").autoreset_mode() == mode


def test_autoreset_modes_are_these():
    """Written out a second time."""
    assert {"NextStep", "SameStep", "Disabled"} == AUTORESET_MODES


@pytest.mark.parametrize("mode", ["", "next_step", "x" * 1000])
def test_autoreset_mode_other_text_is_a_decode_error(mode):
    """Another name is refused, shortened in the message."""
    with pytest.raises(DecodeError, match="unknown mode") as caught:
        Fields({"autoreset_mode": mode}, "$").autoreset_mode()
    assert len(str(caught.value)) < 200
