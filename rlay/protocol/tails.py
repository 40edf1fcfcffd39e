"""The tail of a message: a msgpack array behind the fixed area.

Its items by kind of message (nil where an item is absent; a value in an array of
one, so that nil can be a value too)::

    RESET         seed or seeds, options, reset mask
    STEP          variable parts, [action], [reset mask]
    CALL          operation, name, args, kwargs
    CLOSE         reason
    RESET_RESULT  variable parts, [observation], [info]
    TRANSITION    variable parts, [observation], [info], [reward],
                  [terminated], [truncated]
    CALL_RESULT   value
    FAILURE       error code, type, message, traceback
    READY         (empty)
"""

from typing import Any

from rlay.errors import DecodeError
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import KIND_MASK, Kind
from rlay.protocol.flags import FIXED, TAIL
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.values import Unsendable, decode_value, encode_value

_TAIL_LENGTHS = {
    Kind.READY: 0,
    Kind.RESET: 3,
    Kind.STEP: 3,
    Kind.CALL: 4,
    Kind.CLOSE: 1,
    Kind.RESET_RESULT: 3,
    Kind.TRANSITION: 6,
    Kind.CALL_RESULT: 1,
    Kind.FAILURE: 4,
}


def write_tail(
    buffer: MessageBuffer,
    word: int,
    fixed_bytes: int,
    items: list[Any],
    *,
    big_ints: bool = False,
) -> bytes | None:
    """Write a tail behind ``fixed_bytes`` that are in the buffer already.

    Args:
        buffer: Where the message goes.
        word: Its kind and flags, without TAIL.
        fixed_bytes: Size of the fixed area, 0 where it is not used.
        items: The tail's items.
        big_ints: Whether integers beyond 64 bits may travel.

    Returns:
        None, or the whole payload where it exceeds the room.

    Raises:
        Unsendable: An item cannot travel; its path starts with its index.
    """
    return write_behind(
        buffer, word | TAIL, fixed_bytes, encode_value(items, big_ints=big_ints)
    )


def write_behind(
    buffer: MessageBuffer, word: int, fixed_bytes: int, tail: bytes
) -> bytes | None:
    """Write kind, flags and ``tail`` behind the fixed area; as :func:`write_tail`."""
    words, payload = buffer.words, buffer.payload
    words[KIND_WORD] = word
    end = fixed_bytes + len(tail)
    if end > len(payload):
        return bytes(payload[:fixed_bytes]) + tail
    words[PAYLOAD_BYTES_WORD] = end
    payload[fixed_bytes:end] = tail
    return None


def read_tail(buffer: MessageBuffer, fixed_bytes: int, kind: Kind) -> list[Any]:
    """Return the items of a message's tail.

    Args:
        buffer: Where the message is.
        fixed_bytes: Size of the fixed area, where the message has one.
        kind: What the message must be.

    Raises:
        DecodeError: It is another kind of message, there is no tail, or the tail
            is not as its kind demands.
    """
    word = buffer.words[KIND_WORD]
    if word & KIND_MASK != kind:
        raise DecodeError(f"message {word & KIND_MASK} came in place of {kind.name}")
    if not word & TAIL:
        raise DecodeError(f"a message {kind.name} has no tail")
    start = fixed_bytes if word & FIXED else 0
    body = buffer.body()
    if len(body) < start:
        raise DecodeError(f"a payload of {len(body)} bytes lacks its fixed area")
    items = decode_value(body[start:], big_ints=kind is Kind.RESET)
    if type(items) is not list or len(items) < _TAIL_LENGTHS[kind]:
        raise DecodeError(f"the tail of a message {kind.name} is malformed")
    return items


def check_fixed(buffer: MessageBuffer, fixed_bytes: int) -> None:
    """Check that a message without a tail is its fixed area and nothing else.

    Raises:
        DecodeError: Its payload is shorter or longer.
    """
    size = buffer.words[PAYLOAD_BYTES_WORD]
    if size != fixed_bytes:
        raise DecodeError(
            f"a payload of {size} bytes in place of a fixed area of {fixed_bytes}"
        )


def boxed(item: Any, path: str) -> Any:
    """Return the value of an item in an array of one.

    Raises:
        DecodeError: It is no such array.
    """
    if type(item) is not list or len(item) != 1:
        raise DecodeError("expected an array of one", path)
    return item[0]


def inner_path(error: Unsendable, names: dict[int, str]) -> tuple[str, str]:
    """Return which item an :class:`Unsendable` lies in, and its path within it.

    Args:
        error: Raised by :func:`write_tail`.
        names: Names of the tail's items by index.
    """
    keys = list(error.keys)
    index = keys.pop(0) if keys else 0
    if keys and keys[0] == 0:
        keys.pop(0)
    path = "$" + "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys)
    return names.get(index if isinstance(index, int) else 0, "value"), path
