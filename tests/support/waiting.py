"""Waiting for a condition instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_S = 0.005


def wait_until(
    condition: Callable[[], T], timeout: float = 20.0, what: str | None = None
) -> T:
    """Call ``condition`` until it is true, and return what it returned.

    Args:
        condition: Called every 5 ms, at least once. Any true value ends the wait; an
            exception goes through to the test.
        timeout: In seconds. A limit for a hang, not a claim about speed: keep it wide.
        what: What was awaited, for the message. By default the condition's own name.

    Raises:
        AssertionError: The condition was still false after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        # The clock first: a condition that comes true after a long pause still counts.
        expired = time.monotonic() >= deadline
        value = condition()
        if value:
            return value
        if expired:
            described = what or getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not so within {timeout} s: {described}")
        time.sleep(_INTERVAL_S)
