"""How a case is declared."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from clients.conformance.stage import Stage

Play = Callable[[Stage], None]
PlayWith = Callable[..., None]
"""Takes what it is played with as the keyword ``of``."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: In the table.
        play: Plays it.
        lacks: Where it cannot run, by role or place: the reason.
    """

    name: str
    play: Play
    lacks: dict[str, str]

    def reason(self, role: str, place: str) -> str:
        """Return why it cannot run there; empty if it can."""
        return self.lacks.get(role) or self.lacks.get(place) or ""


CASES: Final[list[Case]] = []


def case(name: str, **lacks: str) -> Callable[[Play], Play]:
    """Declare a case.

    Args:
        name: In the table.
        lacks: By role or place: why it cannot run there.
    """

    def declare(play: Play) -> Play:
        assert all(known.name != name for known in CASES), name
        CASES.append(Case(name, play, lacks))
        return play

    return declare


def cases(
    prefix: str, values: Iterable[tuple[str, Any]]
) -> Callable[[PlayWith], PlayWith]:
    """Declare a case for each of some values.

    Args:
        prefix: Of their names.
        values: Name and value of each.
    """

    def declare(play: PlayWith) -> PlayWith:
        for name, value in values:
            case(f"{prefix}: {name}")(functools.partial(play, of=value))
        return play

    return declare
