"""``rlay::serve`` against ``ClientEnv``: what goes in comes out, and nothing hangs."""

import signal
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.envs.spaces import describe
from rlay.protocol.spaces import encode_space
from tests.clients.cpp.programs import HERE, SANITIZED, compiled
from tests.support.equality import assert_identical
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

BOX = spaces.Box(-1, 1, (3,), np.float32)
DTYPES = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]
SPACES = {
    **{f"box of {name}": spaces.Box(0, 1, (2, 3), np.dtype(name)) for name in DTYPES},
    "box of no dimensions": spaces.Box(-1, 1, (), np.float64),
    "discrete": spaces.Discrete(5, start=-2),
    "multi_binary": spaces.MultiBinary([2, 3]),
    "multi_discrete": spaces.MultiDiscrete([3, 4, 5]),
    "text": spaces.Text(20),
    "dict": spaces.Dict({"z": BOX, "a": spaces.Discrete(3), "t": spaces.Text(5)}),
    "tuple": spaces.Tuple((BOX, spaces.Discrete(3))),
    "sequence": spaces.Sequence(BOX),
    "stacked sequence": spaces.Sequence(BOX, stack=True),
    "graph": spaces.Graph(BOX, spaces.Discrete(4)),
    "one_of": spaces.OneOf((BOX, spaces.Discrete(3))),
    "nested": spaces.Dict(
        {"deep": spaces.Tuple((spaces.Dict({"x": BOX}), spaces.Sequence(BOX)))}
    ),
}


@pytest.fixture(scope="session")
def mirror():
    """The program, with sanitizers."""
    return compiled(HERE / "tests" / "mirror.cpp", *SANITIZED)


@pytest.fixture
def serve(mirror, children):
    """Start the mirror of a space on the channel ``mirror``."""

    def start(space, sessions=1, **options):
        words = [mirror, "mirror", encode_space(describe(space)).hex(), str(sessions)]
        return children.start_command(words, **options)

    return start


@pytest.mark.parametrize("name", SPACES)
def test_values_of_every_space_come_back(serve, name):
    """An action, and an observation, of each kind of space keep type and bits."""
    space = SPACES[name]
    space.seed(7)
    child = serve(space)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        assert env.observation_space == space
        assert env.action_space == space
        first = space.sample()
        observation, _ = env.reset(options={"observation": first})
        assert_identical(observation, first)
        for _ in range(5):
            action = space.sample()
            observation, reward, terminated, truncated, info = env.step(action)
            assert_identical(observation, action)
            assert (reward, terminated, truncated, info) == (0.5, False, False, {})
    child.wait()


@pytest.mark.parametrize("seed", [None, 0, 2**64 - 1, 2**64, 2**200 + 17])
def test_seed_of_any_size_arrives(serve, seed):
    """A seed keeps its value, also beyond 64 bits."""
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        first = BOX.sample()
        _, info = env.reset(seed=seed, options={"observation": first})
    if seed is None:
        assert info == {}
    elif seed < 2**64:
        assert info["seed bits"] == seed
    else:
        data = bytes.fromhex(info["seed"])
        assert int.from_bytes(data, "little", signed=True) == seed
    child.wait()


def test_info_of_every_type_comes_back(serve):
    """What options hold returns as info with the same types."""
    info: dict[str, object] = {
        "none": None,
        "true": True,
        "int": -(2**63),
        "large": 2**64 - 1,
        "float": -0.0,
        "str": "snow \u2603",
        "bytes": b"\x00\xff",
        "list": [1, [2.0]],
        "tuple": (1, "a"),
        "scalar": np.float32(1.5),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "objects": np.array([{"a": 1}, None], dtype=object),
        "empty": {},
    }
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        _, returned = env.reset(options={"observation": BOX.sample(), "info": info})
    assert_identical(returned, info)
    child.wait()


def test_messages_beyond_the_slot_go_in_parts(serve):
    """Text of a megabyte travels both ways."""
    space = spaces.Text(2_000_000)
    text = "ab" * 700_000
    child = serve(space)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": "x"})
        assert env.step(text)[0] == text
        assert env.step("short")[0] == "short"
    child.wait()


def test_error_of_the_environment_is_told_and_the_session_goes_on(serve):
    """An error status of ``step`` is a RemoteEnvError with type and text."""
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.fault("raise")
        with pytest.raises(rlay.RemoteEnvError, match="the mirror is broken") as caught:
            env.step(BOX.sample())
        assert caught.value.remote_type == "BrokenMirror"
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
    child.wait()


def test_observation_outside_its_space_is_refused_there(serve):
    """A wrong dtype is a SpaceMismatch that names both, not a wrong observation."""
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.fault("misfit")
        with pytest.raises(rlay.SpaceMismatch, match=r"float32 \(3,\), got .*float64"):
            env.step(BOX.sample())
    child.wait()


def test_attributes_and_methods(serve):
    """What the program offers can be read, set and called; nothing else."""
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        assert env.get_wrapper_attr("level") == 1
        env.set_wrapper_attr("level", 7)
        assert env.level == 7
        assert env.echo(1, "two", three=3.0) == [[1, "two"], {"three": 3.0}]
        assert not hasattr(env, "other")
    child.wait()


def test_message_beyond_the_limit_is_refused(serve):
    """A reply beyond ``max_message_bytes`` is an error, not a hang."""
    child = serve(BOX, env={"MIRROR_LIMIT": "1000000"})
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.fault("huge")
        with pytest.raises(rlay.MessageTooLarge):
            env.step(BOX.sample())
        env.reset(options={"observation": BOX.sample()})
    child.wait()


def test_other_render_mode_is_refused(serve):
    """A render mode that the environment has not is refused with its name."""
    child = serve(BOX)
    with pytest.raises(rlay.ChannelError, match="renders nothing, 'rgb_array'"):
        rlay.ClientEnv("mirror", connect_timeout=20, render_mode="rgb_array")
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
    child.wait()


def _serves_again(serve):
    """Assert that another program takes the dead one's name."""
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
    child.wait()


def test_killed_program_is_a_loss(serve):
    """After a SIGKILL the next step raises EnvLost, and says whether it ran."""
    child = serve(BOX, sessions=0)
    env = rlay.ClientEnv("mirror", connect_timeout=20)
    env.reset(options={"observation": BOX.sample()})
    child.kill()
    with pytest.raises(rlay.EnvLost):
        env.step(BOX.sample())
    env.close()
    _serves_again(serve)


def test_program_that_ends_in_a_step_is_a_loss(serve):
    """A step in which the program ends raises, and says that it may have run."""
    child = serve(BOX, sessions=0)
    env = rlay.ClientEnv("mirror", connect_timeout=20)
    env.reset(options={"observation": BOX.sample()})
    env.fault("exit")
    with pytest.raises(rlay.EnvLost) as caught:
        env.step(BOX.sample())
    assert caught.value.executed is not False
    env.close()
    child.wait(exit_code=3)
    _serves_again(serve)


def test_forked_child_keeps_nobody_alive(serve):
    """A child that the environment forked has no lock: a killed parent is a loss."""
    child = serve(BOX, sessions=0)
    env = rlay.ClientEnv("mirror", connect_timeout=20)
    env.reset(options={"observation": BOX.sample()})
    env.fault("fork")
    env.step(BOX.sample())
    child.kill()
    with pytest.raises(rlay.EnvLost):
        env.step(BOX.sample())
    env.close()
    _serves_again(serve)


def test_forked_child_answers_nobody(serve):
    """A child that comes back into ``serve`` is refused; its parent goes on."""
    child = serve(BOX)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.fault("fork and go on")
        for _ in range(50):
            action = BOX.sample()
            assert_identical(env.step(action)[0], action)
        wait_until(lambda: "forked:" in child.stdout, 10, "the child is refused")
        env.step(BOX.sample())
    child.wait()
    (line,) = [x for x in child.stdout.splitlines() if x.startswith("forked:")]
    assert "belongs to the parent process" in line


def test_step_that_hangs_is_a_timeout(serve):
    """A step without an end is a StepTimeout."""
    child = serve(BOX, sessions=0)
    env = rlay.ClientEnv("mirror", connect_timeout=20, step_timeout=0.3)
    env.reset(options={"observation": BOX.sample()})
    env.fault("hang")
    with pytest.raises(rlay.StepTimeout):
        env.step(BOX.sample())
    child.kill()
    env.close()
    _serves_again(serve)


def play_for_ever(name):
    """Step an environment until somebody ends this process."""
    env = rlay.ClientEnv(name, connect_timeout=20)
    action = BOX.sample()
    env.reset(options={"observation": action})
    env.step(action)
    sys.stdout.write("steps\n")
    sys.stdout.flush()
    while True:
        env.step(action)


def test_killed_client_makes_room_for_the_next(serve, children):
    """The program notices that a client is dead and serves another one."""
    child = serve(BOX, sessions=2)
    player = children.start(play_for_ever, "mirror", forever=True)
    player.wait_until_printed("steps")
    player.kill()
    wait_until(
        lambda: "ended without a goodbye" in child.stdout, 5, "the loss is noticed"
    )
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
    child.wait()


def test_step_before_the_reset_is_refused(serve, channel_directory):
    """An environment that a client left must be reset by the next one."""
    child = serve(BOX, sessions=2)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(BOX.sample())
        env.reset(options={"observation": BOX.sample()})
    child.wait()
    wait_until(lambda: not list(channel_directory.iterdir()), 5, "the channel is gone")


def test_stop_flag_ends_in_order(serve, channel_directory):
    """SIGTERM sets the stop flag: the client is told, and no file is left."""
    child = serve(BOX, sessions=0)
    env = rlay.ClientEnv("mirror", connect_timeout=20)
    env.reset(options={"observation": BOX.sample()})
    child.send_signal(signal.SIGTERM)
    child.wait()
    with pytest.raises(rlay.EnvLost, match="shuts down"):
        env.step(BOX.sample())
    env.close()
    assert not list(channel_directory.iterdir())


def test_two_programs_of_one_name(serve):
    """The second one is told that the name is taken, and the first goes on."""
    first = serve(BOX, sessions=1)
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        second = serve(BOX)
        second.wait(exit_code=1)
        assert "has a server already" in second.stderr
        env.reset(options={"observation": BOX.sample()})
    first.wait()


@pytest.mark.parametrize("count", [1, 3])
def test_batch_is_served(serve, count):
    """A program with several environments on one clock is a vector environment."""
    child = serve(BOX, env={"MIRROR_ENVS": str(count)})
    envs = rlay.ClientVectorEnv("mirror", num_envs=count, connect_timeout=20)
    first = envs.observation_space.sample()
    observations, _ = envs.reset(seed=3, options={"observation": first})
    assert_identical(observations, first)
    actions = envs.action_space.sample()
    observations, rewards, terminations, truncations, _ = envs.step(actions)
    assert_identical(observations, actions)
    assert_identical(rewards, np.arange(count, dtype=np.float64))
    assert_identical(terminations, np.arange(count) == 0)
    assert_identical(truncations, np.zeros(count, bool))
    envs.close()
    child.wait()


def test_batch_refuses_a_client_for_one(serve):
    """``ClientEnv`` is told to be a ``ClientVectorEnv``."""
    child = serve(BOX, env={"MIRROR_ENVS": "2"})
    with pytest.raises(rlay.RLayError, match="ClientVectorEnv"):
        rlay.ClientEnv("mirror", connect_timeout=20)
    envs = rlay.ClientVectorEnv("mirror", num_envs=2, connect_timeout=20)
    envs.reset(options={"observation": envs.observation_space.sample()})
    envs.close()
    child.wait()
