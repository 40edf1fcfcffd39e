"""``rlay::Backend`` against ``ServerEnv``: a game that asks, blocking and polling."""

import signal
import sys

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.envs.spaces import describe
from rlay.protocol.spaces import encode_space
from tests.clients.cpp.programs import HERE, SANITIZED, compiled
from tests.clients.cpp.test_serve import BOX, SPACES
from tests.support.equality import assert_identical

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def mirror():
    """The program, with sanitizers."""
    return compiled(HERE / "tests" / "mirror.cpp", *SANITIZED)


@pytest.fixture
def play(mirror, children):
    """Start the mirror of a space as the game of the channel ``game``."""

    def start(space, sessions=1, how="run", **options):
        description = encode_space(describe(space)).hex()
        words = [mirror, "game", description, str(sessions), how]
        return children.start_command(words, **options)

    return start


@pytest.fixture(params=["run", "poll"])
def how(request):
    """How the game waits."""
    return request.param


@pytest.mark.parametrize("name", SPACES)
def test_values_of_every_space_come_back(play, name):
    """An action, and an observation, of each kind of space keep type and bits."""
    space = SPACES[name]
    space.seed(7)
    child = play(space)
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        first = space.sample()
        observation, _ = env.reset(options={"observation": first})
        assert_identical(observation, first)
        assert env.action_space == space
        for _ in range(5):
            action = space.sample()
            observation, reward, terminated, truncated, info = env.step(action)
            assert_identical(observation, action)
            assert (reward, terminated, truncated, info) == (0.5, False, False, {})
    child.wait()


def test_game_that_starts_first_waits_for_its_trainer(play, how):
    """Any start order works; a game that polls goes on while nobody is there."""
    child = play(BOX, how=how)
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        first = BOX.sample()
        observation, _ = env.reset(seed=2**80, options={"observation": first})
        assert_identical(observation, first)
        for _ in range(20):
            action = BOX.sample()
            assert_identical(env.step(action)[0], action)
        env.reset(options={"observation": first})  # in mid-episode
        env.reset(options={"observation": first})  # and again
    child.wait()
    if how == "poll":
        frames = int(child.stdout.split()[-2])
        assert frames > 22


def test_error_of_the_game_is_told_and_the_session_goes_on(play, how):
    """A failure in an action is a RemoteEnvError; a reset mends it."""
    child = play(BOX, how=how)
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.fault("raise")
        with pytest.raises(rlay.RemoteEnvError, match="the mirror is broken"):
            env.step(BOX.sample())
        env.reset(options={"observation": BOX.sample()})
        env.fault("misfit")
        with pytest.raises(rlay.SpaceMismatch, match="float32"):
            env.step(BOX.sample())
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
    child.wait()


def test_calls_are_answered_inside_decide(play, how):
    """Attributes and methods work between a reset and a step, and change no state."""
    child = play(BOX, how=how)
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        assert env.level == 1
        env.level = 7
        assert env.get_wrapper_attr("level") == 7
        assert env.echo(1, two=2) == [[1], {"two": 2}]
        env.step(BOX.sample())
    child.wait()


def test_reports_beyond_the_slot_go_in_parts(play, how):
    """Text of a megabyte travels both ways."""
    text = "ab" * 700_000
    child = play(spaces.Text(2_000_000), how=how)
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        env.reset(options={"observation": "x"})
        assert env.step(text)[0] == text
        assert env.step("short")[0] == "short"
    child.wait()


def test_message_beyond_the_limit_is_refused(play, how):
    """A report beyond ``max_message_bytes`` is an error, not a hang."""
    child = play(BOX, how=how, env={"MIRROR_LIMIT": "1000000"})
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.fault("huge")
        with pytest.raises(rlay.MessageTooLarge):
            env.step(BOX.sample())
        env.reset(options={"observation": BOX.sample()})
    child.wait()


def test_killed_game_is_a_loss_and_another_one_joins(play):
    """After a SIGKILL the step raises EnvLost; a reset takes the next game in."""
    child = play(BOX, sessions=0)
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        child.kill()
        with pytest.raises(rlay.EnvLost):
            env.step(BOX.sample())
        other = play(BOX)
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
    other.wait()


def train_for_ever():
    """Step a game until somebody ends this process."""
    env = rlay.ServerEnv("game", connect_timeout=20)
    action = np.zeros(3, np.float32)
    env.reset(options={"observation": action})
    env.step(action)
    sys.stdout.write("steps\n")
    sys.stdout.flush()
    while True:
        env.step(action)


def test_killed_trainer_is_a_close_and_the_next_is_found(play, children):
    """Losing the trainer is a Close with the reason VANISHED, not an error."""
    child = play(BOX, sessions=2, how="poll")
    trainer = children.start(train_for_ever, forever=True)
    trainer.wait_until_printed("steps")
    trainer.kill()
    child.wait_until_printed("close 6")
    with rlay.ServerEnv("game", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
    child.wait()
    assert "close 1" in child.stdout


def test_stop_flag_ends_a_game_that_waits(play):
    """SIGTERM sets the stop flag, which ends a wait for a decision."""
    child = play(BOX, sessions=0)
    env = rlay.ServerEnv("game", connect_timeout=20)
    env.reset(options={"observation": BOX.sample()})
    child.send_signal(signal.SIGTERM)
    child.wait()
    with pytest.raises(rlay.EnvLost):
        env.step(BOX.sample())
    env.close()


def test_game_at_a_backends_channel_is_told(play, children):
    """A channel of the other paradigm is refused with what to do."""
    with rlay.ServerBackend("CartPole-v1", name="game"):
        child = play(BOX)
        child.wait(exit_code=1)
    assert "attach a ClientEnv" in child.stderr


def test_several_games_join_one_vector(play):
    """Games of one name find the places of a ServerVectorEnv."""
    games = [play(BOX) for _ in range(2)]
    envs = rlay.ServerVectorEnv("game", num_envs=2, connect_timeout=30)
    first = np.zeros((2, 3), np.float32)
    observations, _ = envs.reset(options={"observation": first[0]})
    assert_identical(observations, first)
    actions = np.eye(2, 3, dtype=np.float32)
    assert_identical(envs.step(actions)[0], actions)
    envs.close()
    for game in games:
        game.wait()
