"""What ``rlay doctor`` finds: one line each, with what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is. Only a problem makes the exit code 1."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One finding.

    Attributes:
        level: How bad it is.
        check: What was looked at, in a word or two.
        text: What was found, with numbers.
        fix: What to do, "" where nothing is to be done.
    """

    level: Level
    check: str
    text: str
    fix: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(Level.OK, check, text)


def info(check: str, text: str) -> Finding:
    """Return a finding that is good to know."""
    return Finding(Level.INFO, check, text)


def warning(check: str, text: str, fix: str) -> Finding:
    """Return a finding that may become a problem."""
    return Finding(Level.WARNING, check, text, fix)


def problem(check: str, text: str, fix: str) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(Level.PROBLEM, check, text, fix)


def run_checks(
    checks: Iterable[Callable[[], Iterable[Finding]]],
) -> Iterator[Finding]:
    """Return what all checks find; one that stumbles does not stop the others."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # a doctor who faints helps nobody
            name = getattr(check, "__name__", "check").replace("_", " ").strip()
            yield warning(
                name,
                f"this check itself failed: {type(error).__name__}: {error}",
                "look at this one by hand, and report the message above",
            )
