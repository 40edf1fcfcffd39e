"""Numbers on which all implementations agree. ``docs/spec`` is the normative text.

Numbers are never reused. Codes of 0x8000 and above are private to an
implementation.
"""

from enum import IntEnum, IntFlag
from typing import Final

CHANNEL_MAGIC: Final = b"RLAYCHAN"
SLOTS_MAGIC: Final = b"RLAYSLOT"
GREETING_MAGIC: Final = b"RLAYHELO"

PROTOCOL_VERSION: Final = 1
"""Major version: two ends must agree on it. It is apart from the package's."""
PROTOCOL_MINOR: Final = 0
"""Minor version: newer ones only add what older ones may ignore."""

UINT32_MASK: Final = 0xFFFF_FFFF

HEADER_BYTES: Final = 4096
"""One page: nothing else shares it."""
GREETING_SLOT_BYTES: Final = 65_536
"""Room per direction for the greeting. A longer greeting goes in parts."""
CACHE_LINE_BYTES: Final = 64
SLOT_CONTROL_BYTES: Final = 256
"""Writer's and reader's words, 128 bytes apart: clear of adjacent-line prefetch."""
MESSAGE_HEADER_BYTES: Final = 64
PAYLOAD_ALIGNMENT: Final = 64

MAX_NAME_LENGTH: Final = 64
MAX_DEPTH: Final = 32
"""Nesting of values. Deep nesting is how small input makes decoders recurse."""
MAX_DIMENSIONS: Final = 32
"""NumPy 1's limit; NumPy 2 allows 64."""
MAX_ITEMS: Final = 2**31 - 1
"""Size of a dimension, and elements of an array: signed 32 bits hold both."""
MAX_GREETING_BYTES: Final = 64 * 2**20
DEFAULT_MAX_MESSAGE_BYTES: Final = 2**30
TAIL_ROOM_BYTES: Final = 64 * 1024
"""Room behind the fixed arrays for info and values of no fixed size."""
MAX_SLOT_PAYLOAD_BYTES: Final = 2**30
"""Largest room for one message. A larger message goes in parts."""
MAX_REMOTE_TYPE_BYTES: Final = 200
MAX_REMOTE_MESSAGE_BYTES: Final = 8 * 1024
MAX_REMOTE_TRACEBACK_BYTES: Final = 64 * 1024
MAX_BIG_INT_BYTES: Final = 1024
"""Seeds may be longer than 64 bits, up to this many bytes."""
MAX_NUM_ENVS: Final = 65_536


class Paradigm(IntEnum):
    """Which end of the channel holds the environment."""

    CLIENT_ENV = 1  # the MemServer is a ServerBackend: it answers
    SERVER_ENV = 2  # the MemServer is a ServerEnv: the game at the client asks


class Holder(IntEnum):
    """What kind of process holds an end."""

    NOBODY = 0
    PROCESS = 1
    BRIDGE = 2


class BellKind(IntEnum):
    """How an end that sleeps wants to be woken."""

    POLL = 0  # it looks by itself
    FUTEX = 1  # a shared futex on the word that it awaits
    FIFO = 2  # one byte into the FIFO bell.<end>


class PeerState(IntEnum):
    """What an end says of itself, or a bridge says of the far end."""

    ABSENT = 0
    ALIVE = 1
    LINK_DOWN = 2
    LOST = 3
    CLOSED = 4


class CloseReason(IntEnum):
    """Why an end is closed or lost. Every goodbye has one of these."""

    NONE = 0
    CLOSED = 1  # close() was called
    DRAINING = 2  # the process shuts down
    ENVIRONMENT_EXITED = 3  # the environment ended its process
    PROTOCOL_ERROR = 4  # the peer broke the protocol
    REPLACED = 5  # a newer session took over
    VANISHED = 6  # the lock is free without a goodbye
    LINK_DOWN = 7  # the link was down for longer than the resume window


class Capability(IntFlag):
    """What an end can do, in the header and in the greeting."""

    NONE = 0
    FUTEX = 1  # rings futexes
    FIFO = 2  # rings FIFOs
    RECORDS = 4  # understands compiled info records


class Kind(IntEnum):
    """Kinds of message: decisions below 16, reports from 16, greeting from 32."""

    RESET = 1
    STEP = 2  # called Action where the environment asks for it
    CALL = 3
    CLOSE = 4

    READY = 16
    RESET_RESULT = 17
    TRANSITION = 18
    CALL_RESULT = 19
    FAILURE = 20

    HELLO = 32
    WELCOME = 33
    REFUSAL = 34


class Flag(IntFlag):
    """Bits 8-31 of the first word of a message; bits 0-7 are its kind."""

    FIXED = 1 << 8  # the fixed area is filled
    TAIL = 1 << 9  # a msgpack array follows the fixed area
    RECORD = 1 << 10  # a compiled info record follows the fixed area
    TERMINATED = 1 << 11
    TRUNCATED = 1 << 12
    NUMPY_TERMINATED = 1 << 13  # the flag is a numpy.bool
    NUMPY_TRUNCATED = 1 << 14


KIND_MASK: Final = 0xFF


class LaneStatus(IntEnum):
    """How one environment of a batch fared. Version 1.0 knows only OK."""

    OK = 0
    FAILED = 1  # it raised; its other values mean nothing
    LOST = 2  # its process is gone


class ErrorCode(IntEnum):
    """Numbers of errors in failures and refusals."""

    ENVIRONMENT = 1  # the environment raised
    SPACE_MISMATCH = 2
    UNSENDABLE_INFO = 3
    NOT_ALLOWED = 4  # an attribute or a method that is not in allow=[...]
    UNSUPPORTED = 5  # as a render mode that the environment has not
    PROTOCOL = 6
    VERSION = 7
    BUSY = 8
    NO_SPACE = 9
    TOO_LARGE = 10
    DRAINING = 11
    RESET_NEEDED = 12
    NUM_ENVS = 13  # a client for one environment met a batch, or the reverse
    ENVIRONMENT_GONE = 14  # there is no environment any more, and none will come
    AUTH = 15  # a token or a certificate is wrong or missing
    NOT_FOUND = 16  # no channel of this name, or no free one
    SLOW_PEER = 17  # the peer stopped reading
    SUPERSEDED = 18  # a newer link of the same peer took over
    CORRUPT = 19  # a checksum is wrong


class ExtensionType(IntEnum):
    """Application types of msgpack's ext family."""

    TUPLE = 1
    ARRAY = 2
    SCALAR = 3
    OBJECT_ARRAY = 4
    GRAPH = 5
    BIG_INT = 6
