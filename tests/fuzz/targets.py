"""Every place where bytes of a peer come in, as a function of any bytes.

A target returns, or raises an error that the protocol's documentation names; anything
else is a fault. What it reads is used as a program would use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from rlay.bridge.websocket import OriginPolicy, WebSocketFilter
from rlay.errors import RLayError
from rlay.protocol import spaces
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, Kind
from rlay.protocol.decisions import DecisionReader
from rlay.protocol.frames import FrameDecoder
from rlay.protocol.greeting import Hello, Refusal, Welcome
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkIdentity,
    LinkTerms,
    ListenerGreeting,
    Role,
)
from rlay.protocol.link_messages import (
    Announcement,
    Ending,
    Note,
    Opening,
    Question,
    SlotWords,
)
from rlay.protocol.reports import ReportReader
from rlay.protocol.slot_layout import KIND_WORD
from rlay.protocol.spaces import decode_space
from rlay.protocol.values import decode_value
from rlay.transport.header import ChannelHeader
from rlay.transport.slot_channel import SlotGeometry

Target = Callable[[bytes], None]

_TOKEN: Final = bytes(range(32))
_NONCE: Final = bytes(32)
_IDENTITY: Final = LinkIdentity(Role.BRIDGE, 1)
_TERMS: Final = LinkTerms(True, 2_000, 10_000, 300_000)
_BODIES: Final = (Note, Ending, Announcement, Question, SlotWords, Opening)
_PAGE_BYTES: Final = 4096


def value(data: bytes) -> None:
    """Read a value, as it stands in tails and greetings."""
    decode_value(data)


def space(data: bytes) -> None:
    """Read the description of a space, and compile what depends on it."""
    found = decode_space(data)
    Agreement.compile(found, found, 2, batched=True)
    Agreement.compile(found, found, 1, batched=False)


def greeting(data: bytes) -> None:
    """Read each of the three greetings of a channel."""
    for kind in (Hello, Welcome, Refusal):
        try:
            read: Any = kind.decode(data)
        except RLayError:
            continue
        read.encode()


def frames(data: bytes) -> None:
    """Read a stream of frames, cut in two at the place that the first byte says."""
    decoder = FrameDecoder(lambda frame: None, lambda frame, body: None)
    cut = data[0] if data else 0
    for piece in (data[1 : 1 + cut], data[1 + cut :]):
        if piece:
            decoder.feed(piece)


def control(data: bytes) -> None:
    """Read the body of a control frame, of the type that the first byte says."""
    kind: Any = _BODIES[data[0] % len(_BODIES)] if data else Note
    kind.decode(data[1:])


def link_greeting(data: bytes) -> None:
    """Greet somebody who says these frames.

    The first byte says who we are, in its highest bit, and whether we demand a token,
    in its lowest one.
    """
    first = data[0] if data else 0
    token = None if first & 1 else _TOKEN
    end: Any = ListenerGreeting(_IDENTITY, token, _TERMS, nonce=_NONCE)
    if first & 0x80:
        end = DialerGreeting(_IDENTITY, token, crc=False, nonce=_NONCE)
        end.start()

    def answer(frame: Any, body: memoryview) -> None:
        end.receive(frame, body)
        if end.done and token is not None:
            raise AssertionError("somebody without the token was let in")

    FrameDecoder(end.check, answer).feed(data[1:])


def header(data: bytes) -> None:
    """Look at the first page of a channel, and show what it says."""
    found = ChannelHeader.of_page(data[:_PAGE_BYTES])
    for line in (found.server, found.client):
        _ = line.state, line.reason, line.holder, line.bell, line.capabilities
        line.who.encode()
    found.check("fuzz")


def slots(data: bytes) -> None:
    """Look at the head of a file of slots."""
    memory = memoryview(bytearray(data.ljust(_PAGE_BYTES, b"\0")))
    geometry = SlotGeometry.read(memory, 1, "fuzz", size_bytes=1 << 20)
    if geometry.file_bytes > 1 << 20:
        raise AssertionError("slots that do not fit into their file")


def websocket(data: bytes) -> None:
    """Read what a stranger says to the WebSocket port, then what a friend says."""
    policy = OriginPolicy([], loopback=True, token=False)
    end = WebSocketFilter(policy)
    request, _, rest = data.partition(b"\r\n\r\n")
    end.receive(request + b"\r\n\r\n")
    end.trust()
    if rest:
        end.receive(rest)


# ------------------------------------------------------------------------- messages


def _box(*shape: int) -> spaces.Box:
    low, high = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    bounded = np.ones(shape, np.bool_)
    return spaces.Box(11, shape, low, high, bounded, bounded)


_TEXT = spaces.Text(0, 4, "ab")
_SPACES: Final[tuple[spaces.Description, ...]] = (
    _box(2),
    spaces.Discrete(8, 3, 0),
    spaces.Dict(
        (
            ("a", _box(1)),
            ("b", spaces.Tuple((_TEXT, spaces.MultiBinary((3,), flat=True)))),
        ),
        sort_keys=False,
    ),
    spaces.Sequence(spaces.Discrete(8, 3, 0), False),
    spaces.OneOf((_box(1), _TEXT)),
)
_AGREEMENTS: Final = tuple(
    Agreement.compile(each, each, count, batched=count > 1)
    for each in _SPACES
    for count in (1, 2)
)
_DECISIONS: Final[dict[int, str]] = {
    Kind.RESET: "reset",
    Kind.STEP: "step",
    Kind.CALL: "call",
    Kind.CLOSE: "close",
}
_REPORTS: Final[dict[int, str]] = {
    Kind.RESET_RESULT: "reset_result",
    Kind.TRANSITION: "transition",
    Kind.CALL_RESULT: "call_result",
    Kind.FAILURE: "failure",
}


def message(data: bytes) -> None:
    """Read a message of a session; the first byte says of which spaces.

    It is read in the slot's buffer, by the short way of steady steps too, and once
    more as one that came in parts.
    """
    agreement = _AGREEMENTS[data[0] % len(_AGREEMENTS)] if data else _AGREEMENTS[0]
    content = data[1:].ljust(MESSAGE_HEADER_BYTES, b"\0")
    capacity = max(agreement.decision_capacity, agreement.report_capacity)
    room = MESSAGE_HEADER_BYTES + capacity
    in_slot = MessageBuffer(memoryview(bytearray(content[:room].ljust(room, b"\0"))))
    errors = []
    for buffers, buffer in (((in_slot,), in_slot), ((), _whole(content))):
        for reader, names in (
            (DecisionReader(agreement, buffers), _DECISIONS),
            (ReportReader(agreement, buffers), _REPORTS),
        ):
            try:
                _read(reader, names, buffer)
            except RLayError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def _whole(content: bytes) -> MessageBuffer:
    return MessageBuffer(memoryview(bytearray(content)))


def _read(reader: Any, names: dict[int, str], buffer: MessageBuffer) -> None:
    for short in (buffer.steady, buffer.steady_reset):
        if short is not None:
            short()
    name = names.get(buffer.words[KIND_WORD] & 0xFF)
    if name is not None:
        getattr(reader, name)(buffer)
    if name == "step":
        reader.batch_step(buffer)


TARGETS: Final[dict[str, Target]] = {
    "control": control,
    "frames": frames,
    "greeting": greeting,
    "header": header,
    "link_greeting": link_greeting,
    "message": message,
    "slots": slots,
    "space": space,
    "value": value,
    "websocket": websocket,
}


def run(name: str, data: bytes) -> bool:
    """Let a target read bytes; return whether it found nothing wrong with them.

    Raises:
        Exception: Anything but a documented error is a fault of the target.
    """
    try:
        TARGETS[name](data)
    except RLayError:
        return False
    return True
