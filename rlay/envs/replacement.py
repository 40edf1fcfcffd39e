"""A channel in the place of a lost one: looked for without waiting, and never an error.

Whoever comes may be anybody: a backend of another size, one that refuses, one that does
not answer. They are passed over, with a reason for people, and others are tried.
"""

import dataclasses
import logging
import math
import time
from typing import Final

from rlay.envs.attachments import check_paradigm, hello_of
from rlay.envs.candidates import Candidate, Candidates
from rlay.envs.gathering import Welcomed
from rlay.errors import RLayError
from rlay.protocol.greeting import Wishes
from rlay.transport.attaching import PendingGreeting
from rlay.transport.ends import draw_id

_log = logging.getLogger("rlay.envs.client_vector_env")

_PASSED_OVER_S: Final = 1.0
"""How long a channel that will not do is left alone."""


class Replacement:
    """Looks for one channel.

    Attributes:
        problem: What is in the way, for people; empty where nobody has come.
    """

    def __init__(
        self, candidates: Candidates, wishes: Wishes, count: int, limit_s: float | None
    ) -> None:
        """Begin to look.

        Args:
            candidates: Where channels are found.
            wishes: What the algorithm asks of the backend.
            count: Environments that the channel must carry.
            limit_s: How long a backend may take to answer the greeting, in seconds;
                None for ever.
        """
        self.problem = ""
        self._candidates = candidates
        self._wishes = dataclasses.replace(wishes, num_envs=None)
        self._count = count
        self._limit_s = math.inf if limit_s is None else limit_s
        self._greeting: tuple[Candidate, PendingGreeting, float] | None = None

    def look(self) -> list[Welcomed] | None:
        """Return the channel, or None where there is none yet."""
        if self._greeting is None:
            self._find()
        if self._greeting is None:
            return None
        candidate, greeting, since = self._greeting
        try:
            answer = greeting.look()
            arrival = None if answer is None else Welcomed(candidate, *answer)
        except RLayError as error:
            self._pass_over(candidate, error)
            return None
        if arrival is not None:
            self._greeting = None
            return [arrival]
        if time.monotonic() - since > self._limit_s:
            silent = f"{candidate.name!r} did not answer within {self._limit_s} s"
            self._pass_over(candidate, RLayError(silent))
        return None

    def _find(self) -> None:
        """Find a channel that will do, among those that are free now."""
        while self._greeting is None:
            try:
                candidate = self._candidates.pick()
            except RLayError as error:  # of a stranger's files: nobody else is tried
                self._note(error)
                return
            if candidate is None:
                return
            self._greet(candidate)

    def _greet(self, candidate: Candidate) -> None:
        client = candidate.client
        try:
            check_paradigm(client, candidate.name, self._wishes)
            if client.facts.num_envs != self._count:
                raise RLayError(  # noqa: TRY301 - as of those that are found out later
                    f"channel {client.name!r} carries {client.facts.num_envs} "
                    f"environments, {self._count} are missing"
                )
            hello = hello_of(self._wishes)
            greeting = PendingGreeting(client, hello, (0, draw_id()))
        except RLayError as error:
            self._pass_over(candidate, error)
        except BaseException:
            candidate.let_go()
            raise
        else:
            self._greeting = candidate, greeting, time.monotonic()

    def turn_away(self, arrival: Welcomed, error: RLayError) -> None:
        """Leave a channel that was found but will not do, and look for others."""
        self._pass_over(arrival.candidate, error)

    def _pass_over(self, candidate: Candidate, error: RLayError) -> None:
        self._greeting = None
        candidate.let_go()
        self._candidates.refused(candidate, error, _PASSED_OVER_S)
        self._note(error)

    def _note(self, error: RLayError) -> None:
        if str(error) != self.problem:
            self.problem = str(error)  # a record of the error would hold the channel
            _log.warning("not in the place of lost lanes: %s", self.problem)

    def give_up(self) -> None:
        """Leave the channel that is being greeted, if any. Twice is harmless."""
        greeting, self._greeting = self._greeting, None
        if greeting is not None:
            greeting[0].let_go()
        self._candidates.close()


class GatheredChannels:
    """Where the lanes of a vector over channels come from, again and again."""

    def __init__(
        self, candidates: Candidates, wishes: Wishes, limit_s: float | None
    ) -> None:
        """Look among ``candidates``; the rest is as for :class:`Replacement`."""
        self._candidates = candidates
        self._wishes = wishes
        self._limit_s = limit_s

    def replacing(self, lost: Welcomed) -> Replacement:
        """Return what looks for another channel in a lost one's place."""
        candidates = self._candidates.replacing(lost.candidate)
        return Replacement(candidates, self._wishes, lost.facts.num_envs, self._limit_s)

    def close(self) -> None:
        """Stop looking. Twice is harmless."""
        self._candidates.close()
