"""Observations outside their bounds or of other types than were promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlay
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
