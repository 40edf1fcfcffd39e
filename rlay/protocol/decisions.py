"""Decisions on the wire: Reset, Step, Call and Close, from the algorithm's end."""

from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from rlay.errors import DecodeError, LocalProtocolError
from rlay.protocol.agreement import Agreement
from rlay.protocol.binding import Binding, Misfit
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, Kind
from rlay.protocol.flags import FIXED, STEP_FIXED
from rlay.protocol.numbers import is_bool
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD
from rlay.protocol.steady import never, step_reader, step_writer
from rlay.protocol.steady_batches import batch_step_reader, batch_step_writer
from rlay.protocol.steady_resets import reset_reader, reset_writer
from rlay.protocol.tails import boxed, check_fixed, read_tail, write_tail
from rlay.protocol.values import Unsendable


class Operation(IntEnum):
    """What a Call asks for."""

    GET = 0  # the value of an attribute
    CALL = 1  # the result of a method
    SET = 2  # set an attribute
    RENDER = 3  # a frame


_OPERATIONS: Final = frozenset(Operation)
_CLOSE_REASONS: Final = frozenset(CloseReason)


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
    :class:`~rlay.protocol.values.Unsendable`, and LocalProtocolError for a reset
    mask of a wrong shape; nothing is to be sent then.
    """

    def __init__(
        self, agreement: Agreement, buffers: tuple[MessageBuffer, ...]
    ) -> None:
        """Compile for ``buffers``.

        Raises:
            DecodeError: The buffers are too small for actions.
        """
        layout = agreement.decision_layout
        self._fixed_bytes = layout.fixed_bytes
        self._steady = not layout.variable and not agreement.batched
        self._num_envs = agreement.num_envs
        for buffer in buffers:
            binding = buffer.bound = Binding(
                agreement.action_space,
                layout,
                buffer.payload,
                batched=agreement.batched,
            )
            buffer.steady = buffer.steady_reset = never
            if self._steady:
                buffer.steady = step_writer(buffer, binding, layout.fixed_bytes)
                buffer.steady_reset = reset_writer(buffer)
            elif not layout.variable:
                buffer.steady = batch_step_writer(buffer, binding, layout.fixed_bytes)

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
        words[KIND_WORD] = STEP_FIXED
        words[PAYLOAD_BYTES_WORD] = self._fixed_bytes
        return None

    def _step_with_extra(self, buffer: MessageBuffer, reset_mask: Any) -> bytes | None:
        binding = buffer.bound
        parts = list(binding.variable)
        binding.variable.clear()
        if binding.extra:
            binding.extra["$reset_mask"][...] = (
                False if reset_mask is None else self._mask(reset_mask)
            )
        if parts:
            return write_tail(
                buffer, STEP_FIXED, self._fixed_bytes, [parts, None, None]
            )
        buffer.words[KIND_WORD] = STEP_FIXED
        buffer.words[PAYLOAD_BYTES_WORD] = self._fixed_bytes
        return None

    def _boxed_mask(self, mask: Any) -> list[Any] | None:
        return None if mask is None else [self._mask(mask)]

    def _mask(self, mask: Any) -> Any:
        array = np.asarray(mask, dtype=bool)
        if array.shape != (self._num_envs,):
            raise LocalProtocolError(
                f"a reset mask has shape ({self._num_envs},), here is {array.shape}"
            )
        return array

    def reset(
        self, buffer: MessageBuffer, seed: Any, options: Any, mask: Any = None
    ) -> bytes | None:
        """Write a Reset.

        Args:
            buffer: Where the message goes.
            seed: An int of any size, None, or a list of these, one per environment.
            options: A dict or None.
            mask: Which environments of a batch, shape (num_envs,), bool; None for all.
        """
        if options is not None and type(options) is not dict:
            raise Unsendable("options are a dict or None", options).at(1)
        if mask is not None:
            mask = self._mask(mask)
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
        """Compile for ``buffers``; others are compiled when they come.

        Raises:
            DecodeError: The buffers are too small for actions.
        """
        layout = agreement.decision_layout
        self._agreement = agreement
        self._fixed_bytes = layout.fixed_bytes
        # Size of the payload of a Step that has no tail; no size where it needs one.
        self._steady_bytes = -1 if layout.variable else layout.fixed_bytes
        for buffer in buffers:
            binding = self._bind(buffer)
            if layout.variable:
                continue
            if agreement.batched:
                buffer.steady = batch_step_reader(buffer, binding, layout.fixed_bytes)
            else:
                buffer.steady = step_reader(buffer, binding, layout.fixed_bytes)
                buffer.steady_reset = reset_reader(buffer)

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
        words = buffer.words
        if (
            words[KIND_WORD] == STEP_FIXED
            and words[PAYLOAD_BYTES_WORD] == self._steady_bytes
        ):
            return (buffer.bound or self._bind(buffer)).load()
        return self._step_tail(buffer)[0]

    def batch_step(self, buffer: MessageBuffer) -> tuple[Any, Any]:
        """Return actions and reset mask of a batch's Step.

        Returns:
            actions: An element of the batched action space.
            reset_mask: A bool array of shape (num_envs,), or None where nobody is
                to be reset.

        Raises:
            DecodeError: The message is malformed.
        """
        words = buffer.words
        if (
            words[KIND_WORD] == STEP_FIXED
            and words[PAYLOAD_BYTES_WORD] == self._steady_bytes
        ):
            binding = buffer.bound or self._bind(buffer)
            return binding.load(), self._mask(binding)
        return self._step_tail(buffer)

    def _mask(self, binding: Binding) -> Any:
        mask = binding.extra.get("$reset_mask")
        if mask is None or not mask.any():
            return None
        if not is_bool(mask.view(np.uint8)):
            raise DecodeError("a bool is a byte 0 or 1", "$reset_mask")
        return mask.copy()

    def _check_mask(self, mask: Any, path: str) -> None:
        shape = (self._agreement.num_envs,)
        if type(mask) is not np.ndarray or mask.dtype != bool or mask.shape != shape:
            raise DecodeError(f"a reset mask is a bool array of shape {shape}", path)

    def _step_tail(self, buffer: MessageBuffer) -> tuple[Any, Any]:
        word = buffer.words[KIND_WORD]
        if word == STEP_FIXED:
            check_fixed(buffer, self._fixed_bytes)
        variable, action, mask = read_tail(buffer, self._fixed_bytes, Kind.STEP)[:3]
        if word & FIXED:
            binding = buffer.bound or self._bind(buffer)
            return load_variable(binding, variable), self._mask(binding)
        if mask is not None:
            mask = boxed(mask, "$reset_mask")
            self._check_mask(mask, "$reset_mask")
        return boxed(
            action, "$.action"
        ), mask if mask is not None and mask.any() else None

    def reset(self, buffer: MessageBuffer) -> ResetFields:
        """Return the fields of a Reset.

        Raises:
            DecodeError: The message is malformed.
        """
        seed, options, mask = read_tail(buffer, 0, Kind.RESET)[:3]
        if options is not None and type(options) is not dict:
            raise DecodeError("options are a dict or nil", "$.options")
        if mask is not None:
            self._check_mask(mask, "$.mask")
        return ResetFields(seed, options, mask)

    def call(self, buffer: MessageBuffer) -> CallFields:
        """Return the fields of a Call.

        Raises:
            DecodeError: The message is malformed.
        """
        operation, name, args, kwargs = read_tail(buffer, 0, Kind.CALL)[:4]
        if type(name) is not str or type(args) is not list or type(kwargs) is not dict:
            raise DecodeError("a call is operation, name, args, kwargs", "$.call")
        if type(operation) is not int or operation not in _OPERATIONS:
            raise DecodeError(f"unknown operation {operation!r:.40}", "$.call")
        return CallFields(Operation(operation), name, args, kwargs)

    def close(self, buffer: MessageBuffer) -> CloseReason:
        """Return the reason of a Close; one that is not known here is CLOSED.

        Raises:
            DecodeError: The message is malformed.
        """
        (reason,) = read_tail(buffer, 0, Kind.CLOSE)[:1]
        if type(reason) is not int:
            raise DecodeError("a reason is an int", "$.reason")
        known = reason in _CLOSE_REASONS
        return CloseReason(reason) if known else CloseReason.CLOSED


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
