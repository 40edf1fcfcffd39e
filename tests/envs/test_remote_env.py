"""What ``ClientEnv`` and ``ServerEnv`` have in common: pickles, spaces, spec, views."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded

import rlay
from rlay.testing.environments import HashChainEnv, ScriptedEnv
from rlay.transport.mem_client import MemClient
from tests.support.threads import result, serving, trainer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


def make_hash_chain() -> HashChainEnv:
    return HashChainEnv(episode_length=5)


# --------------------------------------------------------------------------- pickling


def test_pickle_unconnected_is_the_constructors_arguments():
    """An unconnected environment comes back as another of the same arguments."""
    env = rlay.ServerEnv("game", step_timeout=3.0, **SPACES)
    data = pickle.dumps(env)
    env.close()
    again = pickle.loads(data)
    try:
        assert isinstance(again, rlay.ServerEnv)
        assert again.spec.kwargs == {"name": "game", "step_timeout": 3.0, **SPACES}
    finally:
        again.close()


def test_pickle_connected_refused_and_says_to_pass_a_factory(remote):
    """A channel has one owner: neither pickle nor deepcopy makes a second one."""
    with remote(ScriptedEnv()) as env:
        for attempt in (pickle.dumps, copy.deepcopy, copy.copy):
            with pytest.raises(TypeError, match="Pass a factory"):
                attempt(env)
        env.reset()  # as if nothing had happened


def test_pickle_closed_client_env_is_its_arguments():
    """Once closed nothing stands in the way: it comes back attached anew."""
    with serving(make_hash_chain, name="x", sessions=2):
        env = rlay.ClientEnv("x", step_timeout=3.0)
        env.close()
        again = pickle.loads(pickle.dumps(env))
        again.reset(seed=1)
        again.close()


# ----------------------------------------------------------------------------- spaces


def test_spaces_are_the_same_objects_on_each_access(remote):
    """Code that compares spaces by identity, or seeds them, may do so."""
    with remote(gymnasium.make("CartPole-v1")) as env:
        assert env.observation_space is env.observation_space
        assert env.action_space is env.action_space


def test_spaces_are_the_same_objects_after_a_reconnect():
    """reset() on a new backend of the name keeps the space objects."""
    with serving(make_hash_chain, name="x", sessions=None):
        env = rlay.ClientEnv("x")
        env.reset()
    before = env.observation_space, env.action_space
    with pytest.raises(rlay.EnvLost):
        env.step(1)
    with pytest.raises(ResetNeeded, match="over"):
        env.step(1)
    with serving(make_hash_chain, name="x"):
        env.reset(seed=1)
        env.step(1)
        env.close()
    assert env.observation_space is before[0]
    assert env.action_space is before[1]


def test_game_that_was_replaced_unnoticed_is_adopted_by_reset():
    """A game that came and went between two calls is no error of the next reset()."""
    with trainer("x") as algorithm:
        for seed in (1, 2):
            resetting = algorithm.reset(seed=seed)
            with rlay.ClientBackend(
                name="x",
                observation_space=spaces.Box(0, 9, (1,), np.float64),
                action_space=spaces.Discrete(2),
            ) as game:
                assert game.decide() == rlay.Reset(seed, None)
                game.report(np.array([float(seed)]))
                assert result(resetting)[0].tolist() == [seed]


def test_game_that_is_being_replaced_is_adopted_by_reset(monkeypatch):
    """The next game is alive and has not said Hello when reset() looks for the last."""
    options: dict[str, Any] = {
        "observation_space": spaces.Box(0, 9, (1,), np.float64),
        "action_space": spaces.Discrete(2),
    }
    with trainer("x") as algorithm:
        resetting = algorithm.reset(seed=1)
        with rlay.ClientBackend(name="x", **options) as game:
            assert game.decide() == rlay.Reset(1, None)
            game.report(np.array([1.0]))
            result(resetting)
        link = algorithm.env._link
        begin_hello = MemClient.begin_hello
        resets: list[Any] = []

        def begin_late(client: MemClient, *args: Any) -> None:
            resets.append(algorithm.reset())
            wait_until(lambda: not link.channel.request_taken)
            begin_hello(client, *args)

        monkeypatch.setattr(MemClient, "begin_hello", begin_late)
        with rlay.ClientBackend(name="x", **options) as game:
            assert game.decide() == rlay.Reset(None, None)
            game.report(np.array([2.0]))
            assert result(resets[0])[0].tolist() == [2]


def test_spaces_other_ones_after_a_reconnect_refused():
    """A backend of the same name with other spaces is no substitute."""
    with serving(make_hash_chain, name="x", sessions=None):
        env = rlay.ClientEnv("x")
        env.reset()
    with pytest.raises(rlay.EnvLost):
        env.step(1)
    with serving("CartPole-v1", name="x", sessions=1):
        with pytest.raises(rlay.SpaceMismatch, match="observation spaces differ"):
            env.reset()
        rlay.ClientEnv("x").close()  # it was left free
    env.close()


@pytest.mark.parametrize("name", ["localhost:7450/x", "tcp:/localhost:7450/x", "h:1"])
def test_address_without_its_beginning_is_told_how_it_is_written(name):
    """It is no name either."""
    with pytest.raises(rlay.ChannelError, match="write tcp://HOST:PORT/NAME"):
        rlay.ServerEnv(name)


def test_name_that_is_none_is_told_nothing_of_addresses():
    """A blank is just a blank."""
    with pytest.raises(rlay.ChannelError, match="cannot name") as caught:
        rlay.ServerEnv("a b")
    assert "tcp://" not in str(caught.value)


# ------------------------------------------------------------------------------- spec


def test_spec_makes_this_environment_again():
    """env.spec names RLay's own id with the arguments that were given."""
    with serving("CartPole-v1", name="x", sessions=2):
        with rlay.ClientEnv("x", step_timeout=5.0) as env:
            spec = env.spec
        assert spec.id == "rlay/ClientEnv-v0"
        assert spec.kwargs == {"name": "x", "step_timeout": 5.0}
        with gymnasium.make(spec) as again:
            assert isinstance(again.unwrapped, rlay.ClientEnv)
            again.reset(seed=1)


def test_spec_has_the_remote_threshold_and_determinism(remote):
    """reward_threshold and nondeterministic are facts of the remote environment."""
    target = gymnasium.make("CartPole-v1")
    assert target.spec is not None
    target.spec.nondeterministic = True
    with remote(target) as env:
        assert env.spec.reward_threshold == 475.0
        assert env.spec.nondeterministic is True
        assert env.spec.id.startswith("rlay/")
    assert env.spec.reward_threshold == 475.0  # a closed environment still says so


def test_spec_can_be_set(remote):
    """gymnasium.make sets it, and so may anybody."""
    with remote(ScriptedEnv()) as env:
        spec = copy.deepcopy(env.spec)
        spec.max_episode_steps = 7
        env.spec = spec
        assert env.spec.max_episode_steps == 7
        env.spec = None
        assert env.spec.id.startswith("rlay/")


def test_spec_of_the_remote_is_a_plain_record(remote):
    """remote_spec says what was made there, without its code."""
    with remote(gymnasium.make("CartPole-v1", sutton_barto_reward=True)) as env:
        record = env.remote_spec
        assert record.id == "CartPole-v1"
        assert record.max_episode_steps == 500
        assert record.kwargs["sutton_barto_reward"] is True
    assert pickle.loads(pickle.dumps(record)) == record


def test_spec_of_a_remote_without_one_is_none(remote):
    """An environment that nobody registered has no remote_spec."""
    with remote(ScriptedEnv()) as env:
        assert env.remote_spec is None


# -------------------------------------------------------------------------- np_random


def test_np_random_is_local(remote):
    """The generator lives here, and is seeded by reset as Gymnasium does."""
    with remote(ScriptedEnv(), allow=["memory"]) as env:
        env.reset(seed=17)
        local = ScriptedEnv()
        local.reset(seed=17)
        assert env.np_random_seed == local.np_random_seed == 17
        assert env.np_random.random() == local.np_random.random()
        env.np_random = np.random.default_rng(1)
        assert env.np_random.random() == np.random.default_rng(1).random()


# ------------------------------------------------------------------------------ views


def test_views_are_read_only_and_valid_for_one_more_step(remote):
    """copy=False: the array is the slot's memory, which the step after next reuses."""

    def step(env: ScriptedEnv, action: Any) -> Any:
        return np.full(2, env.steps, np.float32), 0.0, False, False, {}

    target = ScriptedEnv(
        observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float32), step_fn=step
    )
    with remote(target, ours={"copy": False}) as env:
        env.reset()
        one = env.step(0)[0]
        assert one.base is not None
        with pytest.raises(ValueError, match="read-only"):
            one[0] = 5
        two = env.step(0)[0]
        assert (one[0], two[0]) == (1, 2)
        three = env.step(0)[0]
        assert (one[0], two[0], three[0]) == (3, 2, 3)


def test_copies_are_writeable_and_stay(remote):
    """By default what was returned is the caller's own."""
    with remote(ScriptedEnv()) as env:
        first, _ = env.reset(seed=1)
        kept = first.copy()
        assert first.flags.writeable
        assert first.flags.c_contiguous
        for _ in range(4):
            env.step(0)
        np.testing.assert_array_equal(first, kept)
