"""A game's search for its trainer: a place that is free, and an answer to Hello."""

import os
import time
from typing import Final

from rlay.envs.candidates import Candidate, LocalGroup, group_of
from rlay.errors import (
    ChannelBusy,
    ChannelError,
    Draining,
    PeerLost,
)
from rlay.protocol.constants import Paradigm
from rlay.protocol.greeting import EnvironmentFacts, Hello
from rlay.transport.attaching import ClientEnd, PendingGreeting
from rlay.transport.base import Channel
from rlay.transport.ends import CAPABILITIES, draw_id
from rlay.transport.peers import PeerGone
from rlay.transport.software import SOFTWARE

_LOOK_EVERY_S: Final = 0.02


class TrainerSearch:
    """Looks for a trainer's channel and greets it, one look at a time."""

    def __init__(
        self,
        name: str,
        directory: str | os.PathLike[str] | None,
        facts: EnvironmentFacts,
        max_message_bytes: int,
    ) -> None:
        """Take note of whom to look for and what to say.

        Args:
            name: Of the channel, or its address: it, or the first free one of the
                channels ``name.<digits>``, by which a trainer takes in several games.
                ``name.*`` stands for those alone.
            directory: Where channels live.
            facts: What to say of the game.
            max_message_bytes: Larger messages are refused.
        """
        self.name = name
        self._places = group_of(name, directory)
        self._hello = Hello(
            Paradigm.SERVER_ENV,
            environment=facts,
            software=SOFTWARE,
            capabilities=CAPABILITIES,
            max_message_bytes=max_message_bytes,
        )
        self._place: Candidate | None = None
        self._greeting: PendingGreeting | None = None
        self.problem = self._absent

    @property
    def _absent(self) -> str:
        places = self._places
        told = places.busy if isinstance(places, LocalGroup) else places.problem
        there = " and the same RLAY_DIR" if isinstance(places, LocalGroup) else ""
        return told or (
            f"no channel {self.name!r} exists. Start its trainer with "
            f"rlay.ServerEnv({self.name.removesuffix('.*')!r}){there}"
        )

    def look(self) -> tuple[ClientEnd, Channel] | None:
        """Make as much headway as is possible without waiting.

        Returns:
            The end and the session, or None where nobody is there yet.

        Raises:
            ChannelError: The channel is not a trainer's, or not sound.
            SpaceMismatch: The trainer demands other spaces.
        """
        try:
            greeting = self._greeting or self._open()
            if greeting is None:
                self.problem = self._absent
                return None
            return self._greeted(greeting)
        except ChannelBusy as error:  # a bridge said so, in answer to our Hello
            self.problem = str(error)
            self._leave(error)
        except (PeerLost, PeerGone, Draining) as error:
            self.problem = str(error)
            self.give_up()
        except BaseException:
            self.give_up()
            raise
        return None

    def rest(self, seconds: float) -> None:
        """Wait a while before the next look; less where something comes."""
        if self._place is None:
            self._places.rest(seconds)
        else:
            time.sleep(seconds)

    def _open(self) -> PendingGreeting | None:
        place = self._place = self._places.pick()
        if place is None:
            return None
        client = place.client
        if client.facts.paradigm is not Paradigm.SERVER_ENV:
            raise ChannelError(
                f"channel {place.name!r} was made by a ServerBackend, which holds an "
                "environment: attach a ClientEnv to it, or make a ServerEnv"
            )
        self._greeting = PendingGreeting(client, self._hello, (draw_id(), 0))
        return self._greeting

    def _greeted(self, greeting: PendingGreeting) -> tuple[ClientEnd, Channel] | None:
        client, answer = greeting.client, greeting.look()
        if answer is None:
            self.problem = (
                f"the trainer of {client.name!r} ({client.peer.who}) is alive but has "
                "not called reset() yet, which takes games in"
            )
            return None
        place, self._place, self._greeting = self._place, None, None
        assert place is not None  # noqa: S101 - it was greeted
        self._places.put_back(place)  # for the search after this session
        self._places.close()
        return client, answer[1]

    def _leave(self, error: Exception | None = None) -> None:
        place, self._place, self._greeting = self._place, None, None
        if place is None:
            return
        place.let_go()
        if error is None:
            self._places.put_back(place)
        else:
            self._places.refused(place, error)

    def give_up(self) -> None:
        """Leave a channel whose greeting is not answered, and stop looking."""
        self._leave()
        self._places.close()


def wait_for_trainer(
    search: TrainerSearch, timeout_s: float | None
) -> tuple[ClientEnd, Channel] | None:
    """Look for a trainer until one is there, or ``timeout_s`` seconds passed."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        found = search.look()
        if found is not None:
            return found
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return None
        search.rest(_LOOK_EVERY_S if left is None else min(_LOOK_EVERY_S, left))
