"""A channel's files in plain memory, moved from event to event by RLay's own code."""

from typing import Any
from unittest import mock

import numpy as np

from rlay.protocol import slot_layout as at
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    GREETING_SLOT_BYTES,
    SLOT_CONTROL_BYTES,
    BellKind,
    Capability,
    CloseReason,
    Holder,
    Kind,
    Paradigm,
    PeerState,
)
from rlay.protocol.decisions import DecisionWriter
from rlay.protocol.reports import ReportWriter
from rlay.transport.header import ChannelFacts, ChannelHeader, EndLine
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.slots import SlotReader, SlotWriter
from rlay.transport.spinning import WaitPolicy
from tests.conformance import cases

_POLICY = WaitPolicy(0)
_CAPABILITIES = Capability.FUTEX | Capability.FIFO | Capability.RECORDS
_SINCE = 1_700_000_000
_OBSERVATION = np.array([0.01, 0.02, 0.03, 0.04], np.float32)


class Stage:
    """A channel on which events have happened."""

    def __init__(self, events: list[str]) -> None:
        """Let the events happen in order."""
        self._header_file = memoryview(bytearray(at.HEADER_FILE_BYTES))
        self._slots_file: memoryview | None = None
        self.header = ChannelHeader(self._header_file)
        self._agreement = Agreement.compile(cases.CARTPOLE, cases.TWO, 1, batched=False)
        for event in events:
            getattr(self, "_" + event.replace(" ", "_"))()

    def files(self) -> dict[str, memoryview]:
        """Return the files by name."""
        found = {"header": self._header_file}
        if self._slots_file is not None:
            found["slots.1"] = self._slots_file
        return found

    # ------------------------------------------------------------------- events

    def _create(self) -> None:
        self.header.create(ChannelFacts(Paradigm.CLIENT_ENV, 1))

    def _announce_server(self) -> None:
        self._announce(self.header.server, 101, BellKind.FUTEX, "example serve")

    def _announce_client(self) -> None:
        self._announce(self.header.client, 102, BellKind.POLL, "example train")

    def _announce(self, line: EndLine, pid: int, bell: BellKind, program: str) -> None:
        with (
            mock.patch("os.getpid", return_value=pid),
            mock.patch("time.time", return_value=float(_SINCE)),
        ):
            line.announce(bell, _CAPABILITIES, program)

    def _publish_hello(self) -> None:
        start = at.REQUEST_GREETING_OFFSET
        slot = self._header_file[start : start + GREETING_SLOT_BYTES]
        writer = _writer(slot, at.greeting_capacity())
        buffer = writer.buffers[1]
        buffer.stamp(0, cases.SESSION)
        buffer.write(int(Kind.HELLO), cases.GREETINGS["hello of an algorithm"].encode())
        writer.publish(1)

    def _make_slots(self) -> None:
        agreement = self._agreement
        geometry = SlotGeometry(agreement.decision_capacity, agreement.report_capacity)
        memory = self._slots_file = memoryview(bytearray(geometry.file_bytes))
        geometry.write(memory, 1)
        request, reply = (
            memory[start : start + at.slot_bytes(capacity)]
            for start, capacity in (
                (geometry.request_offset, geometry.request_capacity),
                (geometry.reply_offset, geometry.reply_capacity),
            )
        )
        self._request_words = request[:SLOT_CONTROL_BYTES].cast("I")
        self._requests = _writer(request, geometry.request_capacity)
        self._replies = _writer(reply, geometry.reply_capacity)
        self._requests_read = _reader(request, geometry.request_capacity)
        self._replies_read = _reader(reply, geometry.reply_capacity)

    def _begin_session(self) -> None:
        self.header.begin_session(1, cases.INCARNATION, cases.SESSION)
        for buffer in (*self._requests.buffers, *self._replies.buffers):
            buffer.stamp(cases.INCARNATION, cases.SESSION)

    def _sleep_server(self) -> None:
        self._request_words[at.PUBLISHED_BELL_WORD] = 1

    def _publish_request(self) -> None:
        buffer = self._requests.buffers[1]
        self._decisions((buffer,)).reset(buffer, 42, None)
        self._requests.publish(1)

    def _publish_second_request(self) -> None:
        buffer = self._requests.buffers[0]
        self._decisions((buffer,)).step(buffer, np.int64(1))
        self._requests.publish(2)

    def _decisions(self, buffers: tuple[MessageBuffer, ...]) -> DecisionWriter:
        return DecisionWriter(self._agreement, buffers)

    def _take_request(self) -> None:
        self._requests_read.take()

    def _publish_reply(self) -> None:
        buffer = self._replies.buffers[1]
        ReportWriter(self._agreement, (buffer,)).reset_result(buffer, _OBSERVATION, {})
        self._replies.publish(1)

    def _take_reply(self) -> None:
        self._replies_read.take()

    def _close_client(self) -> None:
        self.header.client.say(PeerState.CLOSED, CloseReason.CLOSED)

    def _bridge_loses_client(self) -> None:
        words = self._header_file.cast("I")
        words[(at.CLIENT_LINE_OFFSET + at.END_HOLDER_OFFSET) // 4] = Holder.BRIDGE
        self.header.client.say(PeerState.LOST, CloseReason.VANISHED)

    # --------------------------------------------------------------------- says

    def says(self) -> dict[str, Any]:
        """Return what the files say, decoded."""
        return said({name: bytes(data) for name, data in self.files().items()})


def _writer(slot: memoryview, capacity: int) -> SlotWriter:
    return SlotWriter(slot, capacity, lambda _: None, _POLICY)


def _reader(slot: memoryview, capacity: int) -> SlotReader:
    return SlotReader(slot, capacity, lambda _: None, _POLICY)


def said(files: dict[str, bytes]) -> dict[str, Any]:
    """Return what a channel's files say, read by RLay's own code."""
    memory = memoryview(bytearray(files["header"]))
    header = ChannelHeader(memory)
    facts = header.check("header")
    found: dict[str, Any] = {
        "paradigm": facts.paradigm.name,
        "num_envs": facts.num_envs,
        "mirror": facts.mirror,
        "generation": header.generation,
        "incarnation": f"{header.incarnation:016x}",
        "session": f"{header.session:016x}",
        "sessions": header.sessions,
        "server": _end(header.server),
        "client": _end(header.client),
        "slots": {
            "greeting, client to server": _slot(memory, at.REQUEST_GREETING_OFFSET),
            "greeting, server to client": _slot(memory, at.REPLY_GREETING_OFFSET),
        },
    }
    if header.generation:
        slots = memoryview(bytearray(files[f"slots.{header.generation}"]))
        geometry = SlotGeometry.read(slots, header.generation, "slots")
        found["request_capacity"] = geometry.request_capacity
        found["reply_capacity"] = geometry.reply_capacity
        found["slots"]["request"] = _slot(slots, geometry.request_offset)
        found["slots"]["reply"] = _slot(slots, geometry.reply_offset)
    return found


def _end(line: EndLine) -> dict[str, Any]:
    return {
        "state": PeerState(line.state).name,
        "reason": line.reason.name,
        "holder": Holder(line.holder).name,
        "bell": BellKind(line.bell).name,
        "capabilities": int(line.capabilities),
        "pid": line.pid,
        "since": line.since,
        "program": line.program,
    }


def _slot(memory: memoryview, offset: int) -> dict[str, Any]:
    words = memory[offset : offset + SLOT_CONTROL_BYTES].cast("I")
    return {
        "published": words[at.PUBLISHED_WORD],
        "taken": words[at.TAKEN_WORD],
        "taken_bell": words[at.TAKEN_BELL_WORD],
        "published_bell": words[at.PUBLISHED_BELL_WORD],
    }
