"""Every order of events in a mirrored session, with the bridge's own code deciding.

A client and a server talk through two pairs of slots. Between them two sessions of
``rlay.bridge`` move publications over a link that may break at any point, and either
bridge may be killed at any point, its successor having nothing but the slots. All
states that can be reached with a few such faults are visited. In each of them:

- both readers see every publication once, whole, and in order;
- no slot says "taken" before the far reader has taken;
- neither bridge finds that the other broke the protocol, even where a whole message or
  a word of taking comes once more;
- without a further fault the session can come to its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rlay.bridge.metrics import Counts
from rlay.bridge.session import Session
from rlay.protocol import slot_layout as at
from rlay.protocol.frames import (
    FRAME_HEADER_BYTES,
    Frame,
    FrameType,
    pack_frame,
    unpack_header,
)
from rlay.protocol.link_messages import SlotWords
from rlay.transport.memory_store import MemoryStore
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.stores import End

IDS = (11, 22)
CAPACITY = 64
GEOMETRY = SlotGeometry(CAPACITY, CAPACITY)
SLOT_BYTES = at.slot_bytes(CAPACITY)
MESSAGE_BYTES = 64 + CAPACITY
OFFSETS = (GEOMETRY.request_offset, GEOMETRY.reply_offset)

Said = tuple[int, int]
"""Sequence and part of a publication."""


class Slot:
    """A slot as the process at one of its ends uses it: docs/spec/slot.md, by hand."""

    def __init__(self, memory: memoryview, offset: int) -> None:
        self.memory = memory[offset : offset + SLOT_BYTES]
        self.words = self.memory[:256].cast("I")

    @property
    def published(self) -> int:
        return self.words[at.PUBLISHED_WORD]

    @property
    def taken(self) -> int:
        return self.words[at.TAKEN_WORD]

    @property
    def free(self) -> bool:
        return self.published == self.taken

    def publish(self, said: Said) -> None:
        start = 256 + MESSAGE_BYTES * (said[0] & 1)
        words = self.memory[start : start + MESSAGE_BYTES].cast("I")
        for index, word in ((at.INCARNATION_WORD, IDS[0]), (at.SESSION_WORD, IDS[1])):
            words[index] = word
        words[at.SEQUENCE_WORD], words[at.PART_WORD] = said
        words[at.PAYLOAD_BYTES_WORD] = CAPACITY
        # The first and the last of the payload: half a message is seen as such.
        words[16] = words[31] = said[0] << 8 | said[1] | 1 << 16
        self.words[at.PUBLISHED_WORD] = (self.published >> 1) + 1 << 1 | said[0] & 1

    def take(self) -> Said:
        """Return what the message says; it must be whole."""
        start = 256 + MESSAGE_BYTES * (self.published & 1)
        words = self.memory[start : start + MESSAGE_BYTES].cast("I")
        said = words[at.SEQUENCE_WORD], words[at.PART_WORD]
        assert words[16] == words[31] == said[0] << 8 | said[1] | 1 << 16
        self.words[at.TAKEN_WORD] = self.published
        return said


class Outbox:
    """The outgoing half of a link: control first, then the message in two pieces."""

    def __init__(self) -> None:
        self.controls: list[bytes] = []
        self.offset = -1  # of the next piece of the message; -1: there is none

    def control(self, frame: bytes) -> None:
        self.controls.append(frame)

    def enqueue(self, session: Session) -> None:
        assert self.offset < 0
        self.offset = 0

    def cancel(self, session: Session) -> None:
        self.offset = -1


class Died(Exception):
    """The bridge was killed."""


class FatalWords:
    """Words of a slot whose writer is killed instead of storing."""

    def __init__(self, words: Any, stores: list[int]) -> None:
        self._words, self._stores = words, stores

    def __getitem__(self, index: int) -> int:
        number: int = self._words[index]
        return number

    def __setitem__(self, index: int, value: int) -> None:
        if not self._stores[0]:
            raise Died
        self._stores[0] -= 1
        self._words[index] = value


class Side:
    """One machine: its slots, its process and its bridge.

    Attributes:
        script: What the process says, in order.
        awaited: What it is to hear, in order.
        said, heard: How much of both is done.
        rung: Whether the process has rung since the bridge looked.
        up: Whether the bridge's session is attached to the link.
    """

    def __init__(self, end: End, script: list[Said], awaited: list[Said]) -> None:
        self.end = end  # that the process has; the bridge has the other one
        self.script, self.awaited = script, awaited
        self.memory = memoryview(bytearray(GEOMETRY.file_bytes))
        request, reply = (Slot(self.memory, offset) for offset in OFFSETS)
        client = end is End.CLIENT
        self.outgoing, self.incoming = (request, reply) if client else (reply, request)
        self.said = self.heard = 0
        self.rung = self.up = False
        self.outbox = Outbox()
        self.link: Any = SimpleNamespace(
            sender=self.outbox, send=self.outbox.enqueue, sessions={}, end=self._breach
        )
        self.start_bridge()

    @staticmethod
    def _breach(error: Exception) -> None:
        raise AssertionError(f"a bridge ended the link: {error}")

    def start_bridge(self) -> None:
        """Make the bridge's session from the slots alone."""
        line = SimpleNamespace(bell=0)
        end: Any = SimpleNamespace(
            name="x",
            peer=line,
            store=MemoryStore,
            header=SimpleNamespace(generation=1),
        )
        self.session = Session(
            end, self.end.other, self.memory, GEOMETRY, IDS, Counts()
        )
        self.up = False
        self.outbox.controls, self.outbox.offset = [], -1

    def break_link(self) -> None:
        """Take note that the link is down."""
        self.session.detach()
        self.up = False
        self.outbox.controls, self.outbox.offset = [], -1

    def attach(self) -> None:
        """Go on over the link that is there now."""
        self.session.attach(self.link, 2)
        self.up = True

    # ----------------------------------------------------------------- the process

    def may_say(self) -> bool:
        """Whether the process may publish what it has to say next."""
        if self.said == len(self.script):
            return False
        sequence, part = self.script[self.said]
        if part:
            return self.outgoing.free
        # A request waits for the reply before, a reply for its request.
        client = self.end is End.CLIENT
        turn = sequence - 1 if client else sequence
        return turn == 0 or (
            self.heard > 0
            and self.awaited[self.heard - 1][0] == turn
            and (self.heard == len(self.awaited) or self.awaited[self.heard][0] > turn)
        )

    def say(self) -> None:
        """Publish it, and ring."""
        self.outgoing.publish(self.script[self.said])
        self.said += 1
        self.rung = True

    def hear(self) -> None:
        """Take what is there: it must be what comes next."""
        said = self.incoming.take()
        assert self.heard < len(self.awaited), f"{said} came once more"
        assert said == self.awaited[self.heard], "out of order"
        in_parts = said[1] or (self.awaited[self.heard + 1 :][:1] == [(said[0], 1)])
        self.heard += 1
        # In lock step nobody rings when a whole message is taken.
        self.rung = self.rung or bool(in_parts)

    # --------------------------------------------------------------------- the state

    def save(self) -> tuple[Any, ...]:
        """Return all that may differ."""
        session, outbox = self.session, self.outbox
        outlet, inlet = session.outlet, session.inlet
        slots = b"".join(
            bytes(self.memory[offset : offset + SLOT_BYTES]) for offset in OFFSETS
        )
        fields = (outlet.queued, outlet.sent, inlet.told, inlet.coming, inlet._filled)
        outgoing = (tuple(outbox.controls), outbox.offset)
        return slots, self.said, self.heard, self.rung, self.up, fields, outgoing

    def load(self, state: tuple[Any, ...]) -> None:
        """Go back to a state."""
        slots, self.said, self.heard, self.rung, self.up, fields, outgoing = state
        for index, offset in enumerate(OFFSETS):
            part = slots[index * SLOT_BYTES : (index + 1) * SLOT_BYTES]
            self.memory[offset : offset + SLOT_BYTES] = part
        session = self.session
        outlet, inlet = session.outlet, session.inlet
        outlet.queued, outlet.sent, inlet.told, inlet.coming, inlet._filled = fields
        self.outbox.controls, self.outbox.offset = list(outgoing[0]), outgoing[1]
        session.link = self.link if self.up else None


class Model:
    """Two sides and a link.

    Attributes:
        near: The client's side; its bridge mirrors.
        far: The server's side; its bridge announces.
        wires: Frames under way, to the far side and to the near one.
        past: Messages that have arrived over this connection, likewise.
        linked: Whether there is a connection.
        faults: How many may still come.
    """

    def __init__(self, parts: list[int], pieces: int, faults: int) -> None:
        """Let requests and replies 1, 2 ... go in so many parts each."""
        script = [
            (n + 1, part) for n, count in enumerate(parts) for part in range(count)
        ]
        self.near = Side(End.CLIENT, script, script)
        self.far = Side(End.SERVER, script, script)
        self.wires: list[list[bytes]] = [[], []]
        self.past: list[list[bytes]] = [[], []]
        self.linked = False
        self.faults = faults
        self._piece_bytes = -(-MESSAGE_BYTES // pieces)
        self._whole = pieces == 1

    def save(self) -> tuple[Any, ...]:
        """Return the whole state."""
        wires = tuple(tuple(wire) for wire in self.wires)
        past = tuple(tuple(each) for each in self.past) if self.faults else ((), ())
        sides = self.near.save(), self.far.save()
        return *sides, wires, past, self.linked, self.faults

    def load(self, state: tuple[Any, ...]) -> None:
        """Go back to a state."""
        near, far, wires, past, self.linked, self.faults = state
        self.past = [list(each) for each in past]
        self.near.load(near)
        self.far.load(far)
        self.wires = [list(wire) for wire in wires]

    @property
    def done(self) -> bool:
        """Whether everything was said and heard, and a link is there."""
        near, far = self.near, self.far
        return all(len(s.script) == s.said == s.heard for s in (near, far))

    # ---------------------------------------------------------------------- events

    def events(self) -> Iterator[tuple[str, Any]]:
        """Return what may happen now."""
        for index, side in enumerate((self.near, self.far)):
            if side.may_say():
                yield "say", index
            if not side.incoming.free:
                yield "hear", index
            if side.rung:
                yield "look", index
            if self.linked and (side.outbox.controls or side.outbox.offset >= 0):
                yield "send", index
            if self.wires[index]:
                yield "arrive", index
        if not self.linked:
            yield "connect", 0
        if self.faults:
            if self.linked:
                yield "break", 0
            for index, wire in enumerate(self.wires):
                yield "kill", index
                if wire:  # at the bridge on the other side, in the midst of a frame
                    yield "die at once", 1 - index
                    yield "die between", 1 - index
            for index, past in enumerate(self.past):
                for number in range(len(past)):
                    yield "replay", 2 * number + index

    def happen(self, event: str, index: int) -> None:
        """Let it happen, and check what must hold then."""
        side = (self.near, self.far)[index & 1]
        match event:
            case "say":
                side.say()
            case "hear":
                side.hear()
            case "look":
                side.rung = False
                side.session.rung()
            case "send":
                self._send(side, index)
            case "arrive":
                other = (self.far, self.near)[index]
                frame = self.wires[index].pop(0)
                if frame[5] in (FrameType.DATA, FrameType.TAKEN) and self._whole:
                    self.past[index].append(frame)
                self._arrive(other, frame)
            case "replay":  # C7: the network, or a bridge, is out of its mind
                self.faults -= 1
                other = (self.far, self.near)[index & 1]
                self._arrive(other, self.past[index & 1][index >> 1])
            case "connect":
                self.linked = True
                words = self.near.session.words().encode()
                self.near.outbox.control(pack_frame(FrameType.RESUME, words, 2, *IDS))
            case "break":
                self._break()
            case "kill":
                self._break()
                side.start_bridge()
            case "die at once" | "die between":
                stores = int(event == "die between")
                self._die(side, self.wires[1 - index].pop(0), stores)
        self._check()

    def _die(self, side: Side, data: bytes, stores: int) -> None:
        """Kill a bridge that takes a frame, after so many stores into words."""
        left = [stores]
        ports: Any = (side.session.outlet, side.session.inlet)
        for port in ports:
            port.words = FatalWords(port.words, left)
        with contextlib.suppress(Died):
            self._arrive(side, data)
        self._break()
        side.start_bridge()

    def _break(self) -> None:
        self.faults -= 1
        self.linked = False
        self.wires = [[], []]
        self.past = [[], []]
        for side in (self.near, self.far):
            side.break_link()

    def _send(self, side: Side, index: int) -> None:
        outbox, outlet = side.outbox, side.session.outlet
        if outbox.controls:
            self.wires[index].append(outbox.controls.pop(0))
            return
        message = outlet.message()
        total, offset = len(message), outbox.offset
        body = bytes(message[offset : offset + self._piece_bytes])
        self.wires[index].append(
            side.session.head(offset, len(body), total, None) + body
        )
        outbox.offset = offset + len(body)
        if outbox.offset == total:
            outbox.offset = -1
            outlet.sent = outlet.queued

    def _arrive(self, side: Side, data: bytes) -> None:
        frame, body = unpack_header(data), data[FRAME_HEADER_BYTES:]
        session = side.session
        match frame.type:
            case FrameType.RESUME:
                side.attach()
                words = session.words().encode()
                side.outbox.control(pack_frame(FrameType.RESUMED, words, 2, *IDS))
                session.resume(SlotWords.decode(body))
            case FrameType.RESUMED:
                side.attach()
                session.resume(SlotWords.decode(body))
            case FrameType.TAKEN:
                session.taken(frame)
            case _:
                self._data(session, frame, body)

    def _data(self, session: Session, frame: Frame, body: bytes) -> None:
        place = session.place(frame)
        if place is not None:
            place[:] = body
        session.data(frame)

    def _check(self) -> None:
        """Check that no slot says "taken" of what the far reader has not taken."""
        for here, there in ((self.near, self.far), (self.far, self.near)):
            if here.outgoing.published and here.outgoing.free:
                assert there.heard >= here.said, "taken was said too early"


def explore(model: Model, most: int) -> int:
    """Visit every state that can be reached; return how many there are."""
    first = model.save()
    numbers = {first: 0}
    states = [first]
    calm_before: list[list[int]] = [[]]
    goals = []
    for number, state in enumerate(states):
        model.load(state)
        if model.done:
            goals.append(number)
        for event, index in list(model.events()):
            model.load(state)
            model.happen(event, index)
            after = model.save()
            found = numbers.get(after)
            if found is None:
                found = numbers[after] = len(states)
                states.append(after)
                calm_before.append([])
                assert len(states) <= most, "more states than were expected"
            if model.faults == state[-1]:
                calm_before[found].append(number)
    assert goals
    _assert_all_reach(goals, calm_before)
    return len(states)


def _assert_all_reach(goals: list[int], before: list[list[int]]) -> None:
    """Assert that a goal can be reached from everywhere without a fault."""
    reached = set(goals)
    waiting = list(goals)
    while waiting:
        for number in before[waiting.pop()]:
            if number not in reached:
                reached.add(number)
                waiting.append(number)
    stuck = len(before) - len(reached)
    assert not stuck, f"{stuck} states lead nowhere without a fault"


@pytest.mark.parametrize(
    ("parts", "pieces", "faults"),
    [
        ([1, 1], 1, 2),
        ([1, 2, 1], 1, 1),
        ([1, 1], 2, 1),
    ],
    ids=["two faults", "in parts", "in pieces"],
)
def test_no_order_of_faults_breaks_a_session(parts, pieces, faults):
    """At most once, in order, taken end to end, and never stuck."""
    assert explore(Model(parts, pieces, faults), 400_000) > 100
