"""The rows of ``docs/guarantees.md``, and which tests are named after them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guarantees.md"

_ROW = re.compile(
    r"^\| ([A-F]\d+) \| (.*?) \| (.*?) \|(?: (.*?) \|| \|)$", re.MULTILINE
)
_PROMISE = re.compile(r"^\| (G\d+) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
_ROWS_OF_NAME = re.compile(r"test_((?:[a-f]\d+_)+)")
_LISTED = re.compile("not run: |not part of ")
_DEFINED = re.compile(r"^ *def (test_\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A fault.

    Attributes:
        name: Such as A1.
        fault: What happens.
        bound: Within which time, or why it is not run.
    """

    name: str
    fault: str
    bound: str

    @property
    def listed_only(self) -> bool:
        """Whether the page says why no test is named after it."""
        return _LISTED.search(self.bound) is not None


def rows() -> dict[str, Row]:
    """Return all rows of the page, in its order."""
    found = _ROW.findall(PAGE.read_text())
    return {name: Row(name, fault, bound) for name, fault, _, bound in found}


def promises() -> dict[str, list[str]]:
    """Return the rows that prove each guarantee."""
    found = _PROMISE.findall(PAGE.read_text())
    return {name: proofs.split() for name, _, _, proofs in found}


def rows_of(test: str) -> list[str]:
    """Return the rows after which a test is named: ``test_c3_c4_...`` has two."""
    found = _ROWS_OF_NAME.match(test)
    return found[1].upper().strip("_").split("_") if found else []


def named_tests() -> dict[str, list[str]]:
    """Return the tests in this repository that are named after each row."""
    named: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in _DEFINED.findall(path.read_text()):
            for row in rows_of(test):
                named.setdefault(row, []).append(test)
    return named
