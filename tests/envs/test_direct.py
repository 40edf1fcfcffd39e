"""Programs that attach to a bridge directly: the same code, with an address."""

import re
import sys

import gymnasium
import pytest

import rlay
from rlay.errors import ChannelBusy, ConnectTimeout, EnvLost
from tests.support.trajectories import difference, record, reference
from tests.support.waiting import wait_until

LIMIT_S = 30.0


@pytest.fixture
def bridge(children, channel_directory):
    """Start a bridge; return the beginning of addresses there."""
    command = [sys.executable, "-m", "rlay", "bridge", "--listen", "127.0.0.1:0"]
    child = children.start_command(command, forever=True)
    found: list[str] = []

    def listens():
        found[:] = re.findall(r"listening on (127\.0\.0\.1:\d+)", child.stderr)
        return bool(found)

    wait_until(listens, what="the bridge listens")
    return f"tcp://{found[0]}/"


def serve(address):
    """Serve CartPole at an address; runs in a child."""
    rlay.ServerBackend("CartPole-v1", name=address).run()


def play(address):
    """Let CartPole ask for decisions; runs in a child."""
    env = gymnasium.make("CartPole-v1")
    rlay.ClientBackend(env, name=address).run(sessions=1)


def test_client_env_is_bit_identical(bridge, children):
    """ClientEnv and ServerBackend meet at a bridge, and nothing changes."""
    children.start(serve, bridge + "x", forever=True)
    actions, expected, _ = reference("CartPole-v1")
    env = rlay.ClientEnv(bridge + "x")
    assert difference(record(env, actions), expected) is None
    env.close()


def test_server_env_is_bit_identical(bridge, children):
    """ServerEnv and ClientBackend meet at a bridge, and nothing changes."""
    game = children.start(play, bridge + "x")
    actions, expected, _ = reference("CartPole-v1")
    env = rlay.ServerEnv(bridge + "x")
    assert difference(record(env, actions), expected) is None
    env.close()
    game.wait(LIMIT_S)


def test_backend_that_is_killed_is_env_lost(bridge, children):
    """A direct backend that is killed is a lost environment, not a hang."""
    child = children.start(serve, bridge + "x", forever=True)
    env = rlay.ClientEnv(bridge + "x")
    env.reset(seed=0)
    child.kill()
    with pytest.raises(EnvLost):
        env.step(0)
    env.close()


def test_channel_that_is_taken_is_busy(bridge, children):
    """A second client is told that there is one."""
    children.start(serve, bridge + "x", forever=True)
    env = rlay.ClientEnv(bridge + "x")
    with pytest.raises(ChannelBusy):
        rlay.ClientEnv(bridge + "x", connect_timeout=5)
    env.close()


def test_missing_channel_is_named(bridge):
    """A bridge without the channel: the error says which one, and where."""
    with pytest.raises(ConnectTimeout, match="there is no channel 'typo'"):
        rlay.ClientEnv(bridge + "typo", connect_timeout=0.5)


def test_missing_bridge_is_named():
    """Nobody listens: the error says so."""
    with pytest.raises(ConnectTimeout, match=r"nobody listens on 127\.0\.0\.1:9"):
        rlay.ClientEnv("tcp://127.0.0.1:9/x", connect_timeout=0.3)


def test_repr_shows_the_address(bridge, children):
    """An environment shows the address with which it was made."""
    children.start(serve, bridge + "x", forever=True)
    env = rlay.ClientEnv(bridge + "x")
    assert repr(env) == f"<ClientEnv '{bridge}x' connected>"
    assert env.spec.kwargs == {"name": bridge + "x"}
    env.close()
