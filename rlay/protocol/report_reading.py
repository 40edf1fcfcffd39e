"""The reading half of :mod:`rlay.protocol.reports`."""

from typing import Any

import numpy as np

from rlay.errors import DecodeError
from rlay.protocol.agreement import Agreement
from rlay.protocol.binding import Binding
from rlay.protocol.buffers import MessageBuffer, no_numbers
from rlay.protocol.constants import KIND_MASK, Kind
from rlay.protocol.decisions import load_variable
from rlay.protocol.failures import FailureFields
from rlay.protocol.flags import (
    FIXED,
    NUMPY_TERMINATED,
    NUMPY_TRUNCATED,
    RECORD,
    TAIL,
    TERMINATED,
    TRANSITION,
    TRANSITION_FIXED,
    TRUNCATED,
)
from rlay.protocol.numbers import ABSENT, FLOAT, bind_reward
from rlay.protocol.records import RecordReader
from rlay.protocol.slot_layout import (
    KIND_WORD,
    PAYLOAD_BYTES_WORD,
    REWARD_TYPE_WORD,
)
from rlay.protocol.steady import transition_reader
from rlay.protocol.steady_batches import batch_transition_reader
from rlay.protocol.steady_resets import reset_result_reader
from rlay.protocol.tails import boxed, check_fixed, read_tail

Transition = tuple[Any, Any, Any, Any, Any]


class ReportReader:
    """Reads reports from buffers."""

    def __init__(
        self,
        agreement: Agreement,
        buffers: tuple[MessageBuffer, ...],
        *,
        copy: bool = True,
    ) -> None:
        """Compile for ``buffers``; others are compiled when they come.

        Args:
            agreement: Of this session.
            buffers: Those of the slot.
            copy: Whether observations are copies. Views of a slot's buffer are
                read-only and stay valid until the next but one message.

        Raises:
            DecodeError: The buffers are too small for observations.
        """
        layout = agreement.report_layout
        self._agreement = agreement
        self._fixed_bytes = layout.fixed_bytes
        self._batched = agreement.batched
        self._steady = not layout.variable and not agreement.batched
        # Size of the payload of a steady Transition; no size where none is steady.
        self._steady_bytes = layout.fixed_bytes if self._steady else -1
        self._records = RecordReader()
        for buffer in buffers:
            binding = self._bind(buffer, copy)
            if self._steady:
                size = layout.fixed_bytes
                buffer.steady = transition_reader(buffer, binding, size)
                buffer.steady_reset = reset_result_reader(buffer, binding, size)
            elif not layout.variable:
                size = layout.fixed_bytes
                buffer.steady = batch_transition_reader(buffer, binding, size)

    def _bind(self, buffer: MessageBuffer, copy: bool = True) -> Binding:
        agreement = self._agreement
        bind_reward(buffer)
        binding = buffer.bound = Binding(
            agreement.observation_space,
            agreement.report_layout,
            buffer.payload,
            batched=agreement.batched,
            copy=copy,
        )
        return binding

    def transition(self, buffer: MessageBuffer) -> Transition:
        """Return observation, reward, terminated, truncated and info of a Transition.

        Raises:
            DecodeError: The message is malformed.
        """
        words = buffer.words
        if (
            words[KIND_WORD] != TRANSITION_FIXED
            or words[PAYLOAD_BYTES_WORD] != self._steady_bytes
        ):
            return self._transition(buffer, words[KIND_WORD])
        code = words[REWARD_TYPE_WORD]
        return (
            (buffer.bound or self._bind(buffer)).load(),
            buffer.reward[0] if code == FLOAT else self._number(buffer, code),
            False,
            False,
            {},
        )

    def _transition(self, buffer: MessageBuffer, word: int) -> Transition:
        if word & KIND_MASK != TRANSITION:
            raise DecodeError(f"message {word & KIND_MASK} came in place of TRANSITION")
        if word & RECORD:
            return self._with_record(buffer, word)
        if self._batched:
            return self._batch(buffer, word)
        terminated, truncated = _flags(word)
        code = buffer.words[REWARD_TYPE_WORD]
        if not word & TAIL:
            check_fixed(buffer, self._fixed_bytes)
            observation = self._observation(buffer, word, [])
            return observation, self._number(buffer, code), terminated, truncated, {}
        items = read_tail(buffer, self._fixed_bytes, Kind.TRANSITION)
        if code == ABSENT:
            reward = boxed(items[3], "$.reward")
        else:
            reward = self._number(buffer, code)
        if items[4] is not None:
            terminated = boxed(items[4], "$.terminated")
        if items[5] is not None:
            truncated = boxed(items[5], "$.truncated")
        observation = self._observation(buffer, word, items)
        return observation, reward, terminated, truncated, _info(items)

    def _with_record(self, buffer: MessageBuffer, word: int) -> Transition:
        if not word & FIXED or not self._steady:
            raise DecodeError("a record belongs behind a fixed area", "$.info")
        info = self._records.unpack(buffer.body()[self._fixed_bytes :])
        terminated, truncated = _flags(word)
        reward = self._number(buffer, buffer.words[REWARD_TYPE_WORD])
        observation = (buffer.bound or self._bind(buffer)).load()
        return observation, reward, terminated, truncated, info

    def _batch(self, buffer: MessageBuffer, word: int) -> Transition:
        items: list[Any] = []
        if word & TAIL:
            items = read_tail(buffer, self._fixed_bytes, Kind.TRANSITION)
        else:
            check_fixed(buffer, self._fixed_bytes)
        if word & FIXED:
            self._check_status(buffer)
        numbers: list[Any] = []
        for index, name in enumerate(("$reward", "$terminated", "$truncated"), 3):
            if items and items[index] is not None:
                numbers.append(boxed(items[index], name))
            elif not word & FIXED:
                raise DecodeError("a batch lacks its arrays", name)
            else:
                numbers.append(self._extra(buffer, name))
        observation = self._observation(buffer, word, items)
        reward, terminated, truncated = numbers
        return observation, reward, terminated, truncated, _info(items)

    def _check_status(self, buffer: MessageBuffer) -> None:
        # Version 1.0 knows only LaneStatus.OK, which is 0.
        unknown = (buffer.bound or self._bind(buffer)).extra["$status"].tobytes()
        unknown = unknown.strip(b"\0")
        if unknown:
            raise DecodeError(
                f"an environment has status {unknown[0]}, which this version does "
                "not know",
                "$status",
            )

    def _extra(self, buffer: MessageBuffer, name: str) -> Any:
        array = (buffer.bound or self._bind(buffer)).extra[name]
        # A batch has few elements: for those this is quicker than NumPy.
        if array.itemsize == 1 and array.tobytes().translate(None, b"\0\1"):
            raise DecodeError("a bool is a byte 0 or 1", name)
        return array.copy()

    def _observation(self, buffer: MessageBuffer, word: int, items: list[Any]) -> Any:
        if not word & FIXED:
            return boxed(items[1] if items else None, "$.observation")
        binding = buffer.bound or self._bind(buffer)
        if not self._agreement.report_layout.variable:
            return binding.load()
        return load_variable(binding, items[0] if items else None)

    def _number(self, buffer: MessageBuffer, code: int) -> Any:
        if buffer.load_number is no_numbers:
            bind_reward(buffer)
        try:
            return buffer.load_number(code)
        except KeyError:
            raise DecodeError(f"unknown type code {code}", "$.reward") from None

    def reset_result(self, buffer: MessageBuffer) -> tuple[Any, Any]:
        """Return observation and info of a ResetResult."""
        items = read_tail(buffer, self._fixed_bytes, Kind.RESET_RESULT)
        observation = self._observation(buffer, buffer.words[KIND_WORD], items)
        return observation, _info(items)

    def call_result(self, buffer: MessageBuffer) -> Any:
        """Return the value of a CallResult."""
        return read_tail(buffer, 0, Kind.CALL_RESULT)[0]

    def failure(self, buffer: MessageBuffer) -> FailureFields:
        """Return the fields of a Failure."""
        code, *texts = read_tail(buffer, 0, Kind.FAILURE)[:4]
        if type(code) is not int or any(type(text) is not str for text in texts):
            raise DecodeError("a failure is a code and three str")
        return FailureFields(code, *texts)


def _flags(word: int) -> tuple[Any, Any]:
    terminated: Any = word & TERMINATED != 0
    truncated: Any = word & TRUNCATED != 0
    if word & NUMPY_TERMINATED:
        terminated = np.bool_(terminated)
    if word & NUMPY_TRUNCATED:
        truncated = np.bool_(truncated)
    return terminated, truncated


def _info(items: list[Any]) -> Any:
    if not items or items[2] is None:
        return {}
    return boxed(items[2], "$.info")
