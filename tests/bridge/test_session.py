"""A session's two slots and its link: what goes out, what comes in, what is dropped.

That no order of faults breaks it is shown in test_mirroring_model.py.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from rlay.bridge.metrics import Counts
from rlay.bridge.sender import Sender
from rlay.bridge.session import Session
from rlay.errors import RemoteProtocolError
from rlay.protocol import slot_layout as at
from rlay.protocol.frames import Frame, FrameDecoder, FrameType, pack_frame
from rlay.protocol.link_messages import SlotWords
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.stores import End
from tests.bridge.test_slot_ports import CAPACITY, IDS, MESSAGE_BYTES, Slot

GEOMETRY = SlotGeometry(CAPACITY, CAPACITY)


class Side:
    """One machine of a session: the bridge's half, and the process's two slots.

    Attributes:
        session: Of the bridge.
        requests: The slot that the client writes.
        replies: The slot that the server writes.
        frames: What went out.
        errors: Why the link was ended.
    """

    def __init__(self, side: End) -> None:
        memory = memoryview(bytearray(GEOMETRY.file_bytes))
        self.requests, self.replies = Slot(), Slot()
        for slot, offset in (
            (self.requests, GEOMETRY.request_offset),
            (self.replies, GEOMETRY.reply_offset),
        ):
            slot.memory = memory[offset : offset + at.slot_bytes(CAPACITY)]
            slot.words = slot.memory[:256].cast("I")
        self.counts = Counts()
        self.frames: list[tuple[Frame, bytes]] = []
        self.errors: list[Exception] = []
        decoder = FrameDecoder(
            lambda frame: None,
            lambda frame, body: self.frames.append((frame, bytes(body))),
        )

        def write(buffers):
            decoder.feed(b"".join(buffers))
            return sum(map(len, buffers))

        sender = Sender(write, lambda wanted: None)
        link: Any = SimpleNamespace(
            sender=sender, send=sender.send, sessions={}, end=self.errors.append
        )
        self.link = link
        end: Any = SimpleNamespace(
            name="pole",
            peer=SimpleNamespace(bell=0),
            store=None,
            header=SimpleNamespace(generation=1),
        )
        self.session: Any = Session(end, side, memory, GEOMETRY, IDS, self.counts)
        self.session.attach(link, 2)

    def out(self) -> list[FrameType]:
        """Return the types of what went out since the last call."""
        self.link.sender.flush()
        kinds = [frame.type for frame, _ in self.frames]
        self.frames.clear()
        return kinds


@pytest.fixture
def mirror():
    """The side of the client: its bridge is the server of the mirror."""
    return Side(End.SERVER)


@pytest.fixture
def origin():
    """The side of the server: its bridge is a client there."""
    return Side(End.CLIENT)


def data(publication, ids=IDS):
    """The frame of a whole message."""
    return Frame(
        FrameType.DATA,
        2,
        ids[0],
        ids[1],
        1,
        publication,
        total=MESSAGE_BYTES,
        body_bytes=MESSAGE_BYTES,
    )


def arrive(side, slot, publication):
    """Let a message come from the link."""
    place = side.session.place(data(publication))
    if place is not None:
        slot.write(publication)
    side.session.data(data(publication))


def test_request_goes_out_with_its_word(mirror):
    """DATA has the ids, the sequence, and the slot's word."""
    mirror.requests.publish(3)
    mirror.session.rung()
    frame, body = mirror.frames[0]
    assert (frame.channel, frame.incarnation, frame.session) == (2, *IDS)
    assert (frame.sequence, frame.publication, len(body)) == (1, 3, MESSAGE_BYTES)
    mirror.frames.clear()
    mirror.session.rung()
    assert mirror.out() == []


def test_taking_is_told_where_no_answer_tells_it(origin):
    """As with one part of a request, or one that takes long to answer."""
    arrive(origin, origin.requests, 2)
    origin.session.rung()
    assert origin.out() == []
    origin.requests.take()
    origin.session.rung()
    assert origin.out() == [FrameType.TAKEN]


def test_answer_tells_that_its_request_was_taken(origin):
    """In lock step taking costs no frame."""
    arrive(origin, origin.requests, 2)
    origin.requests.take()
    origin.replies.publish(2)
    origin.session.rung()
    assert origin.out() == [FrameType.DATA]
    origin.session.rung()
    assert origin.out() == []


def test_answer_marks_the_request_as_taken(mirror):
    """The client finds it so, and the reply with it."""
    mirror.requests.publish(2)
    mirror.session.rung()
    assert mirror.requests.words[at.TAKEN_WORD] == 0
    arrive(mirror, mirror.replies, 2)
    assert mirror.requests.words[at.TAKEN_WORD] == 2
    assert mirror.replies.words[at.PUBLISHED_WORD] == 2
    assert not mirror.session.busy


@pytest.mark.parametrize("ids", [(11, 23), (12, 22), (0, 0)])
def test_frames_of_another_session_are_dropped_and_counted(origin, ids):
    """Neither a message nor a word of taking gets in."""
    origin.replies.publish(2)
    assert origin.session.place(data(2, ids)) is None
    origin.session.data(data(2, ids))
    origin.session.taken(Frame(FrameType.TAKEN, 2, ids[0], ids[1], publication=2))
    assert origin.requests.words[at.PUBLISHED_WORD] == 0
    assert origin.replies.words[at.TAKEN_WORD] == 0
    assert origin.counts.dropped["foreign"] >= 2


def test_message_that_comes_twice_is_answered_with_taken(origin):
    """The far end does not know yet that it was taken: its TAKEN went astray."""
    arrive(origin, origin.requests, 2)
    origin.requests.take()
    origin.session.rung()
    assert origin.out() == [FrameType.TAKEN]
    arrive(origin, origin.requests, 2)
    assert origin.out() == [FrameType.TAKEN]
    assert origin.requests.words[at.PUBLISHED_WORD] == 2


def test_broken_message_of_a_local_process_ends_the_link(mirror):
    """It cannot be sent; no callback of the loop hears of it."""
    mirror.requests.publish(2, payload_bytes=10**6)
    mirror.session.rung()
    assert isinstance(mirror.errors[0], RemoteProtocolError)


def test_goodbye_comes_behind_what_was_said_and_taken(origin):
    """So the far end knows whether its request was taken."""
    arrive(origin, origin.requests, 2)
    origin.requests.take()
    origin.replies.publish(2)
    origin.session.farewell(pack_frame(FrameType.WITHDRAW, bytes(8), 2))
    origin.session.detach()
    assert origin.out() == [FrameType.DATA, FrameType.TAKEN, FrameType.WITHDRAW]


def test_resume_sends_what_the_far_slot_lacks(mirror):
    """And tells once more what was taken."""
    mirror.requests.publish(4)
    mirror.session.detach()
    mirror.session.attach(mirror.link, 2)
    mirror.session.resume(SlotWords(2, 2, 2, 2))
    assert FrameType.DATA in mirror.out()
    assert mirror.counts.replays == 1


def test_reply_that_is_there_already_is_dropped_and_counted(mirror):
    """As one that is sent again by a bridge that did not hear of its taking."""
    before = mirror.replies.words[at.PUBLISHED_WORD]
    frame = Frame(
        FrameType.DATA, 2, *IDS, 1, before, 0, MESSAGE_BYTES, MESSAGE_BYTES, 0
    )
    assert mirror.session.place(frame) is None
    mirror.session.data(frame)
    assert mirror.counts.stale_replies == 1


def test_resume_sends_nothing_that_is_there(mirror):
    """What was published there is only awaited; what was taken there is taken here."""
    mirror.requests.publish(4)
    mirror.session.resume(SlotWords(4, 2, 2, 2))
    assert FrameType.DATA not in mirror.out()
    assert mirror.requests.words[at.TAKEN_WORD] == 0
    mirror.session.resume(SlotWords(4, 4, 2, 2))
    assert mirror.requests.words[at.TAKEN_WORD] == 4
