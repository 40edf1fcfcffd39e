"""What the vectors of frames are about: every type, a greeting, and what is refused.

A case's name never changes: the specification and clients in other languages refer
to it.
"""

import hashlib
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from rlay.protocol.constants import (
    Capability,
    CloseReason,
    ErrorCode,
    Paradigm,
    PeerState,
)
from rlay.protocol.frames import (
    Frame,
    FrameDecoder,
    FrameType,
    pack_frame,
    pack_header,
)
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
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
from rlay.protocol.refusal import Refusal
from tests.conformance.cases import INCARNATION, SESSION

IDS = {"incarnation": INCARNATION, "session": SESSION}
BODIES: dict[FrameType, Any] = {
    FrameType.ERROR: Note,
    FrameType.BYE: Ending,
    FrameType.ANNOUNCE: Announcement,
    FrameType.WITHDRAW: Ending,
    FrameType.REJECT: Note,
    FrameType.FIND: Question,
    FrameType.NOT_FOUND: Note,
    FrameType.CLOSE: Ending,
    FrameType.RESUME: SlotWords,
    FrameType.RESUMED: SlotWords,
    FrameType.LOST: Ending,
}
"""Classes of the bodies that say something by themselves."""


@dataclass(frozen=True)
class FrameCase:
    """One frame.

    Attributes:
        type: What it is.
        body: Its bytes, or what says them.
        fields: Of the header that are not 0.
        crc: Whether the body goes with its CRC.
    """

    type: FrameType
    body: Any = b""
    fields: dict[str, int] | None = None
    crc: bool = False

    @property
    def body_bytes(self) -> bytes:
        """The body."""
        if isinstance(self.body, bytes):
            return self.body
        encoded: bytes = self.body.encode()
        return encoded

    @property
    def frame(self) -> Frame:
        """The header."""
        body = self.body_bytes
        lengths: dict[str, Any] = {"total": len(body), "body_bytes": len(body)}
        if self.crc:
            lengths |= {"flags": 1, "body_crc": zlib.crc32(body)}
        return Frame(self.type, **{**lengths, **(self.fields or {})})

    def encode(self) -> bytes:
        """Return the whole frame."""
        return encode_frame(self.frame, self.body_bytes)

    def says(self) -> dict[str, Any] | None:
        """Return the fields of the body; None where it is bytes."""
        if isinstance(self.body, bytes):
            return None
        return {key: int(v) if isinstance(v, int) else v
                for key, v in asdict(self.body).items()}  # fmt: skip


def encode_frame(frame: Frame, body: bytes) -> bytes:
    """Return a frame from its header and its body."""
    header = pack_header(
        frame.type, frame.channel, frame.incarnation, frame.session, frame.sequence,
        frame.publication, frame.offset, frame.total, frame.body_bytes,
        frame.body_crc if frame.flags & 1 else None,
    )  # fmt: skip
    return header + body


MESSAGE = bytes(range(64)) + b"payload, here not a sound one"
_OPENING = Opening(Capability.RECORDS, 65_600, 131_136, 3).encode()

FRAMES: dict[str, FrameCase] = {
    "ping": FrameCase(FrameType.PING, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    "pong": FrameCase(FrameType.PONG, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    "drain": FrameCase(FrameType.DRAIN),
    "bye": FrameCase(FrameType.BYE, Ending(PeerState.CLOSED, CloseReason.DRAINING)),
    "error": FrameCase(
        FrameType.ERROR, Note(ErrorCode.AUTH, "the dialer does not know the token")
    ),
    "error of another version": FrameCase(
        FrameType.ERROR, Note(ErrorCode.VERSION, "upgrade the dialer", 2)
    ),
    "announce": FrameCase(
        FrameType.ANNOUNCE,
        Announcement(
            "cartpole", Paradigm.CLIENT_ENV, 1, Capability.RECORDS, "sim", "rlay serve"
        ),
        {"channel": 2},
    ),
    "announce in answer to a question": FrameCase(
        FrameType.ANNOUNCE,
        Announcement("n.3", Paradigm.SERVER_ENV, 0, Capability.NONE, "gpu", "train.py"),
        {"channel": 4, "sequence": 7},
    ),
    "announced": FrameCase(FrameType.ANNOUNCED),
    "withdraw": FrameCase(
        FrameType.WITHDRAW,
        Ending(PeerState.LOST, CloseReason.VANISHED),
        {"channel": 2},
    ),
    "reject": FrameCase(
        FrameType.REJECT,
        Note(ErrorCode.BUSY, "'cartpole' is taken at trainer: use --prefix"),
        {"channel": 2},
    ),
    "find": FrameCase(FrameType.FIND, Question("n.*"), {"sequence": 7}),
    "not found": FrameCase(
        FrameType.NOT_FOUND,
        Note(ErrorCode.NOT_FOUND, "no channel of 'n.*' is free"),
        {"sequence": 7},
    ),
    "open": FrameCase(
        FrameType.OPEN,
        Opening(Capability.RECORDS).encode() + b"RLAYHELO, and so on",
        {"channel": 2, "session": SESSION, "sequence": 1},
    ),
    "opened": FrameCase(
        FrameType.OPENED,
        _OPENING + b"RLAYHELO, and so on",
        {"channel": 2, "sequence": 1, **IDS},
        crc=True,
    ),
    "opened, the first of two pieces": FrameCase(
        FrameType.OPENED,
        _OPENING + b"RLAYHELO, and",
        {"channel": 2, "sequence": 1, "total": 35, **IDS},
    ),
    "opened, the second of two pieces": FrameCase(
        FrameType.OPENED,
        b" so on",
        {"channel": 2, "sequence": 1, "offset": 29, "total": 35, **IDS},
    ),
    "refused": FrameCase(
        FrameType.REFUSED,
        Opening(Capability.NONE).encode()
        + Refusal(ErrorCode.BUSY, "the channel is taken").encode(),
        {"channel": 2, "session": SESSION, "sequence": 1},
    ),
    "close": FrameCase(
        FrameType.CLOSE,
        Ending(PeerState.CLOSED, CloseReason.CLOSED),
        {"channel": 2, **IDS},
    ),
    "resume": FrameCase(
        FrameType.RESUME, SlotWords(0x0F, 0x0D, 0x0C, 0x0C), {"channel": 2, **IDS}
    ),
    "resumed": FrameCase(
        FrameType.RESUMED,
        SlotWords(0x0F, 0x0F, 0xFFFFFFFE, 0x0C),
        {"channel": 2, **IDS},
    ),
    "lost": FrameCase(
        FrameType.LOST,
        Ending(PeerState.LOST, CloseReason.LINK_DOWN),
        {"channel": 2, **IDS},
    ),
    "data": FrameCase(
        FrameType.DATA,
        MESSAGE,
        {"channel": 2, "sequence": 7, "publication": 0x0F, **IDS},
        crc=True,
    ),
    "data, the first of two pieces": FrameCase(
        FrameType.DATA,
        MESSAGE[:80],
        {
            "channel": 2,
            "sequence": 7,
            "publication": 0x0F,
            "total": len(MESSAGE),
            **IDS,
        },
    ),
    "data, the second of two pieces": FrameCase(
        FrameType.DATA,
        MESSAGE[80:],
        {
            "channel": 2,
            "sequence": 7,
            "publication": 0x0F,
            "offset": 80,
            "total": len(MESSAGE),
            **IDS,
        },
    ),
    "taken": FrameCase(
        FrameType.TAKEN, b"", {"channel": 2, "publication": 0x0F, **IDS}
    ),
    "greatest numbers": FrameCase(
        FrameType.TAKEN,
        b"",
        {
            "channel": 2**32 - 1,
            "incarnation": 2**64 - 1,
            "session": 2**64 - 1,
            "sequence": 2**32 - 1,
            "publication": 2**32 - 1,
        },
        crc=True,
    ),
}


# --- greetings ------------------------------------------------------------------------

TOKEN = bytes(range(32))
CERTIFICATE = hashlib.sha256(b"a certificate in DER").digest()
DIALER_NONCE, LISTENER_NONCE = bytes([0x11] * 32), bytes([0x22] * 32)
DIALER = LinkIdentity(Role.PEER, 0x0123456789ABCDEF, "trainer", "example 1.0")
LISTENER = LinkIdentity(
    Role.BRIDGE, 0xFEDCBA9876543210, "sim", "rlay 1.0", LinkCapability.HEARTBEAT
)
TERMS = LinkTerms(False, 2000, 10_000, 300_000)


@dataclass(frozen=True)
class GreetingCase:
    """A greeting between two ends that let each other in.

    Attributes:
        token: Of both ends, or None.
        certificate: SHA-256 of the listener's certificate, or empty.
        crc: Whether the dialer wants a CRC.
    """

    token: bytes | None = None
    certificate: bytes = b""
    crc: bool = False

    def ends(self) -> tuple[DialerGreeting, ListenerGreeting]:
        """Return both ends."""
        dialer = DialerGreeting(
            DIALER,
            self.token,
            crc=self.crc,
            certificate=self.certificate,
            nonce=DIALER_NONCE,
        )
        listener = ListenerGreeting(
            LISTENER,
            self.token,
            TERMS,
            certificate=self.certificate,
            nonce=LISTENER_NONCE,
        )
        return dialer, listener

    def frames(self) -> dict[str, str]:
        """Return what is said, in hex."""
        dialer, listener = self.ends()
        hello = dialer.start()
        challenge = give(listener, hello)
        proof = give(dialer, challenge)
        welcome = give(listener, proof)
        give(dialer, welcome)
        assert dialer.done
        assert listener.done
        said = {
            "HELLO": hello,
            "CHALLENGE": challenge,
            "PROOF": proof,
            "WELCOME": welcome,
        }
        return {kind: frame.hex() for kind, frame in said.items()}


def give(greeting: DialerGreeting | ListenerGreeting, data: bytes) -> bytes:
    """Give a greeting the frames in ``data``; return all that it answers."""
    answers: list[bytes] = []

    def place(frame: Frame) -> None:
        greeting.check(frame)

    decoder = FrameDecoder(
        place, lambda frame, body: answers.append(greeting.receive(frame, body))
    )
    decoder.feed(data)
    return b"".join(answers)


LINK_GREETINGS: dict[str, GreetingCase] = {
    "without a token": GreetingCase(),
    "with a token": GreetingCase(TOKEN),
    "with a token and a certificate": GreetingCase(TOKEN, CERTIFICATE),
    "with a token and a CRC": GreetingCase(TOKEN, crc=True),
}


# --- what is refused ------------------------------------------------------------------


def _altered(offset: int, value: int, size: int = 4, data: bytes = b"") -> bytes:
    """Return a frame with one field changed and the CRC of its header made right."""
    made = bytearray(data or pack_frame(FrameType.TAKEN))
    made[offset : offset + size] = value.to_bytes(size, "little")
    made[60:64] = zlib.crc32(made[:60]).to_bytes(4, "little")
    return bytes(made)


def _damaged(data: bytes, offset: int) -> bytes:
    made = bytearray(data)
    made[offset] ^= 1
    return bytes(made)


_DATA = FRAMES["data"].encode()
_PIECE = FRAMES["data, the first of two pieces"].encode()

BAD_FRAMES: dict[str, tuple[bytes, str]] = {
    "no magic": (b"GET / HTTP/1.1\r\n".ljust(64), "no frame begins so"),
    "damaged header": (_damaged(_DATA, 9), "header_crc is wrong"),
    "damaged body": (_damaged(_DATA, len(_DATA) - 1), "body_crc is wrong"),
    "another version": (_altered(4, 2, 1), "version is not 1"),
    "unknown type": (_altered(5, 10, 1), "no type has this number"),
    "type zero": (_altered(5, 0, 1), "no type has this number"),
    "unknown flag": (_altered(6, 2, 2), "no flag has this bit"),
    "body beyond the limit": (
        _altered(12, 262_145, data=_altered(44, 262_145, data=_PIECE[:64])),
        "at most 262144",
    ),
    "control body beyond the limit": (
        pack_header(FrameType.ANNOUNCE, total=65_537, body_bytes=65_537),
        "at most 65536",
    ),
    "greeting body beyond the limit": (
        pack_header(FrameType.HELLO, total=1025, body_bytes=1025),
        "at most 1024",
    ),
    "whole beyond the limit": (
        pack_header(FrameType.DATA, total=2**30 + 65, body_bytes=64),
        "at most 1073741888",
    ),
    "control frame in pieces": (
        pack_header(FrameType.ANNOUNCE, total=20, body_bytes=10),
        "total differs from body_bytes",
    ),
    "piece beyond the whole": (
        pack_header(FrameType.DATA, offset=50, total=100, body_bytes=51),
        "offset and body_bytes exceed total",
    ),
    "empty piece": (
        pack_header(FrameType.DATA, offset=64, total=100, body_bytes=0),
        "a piece has bytes",
    ),
    "data shorter than a message header": (
        pack_header(FrameType.DATA, total=63, body_bytes=63),
        "total is at least 64",
    ),
    "open shorter than its prefix": (
        pack_header(FrameType.OPEN, total=15, body_bytes=15),
        "total is at least 16",
    ),
}
