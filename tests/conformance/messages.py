"""Writing and reading what a vector says, with RLay's own writers and readers."""

from typing import Any

from rlay.protocol import spaces
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, ErrorCode
from rlay.protocol.decisions import DecisionReader, DecisionWriter, Operation
from rlay.protocol.failures import FailureFields
from rlay.protocol.reports import ReportReader, ReportWriter
from rlay.protocol.slot_layout import SEQUENCE_WORD
from tests.conformance.cases import INCARNATION, SESSION, Message

_DECISIONS = ("reset", "step", "call", "close")
_NO_SPACE = spaces.Tuple(())


def is_decision(message: Message) -> bool:
    """Return whether the algorithm says it."""
    return message.kind in _DECISIONS


def agreement_of(message: Message) -> Agreement:
    """Return the agreement of the message's session."""
    pair = (message.space, _NO_SPACE)
    observation, action = pair[::-1] if is_decision(message) else pair
    return Agreement.compile(
        observation, action, message.num_envs, batched=message.batched
    )


def new_buffer(message: Message) -> MessageBuffer:
    """Return a stamped buffer as a slot of this session has it."""
    agreement = agreement_of(message)
    decision = is_decision(message)
    buffer = MessageBuffer.private(
        agreement.decision_capacity if decision else agreement.report_capacity
    )
    buffer.stamp(INCARNATION, SESSION)
    return buffer


def write(message: Message, buffer: MessageBuffer) -> bytes:
    """Write a message into ``buffer``, and return its whole payload."""
    agreement = agreement_of(message)
    writer: Any = (DecisionWriter if is_decision(message) else ReportWriter)(
        agreement, (buffer,)
    )
    arguments = _arguments(message)
    for _ in range(message.before + 1):
        overflow = getattr(writer, message.kind)(buffer, *arguments)
    buffer.words[SEQUENCE_WORD] = message.sequence
    return bytes(buffer.body()) if overflow is None else bytes(overflow)


def _arguments(message: Message) -> list[Any]:
    says = dict(message.says)
    if message.kind == "failure":
        return [FailureFields(*says.values())]
    if message.kind == "close":
        return [CloseReason(says["reason"])]
    if message.kind == "call":
        says["operation"] = Operation(says["operation"])
    return list(says.values())


def read(message: Message, buffer: MessageBuffer) -> dict[str, Any]:
    """Return what a message says, by the names that ``message`` has."""
    agreement = agreement_of(message)
    names = list(message.says)
    if message.kind == "ready":
        return {}
    if is_decision(message):
        decisions = DecisionReader(agreement, ())
        if message.kind == "step":
            read_step = decisions.batch_step(buffer)
            return dict(zip(names, read_step, strict=False))
        if message.kind == "close":
            return {"reason": int(decisions.close(buffer))}
        fields = getattr(decisions, message.kind)(buffer)
        return dict(zip(names, (_plain(field) for field in fields), strict=True))
    result = getattr(ReportReader(agreement, ()), message.kind)(buffer)
    values = [result] if message.kind == "call_result" else list(result)
    return dict(zip(names, values, strict=True))


def _plain(field: Any) -> Any:
    return int(field) if isinstance(field, (Operation, ErrorCode)) else field
