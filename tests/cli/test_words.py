"""Options that several commands share."""

import click
import pytest

from rlay.cli.words import ChannelName, JsonObject, Refused, exit_code_of, group_names
from rlay.errors import AuthError, ChannelPermission, EnvLost


def test_json_object_is_read():
    """With all that JSON has."""
    text = '{"a": [1, 2.5, null, true, "x"], "b": {}}'
    found = JsonObject().convert(text, None, None)
    assert found == {"a": [1, 2.5, None, True, "x"], "b": {}}


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ('{"a": 1,}', 9, '    {"a": 1,}\n            ^'),
        ('{"a" 1}', 6, '    {"a" 1}\n         ^'),
        ("{'a': 1}", 2, "    {'a': 1}\n     ^"),
        ("", 1, "    \n    ^"),
    ],
)
def test_json_with_a_mistake_shows_where_it_is(text, place, shown):
    """The message has the character, and points at it."""
    with pytest.raises(click.BadParameter) as caught:
        JsonObject().convert(text, None, None)
    assert f"at character {place}\n{shown}" in caught.value.message


def test_json_mistake_in_a_long_text_shows_only_what_is_around_it():
    """A screen has only so much room."""
    text = '{"a": "' + "x" * 500 + '" "b"}'
    with pytest.raises(click.BadParameter) as caught:
        JsonObject().convert(text, None, None)
    assert max(map(len, caught.value.message.splitlines())) < 80


@pytest.mark.parametrize("text", ["[1]", "3", '"a"', "null"])
def test_json_that_is_no_object_is_refused(text):
    """Keyword arguments have names."""
    with pytest.raises(click.BadParameter, match="is JSON, but not an object"):
        JsonObject().convert(text, None, None)


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "x" * 65, "n.*"])
def test_name_that_is_not_allowed_is_refused(name):
    """With the exit code of a refused configuration."""
    with pytest.raises(Refused) as caught:
        ChannelName().convert(name, None, None)
    assert caught.value.exit_code == 78


def test_group_has_numbered_names():
    """From 0."""
    assert group_names("n", 3) == ["n.0", "n.1", "n.2"]


def test_group_whose_names_are_too_long_is_refused():
    """Before anything is started."""
    with pytest.raises(Refused, match="cannot name a channel"):
        group_names("x" * 62, 11)


@pytest.mark.parametrize(
    ("error", "code"),
    [(ChannelPermission("x"), 78), (AuthError("x"), 78), (EnvLost("x"), 1)],
)
def test_exit_code_of_an_error(error, code):
    """A directory or a secret that others may read is a refused configuration."""
    assert exit_code_of(error) == code
