"""Both ends of one message in this process: what one writes, the other reads."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlay.protocol import spaces
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, UINT32_MASK
from rlay.protocol.decisions import DecisionReader, DecisionWriter
from rlay.protocol.reports import ReportReader, ReportWriter
from rlay.protocol.slot_layout import PAYLOAD_BYTES_WORD


def box(shape: tuple[int, ...] = (2,), dtype: Any = np.float32) -> spaces.Box:
    """Return a box between -1 and 1, or False and True."""
    dtype = np.dtype(dtype)
    code = {
        np.dtype(bool): 1,
        np.dtype(np.uint8): 3,
        np.dtype(np.float32): 11,
        np.dtype(np.float64): 12,
    }[dtype]
    low, high = (np.full(shape, limit).astype(dtype) for limit in (0, 1))
    bounded = np.ones(shape, bool)
    return spaces.Box(code, shape, low, high, bounded, bounded)


def discrete(n: int = 3) -> spaces.Discrete:
    """Return a discrete space of int64 from 0."""
    return spaces.Discrete(8, n, 0)


TEXT = spaces.Text(0, 4, "ab")


@dataclass
class Rig:
    """Writers and readers over private buffers.

    Attributes:
        observation: Space of one environment.
        action: Space of one environment.
        num_envs: Environments in one message.
        batched: Whether messages carry batches.
        tail_room: Room behind the fixed area; what exceeds it goes whole to a
            private buffer, as parts that were put together do.
        copy: As for :class:`~rlay.protocol.reports.ReportReader`.
    """

    observation: Any = field(default_factory=box)
    action: Any = field(default_factory=discrete)
    num_envs: int = 1
    batched: bool = False
    tail_room: int = 65536
    copy: bool = True

    def __post_init__(self) -> None:
        self.agreement = Agreement.compile(
            self.observation, self.action, self.num_envs, batched=self.batched
        )
        # Two views of one memory each, as two processes have.
        self.decision = self._buffers(self.agreement.decision_layout.fixed_bytes)
        self.report = self._buffers(self.agreement.report_layout.fixed_bytes)
        self.decision_writer = DecisionWriter(self.agreement, (self.decision[0],))
        self.decision_reader = DecisionReader(self.agreement, (self.decision[1],))
        self.report_writer = ReportWriter(self.agreement, (self.report[0],))
        self.report_reader = ReportReader(
            self.agreement, (self.report[1],), copy=self.copy
        )

    def _buffers(self, fixed_bytes: int) -> tuple[MessageBuffer, MessageBuffer]:
        size = MESSAGE_HEADER_BYTES + fixed_bytes + self.tail_room
        memory = memoryview(bytearray(size))
        pair = MessageBuffer(memory), MessageBuffer(memory)
        pair[0].stamp(1, 2)
        return pair

    def sent(self, name: str, *args: Any, **kwargs: Any) -> MessageBuffer:
        """Write a report or a decision; return the buffer that its reader gets."""
        is_decision = hasattr(self.decision_writer, name)
        writer: Any = self.decision_writer if is_decision else self.report_writer
        outgoing, incoming = self.decision if is_decision else self.report
        overflow = getattr(writer, name)(outgoing, *args, **kwargs)
        return incoming if overflow is None else assembled(outgoing, overflow)

    def through(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Write a report or a decision, and return what its reader makes of it."""
        buffer = self.sent(name, *args, **kwargs)
        is_decision = hasattr(self.decision_writer, name)
        reader: Any = self.decision_reader if is_decision else self.report_reader
        return getattr(reader, name)(buffer)


def assembled(buffer: MessageBuffer, payload: bytes) -> MessageBuffer:
    """Return a message that exceeded its buffer, put together in private memory."""
    whole = MessageBuffer.private(len(payload))
    whole.words[:] = buffer.words[:]
    whole.payload[:] = payload
    whole.words[PAYLOAD_BYTES_WORD] = min(len(payload), UINT32_MASK)
    return whole


def message_of(header_words: dict[int, int], payload: bytes) -> MessageBuffer:
    """Return a message of words by index and of a payload, as a peer may send it."""
    buffer = MessageBuffer.private(len(payload))
    buffer.stamp(1, 2)
    buffer.words[PAYLOAD_BYTES_WORD] = len(payload)
    for word, value in header_words.items():
        buffer.words[word] = value
    buffer.payload[:] = payload
    return buffer
