"""Which calls wait for the other end, and which never do."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded

import rlay
from rlay.testing.environments import HashChainEnv, ScriptedEnv
from tests.support.equality import assert_identical
from tests.support.threads import (
    LIMIT_S,
    background,
    playing,
    raised_by,
    serving,
    trainer,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


def make_hash_chain() -> HashChainEnv:
    return HashChainEnv(episode_length=5)


def test_server_env_nothing_but_the_four_waits_for_the_game():
    """With connect_timeout=None whatever waits would hang: these do not."""
    env = rlay.ServerEnv("game", connect_timeout=None, render_mode="rgb_array")
    assert env.spec.kwargs["name"] == "game"
    assert repr(env) == str(env) == "<ServerEnv 'game' unconnected>"
    assert env.render_mode == "rgb_array"
    assert env.remote_spec is None
    assert not env.connected
    assert not hasattr(env, "anything")
    assert isinstance(env.np_random, np.random.Generator)
    assert env.unwrapped is env
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(ResetNeeded):
        env.render()
    env.close()
    assert repr(env) == "<ServerEnv 'game' closed>"


def test_server_env_collected_without_waiting_and_without_a_trace(channel_directory):
    """An environment that is dropped lets go of its channel, and waits for nobody."""
    env = rlay.ServerEnv("game", connect_timeout=None)
    assert os.listdir(channel_directory) == ["game"]
    del env
    gc.collect()
    assert os.listdir(channel_directory) == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda env: env.observation_space,
        lambda env: env.action_space,
        lambda env: env.metadata,
        lambda env: env.reset(),
        lambda env: env.wait_until_connected(),
    ],
    ids=["observation_space", "action_space", "metadata", "reset", "wait"],
)
def test_server_env_what_needs_the_game_waits_for_it(wait):
    """These wait up to connect_timeout, and say which game to start."""
    with (
        rlay.ServerEnv("game", connect_timeout=0.05) as env,
        pytest.raises(rlay.ConnectTimeout, match=r"ClientBackend\(name='game'\)"),
    ):
        wait(env)


def test_server_env_made_then_game_started_then_reset_in_one_script():
    """The registered environment is made first; its game is started afterwards."""
    env = gymnasium.make("rlay/ServerEnv-v0", name="game")
    with playing(make_hash_chain(), name="game"):
        observation, _ = env.reset(seed=3)
        env.close()
    assert_identical(observation, make_hash_chain().reset(seed=3)[0])


def test_server_env_given_spaces_are_there_at_once():
    """Given spaces need no game: they are the very objects that were given."""
    with rlay.ServerEnv("game", connect_timeout=None, **SPACES) as env:
        assert env.observation_space is OBSERVATIONS
        assert env.action_space is ACTIONS


def test_server_env_given_spaces_are_checked_at_the_greeting():
    """A game with other spaces is told so; the trainer waits on for a right one."""
    with trainer("game", **SPACES) as algorithm:
        algorithm.reset(seed=1)
        for what, other in (
            ("observation", spaces.Box(-2, 1, (2,), np.float32)),
            ("action", spaces.Discrete(3, start=1)),
        ):
            wrong = {**SPACES, f"{what}_space": other}
            with pytest.raises(rlay.SpaceMismatch, match=f"{what}_spaces differ"):
                rlay.ClientBackend(name="game", connect_timeout=LIMIT_S, **wrong)
        with rlay.ClientBackend(
            name="game", connect_timeout=LIMIT_S, **SPACES
        ) as right:
            assert right.decide() == rlay.Reset(1, None)


def test_server_env_wrong_game_is_named_when_nobody_else_comes():
    """The trainer's ConnectTimeout says that a game came, and why it was refused."""
    wrong = {**SPACES, "action_space": spaces.Discrete(4)}
    with (
        background(
            lambda: raised_by(
                rlay.SpaceMismatch,
                rlay.ClientBackend,
                name="game",
                connect_timeout=LIMIT_S,
                **wrong,
            )
        ),
        rlay.ServerEnv("game", connect_timeout=1.0, **SPACES) as env,
        pytest.raises(rlay.ConnectTimeout, match=r"Discrete\(4\)"),
    ):
        env.reset()


def test_client_env_waits_for_a_backend_that_starts_later(channel_directory):
    """The constructor waits for the channel, also where nothing exists yet."""
    with background(lambda: rlay.ClientEnv("x", connect_timeout=LIMIT_S)) as thread:
        wait_until(lambda: thread.running)
        with serving(make_hash_chain, name="x"):
            env = thread.outcome()
            env.reset(seed=1)
            env.close()


def test_client_env_without_a_backend_says_how_to_start_one():
    """ConnectTimeout names the channel, what is there instead, and the command."""
    with (
        rlay.ServerEnv("other"),
        pytest.raises(rlay.ConnectTimeout, match=r"other.*rlay serve .* --name x"),
    ):
        rlay.ClientEnv("x", connect_timeout=0.05)


def test_game_waits_for_a_trainer_that_starts_later():
    """A game that is started first joins the trainer when it comes."""
    with playing(make_hash_chain(), name="x"), rlay.ServerEnv("x") as env:
        env.reset(seed=1)
        env.close()


def test_backend_has_no_decision_timeout(remote):
    """A trainer may compute for longer than any time-out of its own."""
    limits = {"step_timeout": 0.05, "reset_timeout": 0.05}
    with remote(ScriptedEnv(), ours=limits) as env:
        env.reset()
        threading.Event().wait(0.3)  # a debugger, say
        env.step(0)
        threading.Event().wait(0.3)
        env.reset()


def test_client_env_on_a_channel_of_the_other_kind_says_so():
    """A ServerEnv's channel is no place for a ClientEnv, nor the other way round."""
    with (
        rlay.ServerEnv("x"),
        pytest.raises(rlay.ChannelError, match="waits for a game"),
    ):
        rlay.ClientEnv("x", connect_timeout=1.0)
    with (
        serving("CartPole-v1", name="x", sessions=None),
        pytest.raises(rlay.ChannelError, match="made by a ServerBackend"),
    ):
        rlay.ClientBackend(name="x", connect_timeout=1.0, **SPACES)
