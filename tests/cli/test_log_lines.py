"""Lines of log: one for each record, whatever is in it."""

import json
import logging
import sys

import pytest

from rlay.cli.log_lines import FIELDS, JsonLines, TextLines, one_line


def record(text, *args, level=logging.INFO, **fields):
    made = logging.LogRecord("rlay.bridge", level, "x.py", 1, text, args, None)
    made.created = 1_800_000_000.25
    made.__dict__.update(fields)
    return made


def test_text_line_has_time_level_and_text():
    """In UTC, which it says."""
    line = TextLines().format(record("link to %s is up", "sim"))
    assert line == "2027-01-15T08:00:00Z INFO link to sim is up"


def test_text_line_has_fields_behind_the_text():
    """As names and values; in quotes where a value is not one word."""
    line = TextLines().format(record("lost", reason="no heart beat", channel="a.1"))
    assert line.endswith(' INFO lost channel=a.1 reason="no heart beat"')


def test_text_line_says_nothing_twice():
    """A field that the text names already is left out; in JSON it is there."""
    made = record("channel %r is here", "cart", channel="cart", peer="sim")
    assert TextLines().format(made).endswith(" INFO channel 'cart' is here peer=sim")
    assert json.loads(JsonLines().format(made))["channel"] == "cart"


def test_json_line_is_one_object():
    """With all that is known; numbers stay numbers."""
    fields = {"channel": "a", "peer": "sim", "incarnation": 7, "seq": 9, "reason": "x"}
    found = json.loads(JsonLines().format(record("lost %d", 3, **fields)))
    assert found == {
        "ts": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "event": "lost 3",
        "logger": "rlay.bridge",
        **fields,
    }
    assert list(fields) == list(FIELDS)


NASTY = [
    "a\nERROR forged",
    "a\r\x1b[2J",
    "a\u2028b",
    "a\u202eb",
    "a\x00b",
    "\ud800",
    'a" level="error',
]


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
@pytest.mark.parametrize("text", NASTY)
def test_what_a_peer_wrote_stays_in_its_line(lines, text):
    """No end of line, no steering of a terminal; in the text and in a field."""
    for made in (record("from %s", text), record("from", peer=text)):
        line = lines.format(made)
        assert line.isprintable()
        line.encode("ascii")


def test_value_cannot_pass_for_another_field():
    """Its quotes are escaped."""
    line = TextLines().format(record("x", peer='a" reason="b'))
    assert line.endswith('peer="a\\" reason=\\"b"')


def test_printable_text_is_left_alone():
    """In the language that it is in."""
    assert one_line("Simulator für alle") == "Simulator für alle"


def test_long_text_is_cut():
    """A peer may write a lot."""
    assert len(one_line("x" * 100_000)) < 1100


def test_repeats_stand_at_the_end():
    """In words, and as numbers."""
    made = record("refused", repeats=812, repeats_s=10.2)
    assert TextLines().format(made).endswith(" INFO refused (+812 in 10 s)")
    found = json.loads(JsonLines().format(made))
    assert (found["repeats"], found["repeats_s"]) == (812, 10)


def test_traceback_is_kept():
    """Behind the line; in JSON within it."""
    try:
        int("a\x1bb")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    first, *rest = TextLines().format(made).split("\n")
    assert first.rstrip().endswith("failed")
    assert rest[-1].endswith("a\\x1bb'")
    assert "ValueError" in json.loads(JsonLines().format(made))["traceback"]
