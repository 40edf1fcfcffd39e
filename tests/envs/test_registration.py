"""RLay's ids in Gymnasium's registry."""

from __future__ import annotations

import gymnasium
import pytest

import rlay
from rlay.envs.registration import register_environments
from rlay.testing.environments import HashChainEnv
from tests.support.threads import background, serving

pytestmark = pytest.mark.usefixtures("channel_directory")


def test_register_twice_is_harmless():
    """Both ids are there as soon as rlay and gymnasium are imported; once."""
    before = gymnasium.registry["rlay/ClientEnv-v0"]
    register_environments()
    assert gymnasium.registry["rlay/ClientEnv-v0"] is before


def test_server_env_is_registered_without_the_checker():
    """The checker would wait for the game, which is started afterwards."""
    assert gymnasium.spec("rlay/ServerEnv-v0").disable_env_checker
    with gymnasium.make("rlay/ServerEnv-v0", name="x", connect_timeout=None) as env:
        assert isinstance(env.unwrapped, rlay.ServerEnv)


def test_make_passes_its_arguments_on_and_sets_the_spec():
    """gymnasium.make's keyword arguments are the constructor's."""
    with (
        serving(HashChainEnv, name="x"),
        gymnasium.make("rlay/ClientEnv-v0", name="x", step_timeout=7.0) as env,
    ):
        spec = env.unwrapped.spec
        assert spec is not None
        assert spec.id == "rlay/ClientEnv-v0"
        assert spec.kwargs == {"name": "x", "step_timeout": 7.0}
        env.reset(seed=1)
        assert env.step(5)[4]["steps"] == 1


def test_make_vec_makes_the_vector_classes():
    """The same ids make ClientVectorEnv and ServerVectorEnv."""
    with serving(HashChainEnv, name="x", num_envs=2):
        envs = gymnasium.make_vec("rlay/ClientEnv-v0", num_envs=2, name="x")
        assert isinstance(envs.unwrapped, rlay.ClientVectorEnv)
        envs.close()
    with background(
        lambda: rlay.ClientBackend(HashChainEnv, name="y", num_envs=2).run(1)
    ):
        envs = gymnasium.make_vec("rlay/ServerEnv-v0", num_envs=2, name="y")
        assert isinstance(envs.unwrapped, rlay.ServerVectorEnv)
        envs.reset()
        envs.close()
