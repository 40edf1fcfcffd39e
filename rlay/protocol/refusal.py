"""The Refusal: what a server answers to a Hello where it does not take the client.

It needs no NumPy, unlike the rest of the greeting: a bridge refuses too. The head of
all messages of the greeting is here for the same reason.
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from rlay.errors import DecodeError, VersionMismatch
from rlay.protocol.constants import (
    GREETING_MAGIC,
    MAX_GREETING_BYTES,
    PROTOCOL_MINOR,
    PROTOCOL_VERSION,
)
from rlay.protocol.control import unpack_map
from rlay.protocol.failures import environment_failure

_HEAD: Final = struct.Struct("<8sII")

GREETING_HEAD: Final = _HEAD.pack(GREETING_MAGIC, PROTOCOL_VERSION, PROTOCOL_MINOR)
"""Magic and versions, in front of the map."""


def greeting_map(payload: bytes | memoryview) -> memoryview:
    """Return the bytes of the map behind the head of a message of the greeting.

    Raises:
        VersionMismatch: The peer speaks another major version.
        DecodeError: There is no head.
    """
    if len(payload) < _HEAD.size:
        raise DecodeError(f"a greeting of {len(payload)} bytes")
    magic, version, _minor = _HEAD.unpack_from(payload)
    if magic != GREETING_MAGIC:
        raise DecodeError("a greeting without its magic")
    if version != PROTOCOL_VERSION:
        raise VersionMismatch(PROTOCOL_VERSION, version)
    return memoryview(payload)[_HEAD.size :]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server answers where it does not take the client.

    Attributes:
        code: What kind of error.
        remote_type: Name of the exception, where one was raised.
        message: Facts and remedy.
        traceback: Where an exception was raised; else empty.
    """

    code: int
    message: str
    remote_type: str = ""
    traceback: str = ""

    def encode(self) -> bytes:
        """Return the payload, the texts cut to their limits."""
        code, remote_type, message, traceback = environment_failure(
            self.code, self.remote_type, self.message, self.traceback
        )
        fields: dict[str, Any] = {
            "code": code,
            "message": message,
            "remote_type": remote_type,
            "traceback": traceback,
        }
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
        return GREETING_HEAD + packed

    @classmethod
    def decode(cls, payload: bytes | memoryview) -> "Refusal":
        """Return the Refusal in a payload.

        Raises:
            VersionMismatch: The peer speaks another major version.
            DecodeError: The payload is malformed.
            MessageTooLarge: It exceeds what a greeting may take.
        """
        fields = unpack_map(greeting_map(payload), MAX_GREETING_BYTES)
        return cls(
            fields.count("code"),
            fields.get("message", str),
            fields.get("remote_type", str),
            fields.get("traceback", str),
        )
