"""The environments of rlay.testing do what their documentation says."""

import functools
import hashlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from rlay.testing.environments import (
    EchoEnv,
    HashChainEnv,
    ScriptedEnv,
    chain_hash,
    chain_start,
)
from tests.support.equality import assert_identical

BOOL: Any = np.bool_  # Gymnasium takes it for a Box and does not declare it
ACTIONS = st.lists(st.integers(0, 255), min_size=1, max_size=30)


def final_hash(env, seed, actions):
    """Run one episode and return the last info's hash."""
    _, info = env.reset(seed=seed)
    for action in actions:
        *_, info = env.step(action)
    return info["hash"]


def action_bytes(action):
    return action.to_bytes(8, "little", signed=True)


@given(seed=st.integers(0, 2**200), actions=ACTIONS)
def test_hash_chain_equals_its_definition(seed, actions):
    """The hash is SHA-256 over state and action, from that of the seed's digits."""
    state = hashlib.sha256(str(seed).encode()).digest()
    for action in actions:
        state = hashlib.sha256(state + action_bytes(action)).digest()
    assert final_hash(HashChainEnv(), seed, actions) == state.hex()
    assert chain_hash(chain_start(seed), map(action_bytes, actions)) == state


@given(actions=ACTIONS, index=st.integers(0, 29))
def test_hash_chain_shows_a_step_run_twice(actions, index):
    """The hash changes if any one step is run twice."""
    index %= len(actions)
    doubled = [*actions[: index + 1], *actions[index:]]
    env = HashChainEnv()
    assert final_hash(env, 1, doubled) != final_hash(env, 1, actions)


@given(actions=ACTIONS, index=st.integers(0, 29))
def test_hash_chain_shows_a_lost_step(actions, index):
    """The hash changes if any one step is left out."""
    index %= len(actions)
    fewer = [*actions[:index], *actions[index + 1 :]]
    env = HashChainEnv()
    assert final_hash(env, 1, fewer) != final_hash(env, 1, actions)


@given(actions=st.lists(st.integers(0, 255), min_size=2, max_size=30, unique=True))
def test_hash_chain_shows_reordered_steps(actions):
    """The hash changes if two different steps change places."""
    swapped = [actions[1], actions[0], *actions[2:]]
    env = HashChainEnv()
    assert final_hash(env, 1, swapped) != final_hash(env, 1, actions)


def test_hash_chain_observes_its_state():
    """Observation, hash and reward are three forms of the state."""
    env = HashChainEnv()
    env.reset(seed=3)
    observation, reward, _, _, info = env.step(7)
    assert observation.tobytes() == env.state == bytes.fromhex(info["hash"])
    assert reward == int.from_bytes(env.state[:8], "little") / 2**64
    assert observation in env.observation_space


def test_hash_chain_returns_a_new_array_each_time():
    """What is done to one observation does not change the next one or the state."""
    env = HashChainEnv()
    first, _ = env.reset(seed=3)
    first[:] = 0
    assert env.state == chain_start(3)


def test_hash_chain_ends_at_the_episode_length():
    """It terminates at that step and at every one after it, and never truncates."""
    env = HashChainEnv(episode_length=3)
    env.reset(seed=0)
    flags = [env.step(0)[2:4] for _ in range(5)]
    assert flags == [(False, False)] * 2 + [(True, False)] * 3


def test_hash_chain_counts_steps_and_resets():
    """Info has the steps since the reset; the resets are an attribute."""
    env = HashChainEnv()
    env.reset(seed=0)
    env.step(0)
    *_, info = env.step(0)
    assert (info["steps"], env.resets) == (2, 1)
    _, info = env.reset()
    assert (info["steps"], env.resets) == (0, 2)


def test_hash_chain_without_a_seed_continues_from_the_last_beginning():
    """An unseeded reset depends on how often it was reset, not on its steps."""
    one, other = HashChainEnv(), HashChainEnv()
    for env in (one, other):
        env.reset(seed=5)
    one.step(1)
    assert_identical(one.reset()[0], other.reset()[0])
    one.reset()
    assert one.state != other.state


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5, start=-2),
        spaces.Box(-1, 1, (2, 3), np.float16),
        spaces.Box(0, 1, (3,), BOOL),
        spaces.Box(-1, 1, (), np.float64),
        spaces.MultiBinary(4),
        spaces.MultiDiscrete([3, 4], dtype=np.uint8),
    ],
    ids=lambda space: type(space).__name__,
)
def test_hash_chain_takes_any_space_of_numbers(space):
    """Two actions that differ lead to two states, two equal ones to one."""
    env = HashChainEnv(action_space=space)
    space.seed(0)
    one = space.sample()
    drawn = (space.sample() for _ in range(100))
    other = next(action for action in drawn if not np.array_equal(action, one))
    assert final_hash(env, 1, [one]) == final_hash(env, 1, [one])
    assert final_hash(env, 1, [one]) != final_hash(env, 1, [other])


def test_hash_chain_hashes_little_endian_bytes_in_c_order():
    """An action's bytes do not depend on its memory layout or byte order."""
    env = HashChainEnv(action_space=spaces.Box(-9, 9, (2, 3), np.float32))
    action = np.arange(6, dtype="<f4").reshape(2, 3)
    expected = np.arange(6, dtype="<f4").tobytes()
    assert env.action_bytes(action) == expected
    assert env.action_bytes(np.asfortranarray(action)) == expected
    assert env.action_bytes(action.astype(">f4")) == expected


def test_hash_chain_refuses_a_space_without_numbers():
    """A nested space is refused when it is made, naming EchoEnv."""
    with pytest.raises(TypeError, match="EchoEnv takes any space"):
        HashChainEnv(action_space=spaces.Tuple([spaces.Discrete(2)]))


def test_hash_chain_refuses_an_episode_without_steps():
    """The shortest episode has one step."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        HashChainEnv(episode_length=0)


def test_hash_chain_refuses_a_foreign_action_and_stays_as_it_was():
    """An action outside the space raises ValueError and does not enter the chain."""
    env = HashChainEnv()
    env.reset(seed=1)
    with pytest.raises(ValueError, match="999 is not an element"):
        env.step(999)
    assert env.state == chain_start(1)


def test_hash_chain_needs_a_reset_before_its_first_step():
    """A step before any reset is Gymnasium's ResetNeeded."""
    with pytest.raises(gymnasium.error.ResetNeeded):
        HashChainEnv().step(0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # it has no spec, and says so
@pytest.mark.parametrize(
    "factory",
    [
        HashChainEnv,
        functools.partial(EchoEnv, spaces.Box(-1, 1, (2,), np.float32)),
        ScriptedEnv,
    ],
    ids=["HashChainEnv", "EchoEnv", "ScriptedEnv"],
)
def test_environment_passes_gymnasiums_checker(factory):
    """check_env finds nothing."""
    check_env(factory())


def test_echo_returns_the_action_itself():
    """The observation is the action's object, in the space or not."""
    env = EchoEnv(spaces.Discrete(2))
    env.reset()
    action = object()
    observation, reward, terminated, truncated, info = env.step(action)
    assert observation is action
    assert (reward, terminated, truncated, info) == (1.0, False, False, {})


def test_echo_returns_seed_and_options():
    """A reset's info is what the reset was given."""
    options = {"level": 3}
    _, info = EchoEnv(spaces.Discrete(2)).reset(seed=2**100, options=options)
    assert info == {"seed": str(2**100), "options": options}
    assert info["options"] is options


def test_echo_reset_samples_by_its_seed():
    """The same seed gives the same observation, and moves no public generator."""
    env = EchoEnv(spaces.Box(0, 1, (4,), np.float64))
    env.observation_space.seed(1)
    state = env.observation_space.np_random.bit_generator.state
    one, _ = env.reset(seed=4)
    other, _ = env.reset(seed=4)
    assert_identical(one, other)
    assert env.observation_space.np_random.bit_generator.state == state


def test_echo_step_info_is_what_was_given():
    """Every step's info is a new dict of the values given to the constructor."""
    value = object()
    env = EchoEnv(spaces.Discrete(2), step_info={"a": value})
    env.reset()
    one, other = env.step(0)[4], env.step(0)[4]
    assert one is not other
    assert one["a"] is other["a"] is value


def test_scripted_calls_its_functions_with_itself_and_the_arguments():
    """Each method's result is its function's, called with the environment first."""
    calls: list[tuple[object, ...]] = []

    def returning(result):
        def function(*args):
            calls.append(args)
            return result

        return function

    env = ScriptedEnv(
        reset_fn=returning(("first", {"a": 1})),
        step_fn=returning(("next", 2.0, True, False, {})),
        render_fn=returning("frame"),
        close_fn=returning(None),
    )
    assert env.reset(seed=1, options={"b": 2}) == ("first", {"a": 1})
    assert env.step("go") == ("next", 2.0, True, False, {})
    assert env.render() == "frame"
    env.close()
    assert calls == [(env, 1, {"b": 2}), (env, "go"), (env,), (env,)]


def test_scripted_counts_before_it_calls():
    """In the function, the call under way is counted already."""
    seen = []

    def step(env, action):
        seen.append((env.resets, env.steps))
        return 0, 0.0, False, False, {}

    env = ScriptedEnv(step_fn=step)
    env.reset()
    env.step(0)
    env.step(0)
    env.reset()
    env.step(0)
    assert seen == [(1, 1), (1, 2), (2, 1)]


def test_scripted_without_a_render_function_raises_as_gymnasium_does():
    """render() of an environment that has none is NotImplementedError."""
    with pytest.raises(NotImplementedError):
        ScriptedEnv().render()


def test_scripted_keeps_metadata_apart():
    """Metadata given to one environment is not another's."""
    ScriptedEnv(metadata={"render_modes": ["rgb_array"]})
    assert ScriptedEnv().metadata == {"render_modes": []}


def test_no_environment_is_registered():
    """Importing them adds nothing to Gymnasium's registry."""
    names = {"HashChainEnv", "EchoEnv", "ScriptedEnv"}
    entries = {str(spec.entry_point) for spec in gymnasium.registry.values()}
    assert not any(name in entry for name in names for entry in entries)
