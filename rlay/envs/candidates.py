"""The channels that a name stands for: found one by one, without waiting.

A name stands for the channels ``name`` and ``name.<digits>``, on this machine or at a
bridge; ``name.*`` for the numbered ones alone; a list of names for exactly those. A
vector looks for channels that may carry its lanes, a game for a place at its trainer.
"""

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from rlay.errors import ChannelBusy, ChannelNotFound
from rlay.protocol.addresses import is_address
from rlay.protocol.constants import CloseReason
from rlay.protocol.names import group_member, group_prefix
from rlay.transport.attaching import ChannelSearch, ClientEnd, Directory
from rlay.transport.directory import ChannelDirectory, default_path
from rlay.transport.mem_client import MemClient

_BUSY_PAUSE_S: Final = 0.1
"""How long a channel that is taken is left alone."""
_REFUSED_PAUSE_S: Final = 0.4
"""As long at most a name is left alone at which a channel was busy after all."""
_ANSWER_S: Final = 1.0
"""How long a bridge may take to say that it knows of no more channels."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A channel that was free, and whose client end is ours now.

    Attributes:
        client: The end.
        name: Of the channel, as it was asked for: a name or an address.
        place: Where it stands among the others.
    """

    client: ClientEnd
    name: str
    place: int

    def let_go(self) -> None:
        """Leave the channel."""
        self.client.close(CloseReason.CLOSED)


class Candidates(Protocol):
    """Where channels for a vector are found."""

    def pick(self) -> Candidate | None:
        """Return a channel that is free, or None where there is none now.

        Raises:
            ChannelError: A channel is not sound; AuthError: a bridge and this end do
                not trust each other.
        """

    def put_back(self, candidate: Candidate) -> None:
        """Let a channel that was let go of be found again."""

    def refused(self, candidate: Candidate, error: Exception, pause_s: float) -> None:
        """Put back a channel that will not do; others go first, for a while."""

    def replacing(self, candidate: Candidate) -> "Candidates":
        """Return where another channel in a lost one's place is found."""

    @property
    def exhausted(self) -> bool:
        """Whether everything that is there now was picked."""

    @property
    def problem(self) -> str:
        """What is in the way, for people; empty where nothing can be said."""

    def close(self) -> None:
        """Stop looking. Twice is harmless."""


def candidates_for(name: str | Sequence[str], directory: Directory) -> Candidates:
    """Return the channels that a name, or a list of names, stands for."""
    if not isinstance(name, str):
        return NamedChannels(name, directory)
    return group_of(name, directory)


def group_of(name: str, directory: Directory) -> "LocalGroup | GroupAtBridge":
    """Return the channels that a name stands for."""
    return GroupAtBridge(name) if is_address(name) else LocalGroup(name, directory)


class _Busy:
    """Channels that were taken, and when to look at each again."""

    def __init__(self) -> None:
        self._texts: dict[object, str] = {}
        self._until: dict[object, float] = {}

    def note(
        self, key: object, error: Exception, pause_s: float = _BUSY_PAUSE_S
    ) -> None:
        self._texts[key] = str(error)
        self._until[key] = time.monotonic() + pause_s

    def forget(self, key: object) -> None:
        self._texts.pop(key, None)

    def rests(self, key: object) -> bool:
        return time.monotonic() < self._until.get(key, 0.0)

    @property
    def text(self) -> str:
        return "; ".join(list(self._texts.values())[:3])


class NamedChannels:
    """Exactly these channels, in this order; names and addresses may be mixed."""

    def __init__(self, names: Sequence[str], directory: Directory) -> None:
        """Look for each of ``names``."""
        self._names = list(names)
        self._directory = directory
        self._busy = _Busy()
        self._searches = {
            place: ChannelSearch(name, directory) for place, name in enumerate(names)
        }

    def pick(self) -> Candidate | None:
        """Return one that is free; see :class:`Candidates`."""
        for place, search in self._searches.items():
            if self._busy.rests(place):
                continue
            try:
                client = search.look()
            except ChannelNotFound:
                self._busy.forget(place)
            except ChannelBusy as error:
                self._busy.note(place, error)
            else:
                if client is not None:
                    del self._searches[place]
                    self._busy.forget(place)
                    return Candidate(client, self._names[place], place)
        return None

    def put_back(self, candidate: Candidate) -> None:
        """Let it be found again."""
        self._searches[candidate.place] = ChannelSearch(candidate.name, self._directory)

    def refused(self, candidate: Candidate, error: Exception, pause_s: float) -> None:
        """Put it back, to be found again after a while."""
        self.put_back(candidate)
        self._busy.note(candidate.place, error, pause_s)

    def replacing(self, candidate: Candidate) -> Candidates:
        """Return the same name: who gives a list wants just those channels."""
        return NamedChannels([candidate.name], self._directory)

    @property
    def exhausted(self) -> bool:
        """Whether all of them were picked: none of a list may be missing."""
        return not self._searches

    @property
    def problem(self) -> str:
        """Which are missing, and which are taken."""
        missing = [self._names[place] for place in sorted(self._searches)]
        told = [search.problem for search in self._searches.values() if search.problem]
        texts = [f"missing: {', '.join(missing[:8])}", *told[:2], self._busy.text]
        return "; ".join(text for text in texts if text)

    def close(self) -> None:
        """Stop looking."""
        for search in self._searches.values():
            search.close()
        self._searches.clear()


class LocalGroup:
    """The channels ``name`` and ``name.<digits>`` of this machine, in numeric order."""

    def __init__(self, name: str, directory: Directory) -> None:
        """Look for the channels of ``name``, or of ``name.*``."""
        prefix = group_prefix(name)
        self._name, self._directory = prefix or name, directory
        self._numbered_only = prefix is not None
        self._busy = _Busy()
        self._held: set[str] = set()
        self._expected: set[str] = set()
        self._refusals: dict[str, float] = {}
        self._exhausted = False

    def pick(self, own: str | None = None) -> Candidate | None:
        """Return the first that is free; see :class:`Candidates`.

        Args:
            own: The channel that was lost, where another is to come in its place.
                Those that others have lost are left to them.
        """
        for place, member in self._members():
            theirs = member in self._expected and member != own
            if theirs or member in self._held or self._busy.rests(member):
                continue
            try:
                client = MemClient.open(member, self._directory)
            except ChannelNotFound:
                self._busy.forget(member)
                continue
            except ChannelBusy as error:
                self._busy.note(member, error)
                continue
            self._busy.forget(member)
            self._held.add(member)
            return Candidate(client, member, place)
        self._exhausted = bool(self._held)
        return None

    def _members(self) -> Iterator[tuple[int, str]]:
        try:
            with ChannelDirectory.open(self._directory, create=False) as root:
                names = root.names()
        except ChannelNotFound:
            return
        numbered = {each: group_member(self._name, each) for each in names}
        found = [(n, each) for each, n in numbered.items() if n is not None]
        if self._name in numbered and not self._numbered_only:
            found.append((-1, self._name))
        refused = self._refusals
        yield from sorted(found, key=lambda each: (refused.get(each[1], 0.0), each))

    def put_back(self, candidate: Candidate) -> None:
        """Let it be found again."""
        self._held.discard(candidate.name)

    def refused(
        self,
        candidate: Candidate,
        error: Exception,
        pause_s: float = _BUSY_PAUSE_S,
    ) -> None:
        """Put back what was taken, at the other side of a bridge; others go first."""
        self.put_back(candidate)
        self._refusals[candidate.name] = time.monotonic()
        self._busy.note(candidate.name, error, pause_s)

    def rest(self, seconds: float) -> None:
        """Wait a while before the next look."""
        time.sleep(seconds)

    def replacing(self, candidate: Candidate) -> Candidates:
        """Return the group: any channel of it that is free will do."""
        self.put_back(candidate)
        self._expected.add(candidate.name)
        return _PlaceInGroup(self, candidate.name)

    def expect_no_more(self, name: str) -> None:
        """Let everybody have a channel that was lost."""
        self._expected.discard(name)

    @property
    def exhausted(self) -> bool:
        """Whether the last look found no other."""
        return self._exhausted

    @property
    def busy(self) -> str:
        """Which are taken, for people."""
        return self._busy.text

    @property
    def problem(self) -> str:
        """Which are taken, and how to have more."""
        where = default_path() if self._directory is None else self._directory
        return self._busy.text or (
            f"{os.fspath(where)} has no more channels {self._name!r} or "
            f"'{self._name}.<number>'. Start more environments with: rlay serve ENV-ID "
            f"--name {self._name} --channels N"
        )

    def close(self) -> None:
        """Nothing is open."""


class _PlaceInGroup:
    """Where a channel of a local group was lost."""

    exhausted = False

    def __init__(self, group: LocalGroup, name: str) -> None:
        self._group, self._name = group, name

    def pick(self) -> Candidate | None:
        return self._group.pick(self._name)

    def put_back(self, candidate: Candidate) -> None:
        self._group.put_back(candidate)

    def refused(self, candidate: Candidate, error: Exception, pause_s: float) -> None:
        self._group.refused(candidate, error, pause_s)

    def replacing(self, candidate: Candidate) -> Candidates:
        return self._group.replacing(candidate)

    @property
    def problem(self) -> str:
        return self._group.problem

    def close(self) -> None:
        self._group.expect_no_more(self._name)


class GroupAtBridge:
    """The channels ``name`` and ``name.<digits>`` that a bridge knows.

    A bridge hands out the first free one of a group, so each is found by a search of
    its own, one after the other. The numbered ones are asked for where the name itself
    is not to be had: most names stand for one channel, and a search is a connection.
    """

    def __init__(self, address: str) -> None:
        """Look at the bridge of ``address``, which may end in ``.*``."""
        self._address = address.removesuffix(".*")
        self._group = f"{self._address}.*"
        self._busy = _Busy()
        names = [self._group] if address == self._group else [address, self._group]
        self._searches = {name: self._search(name) for name in names}
        self._found_at = time.monotonic()
        self._picked = 0

    def _search(self, name: str) -> ChannelSearch:
        return ChannelSearch(name, None)

    def pick(self) -> Candidate | None:
        """Return one that is free; see :class:`Candidates`."""
        for name, search in list(self._searches.items()):
            if self._busy.rests(name) or not self._is_turn_of(name):
                continue
            try:
                client = search.look()
            except ChannelBusy as error:
                self._busy.note(name, error)
                search.close()
                self._searches[name] = self._search(name)
                continue
            if client is not None:
                return self._take(name, client)
        return None

    def _is_turn_of(self, name: str) -> bool:
        first = self._searches.get(self._address)
        if name == self._address or first is None:
            return True
        return first.missing or self._busy.rests(self._address)

    def _take(self, name: str, client: ClientEnd) -> Candidate:
        del self._searches[name]
        if name == self._group:
            self._searches[name] = self._search(name)
        self._busy.forget(name)
        self._picked += 1
        self._found_at = time.monotonic()
        base = self._address.rpartition("/")[2]
        place = -1 if name == self._address else group_member(base, client.name)
        return Candidate(client, name, -1 if place is None else place)

    def put_back(self, candidate: Candidate) -> None:
        """Let it be found again."""
        self._picked -= 1
        if candidate.name == self._address:
            self._searches[self._address] = self._search(self._address)

    def refused(
        self, candidate: Candidate, error: Exception, pause_s: float = _REFUSED_PAUSE_S
    ) -> None:
        """Put back what somebody else was faster to take.

        Many may wait for the same few: they do not all come again at once.
        """
        self.put_back(candidate)
        self._busy.note(candidate.name, error, random.uniform(_BUSY_PAUSE_S, pause_s))

    def rest(self, seconds: float) -> None:
        """Wait a while before the next look; less where a bridge says something."""
        for search in list(self._searches.values()):
            search.rest(seconds / len(self._searches))

    def replacing(self, candidate: Candidate) -> Candidates:
        """Return the group: any channel of it that is free will do."""
        return GroupAtBridge(self._address)

    @property
    def exhausted(self) -> bool:
        """Whether the bridge has named no other for a while."""
        return bool(self._picked) and time.monotonic() - self._found_at > _ANSWER_S

    @property
    def problem(self) -> str:
        """What the bridge says, or why there is none."""
        search = self._searches.get(self._address) or self._searches[self._group]
        return self._busy.text or search.problem

    def close(self) -> None:
        """Stop looking."""
        with contextlib.ExitStack() as closing:
            for search in self._searches.values():
                closing.callback(search.close)
