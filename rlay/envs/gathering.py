"""Gathering the channels of a vector: found, greeted, and put in order.

Nothing here waits: all channels are greeted at once, since each backend may take its
time to make its environments, and a look at all of them is cheap.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Final

from rlay.envs.attachments import Attachment, check_paradigm, facts_in, hello_of
from rlay.envs.candidates import Candidate, Candidates
from rlay.envs.client_link import ClientLink
from rlay.envs.timeouts import Timeouts
from rlay.errors import (
    ChannelBusy,
    ChannelClosed,
    ConnectTimeout,
    PeerLost,
    SpaceMismatch,
)
from rlay.protocol.greeting import Welcome, Wishes
from rlay.transport.attaching import PendingGreeting
from rlay.transport.base import Channel
from rlay.transport.ends import draw_id

_FIRST_PAUSE_S: Final = 0.0005
_LAST_PAUSE_S: Final = 0.02
_BUSY_PAUSE_S: Final = 0.1


class Welcomed:
    """A channel whose backend has greeted.

    Attributes:
        candidate: The channel.
        name: Of the channel.
        facts: What the backend says of its environments.
    """

    def __init__(
        self, candidate: Candidate, welcome: Welcome, channel: Channel
    ) -> None:
        """Keep what :meth:`attach` needs.

        Raises:
            RemoteProtocolError: The backend greeted without an environment.
        """
        self.candidate = candidate
        self.name = candidate.client.name
        self.facts = facts_in(welcome)
        self._channel = channel

    def attach(self, timeouts: Timeouts, *, copy: bool) -> Attachment:
        """Return the session; ``copy`` says whether its observations are copies."""
        link = ClientLink(self._channel, self.facts, timeouts, copy=copy)
        return Attachment(self.candidate.client, link)

    def let_go(self) -> None:
        """Leave the channel."""
        self.candidate.let_go()


class _Joining:
    """A channel that was found, and whose backend is being greeted."""

    def __init__(self, candidate: Candidate, greeting: PendingGreeting) -> None:
        self.candidate = candidate
        self.greeting = greeting
        self.welcomed: Welcomed | None = None

    @property
    def num_envs(self) -> int:
        return self.candidate.client.facts.num_envs


class Gathering:
    """Channels that carry a number of environments together.

    Example::

        gathering = Gathering(candidates, Wishes(vector=True), 60.0, wanted=8)
        channels = gathering.wait()
    """

    def __init__(
        self,
        candidates: Candidates,
        wishes: Wishes,
        limit_s: float | None,
        *,
        wanted: int | None = None,
    ) -> None:
        """Begin with none.

        Args:
            candidates: Where channels are found.
            wishes: What the algorithm asks of each backend.
            limit_s: How long :meth:`wait` may take, in seconds; None for ever.
            wanted: Environments in all; None for what there is.
        """
        self._candidates = candidates
        self._wishes = dataclasses.replace(wishes, num_envs=None)
        self._hello = hello_of(self._wishes)
        self._limit_s = limit_s
        self._wanted = wanted
        self._joining: list[_Joining] = []
        self._problem = ""
        self._pick_at = 0.0

    def look(self) -> list[Welcomed] | None:
        """Make as much headway as is possible without waiting.

        Returns:
            The channels in order, once all are there; then they are the caller's.

        Raises:
            SpaceMismatch: The channels carry another number of environments.
            ChannelError: A channel is not one for a ``ClientEnv``, or not sound.
            RLayError: What a backend's refusal says.
        """
        complete = self._pick_all()
        for joining in list(self._joining):
            if joining.welcomed is None:
                self._greet(joining)
        done = all(joining.welcomed is not None for joining in self._joining)
        if not (complete and done and self._joining):
            return None
        in_order = sorted(self._joining, key=lambda joining: joining.candidate.place)
        self._joining = []
        self._candidates.close()
        return [each.welcomed for each in in_order if each.welcomed is not None]

    def _pick_all(self) -> bool:
        """Find what there is; return whether it is enough."""
        while not self._is_enough():
            if time.monotonic() < self._pick_at:
                return False
            candidate = self._candidates.pick()
            if candidate is None:
                break
            self._begin(candidate)
        if self._wanted is None:
            return self._candidates.exhausted
        return self._is_enough()

    def _is_enough(self) -> bool:
        total = sum(joining.num_envs for joining in self._joining)
        wanted = self._wanted
        if wanted is not None and total > wanted:
            there = self._described()
            if len(self._joining) == 1:
                raise SpaceMismatch(
                    f"channel {there} carries {total} environments, {wanted} were "
                    "asked for"
                )
            raise SpaceMismatch(
                f"the channels carry {total} environments together ({there}), "
                f"{wanted} were asked for"
            )
        return total == wanted

    def _begin(self, candidate: Candidate) -> None:
        try:
            check_paradigm(candidate.client, candidate.name, self._wishes)
            greeting = PendingGreeting(candidate.client, self._hello, (0, draw_id()))
        except (PeerLost, ChannelClosed) as error:
            self._problem = str(error)
            self._drop(candidate)
        except BaseException:
            candidate.let_go()
            raise
        else:
            self._joining.append(_Joining(candidate, greeting))

    def _drop(self, candidate: Candidate) -> None:
        candidate.let_go()
        self._candidates.put_back(candidate)
        self._pick_at = time.monotonic() + _BUSY_PAUSE_S

    def _greet(self, joining: _Joining) -> None:
        try:
            answer = joining.greeting.look()
        except (PeerLost, ChannelClosed, ChannelBusy) as error:
            # A backend that went away during the greeting is none, and of two who
            # greeted at once one was faster: there may be another one yet.
            self._problem = str(error)
            self._joining.remove(joining)
            self._drop(joining.candidate)
            return
        if answer is not None:
            joining.welcomed = Welcomed(joining.candidate, *answer)

    # ---------------------------------------------------------------------- waiting

    def wait(self, check: Callable[[], None] = lambda: None) -> list[Welcomed]:
        """Wait for all of them.

        Args:
            check: Called now and then; raises where it is of no use to wait longer.

        Raises:
            ConnectTimeout: It took too long; the message says who is missing.
            RLayError: As :meth:`look`. No channel is held then.
        """
        limit_s = self._limit_s
        until = math.inf if limit_s is None else time.monotonic() + limit_s
        pause_s = _FIRST_PAUSE_S
        try:
            while True:
                channels = self.look()
                if channels is not None:
                    return channels
                check()
                self._check_time(until)
                time.sleep(pause_s)
                pause_s = min(1.5 * pause_s, _LAST_PAUSE_S)
        except BaseException:
            self.give_up()
            raise

    def _check_time(self, until: float) -> None:
        if time.monotonic() >= until:
            raise ConnectTimeout(self._missing())

    def _missing(self) -> str:
        """Say what did not come in time, and what is in the way."""
        silent = [each for each in self._joining if each.welcomed is None]
        total = sum(joining.num_envs for joining in self._joining)
        wanted = "" if self._wanted is None else f" of {self._wanted}"
        texts = [
            f"{total}{wanted} environments were there within {self._limit_s} s"
            + (f" ({self._described()})" if self._joining else "")
        ]
        if silent:
            who = silent[0].candidate
            texts.append(
                f"{len(silent)} did not answer the greeting, such as {who.name!r} "
                f"({who.client.peer.who})"
            )
        texts += [text for text in (self._candidates.problem, self._problem) if text]
        return "; ".join(texts)

    def _described(self) -> str:
        shown = [
            f"{each.candidate.client.name}: {each.num_envs}"
            for each in sorted(self._joining, key=lambda each: each.candidate.place)
        ]
        if len(shown) == 1:
            return repr(self._joining[0].candidate.client.name)
        return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")

    def give_up(self) -> None:
        """Leave all channels. Twice is harmless."""
        joining, self._joining = self._joining, []
        for each in joining:
            each.candidate.let_go()
        self._candidates.close()
