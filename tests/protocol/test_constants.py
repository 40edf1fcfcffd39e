"""Numbers on which all implementations agree, written out a second time."""

import pytest

from rlay.protocol import constants


def test_golden_magics():
    """The three magics are these bytes, for ever."""
    assert constants.CHANNEL_MAGIC == b"RLAYCHAN"
    assert constants.SLOTS_MAGIC == b"RLAYSLOT"
    assert constants.GREETING_MAGIC == b"RLAYHELO"


@pytest.mark.parametrize(
    ("enumeration", "values"),
    [
        ("Paradigm", "CLIENT_ENV=1 SERVER_ENV=2"),
        ("Holder", "NOBODY=0 PROCESS=1 BRIDGE=2"),
        ("BellKind", "POLL=0 FUTEX=1 FIFO=2"),
        ("PeerState", "ABSENT=0 ALIVE=1 LINK_DOWN=2 LOST=3 CLOSED=4"),
        (
            "CloseReason",
            "NONE=0 CLOSED=1 DRAINING=2 ENVIRONMENT_EXITED=3 PROTOCOL_ERROR=4 "
            "REPLACED=5 VANISHED=6 LINK_DOWN=7",
        ),
        ("Capability", "NONE=0 FUTEX=1 FIFO=2 RECORDS=4"),
        (
            "Kind",
            "RESET=1 STEP=2 CALL=3 CLOSE=4 READY=16 RESET_RESULT=17 TRANSITION=18 "
            "CALL_RESULT=19 FAILURE=20 HELLO=32 WELCOME=33 REFUSAL=34",
        ),
        (
            "Flag",
            "FIXED=256 TAIL=512 RECORD=1024 TERMINATED=2048 TRUNCATED=4096 "
            "NUMPY_TERMINATED=8192 NUMPY_TRUNCATED=16384",
        ),
        ("LaneStatus", "OK=0 FAILED=1 LOST=2"),
        (
            "ErrorCode",
            "ENVIRONMENT=1 SPACE_MISMATCH=2 UNSENDABLE_INFO=3 NOT_ALLOWED=4 "
            "UNSUPPORTED=5 PROTOCOL=6 VERSION=7 BUSY=8 NO_SPACE=9 TOO_LARGE=10 "
            "DRAINING=11 RESET_NEEDED=12 NUM_ENVS=13 ENVIRONMENT_GONE=14 AUTH=15 "
            "NOT_FOUND=16 SLOW_PEER=17 SUPERSEDED=18 CORRUPT=19",
        ),
        (
            "ExtensionType",
            "TUPLE=1 ARRAY=2 SCALAR=3 OBJECT_ARRAY=4 GRAPH=5 BIG_INT=6",
        ),
    ],
)
def test_numbers_never_change(enumeration, values):
    """A member keeps its number; a new one is added here as well."""
    members = getattr(constants, enumeration).__members__.values()
    assert " ".join(f"{m.name}={m.value}" for m in members) == values


def test_kinds_and_flags_share_a_word():
    """No flag lies within the bits of the kind."""
    assert not any(flag & constants.KIND_MASK for flag in constants.Flag)
    assert all(kind <= constants.KIND_MASK for kind in constants.Kind)
