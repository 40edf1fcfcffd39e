"""Any space, and any of its elements, arrives through RLay as it was sent."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlay import RLayError, SpaceMismatch
from rlay.testing.environments import EchoEnv, ScriptedEnv
from rlay.testing.strategies import elements, spaces_of_any_kind
from tests.support.equality import assert_identical, assert_same_space
from tests.support.pairs import PAIRS, backend_process

# Gymnasium warns where an extreme bound overflows in its own arithmetic.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

WHOLE_PATH = settings(
    max_examples=80,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Each example makes a channel and greets: few are tried, and none is shrunk."""


@pytest.mark.parametrize("paradigm", PAIRS)
def test_any_space_and_its_elements_arrive_as_they_were_sent(paradigm, children):
    """Spaces have equal samples, echoed actions equal bits, and so has the reset."""
    with backend_process(children) as process:

        @WHOLE_PATH
        @given(data=st.data())
        def echo(data):
            space = data.draw(spaces_of_any_kind())
            actions = data.draw(st.lists(elements(space), min_size=1, max_size=4))
            actions += data.draw(st.lists(elements(space, bounded=False), max_size=3))
            target = functools.partial(EchoEnv, space)
            with PAIRS[paradigm](process, target) as (local, remote):
                assert_same_space(remote.observation_space, space)
                assert_same_space(remote.action_space, space)
                assert_identical(remote.reset(seed=3), local.reset(seed=3))
                for action in actions:
                    assert_identical(remote.step(action), local.step(action))

        echo()


NOTABLE_SPACES: dict[str, spaces.Space[Any]] = {
    "bool box": spaces.Box(0, 1, (2,), np.bool_),
    "0-d float box": spaces.Box(-1, 1, (), np.float64),
    "empty box": spaces.Box(-1, 1, (0, 3), np.float32),
    "box of integers without bounds": spaces.Box(-np.inf, np.inf, (2,), np.int32),
    "box of uint64 with all of its bits": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    "box of rank 8": spaces.Box(0, 1, (1, 2) * 4, np.float16),
    "discrete from below zero": spaces.Discrete(3, start=-(2**62)),
    "multi-discrete with starts": spaces.MultiDiscrete([3, 4], start=[-1, 5]),
    "multi-binary of one number": spaces.MultiBinary(3),
    "multi-binary of one dimension": spaces.MultiBinary((3,)),
    "text of wide characters": spaces.Text(5, min_length=0, charset="zaé漢😀"),
    "dict in an order of its own": spaces.Dict(
        [("z", spaces.Discrete(2)), ("a", spaces.Discrete(3)), ("", spaces.Dict())]
    ),
    "empty dict": spaces.Dict(),
    "empty tuple": spaces.Tuple(()),
    "sequence of sequences": spaces.Sequence(spaces.Sequence(spaces.Discrete(2))),
    "stacked dicts": spaces.Sequence(
        spaces.Dict(a=spaces.Box(0, 1, (2,)), b=spaces.Text(3)), stack=True
    ),
    "graph without edges": spaces.Graph(spaces.Discrete(3), None),
    "graph of boxes": spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (3,))),
    "one of": spaces.OneOf([spaces.Discrete(2), spaces.Text(3), spaces.Box(0, 1)]),
}


@pytest.mark.parametrize("paradigm", PAIRS)
def test_notable_spaces_arrive_with_equal_samples(paradigm, children):
    """What each space has of its own, such as an order or a start, is not lost."""
    differ = {}
    with backend_process(children) as process:
        for name, space in NOTABLE_SPACES.items():
            target = functools.partial(EchoEnv, space)
            with PAIRS[paradigm](process, target) as (local, remote):
                try:
                    assert_same_space(remote.observation_space, space)
                    assert_identical(remote.reset(seed=1), local.reset(seed=1))
                    space.seed(1)
                    for action in (space.sample() for _ in range(5)):
                        assert_identical(remote.step(action), local.step(action))
                except AssertionError as error:
                    differ[name] = str(error)
    assert differ == {}


def arrays_in(value):
    """Yield every array in an observation."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (dict, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)


@pytest.mark.parametrize("paradigm", PAIRS)
def test_observations_are_the_callers_own(paradigm, children):
    """Their arrays can be written to, and no later call changes them."""
    with backend_process(children) as process:
        for name, space in NOTABLE_SPACES.items():
            target = functools.partial(EchoEnv, space)
            with PAIRS[paradigm](process, target) as (_, remote):
                remote.reset(seed=1)
                space.seed(1)
                actions = [space.sample() for _ in range(5)]
                observations = [remote.step(action)[0] for action in actions]
                assert_identical(observations, actions, name)
                for array in arrays_in(tuple(observations)):
                    assert array.flags.writeable, name
                    assert array.flags.c_contiguous, name
                    array[...] = 0


@pytest.mark.parametrize("paradigm", PAIRS)
def test_spaces_are_the_same_objects_on_each_access(paradigm, children):
    """So a seed given to a remote environment's space stays."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, "CartPole-v1") as (_, remote),
    ):
        assert remote.action_space is remote.action_space
        assert remote.observation_space is remote.observation_space
        remote.action_space.seed(1)
        samples = [remote.action_space.sample() for _ in range(8)]
        remote.reset()
        remote.action_space.seed(1)
        assert [remote.action_space.sample() for _ in range(8)] == samples


def promise(space, observation):
    """Make an environment whose every step returns ``observation``."""

    def step(env, action):
        return observation, 0.0, False, False, {}

    return ScriptedEnv(observation_space=space, step_fn=step)


FLOATS = spaces.Box(-1, 1, (2, 3), np.float32)
NESTED = spaces.Dict(a=spaces.Tuple([spaces.Discrete(2), FLOATS]), b=spaces.Text(3))

BROKEN_PROMISES: dict[str, tuple[spaces.Space[Any], Any, str]] = {
    "dtype": (FLOATS, np.zeros((2, 3)), "$"),
    "shape": (FLOATS, np.zeros((3, 2), np.float32), "$"),
    "rank": (FLOATS, np.zeros(6, np.float32), "$"),
    "list": (FLOATS, [[0.0] * 3] * 2, "$"),
    "None": (FLOATS, None, "$"),
    "nested dtype": (NESTED, {"a": (0, np.zeros((2, 3))), "b": "x"}, "$.a[1]"),
    "missing key": (NESTED, {"a": (0, np.zeros((2, 3), np.float32))}, "b"),
    "length of a tuple": (NESTED, {"a": (0,), "b": "x"}, "$.a"),
    "kind of a leaf": (NESTED, {"a": (0, np.zeros((2, 3), np.float32)), "b": 1}, "$.b"),
}


@pytest.mark.parametrize("paradigm", PAIRS)
def test_an_observation_that_was_not_promised_is_refused_with_its_path(
    paradigm, children
):
    """SpaceMismatch names the path; the environment can be reset and used."""
    with backend_process(children) as process:
        for case, (space, observation, path) in BROKEN_PROMISES.items():
            target = functools.partial(promise, space, observation)
            with PAIRS[paradigm](process, target) as (_, remote):
                remote.reset(seed=1)
                with pytest.raises(SpaceMismatch) as caught:
                    remote.step(0)
                assert path in str(caught.value), case
                first, _ = remote.reset(seed=1)
                assert first in remote.observation_space, case


def unusual_observations():
    """Return observations that are almost what their space promises, by name."""
    two, vector = spaces.Discrete(2), spaces.Box(-1, 1, (2,), np.float32)
    scalar, pair = spaces.Box(-1, 1, (), np.float64), spaces.Dict(b=two, a=vector)
    integer = spaces.Box(-9, 9, (), np.int32)
    ones = np.ones(2, np.float32)
    return {
        "int": (two, 1),
        "numpy.int32": (two, np.int32(1)),
        "bool": (two, True),
        "numpy.bool": (two, np.bool_(True)),
        "0-d array": (two, np.array(1)),
        "1-d array": (two, np.array([1])),
        "float": (two, 1.0),
        "out of range": (two, 7),
        "beyond int64": (two, 2**63),
        "float for a 0-d box": (scalar, 0.5),
        "numpy.float64 for a 0-d box": (scalar, np.float64(0.5)),
        "numpy.int32 for a 0-d box": (integer, np.int32(3)),
        "list for a box": (vector, [1.0, 1.0]),
        "big-endian for a box": (vector, ones.astype(">f4")),
        "strided for a box": (vector, np.ones(4, np.float32)[::2]),
        "masked for a box": (vector, np.ma.masked_array(ones, [True, False])),
        "bool for multi-binary": (spaces.MultiBinary(2), np.array([True, False])),
        "int64 for multi-binary": (spaces.MultiBinary(2), np.array([1, 0])),
        "int32 for multi-discrete": (spaces.MultiDiscrete([3]), np.ones(1, np.int32)),
        "numpy.str_ for text": (spaces.Text(3), np.str_("abc")),
        "bytes for text": (spaces.Text(3), b"abc"),
        "foreign characters in text": (spaces.Text(3), "äöü"),
        "lone surrogate in text": (spaces.Text(3), "a\ud800b"),
        "list for a tuple": (spaces.Tuple([two, vector]), [1, ones]),
        "int in a tuple": (spaces.Tuple([two, vector]), (1, ones)),
        "keys in another order": (pair, {"b": 1, "a": ones}),
        "keys in the order of the space": (pair, {"a": ones, "b": 1}),
        "one more key": (pair, {"a": ones, "b": 1, "c": 2}),
        "ordered dict": (pair, OrderedDict(a=ones, b=1)),
        "list for a sequence": (spaces.Sequence(two), [1, 0]),
        "empty sequence": (spaces.Sequence(two), ()),
        "array for a sequence": (spaces.Sequence(two), np.array([1, 0])),
        "tuple for a graph": (spaces.Graph(two, None), (np.array([1]), None, None)),
        "links without edges": (
            spaces.Graph(two, None),
            spaces.GraphInstance(np.array([1]), None, np.zeros((1, 2), np.int32)),
        ),
        "int64 links": (
            spaces.Graph(two, two),
            spaces.GraphInstance(np.array([1]), np.array([1]), np.zeros((1, 2), int)),
        ),
        "int for the index of a one-of": (spaces.OneOf([two, vector]), (1, ones)),
        "list for a one-of": (spaces.OneOf([two, vector]), [np.int64(1), ones]),
        "index out of range": (spaces.OneOf([two, vector]), (np.int64(2), ones)),
        "index of another part": (spaces.OneOf([two, vector]), (np.int64(0), ones)),
    }


@pytest.mark.parametrize("paradigm", PAIRS)
def test_an_unusual_observation_arrives_as_it_is_or_is_refused(paradigm, children):
    """Nothing is turned into something else: it is identical, or an error says why."""
    with backend_process(children) as process:
        for case, (space, observation) in unusual_observations().items():
            target = functools.partial(promise, space, observation)
            with PAIRS[paradigm](process, target) as (local, remote):
                remote.reset(seed=1)
                local.reset(seed=1)
                try:
                    transition = remote.step(0)
                except RLayError:
                    continue
                assert_identical(transition, local.step(0), case)


def test_what_environments_often_return_is_not_refused(children):
    """An int for a Discrete, a number for a 0-d Box, and keys in another order."""
    often = (
        *("int", "numpy.int32", "numpy.float64 for a 0-d box", "beyond int64"),
        *("keys in another order", "int in a tuple", "foreign characters in text"),
        *("int for the index of a one-of", "big-endian for a box"),
    )
    refused = {}
    with backend_process(children) as process:
        for case in often:
            target = functools.partial(promise, *unusual_observations()[case])
            with PAIRS["ClientEnv"](process, target) as (_, remote):
                remote.reset(seed=1)
                try:
                    remote.step(0)
                except SpaceMismatch as error:
                    refused[case] = str(error)
    assert refused == {}
