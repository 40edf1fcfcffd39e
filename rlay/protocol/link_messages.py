"""Bodies of the control frames of a link, but for its greeting.

Those that are sent once in a channel's life are maps; what is sent at a fault or with
a session is a few 32-bit words.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rlay.errors import (
    AuthError,
    ChannelBusy,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    DecodeError,
    Draining,
    MessageTooLarge,
    PeerLost,
    RemoteProtocolError,
    RLayError,
    SlowPeer,
    VersionMismatch,
)
from rlay.protocol.constants import (
    MAX_NUM_ENVS,
    MAX_SLOT_PAYLOAD_BYTES,
    UINT32_MASK,
    CloseReason,
    ErrorCode,
    Paradigm,
    PeerState,
)
from rlay.protocol.control import pack_map, printable, unpack_map
from rlay.protocol.frames import OPENING_BYTES, DamagedFrame
from rlay.protocol.names import check_name, group_prefix

LINK_VERSION: Final = 1
"""Of what is said on a link. The newest that this package speaks, and the oldest."""
MAX_MACHINE_CHARS: Final = 64
MAX_PROGRAM_CHARS: Final = 256
MAX_NOTE_CHARS: Final = 700
"""UTF-8 in a frame of the greeting, which holds 1 KiB, if most of it is ASCII."""
MAX_NOTE_BYTES: Final = 900

_TWO_WORDS: Final = struct.Struct("<2I")
_FOUR_WORDS: Final = struct.Struct("<4I")
_PARADIGMS: Final = frozenset(Paradigm)
_ENDED: Final = frozenset({PeerState.LOST, PeerState.CLOSED})


def _words(packing: struct.Struct, body: bytes | memoryview) -> tuple[int, ...]:
    if len(body) != packing.size:
        raise DecodeError(f"expected {packing.size} bytes, got {len(body)}")
    return packing.unpack(body)


# ---------------------------------------------------------------------- channels


@dataclass(frozen=True, slots=True)
class Announcement:
    """Body of ANNOUNCE: a channel is here.

    Attributes:
        name: Of the channel.
        paradigm: Which end holds the environment.
        num_envs: Environments in one message; 0 where it is not known yet.
        capabilities: Of the server end.
        machine: Where the server end is, for people.
        program: What holds it, for people.
    """

    name: str
    paradigm: int
    num_envs: int = 0
    capabilities: int = 0
    machine: str = ""
    program: str = ""

    def encode(self) -> bytes:
        """Return the body, texts for people cut to their limits."""
        return pack_map(
            {
                "name": self.name,
                "paradigm": int(self.paradigm),
                "num_envs": self.num_envs,
                "capabilities": int(self.capabilities),
                "machine": printable(self.machine, MAX_MACHINE_CHARS),
                "program": printable(self.program, MAX_PROGRAM_CHARS),
            }
        )

    @classmethod
    def decode(cls, body: bytes | memoryview) -> "Announcement":
        """Return the announcement in ``body``.

        Raises:
            DecodeError: It is malformed, or its name may not name a channel.
        """
        fields = unpack_map(body)
        name = fields.get("name", str)
        try:
            check_name(name)
        except ChannelError as error:
            raise DecodeError(str(error), "$.name") from error
        paradigm = fields.count("paradigm", UINT32_MASK)
        if paradigm not in _PARADIGMS:
            raise DecodeError(f"unknown paradigm {paradigm}", "$.paradigm")
        return cls(
            name,
            paradigm,
            fields.count("num_envs", MAX_NUM_ENVS),
            fields.count("capabilities", UINT32_MASK),
            fields.text("machine", MAX_MACHINE_CHARS),
            fields.text("program", MAX_PROGRAM_CHARS),
        )


@dataclass(frozen=True, slots=True)
class Question:
    """Body of FIND: is there such a channel?

    Attributes:
        name: Of a channel, or a group ``name.*``, of which any free one will do.
    """

    name: str

    def encode(self) -> bytes:
        """Return the body."""
        return pack_map({"name": self.name})

    @classmethod
    def decode(cls, body: bytes | memoryview) -> "Question":
        """Return the question in ``body``.

        Raises:
            DecodeError: It is malformed, or names neither a channel nor a group.
        """
        name = unpack_map(body).get("name", str)
        if group_prefix(name) is None:
            try:
                check_name(name)
            except ChannelError as error:
                raise DecodeError(str(error), "$.name") from error
        return cls(name)


@dataclass(frozen=True, slots=True)
class Ending:
    """Body of WITHDRAW, CLOSE, LOST and BYE: what is over, and why.

    Attributes:
        state: A :class:`~rlay.protocol.constants.PeerState`, LOST or CLOSED.
        reason: A :class:`~rlay.protocol.constants.CloseReason`; one that is not
            known is passed on as it is.
    """

    state: int
    reason: int

    @property
    def known_reason(self) -> CloseReason:
        """The reason; CLOSED where it is one that only newer versions know."""
        try:
            return CloseReason(self.reason)
        except ValueError:
            return CloseReason.CLOSED

    def encode(self) -> bytes:
        """Return the eight bytes."""
        return _TWO_WORDS.pack(self.state, self.reason)

    @classmethod
    def decode(cls, body: bytes | memoryview) -> "Ending":
        """Return the ending in ``body``.

        Raises:
            DecodeError: It is malformed, or nothing has ended.
        """
        state, reason = _words(_TWO_WORDS, body)
        if state not in _ENDED:
            raise DecodeError(f"state {state} is no end", "$.state")
        return cls(state, reason)


# ---------------------------------------------------------------------- sessions


@dataclass(frozen=True, slots=True)
class SlotWords:
    """Body of RESUME and RESUMED: what the sender's slots hold.

    Attributes:
        request_published: Word of the request slot.
        request_taken: Word of the request slot.
        reply_published: Word of the reply slot.
        reply_taken: Word of the reply slot.
    """

    request_published: int
    request_taken: int
    reply_published: int
    reply_taken: int

    def encode(self) -> bytes:
        """Return the sixteen bytes."""
        return _FOUR_WORDS.pack(
            self.request_published,
            self.request_taken,
            self.reply_published,
            self.reply_taken,
        )

    @classmethod
    def decode(cls, body: bytes | memoryview) -> "SlotWords":
        """Return the words in ``body``.

        Raises:
            DecodeError: It has another size.
        """
        return cls(*_words(_FOUR_WORDS, body))


@dataclass(frozen=True, slots=True)
class Opening:
    """Prefix of OPEN, OPENED and REFUSED, in front of a message's payload.

    Attributes:
        capabilities: Of the end that speaks.
        request_capacity: Largest payload of the request slot, in bytes; 0 but in
            OPENED.
        reply_capacity: The same of the reply slot.
        generation: Of the slots where the server is; 0 but in OPENED.
    """

    capabilities: int
    request_capacity: int = 0
    reply_capacity: int = 0
    generation: int = 0

    def encode(self) -> bytes:
        """Return the sixteen bytes."""
        return _FOUR_WORDS.pack(
            self.capabilities,
            self.request_capacity,
            self.reply_capacity,
            self.generation,
        )

    @classmethod
    def decode(cls, body: bytes | memoryview) -> "Opening":
        """Return the prefix with which ``body`` begins.

        Raises:
            DecodeError: It is shorter than a prefix.
            MessageTooLarge: A slot would be larger than any may be.
        """
        if len(body) < OPENING_BYTES:
            raise DecodeError(f"an opening of {len(body)} bytes")
        opening = cls(*_FOUR_WORDS.unpack_from(body))
        capacity = max(opening.request_capacity, opening.reply_capacity)
        if capacity > MAX_SLOT_PAYLOAD_BYTES:
            raise MessageTooLarge(capacity, MAX_SLOT_PAYLOAD_BYTES)
        return opening


# ------------------------------------------------------------------------- notes

_ERRORS: Final[dict[int, Callable[[str], RLayError]]] = {
    ErrorCode.AUTH: AuthError,
    ErrorCode.NOT_FOUND: ChannelNotFound,
    ErrorCode.BUSY: ChannelBusy,
    ErrorCode.NO_SPACE: ChannelNoSpace,
    ErrorCode.DRAINING: Draining,
    ErrorCode.SLOW_PEER: SlowPeer,
    ErrorCode.SUPERSEDED: PeerLost,
}
"""What a note is raised as; any other is a RemoteProtocolError."""
_CODES: Final[tuple[tuple[type[RLayError], ErrorCode], ...]] = (
    (AuthError, ErrorCode.AUTH),
    (VersionMismatch, ErrorCode.VERSION),
    (MessageTooLarge, ErrorCode.TOO_LARGE),
    (DamagedFrame, ErrorCode.CORRUPT),
    (ChannelNotFound, ErrorCode.NOT_FOUND),
    (ChannelBusy, ErrorCode.BUSY),
    (ChannelNoSpace, ErrorCode.NO_SPACE),
    (Draining, ErrorCode.DRAINING),
    (SlowPeer, ErrorCode.SLOW_PEER),
)
"""The reverse; any other error is PROTOCOL."""


@dataclass(frozen=True, slots=True)
class Note:
    """Body of ERROR, REJECT and NOT_FOUND: what is wrong, and the remedy.

    Attributes:
        code: An :class:`~rlay.protocol.constants.ErrorCode`; one that is not known is
            passed on as it is.
        message: Facts, numbers and remedy, for people. No secrets.
        version: With the code VERSION, the version that the sender speaks; else 0.
    """

    code: int
    message: str
    version: int = 0

    def encode(self) -> bytes:
        """Return the body, the message cut to its limit."""
        message = printable(self.message, MAX_NOTE_CHARS)
        message = message.encode()[:MAX_NOTE_BYTES].decode("utf-8", "ignore")
        fields = {"code": int(self.code), "message": message}
        if self.version:
            fields["version"] = self.version
        return pack_map(fields)

    @classmethod
    def decode(cls, body: bytes | memoryview) -> "Note":
        """Return the note in ``body``.

        Raises:
            DecodeError: It is malformed.
        """
        fields = unpack_map(body)
        version = fields.optional("version", int)
        return cls(
            fields.count("code", UINT32_MASK),
            fields.text("message", MAX_NOTE_CHARS),
            fields.count("version", UINT32_MASK) if version is not None else 0,
        )

    @classmethod
    def of(cls, error: RLayError) -> "Note":
        """Return the note that tells the peer of an error here."""
        code = ErrorCode.PROTOCOL
        for kind, its_code in _CODES:
            if isinstance(error, kind):
                code = its_code
                break
        version = LINK_VERSION if isinstance(error, VersionMismatch) else 0
        return cls(code, str(error), version)

    def error(self) -> RLayError:
        """Return the exception that it stands for here."""
        if self.code == ErrorCode.VERSION and self.version not in (0, LINK_VERSION):
            return VersionMismatch(LINK_VERSION, self.version)
        make = _ERRORS.get(self.code, RemoteProtocolError)
        return make(f"the peer says: {self.message}")
