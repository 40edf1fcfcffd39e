"""The specification and the code say the same: its tables are compared with the code.

A table of docs/spec is found by the comment in front of it: ``<!-- table: name -->``.
"""

import json
import re
import struct
import zlib
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import pytest

from rlay.errors import RemoteProtocolError
from rlay.protocol import (
    constants,
    control,
    delivery,
    frames,
    greeting,
    layout,
    link_greeting,
    link_messages,
    spaces,
    tails,
)
from rlay.protocol import slot_layout as at
from rlay.protocol.agreement import Agreement
from rlay.protocol.constants import Flag, Kind
from rlay.protocol.control import unpack_map
from rlay.protocol.decisions import Operation
from rlay.protocol.frames import FrameType
from rlay.protocol.link_messages import (
    Announcement,
    Note,
    Opening,
    Question,
    SlotWords,
)
from rlay.protocol.numbers import ABSENT, BOOL, DTYPES, FLOAT, INT, SCALAR_CODES
from rlay.protocol.values import decode_value
from rlay.transport import ends, peers
from tests.conformance import cases, frame_cases, make_vectors

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"
PAGES = {path.name: path.read_text() for path in sorted(SPEC.glob("*.md"))}
TEXT = "\n".join(PAGES.values())

_TABLE = re.compile(r"<!-- (table|layout): ([\w \-]+) -->\n\n((?:\|.*\n)+)")
_VECTOR = re.compile(r"<!-- vector: ([\w.]+)/([^\n]+) -->\n\n```\n(.*?)```", re.DOTALL)


def tables() -> dict[str, list[list[str]]]:
    """Return the rows of each table by its name, cells without code marks."""
    found = {}
    for kind, name, text in _TABLE.findall(TEXT):
        lines = [line.strip("|\n").split("|") for line in text.splitlines()]
        rows = [[cell.strip().replace("`", "") for cell in line] for line in lines]
        assert f"{kind} {name}" not in found, f"two tables {name}"
        found[f"{kind} {name}"] = rows[2:]
    return found


TABLES = tables()


def table(name: str) -> list[list[str]]:
    """Return the rows of a table."""
    return TABLES[f"table {name}"]


# --- layouts --------------------------------------------------------------------------


def offsets(prefix: str, least: int = 0) -> dict[str, int]:
    """Return offsets of slot_layout by the names that they have in a table."""
    return {
        name.removeprefix(prefix).removesuffix("_OFFSET").lower(): value
        for name, value in vars(at).items()
        if name.startswith(prefix) and name.endswith("_OFFSET") and value >= least
    }


HEADER_FILE = {
    "header": 0,
    "request_greeting": at.REQUEST_GREETING_OFFSET,
    "reply_greeting": at.REPLY_GREETING_OFFSET,
}
SLOT = ("PUBLISHED", "TAKEN_BELL", "TAKEN", "PUBLISHED_BELL")
MESSAGE = (
    *("KIND", "SEQUENCE", "INCARNATION", "SESSION", "PAYLOAD_BYTES", "PART", "PARTS"),
    *("REWARD_TYPE", "REWARD", "TOTAL_BYTES"),
)


@pytest.mark.parametrize(
    ("name", "expected", "size"),
    [
        ("header-file", HEADER_FILE, at.HEADER_FILE_BYTES),
        ("header", offsets("HEADER_"), None),
        ("end", offsets("END_"), at.END_LINE_BYTES),
        ("slots", offsets("SLOTS_"), None),
        ("slot", {n.lower(): getattr(at, f"{n}_OFFSET") for n in SLOT}, None),
        (
            "message",
            {n.lower(): getattr(at, f"{n}_OFFSET") for n in MESSAGE},
            constants.MESSAGE_HEADER_BYTES,
        ),
    ],
)
def test_layout_tables_are_those_of_the_code(name, expected, size):
    """Each field lies where the code has it; fields follow each other without a gap."""
    rows = table(name)
    assert {row[2]: int(row[0]) for row in rows if row[2]} == expected
    ends_at = [int(row[0]) + int(row[1]) for row in rows]
    if name != "slot":
        starts = [int(row[0]) for row in rows]
        assert starts[1:] == ends_at[:-1]
    if size is not None:
        assert ends_at[-1] == size


def test_lines_of_the_header_are_those_of_the_code():
    """Both ends' lines, and the sizes in the text."""
    assert at.SERVER_LINE_OFFSET == 128
    assert at.CLIENT_LINE_OFFSET == 256
    assert "the server at 128, the client at\n256" in PAGES["slot.md"]
    assert at.slot_bytes(1000) == 256 + 2 * (64 + 1000)
    assert at.greeting_capacity() == 32576
    assert "its capacity is 32576" in PAGES["slot.md"]
    assert at.buffer_offset(1, 128) == 256 + 1 * (64 + 128)


def test_greeting_head_is_that_of_the_code():
    """Magic and versions in front of the map."""
    rows = table("greeting")
    assert [(row[2], int(row[0])) for row in rows] == [
        ("magic", 0),
        ("version", 8),
        ("minor", 12),
        ("fields", 16),
    ]
    assert greeting.Refusal(1, "").encode()[:16] == struct.pack(
        "<8sII", b"RLAYHELO", 1, 0
    )


@pytest.mark.parametrize("magic", ["CHANNEL_MAGIC", "SLOTS_MAGIC", "GREETING_MAGIC"])
def test_magics_are_those_of_the_code(magic):
    """Each magic stands in the text."""
    assert f"`{getattr(constants, magic).decode()}`" in TEXT


# --- numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "enumeration"),
    [
        ("paradigms", constants.Paradigm),
        ("states", constants.PeerState),
        ("holders", constants.Holder),
        ("bells", constants.BellKind),
        ("reasons", constants.CloseReason),
        ("errors", constants.ErrorCode),
        ("kinds", constants.Kind),
        ("extensions", constants.ExtensionType),
        ("status", constants.LaneStatus),
        ("capabilities", constants.Capability),
        ("operations", Operation),
    ],
)
def test_enumerations_are_those_of_the_code(name, enumeration):
    """Every number has its name, and none is missing on either side."""
    listed = {row[1]: int(row[0]) for row in table(name)}
    members: Any = enumeration.__members__.values()
    wanted = {member.name: int(member) for member in members}
    if issubclass(enumeration, IntFlag):
        wanted.pop("NONE", None)
    assert listed == wanted


def test_every_enumeration_of_the_wire_has_a_table():
    """No enumeration of constants.py is left out of the specification."""
    enumerations = {
        name
        for name, value in vars(constants).items()
        if isinstance(value, type)
        and issubclass(value, (IntEnum, IntFlag))
        and value not in (IntEnum, IntFlag)
    }
    assert enumerations == {
        *("Paradigm", "PeerState", "Holder", "BellKind", "CloseReason", "ErrorCode"),
        *("Kind", "ExtensionType", "LaneStatus", "Capability", "Flag"),
    }


def test_flags_are_those_of_the_code():
    """A flag is a bit of the first word."""
    assert {row[1]: 1 << int(row[0]) for row in table("flags")} == {
        flag.name: int(flag) for flag in Flag
    }


def test_numbers_are_those_of_the_code():
    """Type codes, dtypes and sizes."""
    rows = {int(row[0]): (row[1], row[2]) for row in table("numbers")}
    dtypes = {code: (str(d), str(d.itemsize)) for code, d in DTYPES.items()}
    assert rows == {
        ABSENT: ("", ""),
        **dtypes,
        INT: ("", "8"),
        FLOAT: ("", "8"),
        BOOL: ("", "8"),
    }
    assert set(SCALAR_CODES.values()) == set(DTYPES) - {14}


def test_limits_are_those_of_the_code():
    """Each limit has its value; each constant that is a limit stands there."""
    rows = {row[0].upper(): int(row[1]) for row in table("limits")}
    limits = {
        name: value
        for name, value in vars(constants).items()
        if re.match("(MAX|DEFAULT_MAX)_|TAIL_ROOM_BYTES", name)
    }
    assert rows == limits


def test_resume_window_is_that_of_the_code():
    """The window in which a bridge may be gone."""
    assert peers.RESUME_WINDOW_S == 300
    assert "the resume window of 300 s" in PAGES["slot.md"]


def test_greetings_have_sequence_one():
    """A greeting's sequence names its buffer."""
    assert ends.GREETING_SEQUENCE == 1


# --- frames and links -----------------------------------------------------------------


def packed_keys(frame_or_body: bytes) -> list[str]:
    """Return the keys of a map, in their order."""
    return list(unpack_map(frame_or_body)._data)


def greeting_keys() -> dict[str, list[str]]:
    """Return the keys of each frame of a greeting."""
    said = frame_cases.GreetingCase().frames()
    return {kind: packed_keys(bytes.fromhex(data)[64:]) for kind, data in said.items()}


def test_header_of_a_frame_is_that_of_the_code():
    """Fields follow each other; each has the bytes that the code gives it."""
    rows = table("frame")
    starts = [int(row[0]) for row in rows]
    ends_at = [int(row[0]) + int(row[1]) for row in rows]
    assert starts[1:] == ends_at[:-1]
    assert ends_at[-1] == frames.FRAME_HEADER_BYTES
    values: dict[str, int] = {
        "channel": 0xC0, "body_bytes": 64, "incarnation": 0xA0, "session": 0xB0,
        "sequence": 0xD0, "publication": 0xE0, "offset": 0xF0, "total": 0xFF0,
        "body_crc": 0x90,
    }  # fmt: skip
    header = frames.pack_header(39, **values)
    values |= {
        "version": 1,
        "type": 39,
        "flags": 1,
        "header_crc": zlib.crc32(header[:60]),
    }
    values["magic"] = int.from_bytes(b"RLFR", "little")
    for offset, size, name, _ in rows:
        start = int(offset)
        found = int.from_bytes(header[start : start + int(size)], "little")
        assert found == values.get(name, 0), name


def test_types_of_frames_are_those_of_the_code():
    """Every type has its row."""
    listed = {row[1]: int(row[0]) for row in table("frame-types")}
    assert listed == {kind.name: int(kind) for kind in FrameType}


@pytest.mark.parametrize("kind", FrameType)
def test_lengths_of_frames_are_those_of_the_code(kind):
    """Each type is held to the lengths of its row."""
    rows = {row[0]: row[1:] for row in table("frame-lengths")}
    (found,) = [
        row for types, row in rows.items() if kind.name in types.split(", ")
    ] or [rows["any other"]]
    body, front, payload = found
    most = int(front) + int(payload) if front else int(body)
    piece = min(most, int(body))
    frames.unpack_header(frames.pack_header(kind, total=most, body_bytes=piece))
    for total, size in ((most + 1, piece), (int(body) + 1, int(body) + 1)):
        with pytest.raises(RemoteProtocolError):
            frames.unpack_header(frames.pack_header(kind, total=total, body_bytes=size))
    if front:
        least = int(front)
        frames.unpack_header(frames.pack_header(kind, total=least, body_bytes=least))
        with pytest.raises(RemoteProtocolError):
            frames.unpack_header(
                frames.pack_header(kind, total=least - 1, body_bytes=least - 1)
            )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("link-hello", "HELLO"),
        ("link-challenge", "CHALLENGE"),
        ("link-proof", "PROOF"),
        ("link-welcome", "WELCOME"),
    ],
)
def test_keys_of_a_links_greeting_are_those_of_the_code(name, kind):
    """Every key of each map has its row."""
    assert [row[0] for row in table(name)] == greeting_keys()[kind]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("announcement", Announcement("x", 1)),
        ("question", Question("x")),
        ("note", Note(7, "text", 2)),
    ],
)
def test_keys_of_control_frames_are_those_of_the_code(name, body):
    """So have those of the other maps."""
    assert [row[0] for row in table(name)] == packed_keys(body.encode())


@pytest.mark.parametrize(
    ("name", "kind"), [("slot-words", SlotWords), ("opening", Opening)]
)
def test_words_of_control_frames_are_those_of_the_code(name, kind):
    """Four words, in the order of the rows."""
    rows = table(name)
    assert [int(row[0]) for row in rows] == [0, 4, 8, 12]
    names = [row[2] for row in rows]
    for index, word in enumerate(names):
        body = kind(**{each: int(each == word) for each in names}).encode()
        assert body == bytes(4 * index) + b"\1\0\0\0" + bytes(12 - 4 * index)


def test_capabilities_of_links_are_those_of_the_code():
    """Each bit has its row."""
    listed = {row[1]: int(row[0]) for row in table("link-capabilities")}
    wanted = {each.name: int(each) for each in link_greeting.LinkCapability if each}
    assert listed == wanted


def test_limits_of_links_are_those_of_the_code():
    """Each has its value, in the module that keeps it."""
    homes = (frames, control, link_greeting, link_messages)
    for name, value, _ in table("link-limits"):
        found = {
            vars(home)[name.upper()] for home in homes if name.upper() in vars(home)
        }
        assert found == {int(value)}, name
    assert "at most 64 KiB, nested at most 4 deep" in PAGES["frames.md"]
    assert f"of at least {link_greeting.MIN_TOKEN_BYTES} bytes" in PAGES["frames.md"]


def test_labels_of_macs_are_those_of_the_code():
    """The words in front of the transcripts."""
    for label in (link_greeting._DIALER_LABEL, link_greeting._LISTENER_LABEL):
        assert f'"{label.decode()}"' in PAGES["frames.md"]


@pytest.mark.parametrize(
    "name", ["link-dialer", "link-listener", "mirroring", "announcing"]
)
def test_states_of_links_lead_to_states(name):
    """Each next state is one of the table, or an end."""
    rows = table(name)
    states = {state for row in rows for state in row[0].split(", ")}
    nexts = {row[3] for row in rows}
    states |= {"UP", "FAILED", "GONE"}
    assert nexts <= states | {"same"}
    words = {word for row in rows for word in re.findall("[A-Z_]{4,}", str(row))}
    known = {*FrameType.__members__, *constants.ErrorCode.__members__}
    known |= {*constants.CloseReason.__members__, *constants.PeerState.__members__}
    known |= {*Kind.__members__}
    assert words <= known | states


def test_codes_of_breaches_are_those_of_the_code():
    """What ends a link does so with a number that exists."""
    codes = {row[1] for row in table("link-breaches")} - {""}
    assert codes <= set(constants.ErrorCode.__members__)
    assert {"CORRUPT", "PROTOCOL", "AUTH", "VERSION", "TOO_LARGE"} == codes


# --- messages -------------------------------------------------------------------------


def test_tails_are_those_of_the_code():
    """Each kind's tail has as many items as the code demands."""
    rows = {row[0]: [x for x in row[1].split(", ") if x] for row in table("tails")}
    lengths = {kind.name: count for kind, count in tails._TAIL_LENGTHS.items()}
    assert {kind: len(items) for kind, items in rows.items()} == lengths


def test_kinds_are_said_by_the_end_that_the_table_names():
    """Decisions below 16, reports from 16, greetings from 32."""
    said_by = {row[1]: row[2] for row in table("kinds")}
    for kind in Kind:
        wanted = "algorithm" if kind < 16 else "environment"
        if kind >= 32:
            wanted = "client" if kind is Kind.HELLO else "server"
        assert said_by[kind.name] == wanted


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("hello", greeting.Hello(constants.Paradigm.CLIENT_ENV)),
        ("welcome", greeting.Welcome(1)),
        ("refusal", greeting.Refusal(1, "")),
    ],
)
def test_keys_of_greetings_are_those_of_the_code(name, made):
    """Every key of the map has its row."""
    fields = decode_value(made.encode()[16:])
    assert [row[0] for row in table(name)] == list(fields)


def test_keys_within_greetings_are_those_of_the_code():
    """So have those of the facts and of the wishes."""
    assert [row[0] for row in table("facts")] == list(cases.FACTS.pack())
    assert [row[0] for row in table("wishes")] == list(greeting.Wishes().pack())


# --- spaces ---------------------------------------------------------------------------


def test_kinds_of_space_are_those_of_the_code():
    """Each kind has its row; as many items as the code packs."""
    rows = {row[0]: row[1] for row in table("spaces")}
    assert set(rows) == set(spaces._UNPACK)
    fixed = {"box", "discrete", "multi_binary", "multi_discrete", "text"}
    fixed |= {"sequence", "graph", "opaque"}
    for space in cases.SPACES.values():
        kind, *items = spaces.pack_space(space)
        if kind in fixed:
            assert len(items) == len(rows[kind].split(", "))


def test_arrays_of_a_batch_are_those_of_the_code():
    """Names and dtype codes of what stands behind a batch's leaves."""
    listed = [(row[0], row[1], int(row[2]), row[3]) for row in table("batches")]
    wanted = [("reports", *extra, "(N,)") for extra in layout.REPORT_EXTRA]
    wanted += [("decisions", *extra, "(N,)") for extra in layout.DECISION_EXTRA]
    assert listed == wanted


@pytest.mark.parametrize(
    ("name", "batched", "total"),
    [("one environment", False, 112), ("reports of three", True, 344)],
)
def test_examples_of_layouts_are_computed_by_the_code(name, batched, total):
    """The drawn areas are those of the vectors' nested space."""
    compiled = Agreement.compile(
        cases.NESTED, cases.TWO, 3 if batched else 1, batched=batched
    ).report_layout
    rows = [
        [leaf.path, *map(str, (leaf.dtype, leaf.shape, leaf.offset, leaf.size_bytes))]
        for leaf in compiled.leaves
    ]
    assert TABLES[f"layout {name}"] == rows
    assert compiled.fixed_bytes == total
    assert f"It takes {total} bytes." in PAGES["spaces.md"]


# --- delivery -------------------------------------------------------------------------


def transitions(name: str, event: str, known: dict[Any, Any]) -> None:
    """Compare the rows of one kind of event with a table of the code."""
    listed = {
        (row[0], row[1].removeprefix(f"{event}, ").upper()): (row[2], row[3])
        for row in table(name)
        if row[1].startswith(f"{event}, ")
    }
    assert listed.pop(("any", "OTHER")) == ("BREACH", "OVER")
    assert listed == {
        (state.name, order.name): (outcome.name, after.name)
        for (state, order), (outcome, after) in known.items()
    }


def test_delivery_tables_are_those_of_the_code():
    """Every edge of both machines, and no other."""
    transitions("requester", "reply", delivery.REPLY_TABLE)
    transitions("responder", "request", delivery.REQUEST_TABLE)


@pytest.mark.parametrize("name", ["requester", "responder"])
def test_other_events_of_delivery_are_those_of_the_code(name):
    """Begin, cancel, abandon, answer and lose lead where the table says."""
    machines: Any = {
        "requester": (delivery.Requester, delivery.RequesterState),
        "responder": (delivery.Responder, delivery.ResponderState),
    }
    make, states = machines[name]
    for state, event, _, after, _ in table(name):
        if "," in event:
            continue
        for start in states if state == "any" else [states[state]]:
            machine = make()
            machine.state, machine.sequence = start, 5
            getattr(machine, event)()
            assert machine.state is states[after], (name, state, event)


# --- both paradigms -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["client-env", "server-env", "loop"])
def test_paradigms_speak_of_kinds_that_exist(name):
    """Each word in capitals is a kind of message, or a state of the loop."""
    words = {word for row in table(name) for word in re.findall("[A-Z_]{3,}", str(row))}
    assert words <= {*Kind.__members__, "IDLE", "RUN"}


# --- examples and the text ------------------------------------------------------------

EXAMPLES = _VECTOR.findall(TEXT)


@pytest.mark.parametrize(("file", "name", "block"), EXAMPLES)
def test_examples_are_the_vectors(file, name, block):
    """The bytes of an example are those of the vector that it names."""
    content = json.loads((make_vectors.DIRECTORY / file).read_text())
    (vector,) = [v for group in content.values() for v in group if v["name"] == name]
    hexadecimal = "".join(
        re.match(r"[0-9a-f ]*", line[:48]).group()  # type: ignore[union-attr]
        for line in block.splitlines()
    ).replace(" ", "")
    expected = vector.get("hex") or vector["header"] + vector["payload"]
    assert hexadecimal == expected


def test_there_are_examples():
    """The text has examples at all: the test above is not empty."""
    assert len(EXAMPLES) >= 5


def test_every_table_is_compared():
    """No table is marked that nobody looks at."""
    here = Path(__file__).read_text()
    for name in TABLES:
        assert f'"{name.split(" ", 1)[1]}"' in here, f"{name} is compared with nothing"


@pytest.mark.parametrize("page", PAGES)
def test_prohibitions_are_in_capitals(page):
    """What is forbidden is said in the words that are defined, not beside them."""
    assert not re.search(r"\b(must|should|may) not\b|\bshall\b", PAGES[page])


def test_readme_links_every_page():
    """The index is whole."""
    for page in PAGES:
        assert page == "README.md" or f"({page})" in PAGES["README.md"]
