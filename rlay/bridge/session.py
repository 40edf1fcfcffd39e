"""A session whose two ends are on two machines: two slots here, two there."""

import time
from typing import TYPE_CHECKING

from rlay.bridge.fault_points import ARMED, reach
from rlay.bridge.metrics import Counts
from rlay.bridge.slot_ports import Inlet, Outlet, Ring
from rlay.errors import RLayError
from rlay.protocol import slot_layout as at
from rlay.protocol.frames import Frame, FrameType, pack_frame, pack_header
from rlay.protocol.link_messages import SlotWords
from rlay.transport.slot_channel import SlotGeometry, make_ring
from rlay.transport.stores import End

if TYPE_CHECKING:
    from rlay.bridge.ends import BridgeEnd
    from rlay.bridge.link import Link

Ids = tuple[int, int]


class Session:
    """Moves publications between the slots of this machine and a link.

    Attributes:
        ids: Incarnation and session.
        link: Over which it goes now; None while the link is down.
        channel: The channel's number on that link.
        outlet: The slot that is read here.
        inlet: The slot that is written here.
        name: Of the channel, for the log.
    """

    def __init__(
        self,
        end: "BridgeEnd",
        side: End,
        memory: memoryview,
        geometry: SlotGeometry,
        ids: Ids,
        counts: Counts,
    ) -> None:
        """Cover the mapped slots.

        Args:
            end: The end that the bridge holds.
            side: Which one that is.
            memory: The file of slots.
            geometry: Where they lie in it.
            ids: Incarnation and session.
            counts: What is counted.
        """
        self.ids = ids
        self.name = end.name
        self.link: Link | None = None
        self.channel = 0
        self._leaving = False
        self._asked_at = 0.0
        self._side = side
        self._counts = counts
        self._incarnation, self._session = ids
        request = (geometry.request_offset, geometry.request_capacity)
        reply = (geometry.reply_offset, geometry.reply_capacity)
        out, into = (reply, request) if side is End.CLIENT else (request, reply)
        # The bridge's end reads what the other end of this machine writes.
        other = side.other

        def slot(place: tuple[int, int]) -> memoryview:
            return memory[place[0] : place[0] + at.slot_bytes(place[1])]

        def ring(place: tuple[int, int]) -> Ring:
            return make_ring(memory, place[0], end.peer, end.store, other)

        self.outlet = Outlet(slot(out), out[1], ring(out))
        self.inlet = Inlet(slot(into), into[1], ring(into), ids, counts)
        self._direction = "reply" if side is End.CLIENT else "request"
        self.capacities = geometry.request_capacity, geometry.reply_capacity
        self.generation = end.header.generation

    @property
    def busy(self) -> bool:
        """Whether the last request was not answered yet, or a message is not out."""
        if self.outlet.last_sequence != self.inlet.last_sequence:
            return True
        return self.link is not None and self.outlet.unsent

    @property
    def request_taken(self) -> bool:
        """Whether the server has taken the last request, as far as is known here."""
        request = self.inlet if self._side is End.CLIENT else self.outlet
        return request.taken == request.published

    # ---------------------------------------------------------------- the link

    def attach(self, link: "Link", channel: int) -> None:
        """Go on over ``link``, on which the channel has this number."""
        self.link, self.channel = link, channel
        link.sessions[channel] = self

    def detach(self) -> None:
        """Take note that the link is down; what goes before a farewell still goes."""
        link, self.link = self.link, None
        if link is None:
            return
        if not self._leaving:
            link.sender.cancel(self)
        if link.sessions.get(self.channel) is self:
            del link.sessions[self.channel]

    def words(self) -> SlotWords:
        """Return the words of both slots, as RESUME and RESUMED carry them."""
        request, reply = (
            (self.inlet, self.outlet)
            if self._side is End.CLIENT
            else (self.outlet, self.inlet)
        )
        return SlotWords(request.published, request.taken, reply.published, reply.taken)

    def resume(self, theirs: SlotWords) -> None:
        """Send again what the far end lacks, over a link that came back."""
        if self._side is End.CLIENT:
            known, taken = theirs.reply_published, theirs.reply_taken
        else:
            known, taken = theirs.request_published, theirs.request_taken
        # What the far slot shows as published and taken was taken by its reader.
        if known == taken:
            self.outlet.mark_taken(known)
        self.inlet.told = -1
        link = self.link
        if link is None:
            return
        if self.outlet.repeat(known):
            self._counts.replays += 1
            link.sender.enqueue(self)
        self.rung()

    # ------------------------------------------------------------ out of a slot

    def rung(self) -> None:
        """Look what the local end has published and taken; pass it on."""
        link = self.link
        if link is None:
            return
        try:
            self._pass_on(link)
        except RLayError as error:
            link.end(error)

    def _pass_on(self, link: "Link") -> None:
        if self.outlet.has_news():
            if ARMED:
                reach("message.queued")
            # It implies that the last message in was taken.
            self.inlet.told = self.inlet.taken
            self._counts.messages[self._direction] += 1
            self._asked_at = time.monotonic()
            link.send(self)
            return
        taken = self.inlet.untold()
        if taken is not None:
            link.sender.control(
                pack_frame(FrameType.TAKEN, b"", self.channel, *self.ids, 0, taken)
            )
            if ARMED:
                reach("taken.told")

    def head(self, offset: int, size: int, total: int, crc: int | None) -> bytes:
        """Return the frame header of a piece of the queued message."""
        outlet = self.outlet
        return pack_header(
            FrameType.DATA,
            self.channel,
            *self.ids,
            outlet.sequence,
            outlet.queued,
            offset,
            total,
            size,
            crc,
        )

    # --------------------------------------------------------------- into a slot

    def is_of(self, frame: Frame) -> bool:
        """Return whether a frame belongs to this session; count it if not."""
        if self._matches(frame):
            return True
        self._counts.dropped["foreign"] += 1
        return False

    def _matches(self, frame: Frame) -> bool:
        return frame.session == self._session and frame.incarnation == self._incarnation

    def place(self, frame: Frame) -> memoryview | None:
        """Return where the body of a DATA is to lie; None where it is dropped."""
        return self.inlet.place(frame) if self.is_of(frame) else None

    def data(self, frame: Frame) -> None:
        """Publish a message here, once all of it lies in its place."""
        if not self._matches(frame):
            return  # it was counted before it had a place
        if frame.publication != self.inlet.coming:
            self._dropped(frame)
            return
        if self.inlet.filled(frame):
            if ARMED:
                reach("message.placed")
            self.outlet.mark_answered()
            self.inlet.publish(frame.publication)
            if self._side is End.SERVER:  # what came is a reply
                took_s = time.monotonic() - self._asked_at
                self._counts.step_times.add(took_s)
            if ARMED:
                reach("message.rung")
        elif ARMED:
            reach("piece.placed")

    def _dropped(self, frame: Frame) -> None:
        """Tell the far end again what it does not know: its TAKEN went astray."""
        inlet = self.inlet
        if frame.last and self._side is End.SERVER:
            self._counts.stale_replies += 1
        if (
            self.link is not None
            and frame.last
            and frame.publication == inlet.published == inlet.taken
        ):
            self.link.sender.control(
                pack_frame(
                    FrameType.TAKEN, b"", self.channel, *self.ids, 0, frame.publication
                )
            )

    def taken(self, frame: Frame) -> None:
        """Take note of a TAKEN."""
        if self.is_of(frame):
            if ARMED:
                reach("taken.heard")
            self.outlet.mark_taken(frame.publication)
            if ARMED:
                reach("taken.marked")

    # ------------------------------------------------------------------ goodbye

    def farewell(self, frame: bytes) -> None:
        """Say a last word behind everything that the local end has said and taken."""
        link = self.link
        if link is None:
            return
        self.rung()
        self._leaving = True
        taken = self.inlet.taken
        if taken == self.inlet.published:
            # A goodbye must not leave it open whether a request was taken.
            link.sender.control(
                pack_frame(FrameType.TAKEN, b"", self.channel, *self.ids, 0, taken)
            )
        link.sender.behind(self, frame)
