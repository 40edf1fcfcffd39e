"""What is known of a link from those before it, to the same peer.

A link that is lost is made anew, and its numbers go on: who looks wants to know how
often that happened.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rlay.bridge.link import Link

MOST: Final = 1024
"""As many links as one bridge may have: the oldest make room."""
MOST_ERROR_CHARS: Final = 300
_Key = str | int


class LinkHistory:
    """Remembers resumes and the last error of links that ended."""

    def __init__(self) -> None:
        """Begin without any."""
        self._past: dict[_Key, tuple[int, str]] = {}

    def begun(self, link: "Link") -> None:
        """Let a link go on counting where the one before it ended."""
        counts = link.counts
        counts.resumes, counts.last_error = self._past.get(_key(link), (0, ""))

    def ended(self, link: "Link") -> None:
        """Remember a link that was up, and why it ended unless it said goodbye."""
        counts, key = link.counts, _key(link)
        if not link.said_goodbye:
            counts.last_error = str(link.ended)[:MOST_ERROR_CHARS]
        self._past.pop(key, None)  # so that it is the youngest
        self._past[key] = counts.resumes, counts.last_error
        if len(self._past) > MOST:
            del self._past[next(iter(self._past))]

    def resumes_of(self, where: str) -> int:
        """Return the resumes over links to an address that was dialed."""
        return self._past.get(where, (0, ""))[0]


def _key(link: "Link") -> _Key:
    """Return what stays: the address where we dial, else the number of the peer."""
    return link.where if link.dialed or link.peer is None else link.peer.id
