"""The steady step, compiled: one closure per buffer, with nothing to look up.

Most steps are alike: an action of exactly its space's types, an observation of
exactly its space's, a plain reward and plain flags, an empty info. These four
functions do that case and say so when it is another one, which then goes the long
way through ``decisions.py`` and ``reports.py``. They write and read the same bytes.
"""

from collections.abc import Callable
from typing import Any, Final

from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.flags import STEP_FIXED, TERMINATED, TRANSITION_FIXED, TRUNCATED
from rlay.protocol.numbers import ABSENT, FLOAT
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD, REWARD_TYPE_WORD

_NOT_ENDS: Final = 0xFFFF_FFFF & ~(TERMINATED | TRUNCATED)

UNSTEADY: Final = object()
"""Returned in place of an action by a reader whose message is another case."""


def step_writer(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[Any], bool]:
    """Return the writer of Steps: it returns False where it wrote nothing of use."""
    words, store = buffer.words, binding.store

    def write(action: Any) -> bool:
        try:
            store(action)
        except Misfit:
            return False
        words[KIND_WORD] = STEP_FIXED
        words[PAYLOAD_BYTES_WORD] = fixed_bytes
        return True

    return write


def step_reader(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[], Any]:
    """Return the reader of Steps: it returns an action, or UNSTEADY."""
    words, load = buffer.words, binding.load

    def read() -> Any:
        if words[KIND_WORD] != STEP_FIXED or words[PAYLOAD_BYTES_WORD] != fixed_bytes:
            return UNSTEADY
        return load()

    return read


def transition_writer(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[Any, Any, Any, Any, Any], bool]:
    """Return the writer of Transitions: it returns False where it wrote nothing."""
    words, store = buffer.words, binding.store
    reward_cell, store_number = buffer.reward, buffer.store_number

    def write(
        observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any
    ) -> bool:
        if type(info) is not dict or info:
            return False
        word = TRANSITION_FIXED
        if terminated is not False:
            if terminated is not True:
                return False
            word |= TERMINATED
        if truncated is not False:
            if truncated is not True:
                return False
            word |= TRUNCATED
        try:
            store(observation)
        except Misfit:
            return False
        if type(reward) is float:
            reward_cell[0] = reward
            words[REWARD_TYPE_WORD] = FLOAT
        else:
            code = store_number(reward)
            if code == ABSENT:
                return False
            words[REWARD_TYPE_WORD] = code
        words[KIND_WORD] = word
        words[PAYLOAD_BYTES_WORD] = fixed_bytes
        return True

    return write


def transition_reader(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[], tuple[Any, float, bool, bool, dict[str, Any]] | None]:
    """Return the reader of Transitions: it returns None where it is another case."""
    words, load, reward_cell = buffer.words, binding.load, buffer.reward

    def read() -> tuple[Any, float, bool, bool, dict[str, Any]] | None:
        if words[REWARD_TYPE_WORD] != FLOAT or words[PAYLOAD_BYTES_WORD] != fixed_bytes:
            return None
        word = words[KIND_WORD]
        if word == TRANSITION_FIXED:
            return load(), reward_cell[0], False, False, {}
        if word & _NOT_ENDS != TRANSITION_FIXED:
            return None
        return (
            load(),
            reward_cell[0],
            word & TERMINATED != 0,
            word & TRUNCATED != 0,
            {},
        )

    return read


def never(*_: Any) -> bool:
    """Stand in for a writer where no message of a layout is steady."""
    return False
