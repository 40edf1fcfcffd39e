"""A channel of another machine, mirrored here: its server is elsewhere."""

import functools
import logging
from typing import TYPE_CHECKING

from rlay.bridge.ends import BridgeServer, NotYet, check_capacities
from rlay.bridge.fault_points import ARMED, reach
from rlay.bridge.session import Session
from rlay.bridge.window import Window
from rlay.errors import RLayError
from rlay.protocol.constants import (
    CloseReason,
    ErrorCode,
    Holder,
    Kind,
    Paradigm,
    PeerState,
)
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_messages import Ending, Opening, SlotWords
from rlay.protocol.refusal import Refusal
from rlay.transport.header import ChannelFacts
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.stores import End

if TYPE_CHECKING:
    from rlay.bridge.link import Link
    from rlay.bridge.registry import Registry

_log = logging.getLogger("rlay.bridge.mirror")

Ids = tuple[int, int]


class Mirror:
    """A channel that was made here for a server on another machine.

    Attributes:
        name: Of the channel here; with the prefix of its own machine.
        end: The server end.
        facts: What the channel's header says.
        link: Over which its server can be reached; None while that is down.
        session: The session with a client here; None where there is none.
    """

    def __init__(self, registry: "Registry", end: BridgeServer) -> None:
        """Take over the server end of a channel."""
        self.name = end.name
        self.end = end
        self.facts: ChannelFacts = end.facts
        self.link: Link | None = None
        self.session: Session | None = None
        self._registry = registry
        self._channel = 0
        self._client_held = end.probe(End.CLIENT)
        self._watch = registry.watch_lock(end.path, End.CLIENT, self)
        self._hello: tuple[Ids, bytes] | None = None
        self._asked = False  # whether OPEN was sent for that Hello
        # Of the last session, once its client is gone: the CLOSE may have been lost.
        self._ended: Ids | None = None
        self._window = Window(registry)
        end.bell.listen(functools.partial(registry.contain, self, self._rung))

    @property
    def machine(self) -> str:
        """The name of the machine that has the server, as the header has it."""
        return self.end.program.rpartition(" on ")[2]

    @property
    def peer_id(self) -> int:
        """Of the bridge, or of the direct peer, that has the server.

        It is in the header, so that the next bridge knows it too.
        """
        return self.end.header.origin

    # ------------------------------------------------------------------------ the link

    def attach(self, link: "Link", channel: int) -> None:
        """Take note of the link over which the server is reached."""
        old = self.link
        if old is not None and old is not link:
            old.mirrors.pop(self._channel, None)
        self.link, self._channel = link, channel
        self.end.header.origin = link.peer.id if link.peer else 0
        link.mirrors[channel] = self
        self._window.close()
        self._tell_of_the_end()
        session = self.session
        if session is None:
            self.end.line.say(PeerState.ALIVE, CloseReason.NONE)
            self._rung()
            self._ask()  # a Hello that came in parts is not in its slot any more
            return
        session.detach()
        body = session.words().encode()
        link.sender.control(pack_frame(FrameType.RESUME, body, channel, *session.ids))
        link.flush_later()
        if ARMED:
            reach("resume.sent")

    def _tell_of_the_end(self) -> None:
        """Say over a new link that a client is gone, as it may not have been heard."""
        if self._ended is not None and self.link is not None:
            # Nobody knows any more what the client took.
            body = Ending(PeerState.LOST, CloseReason.LINK_DOWN).encode()
            self.link.sender.control(
                pack_frame(FrameType.CLOSE, body, self._channel, *self._ended)
            )
            self.link.flush_later()

    def resumed(self, ids: Ids, words: SlotWords) -> None:
        """Go on with the session: the other side still has it."""
        session, link = self.session, self.link
        if session is None or link is None or session.ids != ids:
            return
        if ARMED:
            reach("resumed.heard")
        session.detach()
        session.attach(link, self._channel)
        self.end.line.say(PeerState.ALIVE, CloseReason.NONE)
        session.resume(words)
        self._registry.counts.resumes += 1
        link.counts.resumes += 1
        _log.info(
            "the session on %r goes on over %s",
            self.name,
            link.name,
            extra={"channel": self.name, "peer": link.name},
        )

    def link_ended(self) -> None:
        """Take note that the link is down: a session waits for the next one."""
        link, self.link = self.link, None
        self._asked = False
        if link is None:
            return
        if link.said_goodbye:
            self.withdrawn(Ending(PeerState.CLOSED, link.said_goodbye))
            return
        if self.session is not None:
            self.session.detach()
        self.end.line.say(PeerState.LINK_DOWN, CloseReason.NONE)
        self._window.open(self._registry.window_after(link), self, self._expire)

    def _expire(self) -> None:
        _log.warning(
            "channel %r is given up: its link stayed down",
            self.name,
            extra={"channel": self.name, "reason": "link_down"},
        )
        self.withdrawn(Ending(PeerState.LOST, CloseReason.LINK_DOWN))

    # ---------------------------------------------------------------- from the client

    def look(self) -> None:
        """Look whether the client is gone; if so, say it."""
        if self._client_held():
            return
        if not self.end.is_current:
            self.withdrawn(Ending(PeerState.LOST, CloseReason.VANISHED))
        elif self.session is not None or self._hello is not None:
            self._client_gone()
        elif self.end.greeted:
            self.end.skip_greetings()

    def fail(self) -> None:
        """Give the channel up: a fault of this bridge may have spoilt it."""
        ending = Ending(PeerState.LOST, CloseReason.VANISHED)
        session = self.session
        if session is not None:
            session.detach()
            self._close_at_other_side(session.ids)
            if self.link is not None:
                self.link.flush_later()
        self.withdrawn(ending)

    def _client_gone(self) -> None:
        line = self.end.peer
        if line.state in (PeerState.CLOSED, PeerState.LOST):
            ending = Ending(PeerState(line.state), line.reason)
        elif line.holder == Holder.BRIDGE:  # nobody knows what its peer took
            ending = Ending(PeerState.LOST, CloseReason.LINK_DOWN)
        else:
            ending = Ending(PeerState.LOST, CloseReason.VANISHED)
        self._drop_session(ending)
        self._hello = None
        self._asked = False
        self.end.skip_greetings()
        if self.link is not None:
            self.link.flush()

    def _drop_session(self, ending: Ending) -> None:
        """Forget the session, or the wish for one, and tell the other side."""
        session, self.session = self.session, None
        if session is not None:
            ids = session.ids
        elif self._hello is not None and self._asked:
            ids = self._hello[0]
        else:
            return
        self._registry.counts.closed[ending.known_reason.name.lower()] += 1
        frame = pack_frame(FrameType.CLOSE, ending.encode(), self._channel, *ids)
        if session is not None and session.link is not None:
            session.farewell(frame)
        elif self.link is not None:
            self.link.sender.control(frame)
        if session is not None:
            session.detach()
            self._ended = ids

    def _rung(self) -> None:
        self.end.continue_greeting()
        session = self.session
        if session is not None:
            session.rung()
            if session.link is not None:
                session.link.flush_soon()
        if self.end.greeted:
            self._greeted()

    def _greeted(self) -> None:
        """Pass on a Hello; it stays in its slot until it is answered."""
        hello = self.end.peek_greeting()
        if hello is not None and self._hello is not None and hello[0] == self._hello[0]:
            pass
        elif hello is not None:
            self._supersede()
            self._hello = hello
        else:
            try:
                buffer, payload = self.end.read_greeting()
            except NotYet:
                return
            except RLayError as error:
                _log.warning(
                    "a client of %r broke the protocol: %s",
                    self.name,
                    error,
                    extra={"channel": self.name, "reason": type(error).__name__},
                )
                self.end.skip_greetings()
                return
            self._supersede()
            self._hello = (buffer.incarnation, buffer.session), payload
        self._ask()

    def _supersede(self) -> None:
        if self.session is not None or self._asked:
            self._drop_session(Ending(PeerState.LOST, CloseReason.REPLACED))
        self._asked = False

    def _ask(self) -> None:
        link, hello = self.link, self._hello
        if link is None or hello is None or self._asked:
            return
        if ARMED:
            reach("hello.seen")
        self._asked = True
        ids, payload = hello
        if self._registry.draining:
            machine = self._registry.identity.machine
            text = f"the bridge on {machine} shuts down"
            self._answer(
                Kind.REFUSAL, Refusal(int(ErrorCode.DRAINING), text).encode(), ids
            )
            return
        opening = Opening(int(self.end.peer.capabilities), 0, 0, 0)
        link.send_opening(FrameType.OPEN, self._channel, ids, opening, payload)
        link.flush()
        if ARMED:
            reach("open.sent")

    # ------------------------------------------------------------- from the other side

    def _expects(self, ids: Ids) -> bool:
        """Return whether an answer is for the client that is here now."""
        if self._hello is None or not self._asked:
            return False
        ours = self._hello[0]
        return all(mine in (0, theirs) for mine, theirs in zip(ours, ids, strict=True))

    def opened(self, ids: Ids, opening: Opening, payload: bytes) -> None:
        """Make the slots of a session, and pass on the Welcome."""
        if not self._expects(ids):
            self._close_at_other_side(ids)
            return
        capacities = opening.request_capacity, opening.reply_capacity
        try:
            machine = self._registry.identity.machine
            check_capacities(capacities, self._registry.max_slot_bytes, machine)
            memory, geometry = self.end.make_slots(
                opening.generation or 1, capacities, ids
            )
        except RLayError as error:
            self._close_at_other_side(ids)
            refusal = Refusal(int(self._registry.code_of(error)), str(error))
            self.refused(ids, refusal.encode())
            return
        if ARMED:
            reach("slots.made")
        self.session = self._cover(memory, geometry, ids)
        self._registry.counts.sessions += 1
        self._ended = None
        if self.link is not None:
            self.session.attach(self.link, self._channel)
        self._answer(Kind.WELCOME, payload, ids)
        if ARMED:
            reach("welcome.said")
        _log.info(
            "a session on %r began for %s",
            self.name,
            self.end.peer.who,
            extra={"channel": self.name},
        )

    def _cover(self, memory: memoryview, geometry: SlotGeometry, ids: Ids) -> Session:
        counts = self._registry.counts
        return Session(self.end, End.SERVER, memory, geometry, ids, counts)

    def _close_at_other_side(self, ids: Ids) -> None:
        if self.link is not None:
            body = Ending(PeerState.LOST, CloseReason.VANISHED).encode()
            self.link.sender.control(
                pack_frame(FrameType.CLOSE, body, self._channel, *ids)
            )

    def refused(self, ids: Ids, payload: bytes) -> None:
        """Pass on a Refusal."""
        if self._expects(ids):
            self._answer(Kind.REFUSAL, payload, ids)

    def _answer(self, kind: Kind, payload: bytes, ids: Ids) -> None:
        self._hello = None
        self._asked = False
        # In this order: a bridge that is killed in between finds the Hello answered.
        self.end.begin_greeting(kind, payload, ids)
        self.end.skip_greetings()

    def lost(self, ids: Ids, ending: Ending) -> None:
        """Take note that the other side has no such session any more.

        The client here is told by the channel's end; a new channel takes its place.
        """
        session = self.session
        if session is not None and session.ids == ids:
            self.withdrawn(ending)

    def withdrawn(self, ending: Ending) -> None:
        """Remove the channel: its server is gone. Twice is harmless."""
        if self.end.closed:
            return
        if ARMED:
            reach("withdraw.heard")
        reason = ending.known_reason
        self._window.close()
        if self.link is not None:
            self.link.mirrors.pop(self._channel, None)
        if self.session is not None:
            self._registry.counts.closed[reason.name.lower()] += 1
            self._count_loss(self.session, ending)
            self.session.detach()
        elif self.end.greeted or self._hello is not None:
            self._refuse_waiting(reason)
        wake = self.session
        self.session = None
        self._registry.forget(self._watch)
        try:
            self.end.close(reason, PeerState(ending.state))
        except RLayError as error:
            _log.error("channel %r was not removed: %s", self.name, error)
        if wake is not None:
            wake.inlet.wake()
        self._registry.mirror_closed(self)

    def _count_loss(self, session: Session, ending: Ending) -> None:
        """Count an environment that is lost, as its ClientEnv will tell it."""
        if ending.state == PeerState.LOST and (
            self.facts.paradigm is Paradigm.CLIENT_ENV
        ):
            unsure = ending.reason == CloseReason.LINK_DOWN or session.request_taken
            executed = "unknown" if session.busy and unsure else "no"
            self._registry.counts.env_lost[executed] += 1

    def _refuse_waiting(self, reason: CloseReason) -> None:
        """Tell a client that waits for an answer that none will come."""
        if self._hello is not None:
            text = f"channel {self.name!r} is gone: {reason.name.lower()}"
            refusal = Refusal(int(ErrorCode.ENVIRONMENT_GONE), text)
            self._answer(Kind.REFUSAL, refusal.encode(), self._hello[0])

    # ----------------------------------------------------------------------- resuming

    def adopt(self) -> None:
        """Take over the session that a bridge before this one mirrored, if any."""
        header = self.end.header
        ids = header.incarnation, header.session
        client = self.end.peer
        here = self._client_held() and client.state == PeerState.ALIVE
        if ids[1] and not (here or self._client_is_left):
            self._ended = ids
        elif ids[1] and self.end.finish_answer(ids):
            try:
                memory, geometry = self.end.open_slots(header.generation)
                self.session = self._cover(memory, geometry, ids)
                _log.info(
                    "took over the session on %r",
                    self.name,
                    extra={"channel": self.name},
                )
            except RLayError as error:
                _log.warning(
                    "the session on %r is lost: %s",
                    self.name,
                    error,
                    extra={"channel": self.name, "reason": type(error).__name__},
                )
        self._window.open(self._registry.window_s, self, self._expire)

    @property
    def waits_for_client(self) -> bool:
        """Whether the client of the session is one that a bridge before us held."""
        return self.session is not None and self._client_is_left

    @property
    def _client_is_left(self) -> bool:
        """Whether a bridge held the client end when it was killed."""
        line = self.end.peer
        goes_on = line.state in (PeerState.ALIVE, PeerState.LINK_DOWN)
        return line.holder == Holder.BRIDGE and goes_on and not self._client_held()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.session is not None and self.session.busy
