"""A channel of this machine, offered to others: its server is here."""

import functools
import logging
from typing import TYPE_CHECKING, Final

from rlay.bridge.ends import BridgeClient, NotYet
from rlay.bridge.fault_points import ARMED, reach
from rlay.bridge.session import Session
from rlay.bridge.window import Window
from rlay.errors import ChannelError, PeerLost, RLayError
from rlay.protocol.constants import (
    Capability,
    CloseReason,
    ErrorCode,
    Kind,
    PeerState,
)
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_messages import Announcement, Ending, Opening, SlotWords
from rlay.protocol.names import check_name
from rlay.protocol.refusal import Refusal
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore
from rlay.transport.header import ChannelFacts, ChannelHeader
from rlay.transport.stores import End

if TYPE_CHECKING:
    from rlay.bridge.link import Link
    from rlay.bridge.registry import Registry

_log = logging.getLogger("rlay.bridge.origin")

Ids = tuple[int, int]
_GONE: Final = Ending(PeerState.LOST, CloseReason.VANISHED)


class Origin:
    """A channel whose server is on this machine.

    It opens the client end only while somebody elsewhere is in a session, so that a
    client of this machine can have the channel at any other time.

    Attributes:
        name: Of the channel.
        facts: What its header says.
        session: The session with a client elsewhere; None where there is none.
        numbers: The channel's number on each link that knows it.
        refused_at: When its server last refused a client, by the loop's clock; or 0.
    """

    def __init__(self, registry: "Registry", name: str) -> None:
        """Look at a channel.

        Raises:
            ChannelError: There is none, or nobody serves it.
            VersionMismatch: It is of another version.
        """
        self.name = name
        self.session: Session | None = None
        self.numbers: dict[Link, int] = {}
        self.refused_at = 0.0
        self._registry = registry
        directory = ChannelDirectory.open(registry.root, create=False)
        try:
            self._store = FileStore.open(directory, name)
        except BaseException:
            directory.close()
            raise
        try:
            self._header = ChannelHeader(self._store.header)
            self.facts: ChannelFacts = self._header.check(self._store.path)
            self._served = self._store.make_probe(End.SERVER)
            self._watches = [registry.watch_lock(self._store.path, End.SERVER, self)]
        except BaseException:
            self._store.close()
            raise
        self._closed = False
        self._end: BridgeClient | None = None
        self._opening: tuple[Link, int, Ids] | None = None
        self._machine = ""  # of the session's client; unknown after a restart
        self._window = Window(registry)

    # ---------------------------------------------------------------------- channel

    @property
    def alive(self) -> bool:
        """Whether the channel's server is still there, under this name."""
        return self.is_current and self._served()

    @property
    def is_current(self) -> bool:
        """Whether the channel's name still leads to the files that are open here."""
        return self._store.is_current()

    def announcement(self, name: str) -> Announcement:
        """Return what other machines are told, which know it under ``name``."""
        line = self._header.server
        return Announcement(
            name,
            int(self.facts.paradigm),
            self.facts.num_envs,
            int(line.capabilities),
            self._registry.identity.machine,
            line.program,
        )

    def announce(self, link: "Link", sequence: int = 0) -> None:
        """Tell the other side of a link of this channel."""
        name = self._registry.prefix + self.name if link.with_bridge else self.name
        try:
            check_name(name)
        except ChannelError as error:
            _log.warning("channel %r is not shared: %s", self.name, str(error))
            return
        number = self.numbers.get(link)
        if number is None:
            number = self.numbers[link] = link.next_number()
            link.origins[number] = self
        body = self.announcement(name).encode()
        link.sender.control(
            pack_frame(FrameType.ANNOUNCE, body, number, 0, 0, sequence)
        )

    def look(self) -> None:
        """Look whether the server is gone; if so, say it and go."""
        if not self.alive:
            self.close(self._last_word())

    def fail(self) -> None:
        """Give the channel up: a fault of this bridge may have spoilt it."""
        if self.session is not None:
            self.session.detach()  # it may be what fails: no last words
        self.close(_GONE)

    def _last_word(self) -> Ending:
        line = self._header.server
        if line.state in (PeerState.CLOSED, PeerState.LOST):
            return Ending(PeerState(line.state), line.reason)
        return _GONE

    def close(self, ending: Ending) -> None:
        """Tell everybody that it is gone, and let go of it. Twice is harmless."""
        if self._closed:
            return
        body = ending.encode()
        for link, number in list(self.numbers.items()):
            frame = pack_frame(FrameType.WITHDRAW, body, number)
            session = self.session
            if session is not None and session.link is link:
                session.farewell(frame)
            elif link.up:
                link.sender.control(frame)
            link.origins.pop(number, None)
            link.flush()
        self.numbers.clear()
        self._registry.counts.closed[ending.known_reason.name.lower()] += (
            self.session is not None
        )
        self._leave(ending.known_reason, PeerState.LOST)
        for watch in self._watches:
            self._registry.forget(watch)
        self._store.close()
        self._closed = True
        self._registry.origin_closed(self)

    # ---------------------------------------------------------------------- opening

    def open(
        self, link: "Link", channel: int, ids: Ids, opening: Opening, payload: bytes
    ) -> None:
        """Say Hello to the server, for a client at the other side of ``link``."""
        if self._registry.draining:
            self._refuse(
                link, channel, ids, ErrorCode.DRAINING,
                f"the bridge on {self._registry.identity.machine} shuts down",
            )  # fmt: skip
            return
        self._make_room(link)
        if self._end is not None:
            self._refuse(
                link, channel, ids, ErrorCode.BUSY,
                f"channel {self.name!r} has a client already: {self._end.program}",
            )  # fmt: skip
            return
        try:
            self._end = BridgeClient.open(
                self._registry.loop,
                self._registry.root,
                self.name,
                Capability(opening.capabilities),
                f"a client on {link.machine}",
            )
        except RLayError as error:
            self._refuse(link, channel, ids, self._registry.code_of(error), str(error))
            return
        if ARMED:
            reach("hello.opened")
        self._opening = link, channel, ids
        self._machine = link.machine
        self._end.skip_greetings()
        self._end.begin_greeting(Kind.HELLO, payload, ids)
        if ARMED:
            reach("hello.said")
        self._listen(self._end)

    def _listen(self, end: BridgeClient) -> None:
        contain = self._registry.contain
        end.bell.listen(functools.partial(contain, self, self._rung))

    def _make_room(self, link: "Link") -> None:
        """Let go of a session that nobody at the other side knows any more.

        One whose link is down may still be resumed by its own machine: another
        machine finds the channel busy.
        """
        session, opening = self.session, self._opening
        ours = opening is not None and opening[0] is link
        if session is not None:
            same = self._machine in ("", link.machine)
            ours = session.link is link or (session.link is None and same)
        if ours:
            self._leave(CloseReason.REPLACED, PeerState.LOST)

    def _refuse(
        self, link: "Link", channel: int, ids: Ids, code: ErrorCode, text: str
    ) -> None:
        payload = Refusal(int(code), text).encode()
        link.send_opening(FrameType.REFUSED, channel, ids, Opening(0, 0, 0, 0), payload)

    def _rung(self) -> None:
        session, end = self.session, self._end
        if session is not None:
            session.rung()
            if session.link is not None:
                session.link.flush_soon()
            if end is not None and end.greeted:  # to a Hello of a bridge before us
                end.skip_greetings()
        elif self._opening is not None:
            self._continue_opening()

    def _continue_opening(self) -> None:
        end, opening = self._end, self._opening
        assert end is not None  # noqa: S101 - there is one while it opens
        assert opening is not None  # noqa: S101 - the caller looked
        link, channel, ids = opening
        if not end.continue_greeting() or not end.heard:
            # Whatever the server says now answers a Hello before ours.
            end.skip_greetings()
            return
        try:
            buffer, payload = end.read_greeting()
        except NotYet:
            return
        except RLayError as error:
            self._refuse(link, channel, ids, ErrorCode.PROTOCOL, str(error))
            self._leave(CloseReason.PROTOCOL_ERROR, PeerState.CLOSED)
            return
        answered = buffer.incarnation, buffer.session
        if any(
            ours not in (0, theirs) for ours, theirs in zip(ids, answered, strict=True)
        ):
            return  # it was for the client before
        if buffer.kind is not Kind.WELCOME:
            self.refused_at = self._registry.loop.time()
            link.send_opening(
                FrameType.REFUSED, channel, ids, Opening(0, 0, 0, 0), payload
            )
            self._leave(CloseReason.CLOSED, PeerState.CLOSED)
            return
        self._begin_session(end, link, channel, answered, payload)

    def _begin_session(
        self, end: BridgeClient, link: "Link", channel: int, ids: Ids, payload: bytes
    ) -> None:
        self._opening = None
        if ARMED:
            reach("welcome.read")
        try:
            session = self._cover(end, ids)
        except RLayError as error:
            self._refuse(link, channel, ids, ErrorCode.NO_SPACE, str(error))
            self._leave(CloseReason.CLOSED, PeerState.CLOSED)
            return
        self.session = session
        self._registry.counts.sessions += 1
        session.attach(link, channel)
        opening = Opening(
            int(self._header.server.capabilities),
            *session.capacities,
            session.generation,
        )
        link.send_opening(FrameType.OPENED, channel, ids, opening, payload)
        if ARMED:
            reach("opened.sent")
        _log.info(
            "a session on %r began for %s",
            self.name,
            link.name,
            extra={
                "channel": self.name,
                "peer": link.name,
                "incarnation": f"{ids[0]:016x}",
            },
        )

    def _cover(self, end: BridgeClient, ids: Ids) -> Session:
        memory, geometry = end.open_slots(end.header.generation)
        return Session(end, End.CLIENT, memory, geometry, ids, self._registry.counts)

    # ------------------------------------------------------------ the end of a session

    def client_gone(self, link: "Link", ids: Ids, ending: Ending) -> None:
        """Take note that the client at the other side of ``link`` is gone."""
        if ARMED:
            reach("close.heard")
        session, opening = self.session, self._opening
        ours = session is not None and session.link in (None, link)
        if session is not None and ours and session.ids == ids:
            _log.info(
                "the client of %r on %s is gone",
                self.name,
                link.name,
                extra={
                    "channel": self.name,
                    "peer": link.name,
                    "reason": ending.known_reason.name.lower(),
                },
            )
            self._leave(ending.known_reason, PeerState(ending.state))
        elif opening is not None and (opening[0], opening[2]) == (link, ids):
            self._leave(ending.known_reason, PeerState(ending.state))

    def _leave(self, reason: CloseReason, state: PeerState) -> None:
        """Let go of the client end, and tell the server why."""
        session, self.session = self.session, None
        end, self._end = self._end, None
        self._opening = None
        self._window.close()
        if session is not None:
            session.detach()
        if end is not None:
            try:
                end.close(reason, state)
            except RLayError as error:
                _log.error("the end of %r was not closed: %s", self.name, error)
        if session is not None:
            session.inlet.wake()  # the server sees at once who is gone

    def link_ended(self, link: "Link") -> None:
        """Take note that a link is down: a session over it waits for the next one."""
        self.numbers.pop(link, None)
        session, opening = self.session, self._opening
        if opening is not None and opening[0] is link:
            self._leave(CloseReason.VANISHED, PeerState.LOST)
        if session is None or session.link is not link:
            return
        session.detach()
        if link.said_goodbye:
            self._leave(link.said_goodbye, PeerState.CLOSED)
            return
        assert self._end is not None  # noqa: S101 - there is one in a session
        self._end.line.say(PeerState.LINK_DOWN, CloseReason.NONE)
        self._window.open(self._registry.window_after(link), self, self._expire)

    def _expire(self) -> None:
        _log.warning(
            "the session on %r is over: its link stayed down for too long",
            self.name,
            extra={"channel": self.name, "reason": "link_down"},
        )
        self._leave(CloseReason.LINK_DOWN, PeerState.LOST)

    # ----------------------------------------------------------------------- resuming

    def adopt(self) -> None:
        """Take over a session that a bridge before this one was in.

        Raises:
            ChannelError: There was none.
        """
        end = BridgeClient.adopt(self._registry.loop, self._registry.root, self.name)
        ids = end.header.incarnation, end.header.session
        try:
            if not ids[1] or end.greeted:
                raise ChannelError("no session had begun")
            session = self._cover(end, ids)
        except RLayError:
            end.close(CloseReason.VANISHED, PeerState.LOST)
            raise
        self._end, self.session = end, session
        self._listen(end)
        self._window.open(self._registry.window_s, self, self._expire)
        _log.info(
            "took over the session on %r", self.name, extra={"channel": self.name}
        )

    def resume(self, link: "Link", channel: int, ids: Ids, words: SlotWords) -> bool:
        """Go on with a session over another link; return whether there is one."""
        session, end = self.session, self._end
        if session is None or end is None or session.ids != ids:
            return False
        if ARMED:
            reach("resume.heard")
        if session.link is not None and session.link is not link:
            # What is still under way on it would be written over what comes now.
            session.link.end(PeerLost(f"{self.name!r} goes on over a newer link"))
        session.detach()
        self._window.close()
        session.attach(link, channel)
        self._machine = link.machine
        end.line.say(PeerState.ALIVE, CloseReason.NONE)
        body = session.words().encode()
        link.sender.control(pack_frame(FrameType.RESUMED, body, channel, *ids))
        if ARMED:
            reach("resumed.sent")
        session.resume(words)
        self._registry.counts.resumes += 1
        link.counts.resumes += 1
        _log.info(
            "the session on %r goes on over %s",
            self.name,
            link.name,
            extra={"channel": self.name, "peer": link.name},
        )
        return True

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.session is not None and self.session.busy

    @property
    def occupied(self) -> bool:
        """Whether somebody holds the client end, here or elsewhere."""
        try:
            return self._end is not None or self._store.is_held(End.CLIENT)
        except RLayError:  # its files are gone
            return True
