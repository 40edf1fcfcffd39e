"""Write the golden vectors: ``python -m tests.conformance.make_vectors``.

The same cases give the same bytes on every machine. A vector that changes means that
the wire changes: that needs a reason, a new version, and clients that follow.
"""

import json
from pathlib import Path
from typing import Any

from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, Kind
from rlay.protocol.frames import Frame
from rlay.protocol.greeting import Hello, Refusal, Welcome
from rlay.protocol.numbers import SCALAR_CODES, make_number_store
from rlay.protocol.slot_layout import slot_bytes
from rlay.protocol.spaces import encode_space, pack_space
from rlay.protocol.values import decode_value, encode_value
from rlay.transport.slots import SlotWriter
from rlay.transport.spinning import WaitPolicy
from tests.conformance import cases, frame_cases
from tests.conformance.messages import new_buffer, write
from tests.conformance.notation import to_json
from tests.conformance.stage import Stage

DIRECTORY = Path(__file__).parent / "vectors"
_LINE = 88


def header_and_payload(buffer: MessageBuffer, payload: bytes) -> dict[str, str]:
    """Return a message's two parts in hex."""
    return {"header": bytes(buffer.words).hex(), "payload": payload.hex()}


def values() -> dict[str, Any]:
    """Return the vectors of values."""
    return {
        "values": [
            {"name": name, "value": to_json(value), "hex": encode_value(value).hex()}
            for name, value in cases.VALUES.items()
        ],
        "in a RESET only": [
            {
                "name": name,
                "value": to_json(value),
                "hex": encode_value(value, big_ints=True).hex(),
            }
            for name, value in cases.BIG_INTS.items()
        ],
        "refused": [
            {"name": name, "hex": data, "why": why}
            for name, (data, why) in cases.BAD_VALUES.items()
        ],
    }


def numbers() -> dict[str, Any]:
    """Return the vectors of numbers with their type."""
    vectors = []
    for name, value in cases.VALUES.items():
        cell = memoryview(bytearray(8))
        if type(value) not in (int, float, bool, *SCALAR_CODES):
            continue
        code = make_number_store(cell)(value)
        if code:
            noted = to_json(value)
            vectors.append(
                {"name": name, "value": noted, "code": code, "hex": bytes(cell).hex()}
            )
    return {"numbers": vectors}


def space_vectors() -> dict[str, Any]:
    """Return the vectors of spaces and of what follows from them."""
    return {
        "spaces": [
            {
                "name": name,
                "description": to_json(pack_space(space)),
                "hex": encode_space(space).hex(),
                "layouts": _layouts(space),
            }
            for name, space in cases.SPACES.items()
        ]
    }


def _layouts(space: Any) -> dict[str, Any]:
    one = Agreement.compile(space, space, 1, batched=False)
    three = Agreement.compile(space, space, 3, batched=True)
    return {
        "of one environment": one.report_layout.pack(),
        "of reports of three": three.report_layout.pack(),
        "of decisions of three": three.decision_layout.pack(),
    }


def messages(cases_by_name: dict[str, cases.Message]) -> list[dict[str, Any]]:
    """Return the vectors of messages."""
    vectors = []
    for name, message in cases_by_name.items():
        buffer = new_buffer(message)
        payload = write(message, buffer)
        vectors.append(
            {"name": name, **session_of(message), **header_and_payload(buffer, payload)}
        )
    return vectors


def session_of(message: cases.Message) -> dict[str, Any]:
    """Return what a message is, and the session in which it is said."""
    return {
        "kind": message.kind.upper(),
        "space": to_json(pack_space(message.space)),
        "num_envs": message.num_envs,
        "batched": message.batched,
        "said before": message.before,
        "incarnation": f"{cases.INCARNATION:016x}",
        "session": f"{cases.SESSION:016x}",
        "sequence": message.sequence,
        "says": {name: to_json(value) for name, value in message.says.items()},
    }


def greetings() -> dict[str, Any]:
    """Return the vectors of greetings."""
    kinds = {Hello: Kind.HELLO, Welcome: Kind.WELCOME, Refusal: Kind.REFUSAL}
    return {
        "greetings": [
            {
                "name": name,
                "kind": kinds[type(greeting)].name,
                "version": 1,
                "minor": 0,
                "fields": to_json(decode_value(greeting.encode()[16:])),
                "hex": greeting.encode().hex(),
            }
            for name, greeting in cases.GREETINGS.items()
        ]
    }


def parts() -> dict[str, Any]:
    """Return the vectors of messages that exceed their slot."""
    vectors = []
    for name, parted in cases.PARTS.items():
        whole = new_buffer(parted.message)
        payload = write(parted.message, whole)
        memory = memoryview(bytearray(slot_bytes(parted.capacity)))
        writer = SlotWriter(memory, parted.capacity, lambda _: None, WaitPolicy(0))
        buffer = writer.buffers[parted.message.sequence & 1]
        buffer.words[:] = whole.words
        published = [
            header_and_payload(buffer, bytes(buffer.body()))
            for _ in writer.parts(parted.message.sequence, payload)
        ]
        vectors.append(
            {
                "name": name,
                **session_of(parted.message),
                "capacity": parted.capacity,
                "payload": payload.hex(),
                "parts": published,
            }
        )
    return {"parts": vectors}


def frames() -> dict[str, Any]:
    """Return the vectors of what travels between machines."""
    return {
        "frames": [
            {
                "name": name,
                **frame_fields(case.frame),
                "says": case.says(),
                "body": case.body_bytes.hex(),
                "hex": case.encode().hex(),
            }
            for name, case in frame_cases.FRAMES.items()
        ],
        "greetings": [
            {
                "name": name,
                "token": None if case.token is None else case.token.hex(),
                "certificate": case.certificate.hex(),
                "crc": case.crc,
                "dialer's nonce": frame_cases.DIALER_NONCE.hex(),
                "listener's nonce": frame_cases.LISTENER_NONCE.hex(),
                **case.frames(),
            }
            for name, case in frame_cases.LINK_GREETINGS.items()
        ],
        "refused": [
            {"name": name, "hex": data.hex(), "why": why}
            for name, (data, why) in frame_cases.BAD_FRAMES.items()
        ],
    }


def frame_fields(frame: Frame) -> dict[str, Any]:
    """Return the fields of a frame's header, ids in hex."""
    fields: dict[str, Any] = frame._asdict()
    fields["type"] = frame.type.name
    for name in ("incarnation", "session"):
        fields[name] = f"{fields[name]:016x}"
    return fields


def slots() -> dict[str, Any]:
    """Return the vectors of a channel's files."""
    vectors = []
    for name, state in cases.SLOTS.items():
        stage = Stage(state.events)
        vectors.append(
            {
                "name": name,
                "description": state.description,
                "says": stage.says(),
                "files": {file: image(data) for file, data in stage.files().items()},
            }
        )
    return {"message header bytes": MESSAGE_HEADER_BYTES, "slots": vectors}


def image(memory: memoryview) -> dict[str, Any]:
    """Return a file's size, and its lines of 16 bytes that are not all zero."""
    data = bytes(memory)
    lines = {
        str(start): data[start : start + 16].hex()
        for start in range(0, len(data), 16)
        if any(data[start : start + 16])
    }
    return {"size": len(data), "lines": lines}


def build() -> dict[str, str]:
    """Return the text of each file of vectors."""
    files = {
        "values.json": values(),
        "numbers.json": numbers(),
        "spaces.json": space_vectors(),
        "decisions.json": {"decisions": messages(cases.DECISIONS)},
        "reports.json": {"reports": messages(cases.REPORTS)},
        "greetings.json": greetings(),
        "parts.json": parts(),
        "slots.json": slots(),
        "frames.json": frames(),
    }
    return {name: text_of(content) + "\n" for name, content in files.items()}


def text_of(content: Any, indent: str = "") -> str:
    """Return JSON that people can read: on one line where that is short."""
    flat = json.dumps(content, ensure_ascii=True, allow_nan=False)
    if len(indent) + len(flat) <= _LINE or not isinstance(content, (dict, list)):
        return flat
    inner = indent + "  "
    if isinstance(content, dict):
        items = [f"{json.dumps(k)}: {text_of(v, inner)}" for k, v in content.items()]
    else:
        items = [text_of(item, inner) for item in content]
    first, last = "{}" if isinstance(content, dict) else "[]"
    return f"{first}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{last}"


def main() -> None:
    """Write every file."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in build().items():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    main()
