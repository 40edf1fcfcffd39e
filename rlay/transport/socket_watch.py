"""Whether the far end of a session lives, as far as a link to a bridge can tell."""

import time
from collections.abc import Callable

from rlay.errors import LinkDown, PeerLost
from rlay.protocol.constants import CloseReason, PeerState
from rlay.transport.peers import (
    UNKNOWING,
    OwnEnd,
    PeerGone,
    closed_text,
    resume_window_s,
)
from rlay.transport.socket_link import SocketLink


class SocketWatch:
    """Says whether waiting is of any use; see ``Watch`` in ``peers``.

    A far end is alive until the bridge says otherwise, however long it is silent. While
    the link is down nobody knows: time does not count, and after the resume window the
    session is over.
    """

    def __init__(self, link: SocketLink, what: str, own: OwnEnd) -> None:
        """Watch a far end.

        Args:
            link: To the bridge.
            what: Its name in messages.
            own: Says whether our own end is open.
        """
        self._link = link
        self._what = what
        self._own = own
        self._down_since: float | None = None
        self._ended: Callable[[], Exception] | None = None
        self.vouches = False

    # ---------------------------------------------------------------- what is told

    def end(self, state: int, reason: int, *, sure: bool = True) -> None:
        """Take note that the far end is closed or lost. The first word counts.

        Args:
            state: Closed or lost.
            reason: Why.
            sure: Whether all that the far end had published and taken was told before.
        """
        if self._ended is not None:
            return
        try:
            known = CloseReason(reason)
        except ValueError:
            known = CloseReason.NONE
        self.vouches = sure and known not in UNKNOWING
        what = self._what
        if state == PeerState.CLOSED:
            text = f"{what} was closed {closed_text(known)}"
            self._ended = lambda: PeerGone(text, known)
        elif known is CloseReason.LINK_DOWN:
            self._ended = lambda: LinkDown(
                f"{what} is out of reach: the link to it was down for too long, or a "
                "bridge that was restarted does not know this session"
            )
        else:
            self._ended = lambda: PeerLost(f"{what} was lost")

    def supersede(self) -> None:
        """Take note that somebody newer took the far end's place."""
        if self._ended is None:
            what = self._what
            self._ended = lambda: PeerLost(f"{what} was replaced by a newer one")

    def detach(self) -> None:
        """Take note that the link is down, or does not carry the session yet."""
        if self._down_since is None:
            self._down_since = time.monotonic()

    def attach(self) -> None:
        """Take note that the link carries the session again."""
        self._down_since = None

    @property
    def over(self) -> bool:
        """Whether the session is over."""
        return self._ended is not None

    # ------------------------------------------------------------------- to be asked

    def check(self) -> bool:
        """Return whether the link is up.

        Raises:
            PeerGone: The far end said goodbye.
            PeerLost: It is gone, or somebody newer took its place.
            LinkDown: The link was down for longer than the resume window.
            ChannelClosed: Our own end was closed by another thread.
            AuthError: The link cannot be made again; VersionMismatch too.
        """
        self._own.check()
        if self._ended is None:
            self._link.pump(0.0)
        if self._ended is not None:
            raise self._ended()
        since = self._down_since
        if since is None:
            return True
        window_s = self._link.resume_window_s
        if window_s is None:
            window_s = resume_window_s()
        if time.monotonic() - since > window_s:
            self._ended = self._gave_up(window_s)
            raise self._ended()
        return False

    def _gave_up(self, window_s: float) -> Callable[[], LinkDown]:
        text = (
            f"the link to {self._what} was down for more than {window_s:g} s: "
            f"{self._link.problem}"
        )
        return lambda: LinkDown(text)
