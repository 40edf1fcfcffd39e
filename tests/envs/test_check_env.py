"""Gymnasium's own checker finds no fault in RLay's environments."""

import functools
import os
import sys
import warnings

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import rlay
from rlay.testing.environments import HashChainEnv
from tests.support.equality import assert_identical
from tests.support.pairs import PAIRS, backend_process
from tests.support.waiting import wait_until

CHECKED = [
    name
    for name in ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Blackjack-v1")
    if name in gymnasium.registry
]
RENDER_MODES = ["human", "rgb_array"]
"""CartPole's."""


def check(env, **skipped):
    """Check an environment, and return what Gymnasium warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, **skipped)
    return sorted({str(warning.message) for warning in caught})


@pytest.fixture
def no_screen(monkeypatch):
    """Render without a screen, here and in the backends."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


@pytest.fixture
def group(children, channel_directory, no_screen):
    """Serve CartPole on the channels cart.0, cart.1 and cart.2; give their pattern."""
    command = [sys.executable, "-m", "rlay", "serve", "CartPole-v1", "--name", "cart"]
    children.start_command([*command, "--channels", "3"], forever=True)
    # Each is a process of its own; a client gives a group that is coming up one second.
    names = {f"cart.{number}" for number in range(3)}
    wait_until(lambda: names <= set(os.listdir(channel_directory)), 60.0)
    return "cart.*"


@pytest.fixture
def made(monkeypatch):
    """Give a list to which every environment that a spec makes is added."""
    environments = []
    make = EnvSpec.make

    def recording(self, **kwargs):
        env = make(self, **kwargs)
        environments.append((env.render_mode, env.unwrapped))
        return env

    monkeypatch.setattr(EnvSpec, "make", recording)
    return environments


def warnings_in_process():
    """Return what Gymnasium warns of CartPole itself."""
    env = gymnasium.make("CartPole-v1").unwrapped
    found = check(env)
    env.close()
    return found


def test_check_env_passes_in_full_through_make_on_a_channel_group(group, made):
    """It warns of no more than in-process, and makes RLay's environments alone."""
    expected = warnings_in_process()
    del made[:]
    env = gymnasium.make("rlay/ClientEnv-v0", name=group)
    found = check(env.unwrapped)
    env.close()
    assert found == expected
    # One for each render mode, then one for the check of close().
    assert [mode for mode, _ in made] == [*RENDER_MODES, None]
    assert {type(env) for _, env in made} == {rlay.ClientEnv}


def test_check_env_passes_in_full_on_one_built_directly_on_a_group(group, made):
    """Its spec says how to make another, which is RLay's too."""
    expected = warnings_in_process()
    del made[:]
    env = rlay.ClientEnv(group)
    found = check(env)
    env.close()
    assert found == expected
    assert [mode for mode, _ in made] == [*RENDER_MODES, None]
    assert {type(env) for _, env in made} == {rlay.ClientEnv}


@pytest.mark.parametrize("paradigm", PAIRS)
def test_check_env_passes_but_for_render_and_close_on_one_built_directly(
    paradigm, children
):
    """It warns of no more than of the environment itself."""
    parts = {"skip_render_check": True, "skip_close_check": True}
    with backend_process(children) as process:
        for name in CHECKED:
            with PAIRS[paradigm](process, name) as (local, remote):
                assert check(remote, **parts) == check(local.unwrapped, **parts), name


@pytest.mark.parametrize("identifier", ["rlay/ClientEnv-v0", "rlay:rlay/ClientEnv-v0"])
def test_make_gives_the_environment_of_the_channel(identifier, children):
    """The id, with or without the module to import, makes a ClientEnv."""
    with backend_process(children) as process:
        process.order("ServerBackend", HashChainEnv, name="chain")
        env = gymnasium.make(identifier, name="chain")
        local = HashChainEnv()
        assert type(env.unwrapped) is rlay.ClientEnv
        assert_identical(env.reset(seed=7), local.reset(seed=7))
        assert_identical(env.step(3), local.step(3))
        env.close()
        process.outcome()


def test_make_works_in_a_script_that_does_not_know_rlay(children, monkeypatch):
    """The id alone, and $RLAY_CHANNEL, lead to the channel."""
    script = (
        "import gymnasium\n"
        "env = gymnasium.make('rlay:rlay/ClientEnv-v0')\n"
        "_, info = env.reset(seed=7)\n"
        "env.close()\n"
        "print(info['hash'])\n"
    )
    with backend_process(children) as process:
        process.order("ServerBackend", HashChainEnv, name="chain")
        child = children.start_code(script, env={"RLAY_CHANNEL": "chain"})
        child.wait()
        process.outcome()
    assert child.stdout.strip() == HashChainEnv().reset(seed=7)[1]["hash"]


def test_make_of_a_server_env_does_not_wait_for_its_game(children):
    """Make it, then start the game, then reset: in one script, in this order."""
    with backend_process(children) as process:
        env = gymnasium.make("rlay/ServerEnv-v0", name="chain")
        assert type(env.unwrapped) is rlay.ServerEnv
        process.order("ClientBackend", HashChainEnv, name="chain")
        local = HashChainEnv()
        assert_identical(env.reset(seed=7), local.reset(seed=7))
        assert_identical(env.step(3), local.step(3))
        env.close()
        process.outcome()


@pytest.mark.parametrize("paradigm", PAIRS)
def test_every_step_reaches_the_environment_once_and_in_order(paradigm, children):
    """After 2,000 steps in 40 episodes the hash chain is that of the actions."""
    target = functools.partial(HashChainEnv, episode_length=50)
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (local, remote),
    ):
        remote.action_space.seed(1)
        for episode in range(40):
            seed = episode if episode % 3 == 0 else None
            assert_identical(remote.reset(seed=seed), local.reset(seed=seed))
            ended = False
            while not ended:
                action = remote.action_space.sample()
                transition = remote.step(action)
                assert_identical(transition, local.step(action))
                ended = transition[2]
