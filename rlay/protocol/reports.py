"""Reports on the wire: what the environment's end says."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from rlay.errors import DecodeError
from rlay.protocol.agreement import Agreement
from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    KIND_MASK,
    MAX_REMOTE_MESSAGE_BYTES,
    MAX_REMOTE_TRACEBACK_BYTES,
    MAX_REMOTE_TYPE_BYTES,
    UINT32_MASK,
    ErrorCode,
    Flag,
    Kind,
)
from rlay.protocol.decisions import load_variable
from rlay.protocol.numbers import ABSENT, FLOAT, is_bool
from rlay.protocol.records import RecordReader, RecordWriter
from rlay.protocol.slot_layout import (
    KIND_WORD,
    PAYLOAD_BYTES_WORD,
    REWARD_TYPE_WORD,
)
from rlay.protocol.steady import never, transition_reader, transition_writer
from rlay.protocol.tails import (
    boxed,
    check_fixed,
    read_tail,
    write_behind,
    write_tail,
)

_TRANSITION: Final = int(Kind.TRANSITION)
_TRANSITION_FIXED: Final = int(Kind.TRANSITION | Flag.FIXED)
_FIXED: Final = int(Flag.FIXED)
_TAIL: Final = int(Flag.TAIL)
_RECORD: Final = int(Flag.RECORD)
_TERMINATED: Final = int(Flag.TERMINATED)
_TRUNCATED: Final = int(Flag.TRUNCATED)
_NUMPY_TERMINATED: Final = int(Flag.NUMPY_TERMINATED)
_NUMPY_TRUNCATED: Final = int(Flag.NUMPY_TRUNCATED)
_UNBOXED: Final = 1 << 32
"""Beside the 32 bits of the word, while it is made: a flag must go as a value."""
_MISFIT: Final = 1 << 33
"""The same, where the observation is not in the fixed area."""
_ENDS: Final = _TERMINATED | _TRUNCATED
_STEADY_MASK: Final = 0xFFFF_FFFF & ~_ENDS

TAIL_NAMES: Final = {
    0: "observation",
    1: "observation",
    2: "info",
    3: "reward",
    4: "terminated",
    5: "truncated",
}
"""What the items of a report's tail are, for messages about unsendable ones."""

Transition = tuple[Any, Any, Any, Any, Any]


class FailureFields(NamedTuple):
    """A Failure: what went wrong at the environment's end, as text."""

    code: int
    remote_type: str
    remote_message: str
    remote_traceback: str


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
    ) -> None:
        """Compile for ``buffers``.

        Args:
            agreement: Of this session.
            buffers: Those of the slot.
            admit: Called with an observation that is not exactly of the types,
                dtypes and shapes of its leaves, or that has variable parts. It
                returns what to send instead, or raises.
        """
        layout = agreement.report_layout
        self._admit = admit
        self._fixed_bytes = layout.fixed_bytes
        self._variable = layout.variable
        self._batched = agreement.batched
        self._steady = not layout.variable and not agreement.batched
        self._records = RecordWriter()
        steady = not layout.variable and not agreement.batched
        for buffer in buffers:
            binding = buffer.bound = Binding(
                agreement.observation_space,
                layout,
                buffer.payload,
                batched=agreement.batched,
            )
            buffer.steady = (
                transition_writer(buffer, binding, layout.fixed_bytes)
                if steady
                else never
            )

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
        word = _TRANSITION_FIXED
        if terminated is not False:
            word |= _flag(terminated, _TERMINATED, _NUMPY_TERMINATED)
        if truncated is not False:
            word |= _flag(truncated, _TRUNCATED, _NUMPY_TRUNCATED)
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
        if info or type(info) is not dict or not code or word >> 32:
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
        word = _TRANSITION_FIXED | (0 if fits else _MISFIT)
        if terminated is not False:
            word |= _flag(terminated, _TERMINATED, _NUMPY_TERMINATED)
        if truncated is not False:
            word |= _flag(truncated, _TRUNCATED, _NUMPY_TRUNCATED)
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
        reward, terminated, truncated = numbers
        odd_flags = word & _UNBOXED
        if odd_flags:
            word &= ~(_ENDS | _NUMPY_TERMINATED | _NUMPY_TRUNCATED)
        word = word & ~_FIXED if word & _MISFIT else word
        word &= UINT32_MASK
        if word & _FIXED and not self._variable and code and not odd_flags:
            record = self._records.pack(info) if type(info) is dict else None
            if record is not None:
                return write_behind(buffer, word | _RECORD, self._fixed_bytes, record)
        items = [
            *self._observation_items(buffer, word, observation),
            _boxed_info(info),
            None if code else [reward],
            [terminated] if odd_flags else None,
            [truncated] if odd_flags else None,
        ]
        fixed_bytes = self._fixed_bytes if word & _FIXED else 0
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
            return observation, _FIXED
        binding.variable.clear()
        return observation, 0

    def _observation_items(
        self, buffer: MessageBuffer, word: int, observation: Any
    ) -> tuple[Any, Any]:
        if not word & _FIXED:
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
        word, binding = _TRANSITION_FIXED, buffer.bound
        odd: list[Any] = [None, None, None]
        for index, (name, value) in enumerate(
            (
                ("$reward", reward),
                ("$terminated", terminated),
                ("$truncated", truncated),
            )
        ):
            if not _store_extra(binding.extra[name], value):
                odd[index] = [value]
        binding.extra["$status"][...] = 0
        observation, fits = self._store_admitted(buffer, observation)
        if not fits:
            word = _TRANSITION
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
        fixed_bytes = self._fixed_bytes if word & _FIXED else 0
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
        fixed_bytes = self._fixed_bytes if word & _FIXED else 0
        return write_tail(buffer, word, fixed_bytes, items)

    def ready(self, buffer: MessageBuffer) -> bytes | None:
        """Write the first request of a game."""
        return write_tail(buffer, Kind.READY, 0, [])

    def call_result(self, buffer: MessageBuffer, value: Any) -> bytes | None:
        """Write what a Call returned."""
        return write_tail(buffer, Kind.CALL_RESULT, 0, [value])

    def failure(self, buffer: MessageBuffer, failure: FailureFields) -> bytes | None:
        """Write what went wrong."""
        return write_tail(buffer, Kind.FAILURE, 0, list(failure))


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
                buffer.steady = transition_reader(buffer, binding, layout.fixed_bytes)

    def _bind(self, buffer: MessageBuffer, copy: bool = True) -> Binding:
        agreement = self._agreement
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
        word = words[KIND_WORD]
        if (
            word & _STEADY_MASK != _TRANSITION_FIXED
            or words[PAYLOAD_BYTES_WORD] != self._steady_bytes
        ):
            return self._transition(buffer, word)
        code = words[REWARD_TYPE_WORD]
        return (
            (buffer.bound or self._bind(buffer)).load(),
            buffer.reward[0] if code == FLOAT else self._number(buffer, code),
            word & _TERMINATED != 0,
            word & _TRUNCATED != 0,
            {},
        )

    def _transition(self, buffer: MessageBuffer, word: int) -> Transition:
        if word & KIND_MASK != _TRANSITION:
            raise DecodeError(f"message {word & KIND_MASK} came in place of TRANSITION")
        if word & _RECORD:
            return self._with_record(buffer, word)
        if self._batched:
            return self._batch(buffer, word)
        terminated, truncated = _flags(word)
        code = buffer.words[REWARD_TYPE_WORD]
        if not word & _TAIL:
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
        if not word & _FIXED or not self._steady:
            raise DecodeError("a record belongs behind a fixed area", "$.info")
        info = self._records.unpack(buffer.body()[self._fixed_bytes :])
        terminated, truncated = _flags(word)
        reward = self._number(buffer, buffer.words[REWARD_TYPE_WORD])
        observation = (buffer.bound or self._bind(buffer)).load()
        return observation, reward, terminated, truncated, info

    def _batch(self, buffer: MessageBuffer, word: int) -> Transition:
        items: list[Any] = []
        if word & _TAIL:
            items = read_tail(buffer, self._fixed_bytes, Kind.TRANSITION)
        else:
            check_fixed(buffer, self._fixed_bytes)
        numbers: list[Any] = []
        for index, name in enumerate(("$reward", "$terminated", "$truncated"), 3):
            if items and items[index] is not None:
                numbers.append(boxed(items[index], name))
            elif not word & _FIXED:
                raise DecodeError("a batch lacks its arrays", name)
            else:
                numbers.append(self._extra(buffer, name))
        observation = self._observation(buffer, word, items)
        reward, terminated, truncated = numbers
        return observation, reward, terminated, truncated, _info(items)

    def _extra(self, buffer: MessageBuffer, name: str) -> Any:
        array = (buffer.bound or self._bind(buffer)).extra[name]
        if array.dtype.kind == "b" and not is_bool(array.view(np.uint8)):
            raise DecodeError("a bool is a byte 0 or 1", name)
        return array.copy()

    def _observation(self, buffer: MessageBuffer, word: int, items: list[Any]) -> Any:
        if not word & _FIXED:
            return boxed(items[1] if items else None, "$.observation")
        binding = buffer.bound or self._bind(buffer)
        if not self._agreement.report_layout.variable:
            return binding.load()
        return load_variable(binding, items[0] if items else None)

    def _number(self, buffer: MessageBuffer, code: int) -> Any:
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
    terminated: Any = word & _TERMINATED != 0
    truncated: Any = word & _TRUNCATED != 0
    if word & _NUMPY_TERMINATED:
        terminated = np.bool_(terminated)
    if word & _NUMPY_TRUNCATED:
        truncated = np.bool_(truncated)
    return terminated, truncated


def _info(items: list[Any]) -> Any:
    if not items or items[2] is None:
        return {}
    return boxed(items[2], "$.info")


def environment_failure(
    code: ErrorCode, remote_type: str, message: str, traceback: str = ""
) -> FailureFields:
    """Return a Failure's fields, the texts cut to their limits."""
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
