"""The header page: what it says, and what is not believed."""

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import ChannelCorrupt, VersionMismatch
from rlay.protocol.constants import (
    BellKind,
    Capability,
    CloseReason,
    Holder,
    Paradigm,
    PeerState,
)
from rlay.transport.header import ChannelFacts, ChannelHeader

FACTS = ChannelFacts(Paradigm.SERVER_ENV, 3, mirror=True)


@pytest.fixture
def memory():
    return memoryview(bytearray(4096))


@pytest.fixture
def header(memory):
    made = ChannelHeader(memory)
    made.create(FACTS)
    return made


def test_header_says_what_it_was_made_of(header):
    """The facts come back."""
    assert header.check("path") == FACTS


def test_header_lies_where_the_layout_says(header, memory):
    """Magic, versions, sizes, paradigm, mirror and number, byte for byte."""
    assert bytes(memory[:64]) == b"RLAYCHAN" + struct.pack(
        "<IIIIIIII", 1, 0, 4096, 65536, 2, 1, 3, 0
    ) + bytes(24)
    assert not any(memory[64:])


def test_copy_of_a_page_is_a_header(header, memory):
    """A copy is read like the page itself; what is cut off counts as zero."""
    assert ChannelHeader.of_page(bytes(memory)).check("path") == FACTS
    assert ChannelHeader.of_page(bytes(memory[:64])).check("path") == FACTS
    with pytest.raises(ChannelCorrupt, match="no magic"):
        ChannelHeader.of_page(b"").check("path")


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [
        (0, 0, "no magic"),
        (16, 8192, "sizes"),
        (20, 1, "sizes"),
        (24, 0, "paradigm"),
        (24, 3, "paradigm"),
        (32, 65_537, "65537 environments"),
    ],
)
def test_b6_unsound_field_is_corrupt(header, memory, offset, value, text):
    """B6: a field with a value that it cannot have is named, with the remedy."""
    struct.pack_into("<I", memory, offset, value)
    with pytest.raises(ChannelCorrupt, match=f"/some/path.*{text}.*Remove it by hand"):
        header.check("/some/path")


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_b13_other_version_is_told_apart(header, memory, version):
    """B13: another major version is no corruption; both versions are told."""
    struct.pack_into("<I", memory, 8, version)
    with pytest.raises(VersionMismatch) as caught:
        header.check("path")
    assert (caught.value.ours, caught.value.theirs) == (1, version)


def test_newer_minor_version_and_reserved_bytes_are_accepted(header, memory):
    """What newer minor versions add is ignored."""
    struct.pack_into("<I", memory, 12, 77)
    for offset in (36, 60, 64, 127, 384, 4095):
        memory[offset] = 0xFF
    assert header.check("path") == FACTS


def test_session_is_written_and_counted(header):
    """Ids of 64 bits, generation, and how many sessions there were."""
    header.begin_session(5, 2**64 - 2, 2**40 + 1)
    header.begin_session(6, 2**63, 7)
    assert (header.generation, header.sessions) == (6, 2)
    assert (header.incarnation, header.session) == (2**63, 7)
    assert header.facts() == {
        "version": 1,
        "minor": 0,
        "generation": 6,
        "incarnation": "8000000000000000",
        "session": "0000000000000007",
        "sessions": 2,
    }


# ------------------------------------------------------------------- the lines


def test_end_announces_itself(header, monkeypatch):
    """An announcement says who is there and how to wake it."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/train.py", "--seed", "1"])
    header.server.announce(BellKind.FIFO, Capability.FIFO | Capability.RECORDS)
    line = header.server
    assert line.state == PeerState.ALIVE
    assert line.reason is CloseReason.NONE
    assert line.holder == Holder.PROCESS
    assert line.bell == BellKind.FIFO
    assert line.capabilities == Capability.FIFO | Capability.RECORDS
    assert line.since > 1_700_000_000
    assert line.who == f"process {line.pid} (train.py --seed 1)"


def test_ends_do_not_share_a_line(header, memory):
    """What one end says changes no byte of the other's line, nor of the rest."""
    before = bytes(memory)
    header.client.announce(BellKind.FUTEX, Capability.FUTEX)
    header.client.say(PeerState.CLOSED, CloseReason.DRAINING)
    assert bytes(memory[:256]) == before[:256]
    assert bytes(memory[384:]) == before[384:]
    assert (header.client.state, header.client.reason) == (
        PeerState.CLOSED,
        CloseReason.DRAINING,
    )


@pytest.mark.parametrize("argv", [[], [""], None], ids=["empty", "nameless", "none"])
def test_embedded_interpreter_without_arguments_is_python(header, monkeypatch, argv):
    """A program without sys.argv, as a game with Python in it, can be an end."""
    if argv is None:
        monkeypatch.delattr(sys, "argv")
    else:
        monkeypatch.setattr(sys, "argv", argv)
    header.server.announce(BellKind.POLL, Capability.NONE)
    assert header.server.program == "python"


def test_long_command_line_is_cut(header, monkeypatch):
    """A command line is cut to its field, also within a character."""
    monkeypatch.setattr(sys, "argv", ["x" * 94 + "é" * 50])
    header.server.announce(BellKind.POLL, Capability.NONE)
    assert header.server.program.startswith("x" * 94)
    assert len(header.server.program) <= 96


def test_command_line_cannot_forge_lines_of_a_log(header, monkeypatch):
    """Line breaks and escapes of a terminal do not come out as such."""
    monkeypatch.setattr(sys, "argv", ["game", "a\nERROR b\x1b[31m"])
    header.server.announce(BellKind.POLL, Capability.NONE)
    assert header.server.program == "game a?ERROR b?[31m"


@given(st.binary(min_size=128, max_size=128))
def test_b6_no_line_is_too_broken_to_be_shown(content):
    """B6: whatever stands in a line, reading it raises nothing."""
    memory = memoryview(bytearray(4096))
    memory[128:256] = content
    line = ChannelHeader(memory).server
    assert line.program.isprintable() or not line.program
    assert line.who.startswith(f"process {line.pid} (")
    assert isinstance(line.reason, CloseReason)
    assert [line.state, line.holder, line.bell] == list(
        struct.unpack_from("<I4xII", content)
    )
    assert int(line.capabilities) == struct.unpack_from("<I", content, 16)[0]
