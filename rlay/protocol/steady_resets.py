"""The steady reset, compiled: an episode begins as most do.

No seed, no options, an observation of exactly its space's types and an empty info.
Short episodes make resets as costly as steps, so they have a short way too; see
:mod:`rlay.protocol.steady`. What it writes is byte for byte what the long way does:
the tail of either message is then an array of three nils.
"""

from collections.abc import Callable
from typing import Any, Final

from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.flags import RESET_RESULT_WHOLE, RESET_TAIL
from rlay.protocol.numbers import ABSENT
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD, REWARD_TYPE_WORD
from rlay.protocol.steady import never
from rlay.protocol.values import encode_value

_TAIL: Final = encode_value([None, None, None])
_TAIL_BYTES: Final = len(_TAIL)
# Four bytes are a word: to write it, and to compare it, is one operation.
_TAIL_WORD: Final = memoryview(_TAIL).cast("I")[0]


def reset_writer(buffer: MessageBuffer) -> Callable[[], bool]:
    """Return the writer of Resets without seed, options or mask."""
    words, tail = buffer.words, _tail(buffer, 0)
    if tail is None:
        return never

    def write() -> bool:
        tail[0] = _TAIL_WORD
        words[KIND_WORD] = RESET_TAIL
        words[PAYLOAD_BYTES_WORD] = _TAIL_BYTES
        return True

    return write


def reset_reader(buffer: MessageBuffer) -> Callable[[], bool]:
    """Return the reader of Resets: whether it is one without seed, options or mask."""
    words, tail = buffer.words, _tail(buffer, 0)
    if tail is None:
        return never

    def read() -> bool:
        return (
            words[KIND_WORD] == RESET_TAIL
            and words[PAYLOAD_BYTES_WORD] == _TAIL_BYTES
            and tail[0] == _TAIL_WORD
        )

    return read


def reset_result_writer(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[Any, Any], bool]:
    """Return the writer of ResetResults: it returns False where it wrote nothing."""
    words, store, tail = buffer.words, binding.store, _tail(buffer, fixed_bytes)
    if tail is None:
        return never
    payload_bytes = fixed_bytes + _TAIL_BYTES

    def write(observation: Any, info: Any) -> bool:
        if type(info) is not dict or info:
            return False
        try:
            store(observation)
        except Misfit:
            return False
        tail[0] = _TAIL_WORD
        words[REWARD_TYPE_WORD] = ABSENT
        words[KIND_WORD] = RESET_RESULT_WHOLE
        words[PAYLOAD_BYTES_WORD] = payload_bytes
        return True

    return write


def reset_result_reader(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[], tuple[Any, dict[str, Any]] | None]:
    """Return the reader of ResetResults: it returns None where it is another case."""
    words, load, tail = buffer.words, binding.load, _tail(buffer, fixed_bytes)
    payload_bytes = fixed_bytes + _TAIL_BYTES

    def read() -> tuple[Any, dict[str, Any]] | None:
        if (
            tail is None
            or words[KIND_WORD] != RESET_RESULT_WHOLE
            or words[PAYLOAD_BYTES_WORD] != payload_bytes
            or tail[0] != _TAIL_WORD
        ):
            return None
        return load(), {}

    return read


def _tail(buffer: MessageBuffer, start: int) -> memoryview | None:
    """Return the tail's four bytes as a word, or None where there is no room."""
    room = buffer.payload[start : start + _TAIL_BYTES]
    return room.cast("I") if len(room) == _TAIL_BYTES else None
