"""Environments that time themselves."""

import time

import gymnasium
import numpy as np
import pytest

from rlay.errors import ChannelError
from rlay.testing.timed import TimedEnv, TrivialEnv, timed


class Sleeper(gymnasium.Env):
    """Sleeps for a millisecond in each step."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Discrete(2)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        time.sleep(0.001)
        return 1, 0.5, False, True, {"action": action}


VECTOR = gymnasium.vector.SyncVectorEnv([Sleeper])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((16,), "uint8"), ((3, 2), "float32"), ((1,), "bool")]
)
def test_trivial_observations_are_of_the_space(shape, dtype):
    """Of any shape and dtype, at a reset and at a step."""
    env = TrivialEnv(shape, dtype)
    for observation in (env.reset()[0], env.step(0)[0]):
        assert env.observation_space.contains(observation)
        assert (observation.shape, observation.dtype) == (shape, np.dtype(dtype))


def test_timed_env_returns_what_the_environment_returns():
    """Times are taken beside it."""
    env = TimedEnv(Sleeper())
    env.reset()
    assert env.step(1) == (1, 0.5, False, True, {"action": 1})


def test_timed_env_tells_the_median_of_its_steps_once():
    """In microseconds; then it forgets them."""
    env = TimedEnv(Sleeper())
    for _ in range(3):
        env.step(0)
    times = env.take_step_times()
    assert times["steps"] == 3
    assert times["p50_us"] >= 1000
    assert env.take_step_times() == {"steps": 0, "p50_us": None}


def test_timed_makes_what_a_target_names():
    """An id, a callable of a module, or the trivial environment."""
    spec = timed("CartPole-v1").unwrapped.spec
    assert spec is not None
    assert spec.id == "CartPole-v1"
    assert isinstance(timed(f"{__name__}:Sleeper").env, Sleeper)
    assert timed(obs_shape=[2], obs_dtype="int8").observation_space.shape == (2,)


def test_timed_of_an_unknown_target_says_so():
    """With what was tried."""
    with pytest.raises(ChannelError, match="Gymnasium knows no such id"):
        timed("NoSuch-v0")


def test_timed_of_a_vector_is_refused():
    """It would be timed as one."""
    with pytest.raises(TypeError, match="is a vector environment"):
        timed(f"{__name__}:VECTOR")
