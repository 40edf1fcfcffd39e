"""Bodies of the control frames of a link."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay import errors
from rlay.errors import DecodeError, MessageTooLarge, RLayError
from rlay.protocol.constants import CloseReason, ErrorCode, Paradigm, PeerState
from rlay.protocol.frames import DamagedFrame, FrameType, pack_frame, unpack_header
from rlay.protocol.link_messages import (
    LINK_VERSION,
    Announcement,
    Ending,
    Note,
    Opening,
    Question,
    SlotWords,
)

words = st.integers(0, 2**32 - 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
KINDS = (Announcement, Ending, Note, Opening, Question, SlotWords)


@given(
    names,
    st.sampled_from(Paradigm),
    st.integers(0, 65_536),
    words,
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=64),
)
def test_announcement_comes_back(name, paradigm, num_envs, capabilities, text):
    """Every field of an announcement has a place of its own."""
    said = Announcement(name, paradigm, num_envs, capabilities, text, text[::-1])
    assert Announcement.decode(said.encode()) == said


@given(st.tuples(words, words, words, words))
def test_words_come_back(four):
    """Slot words are sixteen bytes, in the order of the specification."""
    said = SlotWords(*four)
    assert said.encode() == b"".join(word.to_bytes(4, "little") for word in four)
    assert SlotWords.decode(memoryview(said.encode())) == said


@given(words, st.integers(0, 2**30), st.integers(0, 2**30), words, st.binary())
def test_opening_stands_in_front_of_a_payload(capabilities, request, reply, gen, rest):
    """The sixteen bytes are read whatever follows them."""
    said = Opening(capabilities, request, reply, gen)
    assert len(said.encode()) == 16
    assert Opening.decode(said.encode() + rest) == said


@pytest.mark.parametrize("state", [PeerState.LOST, PeerState.CLOSED])
@pytest.mark.parametrize("reason", [*CloseReason, 8, 0x8001, 2**32 - 1])
def test_ending_comes_back(state, reason):
    """Reasons that nobody knows are passed on as numbers."""
    said = Ending(state, reason)
    assert said.encode() == bytes((state, 0, 0, 0)) + reason.to_bytes(4, "little")
    assert Ending.decode(said.encode()) == said


@pytest.mark.parametrize("name", ["a", "n.*", "group.1.*", "x" * 64])
def test_question_comes_back(name):
    """A channel may be asked for, and a group."""
    assert Question.decode(Question(name).encode()) == Question(name)


@pytest.mark.parametrize("code", [*ErrorCode, 0x8001, 2**32 - 1])
@pytest.mark.parametrize("version", [0, 3])
def test_note_comes_back(code, version):
    """Codes that nobody knows are passed on as numbers."""
    said = Note(code, "facts, numbers and remedy", version)
    assert Note.decode(said.encode()) == said


# ---------------------------------------------------------------------- malformed


@given(st.sampled_from(KINDS), st.binary(max_size=100))
def test_d9_arbitrary_bodies_raise_documented_errors(kind, body):
    """D9: whatever a body holds, it is read or refused."""
    with contextlib.suppress(DecodeError, MessageTooLarge):
        kind.decode(body)


@given(
    st.sampled_from(KINDS),
    st.dictionaries(
        st.sampled_from(
            [
                "name",
                "paradigm",
                "num_envs",
                "capabilities",
                "machine",
                "program",
                "code",
                "message",
                "version",
            ]
        ),
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    ),
)
def test_d9_maps_of_anything_raise_documented_errors(kind, fields):
    """D9: so it is with maps of the right keys."""
    with contextlib.suppress(DecodeError, MessageTooLarge):
        kind.decode(msgpack.packb(fields))


GOOD = {
    "name": "x", "paradigm": 1, "num_envs": 1, "capabilities": 0, "machine": "",
    "program": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": "../x"}, r"'../x' cannot name a channel.*\$\.name"),
        ({"name": "n.*"}, "cannot name a channel"),
        ({"name": ".new-x"}, "cannot name a channel"),
        ({"name": "x\n"}, "cannot name a channel"),
        ({"name": b"x"}, "expected str"),
        ({"paradigm": 3}, r"unknown paradigm 3, at \$\.paradigm"),
        ({"paradigm": True}, r"\$\.paradigm"),
        ({"num_envs": 65_537}, r"\$\.num_envs"),
        ({"num_envs": -1}, r"\$\.num_envs"),
        ({"capabilities": 2**32}, r"\$\.capabilities"),
        ({"machine": "m" * 65}, r"\$\.machine"),
        ({"program": "p" * 257}, r"\$\.program"),
    ],
)
def test_malformed_announcement_names_the_field(fields, path):
    """A name can never lead out of the directory of channels; counts have limits."""
    Announcement.decode(msgpack.packb(GOOD))
    with pytest.raises(DecodeError, match=path):
        Announcement.decode(msgpack.packb({**GOOD, **fields}))


@pytest.mark.parametrize("name", ["", "*", "a*", ".*", "../x.*", "a.*.*", "x" * 65])
def test_malformed_question_is_refused(name):
    """It names a channel or a group of channels."""
    with pytest.raises(DecodeError, match="cannot name a channel"):
        Question.decode(Question(name).encode())


@pytest.mark.parametrize("state", [0, 1, 2, 5, 2**32 - 1])
def test_ending_that_ends_nothing_is_refused(state):
    """Only what is lost or closed has ended."""
    with pytest.raises(DecodeError, match=f"state {state} is no end"):
        Ending.decode(Ending(state, 0).encode())


@pytest.mark.parametrize("kind", [Ending, SlotWords])
def test_words_have_an_exact_size(kind):
    """A byte more or less is a breach."""
    body = kind(*[4] * len(kind.__dataclass_fields__)).encode()
    for wrong in (body[:-1], body + b"\0", b""):
        with pytest.raises(DecodeError, match=f"expected {len(body)} bytes, got"):
            kind.decode(wrong)


def test_opening_is_checked_before_slots_are_made():
    """Too short is a DecodeError, a slot beyond 1 GiB a MessageTooLarge."""
    with pytest.raises(DecodeError, match="an opening of 15 bytes"):
        Opening.decode(bytes(15))
    for opening in (Opening(0, 2**30 + 64, 64), Opening(0, 64, 2**32 - 64)):
        with pytest.raises(MessageTooLarge):
            Opening.decode(opening.encode())


def test_texts_for_people_are_cut_and_printable():
    """What is too long or would write lines of a log never makes a frame fail."""
    said = Announcement("x", 1, 1, 0, "m\n" * 50, "\x1b" * 300)
    back = Announcement.decode(said.encode())
    assert (back.machine, back.program) == ("m?" * 32, "?" * 256)


@pytest.mark.parametrize("message", ["a" * 5000, "漢" * 5000, "\n\ud800" * 5000])
def test_note_fits_into_a_greeting(message):
    """An ERROR holds at most 1 KiB, whatever the message."""
    body = Note(2**32 - 1, message, 2**32 - 1).encode()
    assert len(body) <= 1024
    unpack_header(pack_frame(FrameType.ERROR, body))
    assert Note.decode(body).message.isprintable()


# ------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AuthError("x"), ErrorCode.AUTH),
        (errors.VersionMismatch(1, 2), ErrorCode.VERSION),
        (errors.MessageTooLarge(2, 1), ErrorCode.TOO_LARGE),
        (errors.ChannelNotFound("x"), ErrorCode.NOT_FOUND),
        (errors.ChannelBusy("x"), ErrorCode.BUSY),
        (errors.ChannelNoSpace("x"), ErrorCode.NO_SPACE),
        (errors.Draining("x"), ErrorCode.DRAINING),
        (errors.SlowPeer("x"), ErrorCode.SLOW_PEER),
        (DamagedFrame("x"), ErrorCode.CORRUPT),
        (errors.DecodeError("x"), ErrorCode.PROTOCOL),
        (errors.RemoteProtocolError("x"), ErrorCode.PROTOCOL),
    ],
)
def test_note_of_an_error_has_its_code(error, code):
    """The peer learns what kind of error it was, and the text."""
    note = Note.of(error)
    assert note.code == code
    assert note.message == str(error)
    assert note.version == (LINK_VERSION if code == ErrorCode.VERSION else 0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.AUTH, errors.AuthError),
        (ErrorCode.NOT_FOUND, errors.ChannelNotFound),
        (ErrorCode.BUSY, errors.ChannelBusy),
        (ErrorCode.NO_SPACE, errors.ChannelNoSpace),
        (ErrorCode.DRAINING, errors.Draining),
        (ErrorCode.SLOW_PEER, errors.SlowPeer),
        (ErrorCode.SUPERSEDED, errors.PeerLost),
        (ErrorCode.CORRUPT, errors.RemoteProtocolError),
        (ErrorCode.PROTOCOL, errors.RemoteProtocolError),
        (ErrorCode.VERSION, errors.RemoteProtocolError),
        (0x8001, errors.RemoteProtocolError),
    ],
)
def test_note_is_raised_as_its_error(code, kind):
    """The exception says that the peer said it."""
    error = Note(code, "facts").error()
    assert type(error) is kind
    assert isinstance(error, RLayError)
    assert str(error) == "the peer says: facts"


def test_note_of_another_version_is_a_version_mismatch():
    """Both versions are known at both ends."""
    error = Note(ErrorCode.VERSION, "too old", 7).error()
    assert isinstance(error, errors.VersionMismatch)
    assert (error.ours, error.theirs) == (LINK_VERSION, 7)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(0, CloseReason.NONE), (2, CloseReason.DRAINING), (99, CloseReason.CLOSED)],
)
def test_reason_of_a_newer_version_counts_as_closed(number, reason):
    """A peer cannot make a bridge stumble over a number that it does not know."""
    assert Ending(PeerState.LOST, number).known_reason is reason
