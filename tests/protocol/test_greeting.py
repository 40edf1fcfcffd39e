"""The greeting: golden bytes, round trips, and what is refused before it is used."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlay.errors import DecodeError, MessageTooLarge, VersionMismatch
from rlay.protocol import spaces
from rlay.protocol.constants import Capability, ErrorCode, Paradigm
from rlay.protocol.fields import AUTORESET_MODES
from rlay.protocol.greeting import (
    EnvironmentFacts,
    Hello,
    Refusal,
    Welcome,
    Wishes,
)
from rlay.protocol.spaces import same_space
from rlay.protocol.values import Unsendable, decode_value, encode_value
from rlay.testing.info_strategies import infos
from tests.protocol.rigs import TEXT, box, discrete
from tests.protocol.strategies import descriptions
from tests.support.equality import assert_identical

HEAD = b"RLAYHELO" + struct.pack("<II", 1, 0)
FACTS = EnvironmentFacts(TEXT, discrete(), render_mode="rgb_array")


def payload(fields, head=HEAD):
    """Return a greeting as a peer may send it."""
    return head + encode_value(fields)


def fields_of(greeting):
    """Return the map of a greeting."""
    return decode_value(greeting.encode()[16:])


HELLO = fields_of(Hello(Paradigm.CLIENT_ENV, wishes=Wishes()))
WELCOME = fields_of(Welcome(1, FACTS))
REFUSAL = fields_of(Refusal(ErrorCode.BUSY, "no"))


def assert_same(one, other):
    """Assert that two greetings say the same, spaces bit by bit."""
    assert type(one) is type(other)
    for field in dataclasses.fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("observation_space", "action_space"):
            assert (mine is None) == (theirs is None)
            assert mine is None or same_space(mine, theirs)
        elif dataclasses.is_dataclass(mine):
            assert_same(mine, theirs)
        else:
            assert_identical(theirs, mine)


def test_golden_hello():
    """Magic, versions, then a map with these keys in this order."""
    data = Hello(Paradigm.CLIENT_ENV, wishes=Wishes(vector=True), software="x").encode()
    assert data[:16].hex() == "524c415948454c4f0100000000000000"
    assert_identical(
        decode_value(data[16:]),
        {
            "paradigm": 1,
            "environment": None,
            "wishes": {
                "render_mode": None,
                "autoreset_mode": None,
                "vector": True,
                "num_envs": None,
                "observation_space": None,
                "action_space": None,
            },
            "software": "x",
            "capabilities": 0,
            "max_message_bytes": 2**30,
        },
    )


def test_golden_welcome():
    """The environment's end sends spaces, facts and both layouts."""
    data = Welcome(3, FACTS, capabilities=Capability.FIFO, max_message_bytes=9).encode()
    assert_identical(
        decode_value(data[16:]),
        {
            "generation": 3,
            "environment": {
                "observation_space": ["text", 0, 4, "ab"],
                "action_space": ["discrete", 8, 3, 0],
                "num_envs": 1,
                "metadata": {},
                "render_mode": "rgb_array",
                "spec": None,
                "allow": {},
                "autoreset_mode": None,
                "vector": False,
                "report_layout": [0, []],
                "decision_layout": [16, [["$", 0, [], 0]]],
            },
            "wishes": None,
            "software": "",
            "capabilities": 2,
            "max_message_bytes": 9,
        },
    )


def test_golden_refusal():
    """A refusal is a code and texts."""
    data = Refusal(ErrorCode.NO_SPACE, "full", "E", "trace").encode()
    assert data == payload(
        {"code": 9, "message": "full", "remote_type": "E", "traceback": "trace"}
    )


@st.composite
def facts(draw):
    """Draw what an environment's end may say."""
    vector = draw(st.booleans())
    return EnvironmentFacts(
        draw(descriptions()),
        draw(descriptions()),
        draw(st.integers(1, 5)) if vector else 1,
        draw(infos(4)),
        draw(st.none() | st.text(max_size=4)),
        draw(st.none() | infos(4)),
        draw(st.dictionaries(st.text(max_size=4), st.booleans(), max_size=2)),
        draw(st.none() | st.sampled_from(sorted(AUTORESET_MODES))),
        vector,
    )


@st.composite
def wishes(draw):
    """Draw what an algorithm's end may wish."""
    return Wishes(
        draw(st.none() | st.text(max_size=4)),
        draw(st.none() | st.sampled_from(sorted(AUTORESET_MODES))),
        draw(st.booleans()),
        draw(st.none() | st.integers(1, 65536)),
        draw(st.none() | descriptions()),
        draw(st.none() | descriptions()),
    )


def rest():
    """Draw software, capabilities (known or not) and the message limit."""
    capabilities = st.integers(0, 2**32 - 1).map(Capability)
    return st.tuples(st.text(max_size=4), capabilities, st.integers(0, 2**63 - 1))


FEWER = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@FEWER
@given(st.sampled_from(Paradigm), st.none() | facts(), st.none() | wishes(), rest())
def test_any_hello_comes_back(paradigm, environment, wish, others):
    """A Hello is read as it was written."""
    hello = Hello(paradigm, environment, wish, *others)
    data = normalised(hello).encode()
    assert_same(Hello.decode(memoryview(data)), normalised(hello))


@FEWER
@given(st.integers(0, 2**32 - 1), st.none() | facts(), st.none() | wishes(), rest())
def test_any_welcome_comes_back(generation, environment, wish, others):
    """A Welcome is read as it was written."""
    welcome = Welcome(generation, environment, wish, *others)
    assert_same(Welcome.decode(normalised(welcome).encode()), normalised(welcome))


def normalised(greeting):
    """Return a greeting whose metadata and spec have been on the wire once."""
    environment = greeting.environment
    if environment is None:
        return greeting
    metadata = decode_value(encode_value(environment.metadata))
    spec = decode_value(encode_value(environment.spec))
    environment = dataclasses.replace(environment, metadata=metadata, spec=spec)
    return dataclasses.replace(greeting, environment=environment)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_refusal_comes_back(message, remote_type):
    """A Refusal is read as it was written."""
    refusal = Refusal(ErrorCode.ENVIRONMENT, message, remote_type, message)
    assert Refusal.decode(refusal.encode()) == refusal


def test_refusal_of_any_text_can_be_sent():
    """Text that is too long, or no UTF-8, is made sendable: a refusal must arrive."""
    refusal = Refusal(ErrorCode.ENVIRONMENT, "\ud800" + "x" * 10**5, "E" * 999)
    back = Refusal.decode(refusal.encode())
    assert back.message.startswith("\\ud800xxx")
    assert len(back.message) <= 8192
    assert len(back.remote_type) <= 200


@pytest.mark.parametrize("decode", [Hello.decode, Welcome.decode, Refusal.decode])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "a greeting of 0 bytes"),
        (HEAD[:15], "a greeting of 15 bytes"),
        (b"RLAYHALO" + HEAD[8:] + b"\x80", "without its magic"),
        (HEAD, "malformed value"),
        (HEAD + b"\x90", "expected a map"),
        (HEAD + b"\x80", "got NoneType"),
        (HEAD + b"\x80\x80", "malformed value"),
    ],
)
def test_malformed_greeting_is_a_decode_error(decode, data, text):
    """Magic, length and map are checked in this order."""
    with pytest.raises(DecodeError, match=text):
        decode(data)


@pytest.mark.parametrize("decode", [Hello.decode, Welcome.decode, Refusal.decode])
def test_other_version_is_a_mismatch(decode):
    """Another major version is said so, whatever follows it."""
    data = b"RLAYHELO" + struct.pack("<II", 2, 0) + b"\xc1"
    with pytest.raises(VersionMismatch, match="peer speaks version 2") as caught:
        decode(data)
    assert (caught.value.ours, caught.value.theirs) == (1, 2)


@pytest.mark.parametrize("minor", [1, 2**32 - 1])
def test_newer_minor_version_is_read(minor):
    """A newer minor version adds what may be ignored: keys, and further ones within."""
    head = b"RLAYHELO" + struct.pack("<II", 1, minor)
    wish = {**HELLO["wishes"], "later": [1]}
    hello = Hello.decode(payload({**HELLO, "wishes": wish, "later": {}}, head))
    assert hello == Hello(Paradigm.CLIENT_ENV, wishes=Wishes())
    environment = {**WELCOME["environment"], "later": None}
    welcome = Welcome.decode(payload({**WELCOME, "environment": environment}, head))
    assert welcome == Welcome(1, FACTS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"paradigm": 0}, "unknown paradigm 0"),
        ({"paradigm": 3}, "unknown paradigm 3"),
        ({"paradigm": True}, "expected int, got bool"),
        ({"software": None}, "expected str"),
        ({"capabilities": -1}, "out of range"),
        ({"capabilities": 2**32}, "out of range"),
        ({"max_message_bytes": -1}, "out of range"),
        ({"max_message_bytes": 2**63}, "out of range"),
        ({"environment": []}, "expected dict, got list"),
        ({"environment": {}}, "expected list, got NoneType"),
        ({"wishes": 1}, "expected dict, got int"),
        ({"wishes": {}}, r"expected bool, got NoneType, at \$\.wishes\.vector"),
    ],
)
def test_other_hello_is_a_decode_error(change, text):
    """Each field of a Hello is checked."""
    with pytest.raises(DecodeError, match=text):
        Hello.decode(payload({**HELLO, **change}))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"generation": -1}, "out of range"),
        ({"generation": 2**32}, "out of range"),
        ({"generation": "1"}, "expected int"),
        ({"software": b""}, "expected str"),
        ({"capabilities": None}, "expected int"),
        ({"max_message_bytes": 1.0}, "expected int"),
    ],
)
def test_other_welcome_is_a_decode_error(change, text):
    """Each field of a Welcome is checked."""
    with pytest.raises(DecodeError, match=text):
        Welcome.decode(payload({**WELCOME, **change}))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"code": -1}, "out of range"),
        ({"code": None}, "expected int"),
        ({"message": 1}, "expected str"),
        ({"remote_type": None}, "expected str"),
        ({"traceback": None}, "expected str"),
    ],
)
def test_other_refusal_is_a_decode_error(change, text):
    """Each field of a Refusal is checked."""
    with pytest.raises(DecodeError, match=text):
        Refusal.decode(payload({**REFUSAL, **change}))


def test_refusal_with_an_unknown_code_is_read():
    """A newer peer's code is passed on as a number."""
    assert Refusal.decode(payload({**REFUSAL, "code": 999})).code == 999


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"observation_space": None}, "expected list"),
        ({"observation_space": []}, r"description of a space, at \$.observation_space"),
        ({"action_space": ["cube"]}, r"unknown kind of space 'cube', at \$.action"),
        ({"num_envs": 0}, "0 is out of range"),
        ({"num_envs": 65537}, "65537 is out of range"),
        ({"num_envs": 2}, "several environments without a vector"),
        ({"metadata": None}, "expected dict"),
        ({"render_mode": 1}, "expected str"),
        ({"spec": []}, "expected dict"),
        ({"allow": []}, "expected dict"),
        ({"allow": {"a": 1}}, r"expected bools, at \$.environment.allow"),
        ({"autoreset_mode": "never"}, "unknown mode 'never'"),
        ({"vector": None}, "expected bool"),
        ({"vector": True}, "report layout: ours has 4 leaves in 32 bytes"),
        ({"report_layout": None}, "the report layout is malformed"),
        ({"report_layout": [8, []]}, "report layout: ours has 0 leaves in 0 bytes"),
        ({"decision_layout": [16, []]}, "decision layout: ours has 1 leaves"),
    ],
)
def test_other_facts_are_a_decode_error(change, text):
    """Each fact is checked, and the layouts against the spaces."""
    data = payload({**WELCOME, "environment": {**WELCOME["environment"], **change}})
    with pytest.raises(DecodeError, match=text):
        Welcome.decode(data)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"render_mode": 1}, "expected str"),
        ({"autoreset_mode": ""}, "unknown mode"),
        ({"vector": 1}, "expected bool"),
        ({"num_envs": 0}, "out of range"),
        ({"num_envs": 1.0}, "expected int"),
        ({"observation_space": []}, "description of a space"),
        ({"action_space": 1}, "expected list"),
    ],
)
def test_other_wishes_are_a_decode_error(change, text):
    """Each wish is checked."""
    with pytest.raises(DecodeError, match=text):
        Hello.decode(payload({**HELLO, "wishes": {**HELLO["wishes"], **change}}))


def test_huge_spaces_are_too_large_before_memory_is_taken():
    """Spaces whose elements fit no slot are refused at the greeting."""
    environment = {
        **WELCOME["environment"],
        "action_space": ["multi_binary", [2**30], True],
        "num_envs": 65536,
        "vector": True,
    }
    with pytest.raises(MessageTooLarge):
        Welcome.decode(payload({**WELCOME, "environment": environment}))


@pytest.mark.parametrize(
    "unsendable",
    [
        EnvironmentFacts(TEXT, TEXT, metadata={"a": {1}}),
        EnvironmentFacts(spaces.Text(0, 1, "\ud800"), TEXT),
        EnvironmentFacts(TEXT, TEXT, spec={"kwargs": object()}),
    ],
)
def test_facts_that_cannot_travel_are_unsendable(unsendable):
    """Nothing of the environment is dropped in silence."""
    with pytest.raises(Unsendable):
        Welcome(1, unsendable).encode()
    with pytest.raises(Unsendable):
        Hello(Paradigm.SERVER_ENV, unsendable).encode()


def test_agreement_of_the_facts():
    """A vector environment has batches, also of one."""
    one = EnvironmentFacts(box(), discrete(), vector=True).agreement()
    assert one.batched
    assert one.report_layout.leaves[0].shape == (1, 2)
    assert not EnvironmentFacts(box(), discrete()).agreement().batched


@pytest.mark.parametrize(
    "greeting",
    [
        Hello(Paradigm.SERVER_ENV, environment=FACTS),
        Hello(Paradigm.CLIENT_ENV, wishes=Wishes(observation_space=box())),
        Welcome(1, EnvironmentFacts(box((2, 3), np.uint8), TEXT)),
        Refusal(ErrorCode.BUSY, "no"),
    ],
)
def test_each_cut_or_changed_greeting_is_one_or_refused(greeting):
    """Every truncation and change of one byte raises only what is documented."""
    data = greeting.encode()
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            type(greeting).decode(data[:size])
    for index in range(len(data)):
        for change in (1, 0x80):
            changed = bytearray(data)
            changed[index] ^= change
            try:
                type(greeting).decode(changed)
            except (DecodeError, VersionMismatch, MessageTooLarge):
                continue
