"""Any space, and any of its elements, arrives through RLay as it was sent."""

import functools
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlay import SpaceMismatch
from rlay.testing.environments import EchoEnv, ScriptedEnv
from rlay.testing.strategies import elements, spaces_of_any_kind
from tests.support.equality import assert_identical, assert_same_space
from tests.support.pairs import PAIRS, backend_process

# Gymnasium warns where an extreme bound overflows in its own arithmetic.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

WHOLE_PATH = settings(max_examples=60, suppress_health_check=list(HealthCheck))
"""Each example makes a channel and greets, so there are few."""


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
@pytest.mark.parametrize("case", BROKEN_PROMISES)
def test_an_observation_that_was_not_promised_is_refused_with_its_path(
    case, paradigm, children
):
    """SpaceMismatch names the path; the environment can be reset and used."""
    space, observation, path = BROKEN_PROMISES[case]
    target = functools.partial(promise, space, observation)
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (_, remote),
    ):
        remote.reset(seed=1)
        with pytest.raises(SpaceMismatch) as caught:
            remote.step(0)
        assert path in str(caught.value)
        observation, _ = remote.reset(seed=1)
        assert observation in remote.observation_space
