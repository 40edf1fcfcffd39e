"""Observations outside their bounds or of other types than were promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.envs.admission import cast, check
from rlay.envs.spaces import describe
from rlay.testing.environments import ScriptedEnv
from tests.support.equality import assert_identical

pytestmark = pytest.mark.usefixtures("channel_directory")

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


def out_of_bounds() -> ScriptedEnv:
    def step(env: ScriptedEnv, action: Any) -> Any:
        value = 3.0 if action == 2 else 0.5
        return np.full(2, value, np.float32), 0.0, False, False, {}

    return ScriptedEnv(
        observation_space=OBSERVATIONS, action_space=ACTIONS, step_fn=step
    )


def test_bounds_are_not_checked_by_default(remote):
    """An observation outside its bounds arrives, as it does in the same process."""
    with remote(out_of_bounds()) as env:
        env.reset()
        assert env.step(2)[0].tolist() == [3, 3]


def test_bounds_checked_at_the_backend(remote):
    """check_bounds=True of the backend: SpaceMismatch, and the next step works."""
    with remote(out_of_bounds(), check_bounds=True) as env:
        env.reset()
        with pytest.raises(rlay.SpaceMismatch, match="check_bounds"):
            env.step(2)
        assert env.step(1)[0].tolist() == [0.5, 0.5]


def test_bounds_checked_at_the_algorithms_end(remote):
    """check_bounds=True here: SpaceMismatch, and the next step works."""
    with remote(out_of_bounds(), ours={"check_bounds": True}) as env:
        env.reset()
        with pytest.raises(rlay.SpaceMismatch, match="check_bounds"):
            env.step(2)
        assert env.step(1)[0].tolist() == [0.5, 0.5]


def test_bounds_of_the_first_observation_are_checked_too(remote):
    """reset() is held to the same promise."""
    target = ScriptedEnv(reset_fn=lambda *_: (np.full(2, 9, np.float32), {}))
    for options in ({"check_bounds": True}, {"ours": {"check_bounds": True}}):
        with (
            remote(target, **options) as env,
            pytest.raises(rlay.SpaceMismatch, match="check_bounds"),
        ):
            env.reset()


@pytest.mark.parametrize(
    "odd",
    [
        np.array([0.25, -0.5]),
        [0.25, -0.5],
        np.array([[0.25, -0.5]], np.float32),
        (0.25, np.float64(-0.5)),
    ],
    ids=["float64", "list", "shape", "tuple"],
)
def test_cast_observations_allows_what_gymnasium_warns_about(remote, odd):
    """With cast_observations=True the space's dtype and shape arrive; else refused."""
    target = ScriptedEnv(step_fn=lambda *_: (odd, 0.0, False, False, {}))
    with remote(target, cast_observations=True) as env:
        env.reset()
        observation = env.step(0)[0]
    assert_identical(observation, np.array([0.25, -0.5], np.float32))
    with remote(target) as env:
        env.reset()
        with pytest.raises(rlay.SpaceMismatch, match=r"expected .*float32 \(2,\)"):
            env.step(0)


# ---------------------------------------------------- what is admitted, what is cast

F4 = np.float32
NESTED = spaces.Dict(
    {
        "eyes": spaces.Tuple((OBSERVATIONS, spaces.MultiBinary(2))),
        "n": spaces.Discrete(5),
        "name": spaces.Text(5),
    }
)


def nested(**changes: Any) -> dict[str, Any]:
    eyes = (np.zeros(2, F4), np.ones(2, np.int8))
    return {"eyes": eyes, "n": np.int64(1), "name": "x", **changes}


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Box(0, 1, (), F4), np.float32(0.5)),
        (spaces.Box(0, 1, (2,), F4), np.zeros(2, ">f4")),
        (spaces.Discrete(5), 3),
        (spaces.Discrete(5), np.uint8(3)),
        (spaces.Discrete(5), np.array(3)),
        (spaces.Discrete(2), np.bool_(True)),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2])),
        (NESTED, nested()),
        (NESTED, dict(reversed(nested().items()))),
        (NESTED, nested(eyes=list(nested()["eyes"]))),
        (spaces.Sequence(OBSERVATIONS), (np.zeros(2, F4),) * 3),
        (spaces.Sequence(OBSERVATIONS, stack=True), np.zeros((3, 2), F4)),
        (spaces.OneOf((OBSERVATIONS, spaces.Discrete(3))), (np.int64(1), np.int64(2))),
        (spaces.Graph(OBSERVATIONS, None), spaces.Graph(OBSERVATIONS, None).sample()),
    ],
)
def test_check_admits_what_gymnasium_calls_an_element(space, value):
    """Scalars for rank 0, other integers, other orders and lists are no mismatch."""
    check(describe(space), value)


@pytest.mark.parametrize(
    ("space", "value", "path"),
    [
        (spaces.Box(0, 1, (), F4), 0.5, r"\$\."),
        (spaces.Box(0, 1, (), F4), np.float64(0.5), r"\$\."),
        (spaces.Discrete(5), 1.0, r"\$\."),
        (spaces.Discrete(5), np.array([1]), r"\$\."),
        (spaces.MultiBinary(2), np.ones(2, np.bool_), r"\$\."),
        (NESTED, nested(name=b"x"), r"\$\.name\."),
        (NESTED, nested(eyes=None), r"\$\.eyes\."),
        (spaces.Sequence(OBSERVATIONS), 5, r"\$\."),
        (spaces.OneOf((OBSERVATIONS,)), 5, r"\$\."),
        (spaces.OneOf((OBSERVATIONS,)), (0, 5), r"\$\[1\]\."),
    ],
)
def test_check_refuses_the_rest_with_its_path(space, value, path):
    """The message ends with where it is and what to mend."""
    with pytest.raises(rlay.SpaceMismatch, match=rf"at {path} Mend"):
        check(describe(space), value)


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (OBSERVATIONS, [1, 2], np.array([1, 2], F4)),
        (OBSERVATIONS, np.array([[1.5], [2.5]]), np.array([1.5, 2.5], F4)),
        (spaces.MultiBinary(2), [True, False], np.array([1, 0], np.int8)),
        (spaces.MultiDiscrete([3, 3]), (1.0, 2.0), np.array([1, 2])),
        (spaces.Discrete(5), 2.0, np.int64(2)),
        (spaces.Discrete(5), np.array([[3]]), np.int64(3)),
        (spaces.Text(5), "abc", "abc"),
        (NESTED, nested(n=1.0), nested()),
        (
            NESTED,
            nested(eyes=[[0.0, 0.0], [True, True]]),
            nested(),
        ),
    ],
)
def test_cast_gives_the_types_that_the_space_promises(space, value, expected):
    """Numbers are converted and reshaped where nothing is lost but precision."""
    assert_identical(cast(describe(space), value), expected)


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (OBSERVATIONS, [1, 2, 3]),
        (OBSERVATIONS, ["a", "b"]),
        (OBSERVATIONS, [[1], [2, 3]]),
        (OBSERVATIONS, object()),
        (spaces.Discrete(5), "x"),
        (spaces.Discrete(5), [1, 2]),
        (spaces.Discrete(5), float("inf")),
        (spaces.Discrete(5), 2**70),
        (spaces.Text(5), 5),
        (NESTED, {"n": 1}),
        (NESTED, nested(eyes=(1,))),
        (NESTED, nested(eyes=5)),
    ],
)
def test_cast_refuses_what_has_another_structure(space, value):
    """Other numbers of elements, other structures and texts stay a mismatch."""
    with pytest.raises(rlay.SpaceMismatch):
        cast(describe(space), value)
