"""The places by which games join a trainer: one channel for each.

A trainer that wants N environments makes the channels ``name`` and ``name.0`` to
``name.<N-1>``, since it cannot know whether one game with N of them will come, or N
games. Each game takes a place that is free. Once they are enough, the places that were
not needed are removed; a place whose game leaves stays, for the next one.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

from rlay.envs.game_host import Accepts, GameHost, demands_met, refusal_of
from rlay.envs.server_link import ServerLink
from rlay.envs.spaces import mismatch
from rlay.envs.timeouts import Timeouts
from rlay.errors import ConnectTimeout, RLayError
from rlay.protocol.addresses import is_address
from rlay.protocol.constants import ErrorCode
from rlay.protocol.greeting import EnvironmentFacts, Refusal, Wishes
from rlay.transport.attaching import Directory

_FIRST_PAUSE_S: Final = 0.0005
_LAST_PAUSE_S: Final = 0.02


class JoinedGame:
    """A game that has joined: an arrival, and the session with it.

    Attributes:
        name: Of its channel.
        facts: What it says of itself.
        link: The session.
    """

    def __init__(self, host: GameHost, link: ServerLink) -> None:
        """Take note of a game that ``host`` has taken in."""
        self.name = host.name
        self.facts = link.facts
        self.link = link
        self._host = host

    @property
    def here(self) -> bool:
        """Whether it has not gone away again."""
        try:
            self.link.channel.watch.check()
        except RLayError:
            return False
        return True

    def attach(self, timeouts: Timeouts, *, copy: bool) -> "JoinedGame":
        """Return itself: a session began when it was taken in."""
        return self

    def let_go(self) -> None:
        """Do nothing: its place sends it away when it looks for the next one."""

    def follower(self, accepts: Accepts) -> "JoinedGame | None":
        """Return the game that has come in its place; None where there is none."""
        link = self._host.look(accepts)
        return None if link is None else JoinedGame(self._host, link)


class GamePlaces:
    """Where games join, first and whenever one is lost.

    Example::

        places = GamePlaces("game", None, Wishes(vector=True), Timeouts(), 4)
        games = places.wait()
    """

    def __init__(
        self,
        name: str,
        directory: Directory,
        wishes: Wishes,
        timeouts: Timeouts,
        wanted: int | None,
    ) -> None:
        """Make the channels.

        Args:
            name: Of the first; with an address all are at that bridge.
            directory: Where channels live.
            wishes: Told to each game; it is refused where its spaces differ.
            timeouts: ``connect`` limits :meth:`wait`.
            wanted: Environments in all; None for those of the first game.

        Raises:
            ChannelBusy: A living trainer has one of the names.
            ConnectTimeout: There is no bridge at the address.
        """
        self._name = name
        self._wishes = wishes
        self._limit_s = timeouts.connect
        self._wanted = wanted
        self._joined: dict[int, JoinedGame] = {}
        self._like: EnvironmentFacts | None = None
        names = [name, *(f"{name}.{number}" for number in range(wanted or 0))]
        self._hosts: dict[int, GameHost] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            for number, each in enumerate(names):
                self._hosts[number] = GameHost(
                    each, directory, wishes, timeouts, copy=False
                )
            undo.pop_all()

    # --------------------------------------------------------------------- the first

    def look(self) -> Sequence[JoinedGame] | None:
        """Take in who has come; return all once they are enough. Does not wait.

        Raises:
            ChannelClosed: Another thread closed the places.
            ChannelNoSpace: There is no room for a game's slots.
        """
        for number, host in self._hosts.items():
            if number in self._joined and not self._joined[number].here:
                del self._joined[number]
            if number not in self._joined:
                link = host.look(self._judge)
                if link is not None:
                    self._joined[number] = JoinedGame(host, link)
            if self._is_complete:
                return self._take_all()
        return None

    @property
    def _there(self) -> int:
        return sum(game.facts.num_envs for game in self._joined.values())

    @property
    def _is_complete(self) -> bool:
        return bool(self._joined) and self._wanted in (None, self._there)

    def _take_all(self) -> Sequence[JoinedGame]:
        for number in self._hosts.keys() - self._joined.keys():
            self._hosts.pop(number).close()
        games = [self._joined[number] for number in sorted(self._joined)]
        self._like = games[0].facts
        return games

    def _judge(self, facts: EnvironmentFacts) -> Refusal | None:
        wanted, there = self._wanted, self._there
        if wanted is not None and there + facts.num_envs > wanted:
            return Refusal(
                ErrorCode.NUM_ENVS,
                f"the trainer of {self._name!r} takes games with {wanted} environments "
                f"in all and has {there}, this one has {facts.num_envs}",
            )
        return self._judge_spaces(facts)

    def _judge_spaces(self, facts: EnvironmentFacts) -> Refusal | None:
        error = demands_met(self._wishes, facts)
        first = next(iter(self._joined.values()), None)
        like = self._like or (None if first is None else first.facts)
        if error is None and like is not None:
            error = mismatch(
                like.observation_space, facts.observation_space, "observation spaces"
            ) or mismatch(like.action_space, facts.action_space, "action spaces")
        return refusal_of(error)

    @property
    def refusal(self) -> Refusal | None:
        """What a game that was not taken was told; None where all were."""
        refusals = (host.refusal for host in self._hosts.values())
        return next((each for each in refusals if each is not None), None)

    def forget_refusals(self) -> None:
        """Begin anew: what was refused before counts no more."""
        for host in self._hosts.values():
            host.refusal = None

    def wait(self, check: Callable[[], None] = lambda: None) -> Sequence[JoinedGame]:
        """Wait for games that are enough.

        Args:
            check: Called now and then; raises where it is of no use to wait longer.

        Raises:
            ConnectTimeout: They did not join in time. Who is there stays.
            RLayError: As :meth:`look`.
        """
        limit_s = self._limit_s
        until = math.inf if limit_s is None else time.monotonic() + limit_s
        pause_s = _FIRST_PAUSE_S
        while True:
            games = self.look()
            if games is not None:
                return games
            check()
            if time.monotonic() >= until:
                raise ConnectTimeout(self._missing())
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LAST_PAUSE_S)

    def _missing(self) -> str:
        there = "" if is_address(self._name) else ", and the same RLAY_DIR"
        who = f"with a ClientBackend(name={self._name!r}){there}"
        if self._joined:
            shown = ", ".join(game.name for game in self._joined.values())
            text = (
                f"{self._there} of {self._wanted} environments joined {self._name!r} "
                f"within {self._limit_s} s ({shown}). Start the other games {who}"
            )
        else:
            text = (
                f"no game joined channel {self._name!r} within {self._limit_s} s. "
                f"Start it {who}"
            )
        refused = [host.refused for host in self._hosts.values() if host.refused]
        return f"{text}. A game was refused: {refused[-1]}" if refused else text

    # -------------------------------------------------------------------- the others

    def replacing(self, lost: JoinedGame) -> "_Replacement":
        """Return what looks for a game in the place of one that is lost."""
        count = lost.facts.num_envs

        def accepts(facts: EnvironmentFacts) -> Refusal | None:
            if facts.num_envs == count:
                return self._judge_spaces(facts)
            return Refusal(
                ErrorCode.NUM_ENVS,
                f"channel {lost.name!r} is the place of a game with {count} "
                f"environments, this one has {facts.num_envs}",
            )

        return _Replacement(lost, accepts)

    def close(self) -> None:
        """Remove all places; games in them are told. Twice is harmless."""
        with ExitStack() as closing:
            for host in self._hosts.values():
                closing.callback(host.close)


class _Replacement:
    def __init__(self, lost: JoinedGame, accepts: Accepts) -> None:
        self.problem = ""
        self._lost, self._accepts = lost, accepts

    def look(self) -> Sequence[JoinedGame] | None:
        game = self._lost.follower(self._accepts)
        return None if game is None else [game]

    def turn_away(self, arrival: JoinedGame, error: RLayError) -> None:
        self.problem = str(error)
        arrival.let_go()

    def give_up(self) -> None:
        """Nothing is open: the place stays."""
