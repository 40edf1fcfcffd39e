"""Where the lanes of a vector come from: channels it attaches to, games that join it.

The lanes themselves do not care; see ``gathering.py`` and ``game_places.py``.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.timeouts import Timeouts
from rlay.errors import RLayError
from rlay.protocol.greeting import EnvironmentFacts


class Attached(Protocol):
    """A session with an environment, or with a batch of them."""

    @property
    def link(self) -> AlgorithmLink:
        """What carries it."""

    def let_go(self) -> None:
        """Leave it at once. Twice is harmless."""


class Arrival(Protocol):
    """An environment that has greeted, or a batch of them."""

    @property
    def name(self) -> str:
        """The name of its channel."""

    @property
    def facts(self) -> EnvironmentFacts:
        """What the other end says of it."""

    def attach(self, timeouts: Timeouts, *, copy: bool) -> Attached:
        """Return the session; ``copy`` says whether its observations are copies."""

    def let_go(self) -> None:
        """Send it away again."""


class Search(Protocol):
    """Looks for environments.

    Attributes:
        problem: What is in the way, for people; empty where nothing can be said.
    """

    problem: str

    def look(self) -> Sequence[Arrival] | None:
        """Return them, or None where they are not all there yet. Never waits."""

    def turn_away(self, arrival: Any, error: RLayError) -> None:
        """Send away who came but will not do, and look for others."""

    def give_up(self) -> None:
        """Stop looking. Twice is harmless."""


class LaneSource(Protocol):
    """Where environments come from for as long as a vector lives."""

    def replacing(self, lost: Any) -> Search:
        """Return what looks for an arrival in the place of one that is lost."""

    def close(self) -> None:
        """Stop looking. Twice is harmless."""
