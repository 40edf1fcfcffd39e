"""Reports on the wire: golden bytes, and what is written for what."""

import enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, SpaceMismatch
from rlay.protocol import reports, spaces
from rlay.protocol.agreement import Agreement
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Flag
from rlay.protocol.failures import FailureFields
from rlay.protocol.reports import ReportWriter
from rlay.protocol.slot_layout import KIND_WORD, REWARD_OFFSET, REWARD_TYPE_WORD
from rlay.protocol.values import Unsendable
from rlay.testing.info_strategies import infos, lookalikes, plain_values
from tests.protocol.rigs import TEXT, Rig, box, discrete
from tests.protocol.strategies import spaces_with_elements
from tests.protocol.test_values import native
from tests.support.equality import assert_identical

OBSERVATION = np.array([1, 2], np.float32)
MIXED = spaces.Dict((("a", box((2,))), ("b", TEXT)), sort_keys=True)
MIXED_OBSERVATION = {"a": OBSERVATION, "b": "ab"}
FIXED_HEX = "0000803f00000040"


def body(buffer):
    """Return a message's kind, flags, reward type and payload."""
    words = buffer.words
    return hex(words[KIND_WORD]), words[REWARD_TYPE_WORD], bytes(buffer.body()).hex()


# --- golden bytes ---------------------------------------------------------------------


def test_golden_steady_transition():
    """An observation, a reward in the header, and nothing else."""
    buffer = Rig().sent("transition", OBSERVATION, 1.5, False, False, {})
    assert body(buffer) == ("0x112", 65, FIXED_HEX)
    assert bytes(buffer.words)[REWARD_OFFSET : REWARD_OFFSET + 8].hex() == (
        "000000000000f83f"
    )


@pytest.mark.parametrize(
    ("terminated", "truncated", "word"),
    [
        (True, False, "0x912"),
        (False, True, "0x1112"),
        (True, True, "0x1912"),
        (np.False_, False, "0x2112"),
        (np.True_, np.False_, "0x6912"),
        (False, np.True_, "0x5112"),
    ],
)
def test_golden_flags(terminated, truncated, word):
    """Ends are bits of the first word; NumPy's bools have a bit of their own."""
    rig = Rig()
    buffer = rig.sent("transition", OBSERVATION, 1.5, terminated, truncated, {})
    assert body(buffer) == (word, 65, FIXED_HEX)


def test_golden_transition_with_an_info():
    """The first info of its keys is a value behind the fixed area."""
    buffer = Rig().sent("transition", OBSERVATION, 1, False, False, {"a": 1})
    assert body(buffer) == (
        "0x312",
        64,
        FIXED_HEX + "96c0c09181a16101c0c0c0",
    )


def test_golden_transition_with_a_record():
    """The second is a record."""
    rig = Rig()
    rig.sent("transition", OBSERVATION, 1, False, False, {"a": 1})
    buffer = rig.sent("transition", OBSERVATION, 1, True, False, {"a": 2})
    assert body(buffer) == (
        "0xd12",
        64,
        FIXED_HEX + "040000000800000092a16140000000000200000000000000",
    )


def test_golden_transition_of_other_types():
    """What is not as promised goes as a value: observation, reward and flags."""
    buffer = Rig().sent("transition", 1, "r", 0, None, None)
    assert body(buffer) == (
        "0x212",
        0,
        "96c0910191c091a172910091c0",
    )


@pytest.mark.parametrize("flags", [(True, None), (1, np.True_), (np.False_, "x")])
def test_golden_flags_as_values(flags):
    """Where one flag is no bool both are values, and no bit speaks of them."""
    buffer = Rig().sent("transition", OBSERVATION, 1.5, *flags, {})
    assert buffer.words[KIND_WORD] == 0x312
    rig = Rig()
    back = rig.through("transition", OBSERVATION, 1.5, *flags, {})
    assert_identical(back[2:4], flags)


def test_golden_transition_with_variable_parts():
    """Text travels in the tail, with the arrays in the fixed area."""
    buffer = Rig(MIXED).sent("transition", MIXED_OBSERVATION, 0.0, False, False, {})
    assert body(buffer) == (
        "0x312",
        65,
        FIXED_HEX + "9691a26162c0c0c0c0c0",
    )


@pytest.mark.parametrize("terminated", [True, False, np.True_, 1])
@pytest.mark.parametrize("truncated", [True, False, np.False_, None])
@pytest.mark.parametrize("space", [box(), MIXED])
def test_flags_keep_their_types(space, terminated, truncated):
    """Any flags arrive as they were, with every kind of layout."""
    observation = MIXED_OBSERVATION if space is MIXED else OBSERVATION
    transition: Any = (observation, 1.0, terminated, truncated, {})
    assert_identical(Rig(space).through("transition", *transition), transition)


def test_golden_batch():
    """A batch has its rewards and flags behind its observations."""
    rig = Rig(discrete(), num_envs=2, batched=True)
    flags = np.array([True, False])
    buffer = rig.sent(
        "transition", np.array([1, 2]), np.array([0.5, 1]), flags, ~flags, {}
    )
    assert body(buffer) == (
        "0x112",
        0,
        "0100000000000000"
        "0200000000000000"
        "000000000000e03f"
        "000000000000f03f"
        "0100000000000000"
        "0001000000000000"
        "0000000000000000",
    )


def test_golden_reset_result():
    """A first observation always has a tail, with its info or nil."""
    assert body(Rig().sent("reset_result", OBSERVATION, {})) == (
        "0x311",
        0,
        FIXED_HEX + "93c0c0c0",
    )
    assert body(Rig().sent("reset_result", [1], {"a": None}))[2] == (
        "93c09191019181a161c0"
    )


def test_golden_other_reports():
    """Ready, CallResult and Failure are tails."""
    assert body(Rig().sent("ready")) == ("0x210", 0, "90")
    assert body(Rig().sent("call_result", [None])) == ("0x213", 0, "9191c0")
    failure = FailureFields(1, "E", "m", "t")
    assert body(Rig().sent("failure", failure)) == (
        "0x214",
        0,
        "9401a145a16da174",
    )


# --- what arrives ---------------------------------------------------------------------

ROOMS = st.sampled_from([0, 65536])


@given(spaces_with_elements(), infos(4), ROOMS)
def test_any_observation_comes_back(case, info, tail_room):
    """An element of any space and any info arrive, in the slot or put together."""
    space, observation = case
    rig = Rig(space, tail_room=tail_room)
    transition = (observation, 1.0, False, True, info)
    expected = (*transition[:4], native(info))
    for _ in range(2):
        assert_identical(rig.through("transition", *transition), expected)
    first = rig.through("reset_result", observation, info)
    assert_identical(first, (observation, native(info)))


@given(
    plain_values(4), plain_values(2), plain_values(2), plain_values(2), plain_values(4)
)
def test_any_transition_comes_back(observation, reward, terminated, truncated, info):
    """Values of any type, where others were promised, arrive as they were."""
    transition = (observation, reward, terminated, truncated, info)
    assert_identical(
        Rig().through("transition", *transition), tuple(native(list(transition)))
    )


@given(lookalikes())
def test_lookalikes_arrive_as_they_were_or_are_refused(case):
    """What is almost plain is never changed on the way through an info."""
    rig = Rig()
    for _ in range(3):
        try:
            back = rig.through(
                "transition", OBSERVATION, 1.0, False, False, dict(case.info)
            )
        except Unsendable:
            return
        assert_identical(back[4], native(case.info))


class Small(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "reward",
    [
        1,
        1.0,
        True,
        -0.0,
        np.float32(1),
        np.uint32(0x7FA0_1234).view(np.float32),
        np.float64(np.inf),
        np.float16(1),
        np.int8(1),
        np.uint64(2**63 + 1),
        np.bool_(True),
        np.complex64(1j),
        np.complex128(1j),
        2**64 - 1,
        2**63,
        None,
        np.array(1.0),
        np.array([1.0], np.float32),
    ],
)
def test_reward_keeps_its_type(reward):
    """A reward is not made a float (E1, E2)."""
    rig = Rig()
    back = rig.through("transition", OBSERVATION, reward, False, False, {})
    assert_identical(back, (OBSERVATION, reward, False, False, {}))


@pytest.mark.parametrize("reward", [Small.ONE, 2**64, 1j, np.longdouble(1), {1}])
def test_unsendable_reward_is_refused_with_its_place(reward):
    """A reward that cannot travel is refused; the next one is sent."""
    rig = Rig()
    with pytest.raises(Unsendable) as caught:
        rig.sent("transition", OBSERVATION, reward, False, False, {})
    (index,) = (key for key in caught.value.keys[:1] if isinstance(key, int))
    assert reports.TAIL_NAMES[index] == "reward"
    assert rig.through("transition", OBSERVATION, 1.0, False, False, {})[1] == 1.0


@pytest.mark.parametrize("info", [None, [], 0, "", (), np.zeros(2), np.zeros(0)])
def test_info_that_is_no_dict_arrives_as_it_was(info):
    """An empty dict is nil; nothing else is."""
    rig = Rig()
    for _ in range(2):
        back = rig.through("transition", OBSERVATION, 1.0, False, False, info)
        assert_identical(back[4], info)
    assert_identical(rig.through("reset_result", OBSERVATION, info)[1], info)
    batch = Rig(discrete(), num_envs=1, batched=True)
    arrays = np.zeros(1), np.zeros(1, bool), np.zeros(1, bool)
    back = batch.through("transition", np.zeros(1, np.int64), *arrays, info)
    assert_identical(back[4], info)


def test_records_follow_infos_that_change():
    """Whatever infos come in a row, each arrives as it was."""
    rig = Rig()
    infos_in_a_row = [
        {"a": 1},
        {"a": 1},
        {"a": 1.0},
        {"a": 1.0},
        {"a": np.float32(1)},
        {"a": True, "b": 1},
        {"b": 1, "a": True},
        {"b": 2, "a": False},
        {"b": 2**63, "a": False},
        {"b": 2, "a": False},
        {"b": "x", "a": False},
        {},
        {"b": 2, "a": False},
    ]
    for info in infos_in_a_row:
        back = rig.through("transition", OBSERVATION, 1.0, np.True_, False, info)
        assert_identical(back, (OBSERVATION, 1.0, np.True_, False, info))


def test_records_only_for_readers_that_know_them():
    """A peer without the capability gets values."""
    agreement = Agreement.compile(box(), discrete(), 1, batched=False)
    buffer = MessageBuffer.private(agreement.report_capacity)
    writer = ReportWriter(agreement, (buffer,), records=False)
    for _ in range(3):
        writer.transition(buffer, OBSERVATION, 1.0, False, False, {"a": 1})
        assert not buffer.words[KIND_WORD] & Flag.RECORD


@pytest.mark.parametrize("info", [{"a": 1}, {"a": "x" * 100}])
def test_transition_beyond_the_room_goes_whole(info):
    """A record or a tail that exceeds the slot is put together at the other end."""
    rig = Rig(tail_room=8)
    for _ in range(3):
        back = rig.through("transition", OBSERVATION, 1, True, False, info)
        assert_identical(back, (OBSERVATION, 1, True, False, info))


# --- batches --------------------------------------------------------------------------

FLAGS = np.array([True, False])
REWARDS = np.array([0.5, -0.0])


@pytest.mark.parametrize(
    ("rewards", "terminated", "truncated"),
    [
        (REWARDS, FLAGS, FLAGS),
        (REWARDS.astype(np.float32), FLAGS, FLAGS),
        (REWARDS.astype(">f8"), FLAGS, FLAGS),
        ([0.5, 1], [True, False], None),
        (REWARDS, FLAGS.astype(np.int8), np.array([True])),
    ],
)
@pytest.mark.parametrize("observation", [np.array([3, 4]), [3, 4], np.zeros(2)])
def test_batch_comes_back(observation, rewards, terminated, truncated):
    """A batch as promised, and any other values in its place, arrive."""
    rig = Rig(discrete(), num_envs=2, batched=True)
    for info in ({}, {"a": np.zeros(2)}):
        batch = (observation, rewards, terminated, truncated, info)
        back = rig.through("transition", *batch)
        assert_identical(back, tuple(native(list(batch))))


def test_batch_with_variable_parts_comes_back():
    """Text of a batch is one value."""
    rig = Rig(MIXED, num_envs=2, batched=True)
    observation = {"a": np.zeros((2, 2), np.float32), "b": ("x", "y")}
    batch: Any = (observation, REWARDS, FLAGS, ~FLAGS, {})
    assert_identical(rig.through("transition", *batch), batch)
    first = rig.through("reset_result", observation, {"c": 1})
    assert_identical(first, (observation, {"c": 1}))


def test_batch_flags_are_normalised():
    """True may be any byte but 0; the peer gets 1."""
    rig = Rig(discrete(), num_envs=2, batched=True)
    odd = np.array([255, 0], np.uint8).view(bool)
    back = rig.through("transition", np.array([1, 2]), REWARDS, odd, FLAGS, {})
    assert_identical(back[2], FLAGS)


def test_batch_after_a_value_has_a_clean_status():
    """A tail that lay over the fixed area leaves no status behind."""
    rig = Rig(discrete(), num_envs=2, batched=True)
    rig.sent("transition", "x" * 200, REWARDS, FLAGS, FLAGS, {})
    batch: Any = (np.array([1, 2]), REWARDS, FLAGS, FLAGS, {})
    assert_identical(rig.through("transition", *batch), batch)


# --- admission ------------------------------------------------------------------------


def writer_that_admits(admit, observation_space):
    """Return a rig whose writer asks about unusual observations."""
    rig = Rig(observation_space)
    rig.report_writer = ReportWriter(rig.agreement, (rig.report[0],), admit)
    return rig


def test_admit_is_not_asked_about_what_fits():
    """A steady step asks nobody."""
    rig = writer_that_admits(lambda _: pytest.fail("asked"), box())
    rig.through("transition", OBSERVATION, 1.0, False, False, {})
    rig.through("reset_result", OBSERVATION, {})


@pytest.mark.parametrize("name", ["transition", "reset_result"])
def test_admit_mends_what_does_not_fit(name):
    """What it returns is sent, in the fixed area where it fits now."""
    rig = writer_that_admits(lambda value: np.asarray(value, np.float32), box())
    rest: Any = (1.0, False, False, {}) if name == "transition" else ({},)
    buffer = rig.sent(name, [1, 2], *rest)
    assert buffer.words[KIND_WORD] & Flag.FIXED
    assert_identical(getattr(rig.report_reader, name)(buffer)[0], OBSERVATION)


@pytest.mark.parametrize("space", [box(), MIXED])
def test_admit_may_refuse(space):
    """What it raises is passed on; the next observation is sound."""

    def admit(value):
        if value == 0:
            raise SpaceMismatch("no")
        return value

    rig = writer_that_admits(admit, space)
    for name, rest in (
        ("transition", (1.0, False, False, {})),
        ("reset_result", ({},)),
    ):
        with pytest.raises(SpaceMismatch):
            rig.sent(name, 0, *rest)
        assert rig.through(name, 1, *rest)[0] == 1


def test_admit_is_asked_about_variable_parts():
    """Text is not checked by its type alone."""
    seen = []

    def admit(value):
        seen.append(value)
        return value

    rig = writer_that_admits(admit, MIXED)
    rig.through("transition", MIXED_OBSERVATION, 1.0, False, False, {})
    rig.through("reset_result", MIXED_OBSERVATION, {})
    assert len(seen) >= 2


def test_refused_info_leaves_nothing_behind():
    """Variable parts of a message that was not sent are not those of the next."""
    rig = Rig(MIXED)
    with pytest.raises(Unsendable) as caught:
        rig.sent("transition", MIXED_OBSERVATION, 1.0, False, False, {"a": {1}})
    assert caught.value.keys == [2, 0, "a"]
    back = rig.through("transition", MIXED_OBSERVATION, 1.0, False, False, {})
    assert_identical(back[0], MIXED_OBSERVATION)


def test_slot_that_is_too_small_is_a_decode_error():
    """A peer that makes too small slots is found out before the first step."""
    agreement = Agreement.compile(box((100,)), discrete(), 1, batched=False)
    with pytest.raises(DecodeError, match="64 bytes lacks its fixed area of 400"):
        ReportWriter(agreement, (MessageBuffer.private(64),))


def test_names_from_the_other_halves_are_here():
    """Whoever imports this module has all names of reports."""
    assert set(reports.__all__) == {
        "TAIL_NAMES",
        "FailureFields",
        "ReportReader",
        "ReportWriter",
        "Transition",
        "environment_failure",
    }
