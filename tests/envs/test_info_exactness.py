"""Any info and options arrive as they were sent, or are refused with their path."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings

import rlay
from rlay.testing.environments import EchoEnv, ScriptedEnv
from rlay.testing.info_strategies import (
    LOOKALIKES,
    UNSENDABLE_KINDS,
    object_array,
)
from rlay.testing.strategies import infos, lookalikes, unsendables
from tests.support.equality import assert_identical
from tests.support.pairs import PAIRS, backend_process

pytestmark = pytest.mark.timeout(300)

EXAMPLES = settings(max_examples=100, suppress_health_check=list(HealthCheck))


def echo_environment():
    """Make an environment whose steps' info is the last reset's options."""

    def reset(env, seed, options):
        env.memory["options"] = options
        return 0, {"options": options}

    def step(env, action):
        return 0, 0.0, False, False, dict(env.memory["options"])

    return ScriptedEnv(
        observation_space=spaces.Discrete(2), reset_fn=reset, step_fn=step
    )


@pytest.mark.parametrize("paradigm", PAIRS)
def test_any_info_arrives_as_it_was_sent(paradigm, children):
    """Options echoed as the info of a reset and of three steps have equal bits."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, echo_environment) as (_, remote),
    ):

        @EXAMPLES
        @given(infos())
        def echo(info):
            _, returned = remote.reset(options=info)
            assert_identical(returned, {"options": info})
            for _ in range(3):  # equal keys again: the second may be a compiled record
                assert_identical(remote.step(0)[4], info)

        echo()


def changing_environment():
    """Make an environment whose steps' info is the action."""

    def step(env, action):
        return 0, 0.0, False, False, action

    return ScriptedEnv(observation_space=spaces.Discrete(2), step_fn=step)


CHANGES = [
    {},
    {"a": 1, "b": 0.5},
    {"a": 2, "b": -0.0},
    {"b": 0.5, "a": 1},
    {"a": True, "b": 0.5},
    {"a": 1, "b": 1},
    {"a": np.int64(1), "b": np.float64(0.5)},
    {"a": np.float32(1), "b": 0.5},
    {"a": 1},
    {"b": 1},
    {"a": 1, "b": 2},
    {"b": 1, "a": 2},
    {"b": 1, "c": 2},
    {"a": 1, "b": 0.5, "c": 2},
    {"a": 2**63, "b": 0.5},
    {"a": "1", "b": 0.5},
    {"a": None, "b": 0.5},
    {"a": {"x": 1}, "b": 0.5},
    {},
    {"a": 1, "b": 0.5},
]


@pytest.mark.parametrize("paradigm", PAIRS)
def test_info_may_change_its_keys_and_types_at_any_step(paradigm, children):
    """Every change from one info of numbers to another arrives, in either direction."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, changing_environment) as (_, remote),
    ):
        remote.reset()
        for info in [*CHANGES, *reversed(CHANGES)]:
            for _ in range(3):
                assert_identical(remote.step(info)[4], info)


@pytest.mark.parametrize("paradigm", PAIRS)
def test_a_seed_of_any_size_arrives(paradigm, children):
    """The environment's generator is that of the same seed in-process."""
    target = functools.partial(EchoEnv, spaces.Box(0, 1, (4,), np.float64))
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (local, remote),
    ):
        for bits in (0, 1, 31, 32, 63, 64, 65, 128, 1000, 8000):
            seed = 2**bits - 1
            assert_identical(remote.reset(seed=seed), local.reset(seed=seed))
            assert remote.reset(seed=seed)[1]["seed"] == repr(seed)


@pytest.mark.parametrize("paradigm", PAIRS)
def test_an_unusual_seed_does_what_it_does_in_process(paradigm, children):
    """The same first observation, or the same type of exception."""
    target = functools.partial(EchoEnv, spaces.Box(0, 1, (4,), np.float64))
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (local, remote),
    ):
        for seed in (-1, 1.5, "7", True, np.int64(7), [7], (7, 8), np.arange(2), b"7"):
            expected = copy.deepcopy(beginning(local, seed))
            assert_identical(beginning(remote, seed), expected, f"seed {seed!r}")


def beginning(env, seed):
    """Return what a reset returns, or the name of what it raises."""
    try:
        return env.reset(seed=seed)
    except rlay.RemoteEnvError as error:
        return error.remote_type.rpartition(".")[2]
    except Exception as error:
        return type(error).__name__


def test_options_that_cannot_travel_are_refused_with_their_path(children):
    """The error names the path, and the environment works on as before."""
    with (
        backend_process(children) as process,
        PAIRS["ClientEnv"](process, echo_environment) as (_, remote),
    ):

        @EXAMPLES
        @given(unsendables())
        def refuse(unsendable):
            with pytest.raises(Exception, match=r"\$") as caught:
                remote.reset(options=unsendable.info)
            assert unsendable.path.removeprefix("$") in str(caught.value)
            assert_identical(remote.reset(options={"a": 1})[1], {"options": {"a": 1}})

        refuse()


def test_options_that_are_almost_plain_arrive_as_they_were_or_are_refused(children):
    """Nothing is turned into something else: it is identical, or the path is named."""
    with (
        backend_process(children) as process,
        PAIRS["ClientEnv"](process, echo_environment) as (_, remote),
    ):

        @EXAMPLES
        @given(lookalikes())
        def arrive_or_refuse(lookalike):
            refusal = None
            try:
                _, returned = remote.reset(options=lookalike.info)
            except Exception as error:
                refusal = str(error)
            if refusal is None:
                assert_identical(returned, {"options": lookalike.info})
            else:
                assert lookalike.path.removeprefix("$") in refusal

        arrive_or_refuse()


def faulty_environment():
    """Make an environment whose steps' info holds a value of the kind asked for."""

    def step(env, kind):
        if not isinstance(kind, str):
            return 0, 1.0, False, False, {"step": env.steps}
        value = {**UNSENDABLE_KINDS, **LOOKALIKES}[kind]()
        info: dict[str, Any] = {"first": 1, "outer": (0, {"bad": value})}
        return 0, 1.0, False, False, info

    return ScriptedEnv(observation_space=spaces.Discrete(2), step_fn=step)


@pytest.mark.parametrize("paradigm", PAIRS)
def test_info_that_cannot_travel_is_refused_with_its_path(paradigm, children):
    """The step raises, naming the path; the environment can be reset and stepped."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, faulty_environment) as (_, remote),
    ):
        for kind in UNSENDABLE_KINDS:
            remote.reset()
            with pytest.raises(rlay.RLayError) as caught:
                remote.step(kind)
            assert ".outer[1].bad" in str(caught.value), kind
            remote.reset()
            assert_identical(remote.step(0), (0, 1.0, False, False, {"step": 1}))


@pytest.mark.parametrize("paradigm", PAIRS)
def test_info_that_is_almost_plain_arrives_as_it_was_or_is_refused(paradigm, children):
    """Nothing is turned into something else: it is identical, or the path is named."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, faulty_environment) as (local, remote),
    ):
        for kind in LOOKALIKES:
            remote.reset()
            local.reset()
            refusal = None
            try:
                transition = remote.step(kind)
            except rlay.RLayError as error:
                refusal = str(error)
            if refusal is None:
                assert_identical(transition, local.step(kind))
            else:
                assert ".outer[1].bad" in refusal, kind


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize("policy", ["drop", "repr"])
def test_info_that_cannot_travel_can_be_left_out_and_is_marked(
    policy, paradigm, children
):
    """The rest arrives, and info["rlay"] names the path of what does not."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, faulty_environment, on_unsendable_info=policy) as (
            _,
            remote,
        ),
    ):
        remote.reset()
        for kind in UNSENDABLE_KINDS:
            info = remote.step(kind)[4]
            assert info["first"] == 1
            assert info["outer"][0] == 0
            assert "$.outer[1].bad" in repr(info["rlay"]), kind


MENDED: dict[str, dict[str, dict[str, Any]]] = {
    "drop": {
        "set": {},
        "int key": {"bad": {}},
        "int key beside its text": {"bad": {"1": 2}},
        "surrogate key": {"bad": {}},
        "array of a set": {"bad": object_array([None])},
    },
    "repr": {
        "set": {"bad": "{1, 2}"},
        "int key": {"bad": {"1": 2}},
        "array of a set": {"bad": object_array(["{1}"])},
    },
}


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize("policy", ["drop", "repr"])
def test_what_stands_in_the_place_of_info_that_cannot_travel(
    policy, paradigm, children
):
    """With "drop" nothing, with "repr" its text; what is sound beside it stays."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, faulty_environment, on_unsendable_info=policy) as (
            _,
            remote,
        ),
    ):
        remote.reset()
        for kind, expected in MENDED[policy].items():
            info = remote.step(kind)[4]
            assert_identical(info["outer"], (0, expected), kind)


@pytest.mark.parametrize("paradigm", PAIRS)
def test_info_and_actions_of_any_length_arrive(paradigm, children):
    """Whether or not they fit into the room behind the arrays, to the byte."""
    room = 64 * 1024
    lengths = [
        *range(room - 300, room + 60, 3),
        *range(2 * room - 60, 2 * room + 60, 3),
    ]
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, changing_environment) as (_, remote),
    ):
        remote.reset()
        for length in [*lengths, 2**24 + 1]:
            info = {"a": np.full(length, length % 251, np.uint8), "b": length}
            assert_identical(remote.step(info)[4], info)
            assert_identical(remote.step({})[4], {})


@pytest.mark.parametrize("paradigm", PAIRS)
def test_options_are_a_dict_or_none_and_nothing_else(paradigm, children):
    """None and {} stay apart; what is neither is refused before it is sent."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, echo_environment) as (_, remote),
    ):
        for neither in ([], [1], "x", 5, (1, None)):
            with pytest.raises(rlay.RLayError, match="a dict or None"):
                remote.reset(options=neither)
        assert_identical(remote.reset(options=None)[1], {"options": None})
        assert_identical(remote.reset(options={})[1], {"options": {}})


@pytest.mark.parametrize("paradigm", PAIRS)
def test_arrays_that_arrive_can_be_written_to_and_are_nobody_elses(paradigm, children):
    """An array returned by one call stays as it is through the next ones."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, changing_environment) as (_, remote),
    ):
        remote.reset()
        kept = []
        for number in range(6):
            info = {
                "array": np.full(3, number),
                "nested": [{"array": np.full((), number)}],
                "objects": object_array([np.full(2, number)]),
            }
            returned = remote.step(info)[4]
            kept.append((info, returned))
        for info, returned in kept:
            assert_identical(returned, info)
        _, last = kept[-1]
        last["array"][0] = 9
        last["nested"][0]["array"][...] = 9
        last["objects"][0][0] = 9


def trainer(name):
    """Step a game until its episode ends; return every info, the reset's first."""
    env: Any = rlay.ServerEnv(name)
    received = [env.reset()[1]]
    ended = False
    while not ended:
        *_, ended, _, info = env.step(0)
        received.append(info)
    env.close()
    return received


@pytest.fixture
def game(children):
    """Give a game that decides for itself, and a function that ends it.

    That function returns every info that arrived at the trainer.
    """
    with backend_process(children) as process:
        process.order("call", functools.partial(trainer, "game"))
        two = spaces.Discrete(2)
        with rlay.ClientBackend(
            name="game", observation_space=two, action_space=two
        ) as backend:
            assert isinstance(backend.decide(), rlay.Reset)

            def end():
                decision = backend.decide(0, 0.0, True, False, {})
                assert isinstance(decision, rlay.Close)
                return process.outcome()[:-1]

            yield backend, end


def test_any_info_given_to_decide_arrives_as_it_was_sent(game):
    """Whatever its arrays' memory layout, the trainer gets equal bits."""
    backend, end = game
    sent: list[Any] = [{}]
    backend.decide(0, info={})

    @EXAMPLES
    @given(infos())
    def send(info):
        sent.append(copy.deepcopy(info))
        backend.decide(0, 0.0, False, False, info)

    send()
    assert_identical(end(), sent)


def test_info_given_to_decide_that_cannot_travel_is_refused_with_its_path(game):
    """It is refused in the game, which can then decide with another info."""
    backend, end = game
    sent: list[Any] = [{}]
    backend.decide(0, info={})
    for kind, make_value in UNSENDABLE_KINDS.items():
        with pytest.raises(rlay.RLayError) as caught:
            backend.decide(0, 0.0, False, False, {"a": [1, make_value()]})
        assert "$.a[1]" in str(caught.value), kind
        sent.append({"kind": kind})
        backend.decide(0, 0.0, False, False, {"kind": kind})
    assert_identical(end(), sent)


def test_info_sent_is_not_changed_by_sending(children):
    """What the caller passed as options is the same afterwards."""
    options = {"b": [np.arange(3), (1, 2)], "a": {"x": None}}
    before = copy.deepcopy(options)
    with (
        backend_process(children) as process,
        PAIRS["ClientEnv"](process, echo_environment) as (_, remote),
    ):
        remote.reset(options=options)
    assert_identical(options, before)
