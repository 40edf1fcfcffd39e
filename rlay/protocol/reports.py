"""Reports on the wire: what the environment's end says.

The reading half is :mod:`rlay.protocol.report_reading`.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from rlay.protocol.agreement import Agreement
from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import UINT32_MASK, Kind
from rlay.protocol.failures import FailureFields, environment_failure
from rlay.protocol.flags import (
    FIXED,
    NUMPY_TERMINATED,
    NUMPY_TRUNCATED,
    RECORD,
    TERMINATED,
    TRANSITION,
    TRANSITION_FIXED,
    TRUNCATED,
)
from rlay.protocol.numbers import ABSENT, FLOAT, bind_reward
from rlay.protocol.records import RecordWriter
from rlay.protocol.report_reading import ReportReader, Transition
from rlay.protocol.slot_layout import (
    KIND_WORD,
    PAYLOAD_BYTES_WORD,
    REWARD_TYPE_WORD,
)
from rlay.protocol.steady import never, transition_writer
from rlay.protocol.steady_batches import batch_transition_writer
from rlay.protocol.steady_resets import reset_result_writer
from rlay.protocol.tails import write_behind, write_tail

__all__ = [
    "TAIL_NAMES",
    "FailureFields",
    "ReportReader",
    "ReportWriter",
    "Transition",
    "environment_failure",
]

_UNBOXED: Final = 1 << 32
"""Beside the 32 bits of the word, while it is made: a flag must go as a value."""
_MISFIT: Final = 1 << 33
"""The same, where the observation is not in the fixed area."""
_FLAGS: Final = TERMINATED | TRUNCATED | NUMPY_TERMINATED | NUMPY_TRUNCATED

TAIL_NAMES: Final = {
    0: "observation",
    1: "observation",
    2: "info",
    3: "reward",
    4: "terminated",
    5: "truncated",
}
"""What the items of a report's tail are, for messages about unsendable ones."""


class ReportWriter:
    """Writes reports into buffers.

    Every method returns None, or the whole payload where it exceeds the
    buffer's room and must go in parts. Each may raise
    :class:`~rlay.protocol.values.Unsendable`; nothing is to be sent then.
    """

    def __init__(
        self,
        agreement: Agreement,
        buffers: tuple[MessageBuffer, ...],
        admit: Callable[[Any], Any] = lambda observation: observation,
        *,
        records: bool = True,
    ) -> None:
        """Compile for ``buffers``.

        Args:
            agreement: Of this session.
            buffers: Those of the slot.
            admit: Called with an observation that is not exactly of the types,
                dtypes and shapes of its leaves, or that has variable parts. It
                returns what to send instead, or raises.
            records: Whether the reader understands compiled info records.
        """
        layout = agreement.report_layout
        self._admit = admit
        self._fixed_bytes = layout.fixed_bytes
        self._variable = layout.variable
        self._batched = agreement.batched
        self._steady = not layout.variable and not agreement.batched
        self._records = RecordWriter() if records else None
        for buffer in buffers:
            bind_reward(buffer)
            binding = buffer.bound = Binding(
                agreement.observation_space,
                layout,
                buffer.payload,
                batched=agreement.batched,
            )
            buffer.steady = buffer.steady_reset = never
            if self._steady:
                size = layout.fixed_bytes
                buffer.steady = transition_writer(buffer, binding, size)
                buffer.steady_reset = reset_result_writer(buffer, binding, size)
            elif not layout.variable:
                size = layout.fixed_bytes
                buffer.steady = batch_transition_writer(buffer, binding, size)

    def transition(
        self,
        buffer: MessageBuffer,
        observation: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: Any,
    ) -> bytes | None:
        """Write what one step led to."""
        if not self._steady:
            return self._unsteady(
                buffer, observation, reward, terminated, truncated, info
            )
        word = TRANSITION_FIXED
        if terminated is not False:
            word |= _flag(terminated, TERMINATED, NUMPY_TERMINATED)
        if truncated is not False:
            word |= _flag(truncated, TRUNCATED, NUMPY_TRUNCATED)
        words = buffer.words
        if type(reward) is float:
            buffer.reward[0] = reward
            words[REWARD_TYPE_WORD] = code = FLOAT
        else:
            words[REWARD_TYPE_WORD] = code = buffer.store_number(reward)
        try:
            buffer.bound.store(observation)
        except Misfit:
            observation, fits = self._store_admitted(buffer, observation)
            word |= 0 if fits else _MISFIT
        if type(info) is not dict or info or not code or word >> 32:
            return self._with_tail(
                buffer, word, observation, info, (reward, terminated, truncated), code
            )
        words[KIND_WORD] = word
        words[PAYLOAD_BYTES_WORD] = self._fixed_bytes
        return None

    def _unsteady(
        self,
        buffer: MessageBuffer,
        observation: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: Any,
    ) -> bytes | None:
        """Write a transition of a batch, or with variable parts."""
        if self._batched:
            return self._batch(buffer, observation, reward, terminated, truncated, info)
        observation, fits = self._store_admitted(buffer, observation)
        word = TRANSITION_FIXED | (0 if fits else _MISFIT)
        if terminated is not False:
            word |= _flag(terminated, TERMINATED, NUMPY_TERMINATED)
        if truncated is not False:
            word |= _flag(truncated, TRUNCATED, NUMPY_TRUNCATED)
        code = buffer.words[REWARD_TYPE_WORD] = buffer.store_number(reward)
        return self._with_tail(
            buffer, word, observation, info, (reward, terminated, truncated), code
        )

    def _with_tail(
        self,
        buffer: MessageBuffer,
        word: int,
        observation: Any,
        info: Any,
        numbers: tuple[Any, Any, Any],
        code: int,
    ) -> bytes | None:
        records = self._records
        if records and self._steady and code and not word >> 32 and type(info) is dict:
            record = records.pack(info)
            if record is not None:
                return write_behind(buffer, word | RECORD, self._fixed_bytes, record)
        reward, terminated, truncated = numbers
        odd_flags = word & _UNBOXED
        if odd_flags:
            word &= ~_FLAGS
        word = (word & ~FIXED if word & _MISFIT else word) & UINT32_MASK
        items = [
            *self._observation_items(buffer, word, observation),
            _boxed_info(info),
            None if code else [reward],
            [terminated] if odd_flags else None,
            [truncated] if odd_flags else None,
        ]
        fixed_bytes = self._fixed_bytes if word & FIXED else 0
        return write_tail(buffer, word, fixed_bytes, items)

    def _store_admitted(
        self, buffer: MessageBuffer, observation: Any
    ) -> tuple[Any, int]:
        """Store an observation; return what was admitted, and FIXED if it fits."""
        binding = buffer.bound
        for last in (False, True):
            if last or self._variable:
                observation = self._admit(observation)
            binding.variable.clear()
            try:
                binding.store(observation)
            except Misfit:
                continue
            return observation, FIXED
        binding.variable.clear()
        return observation, 0

    def _observation_items(
        self, buffer: MessageBuffer, word: int, observation: Any
    ) -> tuple[Any, Any]:
        if not word & FIXED:
            return None, [observation]
        if not self._variable:
            return None, None
        parts = list(buffer.bound.variable)
        buffer.bound.variable.clear()
        return parts, None

    def _batch(
        self,
        buffer: MessageBuffer,
        observation: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: Any,
    ) -> bytes | None:
        word, extra = TRANSITION_FIXED, buffer.bound.extra
        odd: list[Any] = [
            None if _store_extra(extra["$reward"], reward) else [reward],
            None if _store_extra(extra["$terminated"], terminated) else [terminated],
            None if _store_extra(extra["$truncated"], truncated) else [truncated],
        ]
        extra["$status"].fill(0)
        observation, fits = self._store_admitted(buffer, observation)
        if not fits:
            word = TRANSITION
            odd = [[reward], [terminated], [truncated]]
        buffer.words[REWARD_TYPE_WORD] = ABSENT
        boxed_info = _boxed_info(info)
        if boxed_info is None and not self._variable and odd == [None, None, None]:
            buffer.words[KIND_WORD] = word
            buffer.words[PAYLOAD_BYTES_WORD] = self._fixed_bytes
            return None
        items = [
            *self._observation_items(buffer, word, observation),
            boxed_info,
            *odd,
        ]
        fixed_bytes = self._fixed_bytes if word & FIXED else 0
        return write_tail(buffer, word, fixed_bytes, items)

    def reset_result(
        self, buffer: MessageBuffer, observation: Any, info: Any
    ) -> bytes | None:
        """Write the first observation of an episode."""
        observation, fits = self._store_admitted(buffer, observation)
        word = int(Kind.RESET_RESULT) | fits
        buffer.words[REWARD_TYPE_WORD] = ABSENT
        items = [
            *self._observation_items(buffer, word, observation),
            _boxed_info(info),
        ]
        fixed_bytes = self._fixed_bytes if word & FIXED else 0
        return write_tail(buffer, word, fixed_bytes, items)

    def ready(self, buffer: MessageBuffer) -> bytes | None:
        """Write the first request of a game."""
        return write_tail(buffer, Kind.READY, 0, [])

    def call_result(self, buffer: MessageBuffer, value: Any) -> bytes | None:
        """Write what a Call returned."""
        return write_tail(buffer, Kind.CALL_RESULT, 0, [value])

    def failure(self, buffer: MessageBuffer, failure: FailureFields) -> bytes | None:
        """Write what went wrong."""
        code, *texts = failure
        return write_tail(buffer, Kind.FAILURE, 0, [int(code), *texts])


def _flag(value: Any, bit: int, numpy_bit: int) -> int:
    """Return the bits of a flag that is not the constant False."""
    if value is True:
        return bit
    if type(value) is np.bool_:
        return bit | numpy_bit if value else numpy_bit
    return _UNBOXED  # it is no bool


def _boxed_info(info: Any) -> list[Any] | None:
    """Return nil for an empty dict, which is what most infos are."""
    return [info] if type(info) is not dict or info else None


def _store_extra(view: Any, value: Any) -> bool:
    if (
        type(value) is not np.ndarray
        or value.dtype != view.dtype
        or value.shape != view.shape
    ):
        return False
    if value.dtype.kind == "b":
        np.logical_or(value, value, view)  # True may be any byte but 0
    else:
        view[...] = value
    return True
