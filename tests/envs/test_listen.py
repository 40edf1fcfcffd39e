"""``listen=``: one program, and a peer that attaches to it without another command."""

import os
import signal
import sys
import time

import gymnasium
import pytest
from gymnasium.spaces import Discrete

import rlay
from rlay.errors import AuthError, ChannelBusy, ChannelError, ConnectTimeout
from rlay.transport.bridge_status import read_status
from rlay.transport.inspection import clean_channel
from tests.support.own_bridges import LIMIT_S, LISTEN, address, processes_of
from tests.support.waiting import wait_until

CARTPOLE = "CartPole-v1"
STEPS = 5


# ---------------------------------------------------- peers, which have an address only


def serve(num_envs):
    """Serve at the bridge; runs in a child."""
    rlay.ServerBackend(CARTPOLE, name=address(), num_envs=num_envs).run(sessions=1)


def play(num_envs):
    """Ask for decisions at the bridge; runs in a child."""
    rlay.ClientBackend(CARTPOLE, name=address(), num_envs=num_envs).run(sessions=1)


def train_client():
    """Use an environment that is served at the bridge; runs in a child."""
    step_and_close(rlay.ClientEnv(address()))


def train_server():
    """Decide for a game at the bridge; runs in a child."""
    step_and_close(rlay.ServerEnv(address()))


def step_and_close(env):
    """Step some times; the other end must not be lost."""
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(STEPS):
        env.step(env.action_space.sample())
    env.close()


def tell_decisions():
    """Be a game that says what it was told; runs in a child."""
    with rlay.ClientBackend(
        name=address(), observation_space=Discrete(9), action_space=Discrete(2)
    ) as backend:
        decision = backend.decide()
        while not isinstance(decision, rlay.Close):
            decision = backend.decide(1)
    sys.stdout.write(f"told: {decision}\n")


@pytest.fixture
def _bridge_ends(channel_directory):
    """Nothing of a bridge is there when the test has closed its object."""
    yield
    assert processes_of(channel_directory) == []
    assert list(channel_directory.iterdir()) == []


# ------------------------------------------------------------------------ it is of use


@pytest.mark.usefixtures("_bridge_ends")
@pytest.mark.parametrize(
    ("kind", "peer", "num_envs"),
    [
        (rlay.ClientEnv, serve, 1),
        (rlay.ClientVectorEnv, serve, 2),
        (rlay.ServerEnv, play, 1),
        (rlay.ServerVectorEnv, play, 2),
    ],
)
def test_environment_steps_a_direct_peer(children, kind, peer, num_envs):
    """The peer knows the port alone; the environment its channel."""
    other = children.start(peer, num_envs)
    step_and_close(kind("x", listen=LISTEN))
    other.wait()


@pytest.mark.usefixtures("_bridge_ends")
def test_server_backend_answers_a_direct_peer(children):
    """The algorithm is what attaches."""
    trainer = children.start(train_client)
    backend = rlay.ServerBackend(CARTPOLE, name="x", listen=LISTEN)
    assert backend.listening == ()
    backend.run(sessions=1)
    assert backend.steps > STEPS
    trainer.wait()


@pytest.mark.usefixtures("_bridge_ends")
def test_client_backend_asks_a_direct_peer(children):
    """The trainer is what attaches."""
    trainer = children.start(train_server)
    backend = rlay.ClientBackend(CARTPOLE, name="x", listen=LISTEN)
    assert backend.connected
    backend.run(sessions=1)
    trainer.wait()


@pytest.mark.usefixtures("_bridge_ends")
@pytest.mark.parametrize(
    ("entry_id", "peer"),
    [("rlay/ClientEnv-v0", serve), ("rlay/ServerEnv-v0", play)],
)
def test_gymnasium_makes_it(children, entry_id, peer):
    """``listen`` is an argument as any other, and the address can be read."""
    other = children.start(peer, 1)
    env = gymnasium.make(entry_id, name="x", listen=LISTEN)
    assert env.spec is not None
    assert env.spec.kwargs["listen"] == LISTEN
    assert env.unwrapped.listening[0] in address()  # type: ignore[attr-defined]
    step_and_close(env)
    other.wait()


@pytest.mark.usefixtures("_bridge_ends")
def test_gymnasium_makes_a_vector(children):
    """By ``make_vec``, as without ``listen``."""
    other = children.start(serve, 2)
    envs = gymnasium.make_vec("rlay/ClientEnv-v0", num_envs=2, name="x", listen=LISTEN)
    step_and_close(envs)
    other.wait()


@pytest.mark.usefixtures("_bridge_ends")
def test_backend_listens_anew_when_it_is_opened_anew():
    """Each time until it is closed."""
    backend = rlay.ServerBackend(CARTPOLE, name="x", listen=LISTEN)
    for _ in range(2):
        with backend:
            assert backend.listening
        assert backend.listening == ()


# ----------------------------------------------------------------------------- its end


@pytest.mark.usefixtures("_bridge_ends")
def test_goodbye_reaches_the_peer_before_the_bridge_ends(children):
    """The game is told that its trainer closed, and not that a link broke."""
    game = children.start(tell_decisions)
    env = rlay.ServerEnv("x", listen=LISTEN)
    env.reset()
    env.step(0)
    env.close()
    game.wait()
    assert game.stdout == "told: Close(reason='closed')\n"


def hold():
    """Have an environment with a bridge, and stay; runs in a child."""
    env = rlay.ServerEnv("x", listen=LISTEN)
    sys.stdout.write(env.listening[0])
    sys.stdout.flush()
    time.sleep(LIMIT_S)


def test_process_that_is_killed_leaves_no_bridge(children, channel_directory):
    """Only the channel, as without ``listen``."""
    owner = children.start(hold)
    owner.wait_until_printed("127.0.0.1")
    owner.kill()
    wait_until(lambda: not processes_of(channel_directory), LIMIT_S)
    assert [path.name for path in channel_directory.iterdir()] == ["x"]
    clean_channel("x", channel_directory)


@pytest.mark.usefixtures("_bridge_ends")
def test_forked_copy_leaves_the_bridge_alone(children):
    """Closed in the child, it serves the parent's peers as before."""
    env = rlay.ServerEnv("x", listen=LISTEN, connect_timeout=LIMIT_S)
    pid = os.fork()
    if not pid:
        env.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    game = children.start(play, 1)
    step_and_close(env)
    game.wait()


@pytest.mark.usefixtures("_bridge_ends")
def test_environment_that_is_collected_ends_its_bridge(channel_directory):
    """As its channel."""
    env = rlay.ServerEnv("x", listen=LISTEN)
    keeper = env._bridge._child._keeper  # type: ignore[union-attr]
    del env
    wait_until(lambda: not processes_of(channel_directory), LIMIT_S)
    keeper.wait(LIMIT_S)


# ---------------------------------------------------------------------- it is not made


def make(kind, **options):
    """Make an object on ``x`` with a bridge; one that waits does not do so for long."""
    if kind is rlay.ServerBackend:
        kind(CARTPOLE, name="x", **options).open()
    elif kind is rlay.ClientBackend:
        kind(CARTPOLE, name="x", connect_timeout=0.1, **options)
    else:
        kind("x", connect_timeout=0.1, **options)


KINDS = [
    rlay.ClientEnv,
    rlay.ClientVectorEnv,
    rlay.ServerEnv,
    rlay.ServerVectorEnv,
    rlay.ServerBackend,
    rlay.ClientBackend,
]


@pytest.mark.usefixtures("_bridge_ends")
@pytest.mark.parametrize("kind", KINDS)
def test_address_that_others_reach_is_refused(kind):
    """By every class, with the bridge's remedy; no channel was made."""
    with pytest.raises(AuthError, match="rlay token new"):
        make(kind, listen="0.0.0.0:0")


@pytest.mark.usefixtures("_bridge_ends")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_address_is_refused(kind):
    """By every class, before anything is started."""
    with pytest.raises(ChannelError, match=r"listen='127\.0\.0\.1:7450'"):
        make(kind, listen=7450)


@pytest.mark.usefixtures("_bridge_ends")
@pytest.mark.parametrize(
    "kind", [rlay.ClientEnv, rlay.ClientVectorEnv, rlay.ClientBackend]
)
def test_nobody_comes_and_the_bridge_ends(kind):
    """A constructor that raises leaves nothing."""
    with pytest.raises(ConnectTimeout):
        make(kind, listen=LISTEN)


@pytest.mark.usefixtures("_bridge_ends")
@pytest.mark.parametrize(
    "kind", [rlay.ServerEnv, rlay.ServerVectorEnv, rlay.ServerBackend]
)
def test_name_is_taken_and_the_bridge_ends(kind):
    """The same, where it is the channel that cannot be made."""
    with rlay.ServerBackend(CARTPOLE, name="x"), pytest.raises(ChannelBusy):
        make(kind, listen=LISTEN)


@pytest.mark.usefixtures("_bridge_ends")
def test_environment_cannot_be_made_and_the_bridge_ends():
    """Peers had a second to be told why."""
    backend = rlay.ServerBackend(lambda: 1 / 0, name="x", listen=LISTEN)
    with pytest.raises(ZeroDivisionError):
        backend.open()


def interrupted():
    """Wait for a peer, and say that Ctrl-C ended that; runs in a child."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        rlay.ClientEnv("x", listen=LISTEN)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\n")


@pytest.mark.usefixtures("_bridge_ends")
def test_interrupted_constructor_ends_its_bridge(children):
    """Ctrl-C where nobody comes."""
    program = children.start(interrupted)
    wait_until(read_status, LIMIT_S)
    program.send_signal(signal.SIGINT)
    program.wait()
    assert program.stdout == "interrupted\n"
