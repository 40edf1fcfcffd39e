"""Unusual actions do through RLay what they do in-process.

Actions are neither cast nor checked on the way: an int, a list, another dtype, another
shape or a number out of bounds reaches the environment as it is, which answers or
raises by itself. Only what cannot be encoded is refused on the algorithm's side.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from tests.envs.test_exactness import FAMILIES
from tests.support.equality import assert_identical
from tests.support.pairs import PAIRS, backend_process

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

SEED = 5


def discrete_actions(space: spaces.Discrete[Any]) -> dict[str, Any]:
    """Return actions for a Discrete space by name, sound ones first."""
    sound = int(space.start) + int(space.n) - 1
    return {
        "int": sound,
        "numpy.int64": np.int64(sound),
        "numpy.int32": np.int32(sound),
        "numpy.uint8": np.uint8(sound),
        "0-d array": np.array(sound),
        "0-d int32 array": np.array(sound, np.int32),
        "1-d array": np.array([sound]),
        "list": [sound],
        "bool": True,
        "numpy.bool": np.bool_(True),
        "float": float(sound),
        "numpy.float64": np.float64(sound),
        "fraction": sound - 0.5,
        "above": sound + 7,
        "below": int(space.start) - 3,
        "beyond int64": 2**63 + 5,
        **senseless_actions(),
    }


def box_actions(space: spaces.Box[Any]) -> dict[str, Any]:
    """Return actions for a Box space by name, sound ones first."""
    space = copy.deepcopy(space)
    space.seed(SEED)
    sound = space.sample()
    wide = np.repeat(sound, 2, axis=-1)
    return {
        "array": sound,
        "float64 array": sound.astype(np.float64),
        "float16 array": sound.astype(np.float16),
        "int32 array": sound.astype(np.int32),
        "big-endian array": sound.astype(sound.dtype.newbyteorder(">")),
        "strided array": wide[..., ::2],
        "reversed array": wide[..., ::-2],
        "read-only array": read_only(sound),
        "list": sound.tolist(),
        "tuple": tuple(sound.tolist()),
        "numpy scalars": list(sound),
        "object array": sound.astype(object),
        "out of bounds": sound * 0 + 2 * space.high + 1,
        "too long": np.zeros((*space.shape[:-1], space.shape[-1] + 1), space.dtype),
        "too short": np.zeros((*space.shape[:-1], space.shape[-1] - 1), space.dtype),
        "rank 2": sound[np.newaxis],
        "0-d array": np.array(0.25, space.dtype),
        "float": 0.25,
        "int": 0,
        **senseless_actions(),
    }


def senseless_actions() -> dict[str, Any]:
    """Return what is an action of no environment, and yet can be sent."""
    return {
        "None": None,
        "str": "left",
        "bytes": b"left",
        "dict": {"left": 1},
        "empty list": [],
        "empty array": np.zeros((0,), np.float32),
        "complex array": np.ones(1, np.complex64),
    }


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a copy that cannot be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def actions_for(space: Any) -> dict[str, Any]:
    """Return unusual actions for the action space of a Gymnasium environment."""
    if isinstance(space, spaces.Discrete):
        return discrete_actions(space)
    return box_actions(space)


def outcome(env: Any, action: Any) -> Any:
    """Return the first transition of an episode, or the name of what was raised."""
    env.reset(seed=SEED)
    try:
        return env.step(copy.deepcopy(action))
    except rlay.RemoteEnvError as error:
        return ("raised", error.remote_type.rpartition(".")[2])
    except Exception as error:
        return ("raised", type(error).__qualname__.rpartition(".")[2])


def expected_through_rlay(expected: Any, space: Any) -> Any:
    """Return what is due remotely for an outcome in this process.

    Some environments answer a senseless action with an observation of another shape or
    dtype than they promised, which RLay refuses.
    """
    observation = expected[0]
    if not isinstance(space, spaces.Box) or not isinstance(observation, np.ndarray):
        return expected
    if (observation.shape, observation.dtype) == (space.shape, space.dtype):
        return expected
    return ("raised", "SpaceMismatch")


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize("family", FAMILIES)
def test_unusual_actions_have_the_outcome_that_they_have_in_process(
    family, paradigm, children
):
    """The same transition, bit by bit, or the same type of exception."""
    differ = {}
    with backend_process(children) as process:
        for name in FAMILIES[family]:
            with PAIRS[paradigm](process, name) as (local, remote):
                for kind, action in actions_for(local.action_space).items():
                    in_process = copy.deepcopy(outcome(local, action))
                    space = local.observation_space
                    expected = expected_through_rlay(in_process, space)
                    try:
                        assert_identical(outcome(remote, action), expected)
                    except AssertionError as error:
                        differ[name, kind] = str(error)
    assert differ == {}


UNENCODABLE: dict[str, tuple[Any, str]] = {
    "object": (object(), "$"),
    "set": ({1, 2}, "$"),
    "wide int": (2**64, "$"),
    "in a list": ([1, object()], "$[1]"),
    "in a dict": ({"a": (1, {2})}, "$.a[1]"),
    "longdouble": (np.longdouble(1), "$"),
    "in an array": (np.array([{1}], dtype=object), "$[0]"),
}


@pytest.mark.parametrize("paradigm", PAIRS)
def test_an_action_that_cannot_be_encoded_is_refused_before_it_is_sent(
    paradigm, children
):
    """InvalidAction names the path, and the episode goes on as if nothing was tried."""
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, "CartPole-v1") as (local, remote),
    ):
        for env in (local, remote):
            env.reset(seed=SEED)
        for number, (kind, (action, path)) in enumerate(UNENCODABLE.items()):
            with pytest.raises(gymnasium.error.InvalidAction) as caught:
                remote.step(action)
            assert path in str(caught.value), kind
            assert_identical(remote.step(number % 2), local.step(number % 2), kind)
