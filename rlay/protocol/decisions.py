"""Decisions on the wire: Reset, Step, Call and Close, from the algorithm's end."""

from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from rlay.errors import DecodeError
from rlay.protocol.agreement import Agreement
from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, Flag, Kind
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.tails import boxed, read_tail, write_tail

_STEP_FIXED: Final = int(Kind.STEP | Flag.FIXED)


class Operation(IntEnum):
    """What a Call asks for."""

    GET = 0  # the value of an attribute
    CALL = 1  # the result of a method
    SET = 2  # set an attribute
    RENDER = 3  # a frame


class ResetFields(NamedTuple):
    """A Reset: seed (or one per environment), options, and which environments."""

    seed: Any
    options: Any
    mask: Any


class CallFields(NamedTuple):
    """A Call: what is asked for, of what, with what."""

    operation: Operation
    name: str
    args: Any
    kwargs: dict[str, Any]


class DecisionWriter:
    """Writes decisions into buffers.

    Every method returns None, or the whole payload where it exceeds the
    buffer's room and must go in parts. Each may raise
    :class:`~rlay.protocol.values.Unsendable`; nothing is to be sent then.
    """

    def __init__(
        self, agreement: Agreement, buffers: tuple[MessageBuffer, ...]
    ) -> None:
        """Compile for ``buffers``."""
        layout = agreement.decision_layout
        self._fixed_bytes = layout.fixed_bytes
        self._steady = not layout.variable and not agreement.batched
        self._num_envs = agreement.num_envs
        for buffer in buffers:
            buffer.bound = Binding(
                agreement.action_space,
                layout,
                buffer.payload,
                batched=agreement.batched,
            )

    def step(
        self, buffer: MessageBuffer, action: Any, reset_mask: Any = None
    ) -> bytes | None:
        """Write a Step: an action, and in a batch who resets instead."""
        binding = buffer.bound
        try:
            binding.store(action)
        except Misfit:
            binding.variable.clear()
            return write_tail(
                buffer, Kind.STEP, 0, [None, [action], self._boxed_mask(reset_mask)]
            )
        if not self._steady:
            return self._step_with_extra(buffer, reset_mask)
        words = buffer.words
        words[KIND_WORD] = _STEP_FIXED
        words[PAYLOAD_BYTES_WORD] = self._fixed_bytes
        return None

    def _step_with_extra(self, buffer: MessageBuffer, reset_mask: Any) -> bytes | None:
        binding = buffer.bound
        if binding.extra:
            binding.extra["$reset_mask"][...] = (
                False if reset_mask is None else reset_mask
            )
        if binding.variable:
            parts = list(binding.variable)
            binding.variable.clear()
            return write_tail(
                buffer, _STEP_FIXED, self._fixed_bytes, [parts, None, None]
            )
        buffer.words[KIND_WORD] = _STEP_FIXED
        buffer.words[PAYLOAD_BYTES_WORD] = self._fixed_bytes
        return None

    def _boxed_mask(self, mask: Any) -> list[Any] | None:
        return None if mask is None else [np.asarray(mask, dtype=bool)]

    def reset(
        self, buffer: MessageBuffer, seed: Any, options: Any, mask: Any = None
    ) -> bytes | None:
        """Write a Reset."""
        return write_tail(buffer, Kind.RESET, 0, [seed, options, mask], big_ints=True)

    def call(
        self,
        buffer: MessageBuffer,
        operation: Operation,
        name: str,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> bytes | None:
        """Write a Call."""
        items = [int(operation), name, list(args), kwargs or {}]
        return write_tail(buffer, Kind.CALL, 0, items)

    def close(self, buffer: MessageBuffer, reason: CloseReason) -> bytes | None:
        """Write a Close."""
        return write_tail(buffer, Kind.CLOSE, 0, [int(reason)])


class DecisionReader:
    """Reads decisions from buffers."""

    def __init__(
        self, agreement: Agreement, buffers: tuple[MessageBuffer, ...]
    ) -> None:
        """Compile for ``buffers``; others are compiled when they come."""
        self._agreement = agreement
        self._fixed_bytes = agreement.decision_layout.fixed_bytes
        self._steady = not agreement.decision_layout.variable
        for buffer in buffers:
            self._bind(buffer)

    def _bind(self, buffer: MessageBuffer) -> Binding:
        agreement = self._agreement
        binding = buffer.bound = Binding(
            agreement.action_space,
            agreement.decision_layout,
            buffer.payload,
            batched=agreement.batched,
        )
        return binding

    def step(self, buffer: MessageBuffer) -> Any:
        """Return the action of a Step: copies, valid for ever.

        Raises:
            DecodeError: The message is malformed.
        """
        if buffer.words[KIND_WORD] == _STEP_FIXED and self._steady:
            return (buffer.bound or self._bind_checked(buffer)).load()
        return self._step_tail(buffer)[0]

    def batch_step(self, buffer: MessageBuffer) -> tuple[Any, Any]:
        """Return actions and reset mask of a batch's Step.

        Returns:
            actions: An element of the batched action space.
            reset_mask: A bool array of shape (num_envs,), or None.
        """
        if buffer.words[KIND_WORD] == _STEP_FIXED and self._steady:
            binding = buffer.bound or self._bind_checked(buffer)
            return binding.load(), self._mask(binding)
        return self._step_tail(buffer)

    def _bind_checked(self, buffer: MessageBuffer) -> Binding:
        if len(buffer.payload) < self._fixed_bytes:
            raise DecodeError(
                f"a payload of {len(buffer.payload)} bytes lacks its fixed area"
            )
        return self._bind(buffer)

    def _mask(self, binding: Binding) -> Any:
        mask = binding.extra.get("$reset_mask")
        if mask is None or not mask.view(np.uint8).any():
            return None
        if mask.view(np.uint8).max() > 1:
            raise DecodeError("a bool is a byte 0 or 1", "$reset_mask")
        return mask.copy()

    def _step_tail(self, buffer: MessageBuffer) -> tuple[Any, Any]:
        items = read_tail(buffer, self._fixed_bytes)
        variable, action, mask = items[:3]
        if not buffer.words[KIND_WORD] & Flag.FIXED:
            return boxed(action, "$.action"), mask and boxed(mask, "$reset_mask")
        binding = buffer.bound or self._bind_checked(buffer)
        return load_variable(binding, variable), self._mask(binding)

    def reset(self, buffer: MessageBuffer) -> ResetFields:
        """Return the fields of a Reset."""
        seed, options, mask = read_tail(buffer, 0)[:3]
        if options is not None and type(options) is not dict:
            raise DecodeError("options are a dict or nil", "$.options")
        return ResetFields(seed, options, mask)

    def call(self, buffer: MessageBuffer) -> CallFields:
        """Return the fields of a Call."""
        operation, name, args, kwargs = read_tail(buffer, 0)[:4]
        if type(name) is not str or type(args) is not list or type(kwargs) is not dict:
            raise DecodeError("a call is operation, name, args, kwargs", "$.call")
        try:
            return CallFields(Operation(operation), name, args, kwargs)
        except ValueError:
            raise DecodeError(f"unknown operation {operation!r}", "$.call") from None

    def close(self, buffer: MessageBuffer) -> CloseReason:
        """Return the reason of a Close."""
        (reason,) = read_tail(buffer, 0)[:1]
        try:
            return CloseReason(reason)
        except ValueError:
            return CloseReason.CLOSED


def load_variable(binding: Binding, variable: Any) -> Any:
    """Load an element whose variable parts came in a tail.

    Raises:
        DecodeError: There are too few or too many of them.
    """
    if type(variable) is not list:
        raise DecodeError("expected the variable parts of a space")
    binding.variable.clear()
    binding.variable.extend(variable)
    try:
        value = binding.load()
    except IndexError:
        raise DecodeError("too few variable parts") from None
    if binding.variable:
        raise DecodeError("too many variable parts")
    return value
