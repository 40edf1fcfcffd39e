"""The golden vectors, both ways: what is written for an input, what is read from bytes.

The inputs are taken from the JSON files, as a client in another language takes them.
"""

import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlay.errors import (
    DecodeError,
    MessageTooLarge,
    RLayTimeout,
    VersionMismatch,
)
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import MESSAGE_HEADER_BYTES, Kind
from rlay.protocol.frames import Frame, FrameDecoder, FrameType
from rlay.protocol.greeting import Hello, Refusal, Welcome
from rlay.protocol.numbers import make_number_load, make_number_store
from rlay.protocol.slot_layout import slot_bytes
from rlay.protocol.spaces import decode_space, encode_space, pack_space, unpack_space
from rlay.protocol.values import decode_value, encode_value
from rlay.transport.peers import Deadline
from rlay.transport.slots import SlotReader, SlotWriter
from rlay.transport.spinning import WaitPolicy
from tests.conformance import cases, frame_cases, make_vectors
from tests.conformance.cases import Message
from tests.conformance.messages import new_buffer, read, write
from tests.conformance.notation import from_json, to_json
from tests.conformance.stage import said
from tests.support.equality import assert_identical

ROOT = Path(__file__).resolve().parents[2]


def vectors(file: str, *groups: str) -> Any:
    """Return parameters: the vectors of some groups of a file, by their names."""
    content = json.loads((make_vectors.DIRECTORY / file).read_text())
    found = [vector for group in groups for vector in content[group]]
    return pytest.mark.parametrize("vector", found, ids=lambda vector: vector["name"])


def message_of(vector: dict[str, Any]) -> Message:
    """Return the message that a vector is about."""
    return Message(
        vector["kind"].lower(),
        {name: from_json(value) for name, value in vector["says"].items()},
        unpack_space(from_json(vector["space"])),
        vector["num_envs"],
        vector["batched"],
        vector["said before"],
        vector["sequence"],
    )


def buffer_of(header: str, payload: str) -> MessageBuffer:
    """Return a message from its bytes."""
    data = bytes.fromhex(header + payload)
    return MessageBuffer(memoryview(bytearray(data)))


def assert_ids(vector: dict[str, Any], buffer: MessageBuffer) -> None:
    """Assert that a header's words are those that the vector tells of."""
    assert buffer.kind is Kind[vector["kind"]]
    assert f"{buffer.incarnation:016x}" == vector["incarnation"]
    assert f"{buffer.session:016x}" == vector["session"]
    assert buffer.sequence == vector["sequence"]


# --- the files ------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(make_vectors.build()))
def test_vectors_are_what_the_generator_writes(file):
    """Making them again gives the same bytes: the wire has not changed by accident."""
    text = make_vectors.build()[file]
    assert (make_vectors.DIRECTORY / file).read_text() == text


def test_there_are_no_other_files():
    """Each file of vectors has its generator."""
    files = {path.name for path in make_vectors.DIRECTORY.iterdir()}
    assert files == set(make_vectors.build())


def test_vectors_do_not_depend_on_the_process(tmp_path):
    """Another process with other hash seeds writes the same bytes."""
    code = (
        "import sys; from pathlib import Path; from tests.conformance import "
        "make_vectors as m; m.DIRECTORY = Path(sys.argv[1]); m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1234"},
        timeout=120,
    )
    assert done.returncode == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == make_vectors.build()


def test_every_kind_of_message_has_vectors():
    """No kind is left out, neither fixed areas, values, records, batches nor parts."""
    kinds = {message.kind.upper() for message in cases.DECISIONS.values()}
    kinds |= {message.kind.upper() for message in cases.REPORTS.values()}
    kinds |= {type(greeting).__name__.upper() for greeting in cases.GREETINGS.values()}
    assert kinds == {kind.name for kind in Kind}


# --- values, numbers, spaces ----------------------------------------------------------


@vectors("values.json", "values")
def test_value(vector):
    """A value is written as these bytes, and read from them."""
    value = from_json(vector["value"])
    data = bytes.fromhex(vector["hex"])
    assert encode_value(value) == data
    assert_identical(decode_value(data), value)


@vectors("values.json", "in a RESET only")
def test_value_of_a_reset(vector):
    """An integer beyond 64 bits is for a RESET."""
    value = from_json(vector["value"])
    data = bytes.fromhex(vector["hex"])
    assert encode_value(value, big_ints=True) == data
    assert_identical(decode_value(data, big_ints=True), value)
    with pytest.raises(DecodeError):
        decode_value(data)


@vectors("values.json", "refused")
def test_refused_value(vector):
    """These bytes are no value."""
    with pytest.raises(DecodeError):
        decode_value(bytes.fromhex(vector["hex"]))


@vectors("numbers.json", "numbers")
def test_number(vector):
    """A number has this code and these eight bytes."""
    value = from_json(vector["value"])
    cell = memoryview(bytearray(b"\xff" * 8))
    assert make_number_store(cell)(value) == vector["code"]
    assert bytes(cell).hex() == vector["hex"]
    assert_identical(make_number_load(cell)(vector["code"]), value)


@vectors("spaces.json", "spaces")
def test_space(vector):
    """A description is written as these bytes, and read from them."""
    description = from_json(vector["description"])
    data = bytes.fromhex(vector["hex"])
    assert encode_value(description) == data
    assert encode_space(unpack_space(description)) == data
    assert_identical(pack_space(decode_space(data)), description)


@vectors("spaces.json", "spaces")
def test_layouts(vector):
    """The same layouts follow from it at both ends."""
    space = unpack_space(from_json(vector["description"]))
    one = Agreement.compile(space, space, 1, batched=False)
    three = Agreement.compile(space, space, 3, batched=True)
    tables = vector["layouts"]
    assert one.report_layout.pack() == tables["of one environment"]
    assert one.decision_layout.pack() == tables["of one environment"]
    assert three.report_layout.pack() == tables["of reports of three"]
    assert three.decision_layout.pack() == tables["of decisions of three"]


# --- messages -------------------------------------------------------------------------


@vectors("decisions.json", "decisions")
def test_decision_is_written(vector):
    """Header and payload are these bytes."""
    message = message_of(vector)
    buffer = new_buffer(message)
    payload = write(message, buffer)
    assert bytes(buffer.words).hex() == vector["header"]
    assert payload.hex() == vector["payload"]


@vectors("reports.json", "reports")
def test_report_is_written(vector):
    """Header and payload are these bytes."""
    message = message_of(vector)
    buffer = new_buffer(message)
    payload = write(message, buffer)
    assert bytes(buffer.words).hex() == vector["header"]
    assert payload.hex() == vector["payload"]


def assert_read(vector: dict[str, Any], buffer: MessageBuffer) -> None:
    """Assert that a message says what the vector says."""
    message = message_of(vector)
    assert_ids(vector, buffer)
    said_here = read(message, buffer)
    assert list(said_here) == list(message.says)
    for name, value in message.says.items():
        assert_identical(said_here[name], value, f"$.{name}")


@vectors("decisions.json", "decisions")
def test_decision_is_read(vector):
    """What it says is read from these bytes."""
    assert_read(vector, buffer_of(vector["header"], vector["payload"]))


@vectors("reports.json", "reports")
def test_report_is_read(vector):
    """What it says is read from these bytes."""
    assert_read(vector, buffer_of(vector["header"], vector["payload"]))


@vectors("greetings.json", "greetings")
def test_greeting(vector):
    """A greeting is its versions and its map; to read and write it changes nothing."""
    fields = from_json(vector["fields"])
    data = bytes.fromhex(vector["hex"])
    head = b"RLAYHELO" + b"".join(
        vector[name].to_bytes(4, "little") for name in ("version", "minor")
    )
    assert head + encode_value(fields) == data
    kind: Any = {"HELLO": Hello, "WELCOME": Welcome, "REFUSAL": Refusal}[vector["kind"]]
    assert kind.decode(data).encode() == data
    assert_identical(decode_value(data[16:]), fields)


# --- frames ---------------------------------------------------------------------------


def frame_of(vector: dict[str, Any]) -> Frame:
    """Return the header that a vector tells of."""
    fields = {name: vector[name] for name in Frame._fields}
    fields["type"] = FrameType[fields["type"]]
    for name in ("incarnation", "session"):
        fields[name] = int(fields[name], 16)
    return Frame(**fields)


def frames_in(data: bytes) -> list[tuple[Frame, bytes]]:
    """Return the frames in a stream."""
    found: list[tuple[Frame, bytes]] = []
    decoder = FrameDecoder(
        lambda frame: None, lambda frame, body: found.append((frame, bytes(body)))
    )
    decoder.feed(data)
    return found


@vectors("frames.json", "frames")
def test_frame(vector):
    """A frame is written as these bytes, and read from them."""
    frame, body = frame_of(vector), bytes.fromhex(vector["body"])
    data = bytes.fromhex(vector["hex"])
    assert frame_cases.encode_frame(frame, body) == data
    assert frames_in(data) == [(frame, body)]


@vectors("frames.json", "frames")
def test_body_of_a_frame(vector):
    """What a control frame says is written as this body, and read from it."""
    kind = frame_cases.BODIES.get(FrameType[vector["type"]])
    body = bytes.fromhex(vector["body"])
    if kind is None:
        assert vector["says"] is None
    else:
        assert kind(**vector["says"]).encode() == body
        assert kind.decode(body) == kind(**vector["says"])


@vectors("frames.json", "greetings")
def test_greeting_of_a_link(vector):
    """Both ends say these bytes, and let each other in."""
    token = vector["token"]
    case = frame_cases.GreetingCase(
        None if token is None else bytes.fromhex(token),
        bytes.fromhex(vector["certificate"]),
        vector["crc"],
    )
    said = case.frames()
    assert said == {kind: vector[kind] for kind in said}


@vectors("frames.json", "greetings")
def test_proofs_of_a_link(vector):
    """The macs follow from the bytes of HELLO and CHALLENGE alone."""
    said = {kind: bytes.fromhex(vector[kind])[64:] for kind in ("HELLO", "CHALLENGE")}
    text = b"".join(len(body).to_bytes(4, "little") + body for body in said.values())
    transcript = hashlib.sha256(text + bytes.fromhex(vector["certificate"])).digest()
    for kind, label in (("PROOF", b"rlay1 dialer"), ("WELCOME", b"rlay1 listener")):
        mac = decode_value(bytes.fromhex(vector[kind])[64:])["mac"]
        token = vector["token"]
        if token is None:
            assert mac == b""
        else:
            key = bytes.fromhex(token)
            assert mac == hmac.digest(key, label + transcript, "sha256")


@vectors("frames.json", "refused")
def test_refused_frame(vector):
    """These bytes end a link."""
    with pytest.raises((DecodeError, MessageTooLarge, VersionMismatch)):
        frames_in(bytes.fromhex(vector["hex"]))


def test_every_type_of_frame_has_vectors():
    """No type is left out."""
    kinds = {case.type for case in frame_cases.FRAMES.values()}
    said = set(frame_cases.GreetingCase().frames())
    assert {kind.name for kind in kinds} | said == set(FrameType.__members__)


# --- parts and slots ------------------------------------------------------------------


def slot(vector: dict[str, Any]) -> tuple[SlotWriter, SlotReader]:
    """Return both ends of a slot of the vector's capacity."""
    capacity = vector["capacity"]
    memory = memoryview(bytearray(slot_bytes(capacity)))
    quiet = WaitPolicy(0)
    return (
        SlotWriter(memory, capacity, lambda _: None, quiet),
        SlotReader(memory, capacity, lambda _: None, quiet),
    )


@vectors("parts.json", "parts")
def test_parts_are_written(vector):
    """A message that exceeds its slot is published in these parts."""
    message = message_of(vector)
    whole = new_buffer(message)
    payload = write(message, whole)
    assert payload.hex() == vector["payload"]
    writer, _ = slot(vector)
    buffer = writer.buffers[message.sequence & 1]
    buffer.words[:] = whole.words
    published = [
        {"header": bytes(buffer.words).hex(), "payload": bytes(buffer.body()).hex()}
        for _ in writer.parts(message.sequence, payload)
    ]
    assert published == vector["parts"]


@vectors("parts.json", "parts")
def test_parts_are_put_together(vector):
    """A reader of these parts has the message."""
    writer, reader = slot(vector)
    sequence = vector["sequence"]
    patience = Deadline(None, 5.0, lambda: RLayTimeout("a part is missing"))
    buffer = writer.buffers[sequence & 1]
    whole = None
    for part in vector["parts"]:
        data = bytes.fromhex(part["payload"])
        buffer.words[:] = memoryview(bytes.fromhex(part["header"])).cast("I")
        buffer.payload[: len(data)] = data
        writer.publish(sequence)
        try:
            whole = reader.assemble(reader.receive(patience), 2**20, ONE_LOOK)
        except TimeoutError:
            continue
    assert whole is not None
    assert bytes(whole.body()).hex() == vector["payload"]
    assert_read(vector, whole)


class _OneLook:
    """Patience for what is there already."""

    def start(self) -> float:
        """Do not sleep."""
        return 0.0

    def check(self) -> float:
        """Give up."""
        raise TimeoutError


ONE_LOOK = _OneLook()


def file_of(image: dict[str, Any]) -> bytes:
    """Return a file from its lines that are not all zero."""
    data = bytearray(image["size"])
    for start, line in image["lines"].items():
        data[int(start) : int(start) + 16] = bytes.fromhex(line)
    return bytes(data)


@vectors("slots.json", "slots")
def test_slot_state_is_read(vector):
    """What a channel's files say is read from their bytes."""
    files = {name: file_of(image) for name, image in vector["files"].items()}
    assert said(files) == vector["says"]


def test_states_of_slots_are_these():
    """Every state that a client meets has its image."""
    assert set(cases.SLOTS) >= {
        "new channel",
        "attached",
        "request published",
        "request taken",
        "reply published",
        "closed",
        "lost",
    }


# --- the notation ---------------------------------------------------------------------


@pytest.mark.parametrize("value", cases.VALUES.values(), ids=cases.VALUES)
def test_notation_is_exact(value):
    """Every value of the vectors goes through JSON without a change."""
    assert_identical(from_json(json.loads(json.dumps(to_json(value)))), value)


@pytest.mark.parametrize("value", [object(), {1}, 1j])
def test_notation_refuses_what_it_cannot_say(value):
    """Nothing is noted as something else."""
    with pytest.raises(TypeError, match="no notation"):
        to_json(value)


def test_notation_refuses_what_it_does_not_know():
    """An unknown key is a mistake in a vector."""
    with pytest.raises(ValueError, match="unknown notation"):
        from_json({"$complex": 1})


def test_message_headers_are_64_bytes():
    """Each header in the vectors is whole."""
    for file, group in (("decisions.json", "decisions"), ("reports.json", "reports")):
        content = json.loads((make_vectors.DIRECTORY / file).read_text())
        for vector in content[group]:
            assert len(vector["header"]) == 2 * MESSAGE_HEADER_BYTES
            assert vector["num_envs"] == 1 or vector["batched"]


def test_notes_of_arrays_are_little_endian():
    """Byte order is normalised in the notation as on the wire."""
    assert to_json(np.array([1], ">i2")) == {"$array": ["int16", [1], "0100"]}
