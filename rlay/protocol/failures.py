"""What went wrong at the environment's end, as text within limits."""

from typing import NamedTuple

from rlay.protocol.constants import (
    MAX_REMOTE_MESSAGE_BYTES,
    MAX_REMOTE_TRACEBACK_BYTES,
    MAX_REMOTE_TYPE_BYTES,
)


class FailureFields(NamedTuple):
    """A Failure: what went wrong at the environment's end, as text."""

    code: int
    remote_type: str
    remote_message: str
    remote_traceback: str


def environment_failure(
    code: int, remote_type: str, message: str, traceback: str = ""
) -> FailureFields:
    """Return a Failure's fields, the texts cut to their limits.

    Args:
        code: An :class:`~rlay.protocol.constants.ErrorCode`.
        remote_type: Name of the exception's class, at most 200 bytes.
        message: Its text, at most 8 KiB; the beginning is kept.
        traceback: At most 64 KiB; the end is kept.
    """
    return FailureFields(
        int(code),
        _cut(remote_type, MAX_REMOTE_TYPE_BYTES),
        _cut(message, MAX_REMOTE_MESSAGE_BYTES),
        _cut(traceback, MAX_REMOTE_TRACEBACK_BYTES, keep_end=True),
    )


def _cut(text: str, limit_bytes: int, *, keep_end: bool = False) -> str:
    """Return ``text`` in at most ``limit_bytes`` of UTF-8, marked where cut."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return data.decode()
    room = limit_bytes - 32
    mark = f"[{len(data) - room} bytes left out]"
    if keep_end:
        return mark + data[-room:].decode("utf-8", "ignore")
    return data[:room].decode("utf-8", "ignore") + mark
