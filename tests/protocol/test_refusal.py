"""A Refusal without NumPy has the bytes that it had with it."""

import subprocess
import sys

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, MessageTooLarge, VersionMismatch
from rlay.protocol import greeting
from rlay.protocol.constants import ErrorCode
from rlay.protocol.refusal import GREETING_HEAD, Refusal, greeting_map
from rlay.protocol.values import encode_value

text = st.text(max_size=100)


@given(st.integers(0, 2**32), text, text, text)
def test_refusal_comes_back(code, message, remote_type, traceback):
    """Fields are those that were said, as far as they are UTF-8."""
    said = Refusal(code, message, remote_type, traceback)
    back = Refusal.decode(memoryview(said.encode()))
    assert back.code == code
    if message.isascii():
        assert back.message == message


def test_refusal_has_the_bytes_of_a_value():
    """Its map is what the codec of values makes of it."""
    said = Refusal(ErrorCode.BUSY, "busy", "T", "trace")
    fields = {"code": 8, "message": "busy", "remote_type": "T", "traceback": "trace"}
    assert said.encode() == GREETING_HEAD + encode_value(fields)
    assert greeting.Refusal is Refusal


def test_texts_are_cut_to_their_limits():
    """The message keeps its beginning, the traceback its end."""
    long = Refusal(1, "m" * 10_000, "T" * 300, "t" * 70_000 + "end")
    back = Refusal.decode(long.encode())
    assert len(back.message) <= 8192
    assert len(back.remote_type) <= 200
    assert len(back.traceback) <= 65_536
    assert back.traceback.endswith("end")


def test_head_is_checked_before_the_map():
    """Length, magic, version, in this order."""
    with pytest.raises(DecodeError, match="of 15 bytes"):
        greeting_map(GREETING_HEAD[:15])
    with pytest.raises(DecodeError, match="without its magic"):
        greeting_map(b"X" + GREETING_HEAD[1:])
    with pytest.raises(VersionMismatch):
        greeting_map(GREETING_HEAD[:8] + b"\2" + GREETING_HEAD[9:])
    assert bytes(greeting_map(GREETING_HEAD + b"rest")) == b"rest"


def test_refusal_beyond_a_greeting_is_too_large():
    """It is not unpacked at all."""
    with pytest.raises(MessageTooLarge):
        Refusal.decode(GREETING_HEAD + bytes(64 * 2**20 + 1))


@pytest.mark.parametrize("missing", ["code", "message", "remote_type", "traceback"])
def test_refusal_has_all_its_fields(missing):
    """A missing one is a DecodeError with its path."""
    fields = {"code": 8, "message": "busy", "remote_type": "T", "traceback": "t"}
    del fields[missing]
    with pytest.raises(DecodeError, match=rf"\$\.{missing}"):
        Refusal.decode(GREETING_HEAD + msgpack.packb(fields))


def test_what_the_bridge_imports_needs_no_numpy():
    """All of the protocol that a bridge uses is free of NumPy and Gymnasium."""
    program = (
        "import sys\n"
        "import rlay.protocol.frames, rlay.protocol.control\n"
        "import rlay.protocol.link_greeting, rlay.protocol.link_messages\n"
        "import rlay.protocol.refusal\n"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'gymnasium')))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
