"""What went wrong, as text within limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.protocol.constants import ErrorCode
from rlay.protocol.failures import environment_failure


def test_short_texts_stay():
    """What is within its limit is not touched."""
    failure = environment_failure(ErrorCode.UNSUPPORTED, "ValueError", "no", "trace")
    assert failure == (5, "ValueError", "no", "trace")
    assert type(failure.code) is int


def test_long_message_keeps_its_beginning():
    """A message is cut at its end, and says by how much."""
    message = environment_failure(ErrorCode.ENVIRONMENT, "E", "x" * 10_000)[2]
    assert message == "x" * 8160 + "[1840 bytes left out]"


def test_long_traceback_keeps_its_end():
    """The last calls of a traceback are the ones that matter."""
    text = "a" * 100_000 + "the end"
    traceback = environment_failure(ErrorCode.ENVIRONMENT, "E", "", text)[3]
    assert traceback.startswith("[34503 bytes left out]aaa")
    assert traceback.endswith("the end")


@pytest.mark.parametrize("text", ["\ud800", "ok \udcff"])
def test_lone_surrogates_are_written_out(text):
    """Text that is no UTF-8 is made UTF-8: it must never stop a failure."""
    failure = environment_failure(ErrorCode.ENVIRONMENT, text, text, text)
    assert [field.encode() for field in failure[1:]] == [
        text.encode("utf-8", "backslashreplace")
    ] * 3


@given(st.text(max_size=50), st.integers(1, 4000))
def test_any_text_is_within_its_limit(text, times):
    """Whatever is cut, also in the middle of a character, stays UTF-8 in its limit."""
    failure = environment_failure(
        ErrorCode.ENVIRONMENT, text * times, text * times, text * times
    )
    sizes = [len(field.encode()) for field in failure[1:]]
    assert all(
        size <= limit for size, limit in zip(sizes, (200, 8192, 65536), strict=True)
    )
