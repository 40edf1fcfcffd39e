"""The steady step of a batch, compiled: as ``steady.py`` for a single environment."""

from collections.abc import Callable
from typing import Any, Final

from rlay.protocol.binding import Binding, Misfit, bind_array
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.flags import STEP_FIXED, TRANSITION_FIXED
from rlay.protocol.numbers import ABSENT
from rlay.protocol.slot_layout import KIND_WORD, PAYLOAD_BYTES_WORD, REWARD_TYPE_WORD
from rlay.protocol.steady import UNSTEADY

_NUMBERS: Final = ("$reward", "$terminated", "$truncated")
_FLAGS: Final = b"\0\1"


def _bytes_of(binding: Binding, name: str) -> memoryview:
    """Return the memory of one of the arrays behind a batch."""
    return memoryview(binding.extra[name]).cast("B")


def batch_step_writer(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[Any], bool]:
    """Return the writer of Steps that reset nobody: False where it wrote nothing."""
    words, store = buffer.words, binding.store
    mask = _bytes_of(binding, "$reset_mask")
    nobody = bytes(len(mask))

    def write(actions: Any) -> bool:
        try:
            store(actions)
        except Misfit:
            return False
        mask[:] = nobody
        words[KIND_WORD] = STEP_FIXED
        words[PAYLOAD_BYTES_WORD] = fixed_bytes
        return True

    return write


def batch_step_reader(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[], Any]:
    """Return the reader of Steps that reset nobody: actions, or UNSTEADY."""
    words, load = buffer.words, binding.load
    mask = _bytes_of(binding, "$reset_mask")
    nobody = bytes(len(mask))

    def read() -> Any:
        if words[KIND_WORD] != STEP_FIXED or words[PAYLOAD_BYTES_WORD] != fixed_bytes:
            return UNSTEADY
        if mask != nobody:
            return UNSTEADY
        return load()

    return read


def batch_transition_writer(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[Any, Any, Any, Any, Any], bool]:
    """Return the writer of Transitions: it returns False where it wrote nothing."""
    words, store = buffer.words, binding.store
    store_reward, store_terminated, store_truncated = (
        bind_array(binding.extra[name], name)[0] for name in _NUMBERS
    )
    status = _bytes_of(binding, "$status")
    sound = bytes(len(status))

    def write(
        observations: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any
    ) -> bool:
        if type(infos) is not dict or infos:
            return False
        try:
            store(observations)
            store_reward(rewards)
            store_terminated(terminations)
            store_truncated(truncations)
        except Misfit:
            return False
        status[:] = sound
        words[REWARD_TYPE_WORD] = ABSENT
        words[KIND_WORD] = TRANSITION_FIXED
        words[PAYLOAD_BYTES_WORD] = fixed_bytes
        return True

    return write


def batch_transition_reader(
    buffer: MessageBuffer, binding: Binding, fixed_bytes: int
) -> Callable[[], tuple[Any, Any, Any, Any, dict[str, Any]] | None]:
    """Return the reader of Transitions: it returns None where it is another case."""
    words, load = buffer.words, binding.load
    copy_rewards, copy_terminations, copy_truncations = (
        binding.extra[name].copy for name in _NUMBERS
    )
    terminated, truncated, status = (
        _bytes_of(binding, name) for name in ("$terminated", "$truncated", "$status")
    )
    sound = bytes(len(status))

    def read() -> tuple[Any, Any, Any, Any, dict[str, Any]] | None:
        if words[KIND_WORD] != TRANSITION_FIXED:
            return None
        if words[PAYLOAD_BYTES_WORD] != fixed_bytes or status != sound:
            return None
        # For the few bytes of a batch this is quicker than NumPy.
        if (terminated.tobytes() + truncated.tobytes()).translate(None, _FLAGS):
            return None
        return (
            load(),
            copy_rewards(),
            copy_terminations(),
            copy_truncations(),
            {},
        )

    return read
