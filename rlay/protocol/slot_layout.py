"""Where things lie in a channel's files: offsets, drawn and named.

``header`` (one page, then one greeting slot per direction)::

      0 +----------------------------------------------------------+
        | magic, versions, paradigm, generation, ids               |
    128 +----------------------------------------------------------+
        | what the server says of itself                           |
    256 +----------------------------------------------------------+
        | what the client says of itself                           |
    384 +----------------------------------------------------------+
        | zero                                                     |
   4096 +----------------------------------------------------------+
        | greeting slot, client to server                 64 KiB   |
  69632 +----------------------------------------------------------+
        | greeting slot, server to client                 64 KiB   |
        +----------------------------------------------------------+

``slots.<generation>`` (one page, then one slot per direction)::

      0 +----------------------------------------------------------+
        | magic, version, generation, offsets and capacities       |
   4096 +----------------------------------------------------------+
        | request slot, client to server                           |
        +----------------------------------------------------------+
        | reply slot, server to client (page-aligned)              |
        +----------------------------------------------------------+

A slot::

      0 +------------------+---------------------------------------+
        | published        | taken_bell                            | writer's line
    128 +------------------+---------------------------------------+
        | taken            | published_bell                        | reader's line
    256 +------------------+---------------------------------------+
        | message header (64) | payload (capacity)                 | buffer 0
        +---------------------+------------------------------------+
        | message header (64) | payload (capacity)                 | buffer 1
        +---------------------+------------------------------------+

Rule 1: all words are 32-bit, little-endian and aligned; a 64-bit number is two
words, low first. No compare-and-swap is needed anywhere.
Rule 2: each word has one writer for all its life.
Rule 3: a writer fills the buffer (sequence & 1), then stores ``published``: bit 0
says which buffer, the other 31 bits count publications.
Rule 4: a reader reads the buffer, then sets ``taken`` to ``published``. Nothing
is published while the two differ: no message is replaced under its reader.
Rule 5: an end that is about to sleep raises its bell word, looks once more, and
sleeps. The other end rings if the bell word is up.
Reserved bytes are zero.
"""

from typing import Final

from rlay.protocol.constants import (
    GREETING_SLOT_BYTES,
    HEADER_BYTES,
    MESSAGE_HEADER_BYTES,
    PAYLOAD_ALIGNMENT,
    SLOT_CONTROL_BYTES,
)

# --- header file -------------------------------------------------------------

HEADER_MAGIC_OFFSET: Final = 0
HEADER_VERSION_OFFSET: Final = 8
HEADER_MINOR_OFFSET: Final = 12
HEADER_BYTES_OFFSET: Final = 16
HEADER_GREETING_BYTES_OFFSET: Final = 20
HEADER_PARADIGM_OFFSET: Final = 24
HEADER_MIRROR_OFFSET: Final = 28
HEADER_NUM_ENVS_OFFSET: Final = 32
HEADER_GENERATION_OFFSET: Final = 36
HEADER_INCARNATION_OFFSET: Final = 40
HEADER_SESSION_OFFSET: Final = 48
HEADER_SESSIONS_OFFSET: Final = 56
HEADER_ORIGIN_OFFSET: Final = 64

SERVER_LINE_OFFSET: Final = 128
CLIENT_LINE_OFFSET: Final = 256
END_LINE_BYTES: Final = 128

END_STATE_OFFSET: Final = 0
END_REASON_OFFSET: Final = 4
END_HOLDER_OFFSET: Final = 8
END_BELL_OFFSET: Final = 12
END_CAPABILITIES_OFFSET: Final = 16
END_PID_OFFSET: Final = 20
END_SINCE_OFFSET: Final = 24  # seconds since 1970, two words, for people only
END_PROGRAM_OFFSET: Final = 32
END_PROGRAM_BYTES: Final = 96  # UTF-8, zero-padded, for people only

REQUEST_GREETING_OFFSET: Final = HEADER_BYTES
REPLY_GREETING_OFFSET: Final = HEADER_BYTES + GREETING_SLOT_BYTES
HEADER_FILE_BYTES: Final = HEADER_BYTES + 2 * GREETING_SLOT_BYTES

# --- slots file ---------------------------------------------------------------

SLOTS_HEADER_BYTES: Final = 4096
SLOTS_MAGIC_OFFSET: Final = 0
SLOTS_VERSION_OFFSET: Final = 8
SLOTS_GENERATION_OFFSET: Final = 12
SLOTS_REQUEST_OFFSET_OFFSET: Final = 16
SLOTS_REPLY_OFFSET_OFFSET: Final = 24
SLOTS_REQUEST_CAPACITY_OFFSET: Final = 32
SLOTS_REPLY_CAPACITY_OFFSET: Final = 36

# --- slot, as offsets in bytes and as indices of 32-bit words --------------------

PUBLISHED_OFFSET: Final = 0
TAKEN_BELL_OFFSET: Final = 4
TAKEN_OFFSET: Final = 128
PUBLISHED_BELL_OFFSET: Final = 132

PUBLISHED_WORD: Final = PUBLISHED_OFFSET // 4
TAKEN_BELL_WORD: Final = TAKEN_BELL_OFFSET // 4
TAKEN_WORD: Final = TAKEN_OFFSET // 4
PUBLISHED_BELL_WORD: Final = PUBLISHED_BELL_OFFSET // 4

# --- message header -----------------------------------------------------------------

KIND_OFFSET: Final = 0
SEQUENCE_OFFSET: Final = 4
INCARNATION_OFFSET: Final = 8
SESSION_OFFSET: Final = 16
PAYLOAD_BYTES_OFFSET: Final = 24
PART_OFFSET: Final = 28
PARTS_OFFSET: Final = 32
REWARD_TYPE_OFFSET: Final = 36
REWARD_OFFSET: Final = 40
TOTAL_BYTES_OFFSET: Final = 48

KIND_WORD: Final = KIND_OFFSET // 4
SEQUENCE_WORD: Final = SEQUENCE_OFFSET // 4
INCARNATION_WORD: Final = INCARNATION_OFFSET // 4
SESSION_WORD: Final = SESSION_OFFSET // 4
PAYLOAD_BYTES_WORD: Final = PAYLOAD_BYTES_OFFSET // 4
PART_WORD: Final = PART_OFFSET // 4
PARTS_WORD: Final = PARTS_OFFSET // 4
REWARD_TYPE_WORD: Final = REWARD_TYPE_OFFSET // 4
TOTAL_BYTES_WORD: Final = TOTAL_BYTES_OFFSET // 4


def align(offset: int, alignment: int) -> int:
    """Round ``offset`` up to a multiple of ``alignment`` (both in bytes)."""
    return -(-offset // alignment) * alignment


def slot_bytes(capacity_bytes: int) -> int:
    """Return the size in bytes of a slot whose payloads hold ``capacity_bytes``."""
    return SLOT_CONTROL_BYTES + 2 * (MESSAGE_HEADER_BYTES + capacity_bytes)


def slot_capacity(wanted_bytes: int) -> int:
    """Return the capacity in bytes of a slot for payloads of ``wanted_bytes``."""
    return align(max(wanted_bytes, PAYLOAD_ALIGNMENT), PAYLOAD_ALIGNMENT)


def greeting_capacity() -> int:
    """Return the capacity in bytes of a greeting slot."""
    return (GREETING_SLOT_BYTES - SLOT_CONTROL_BYTES) // 2 - MESSAGE_HEADER_BYTES


def buffer_offset(index: int, capacity_bytes: int) -> int:
    """Return the offset in bytes of buffer ``index`` (0 or 1) within its slot."""
    return SLOT_CONTROL_BYTES + index * (MESSAGE_HEADER_BYTES + capacity_bytes)


def slots_file_offsets(request_capacity: int, reply_capacity: int) -> tuple[int, int]:
    """Return the offset of the reply slot and the size of the file, in bytes."""
    reply = align(SLOTS_HEADER_BYTES + slot_bytes(request_capacity), 4096)
    return reply, align(reply + slot_bytes(reply_capacity), 4096)
