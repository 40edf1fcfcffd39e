"""The C++ client at a bridge: the same programs, with an address."""

import sys

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.envs.spaces import describe
from rlay.protocol.spaces import encode_space
from rlay.testing import ChaosProxy
from tests.clients.cpp.programs import HERE, SANITIZED, compiled
from tests.clients.cpp.test_env import STEPS, hash_in_process
from tests.clients.cpp.test_serve import BOX, SPACES
from tests.support.bridge_child import BridgeChild
from tests.support.equality import assert_identical
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
IMAGE = spaces.Box(0, 255, (1000, 1000), np.uint8)
"""Four pieces of a frame."""


@pytest.fixture(scope="session")
def mirror():
    """The program, with sanitizers."""
    return compiled(HERE / "tests" / "mirror.cpp", *SANITIZED)


@pytest.fixture
def bridge(children):
    """Start a bridge; it is ended with the test."""
    started = BridgeChild(children)
    yield started
    if not started.child.checked:
        started.end()


@pytest.fixture
def start(mirror, children, bridge):
    """Start the mirror of a space at the bridge."""

    def begin(space, how, sessions=1, port=bridge.port, **options):
        address = f"tcp://127.0.0.1:{port}/mirror"
        description = encode_space(describe(space)).hex()
        words = [mirror, address, description, str(sessions), how]
        return children.start_command(words, **options)

    return begin


def algorithm(how, bridge, mapped):
    """Return the algorithm's end, at the bridge too or in mapped memory."""
    name = "mirror" if mapped else f"tcp://127.0.0.1:{bridge.port}/mirror"
    kind = rlay.ClientEnv if how == "serve" else rlay.ServerEnv
    return kind(name, connect_timeout=20)


@pytest.mark.parametrize("how", ["serve", "run", "poll"])
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "direct"])
@pytest.mark.parametrize("name", ["dict", "nested", "graph", "box of float16"])
def test_values_come_back(start, bridge, how, mapped, name):
    """Actions and observations keep type and bits, whoever maps and whoever dials."""
    space = SPACES[name]
    space.seed(7)
    child = start(space, how)
    with algorithm(how, bridge, mapped) as env:
        first = space.sample()
        assert_identical(env.reset(options={"observation": first})[0], first)
        for _ in range(20):
            action = space.sample()
            assert_identical(env.step(action)[0], action)
    child.wait()


@pytest.mark.parametrize("how", ["serve", "run"])
def test_large_messages_go_in_pieces(start, bridge, how):
    """A megabyte in the fixed area travels both ways, bit by bit."""
    IMAGE.seed(7)
    child = start(IMAGE, how)
    with algorithm(how, bridge, mapped=True) as env:
        first = IMAGE.sample()
        assert_identical(env.reset(options={"observation": first})[0], first)
        for _ in range(3):
            action = IMAGE.sample()
            assert_identical(env.step(action)[0], action)
    child.wait()


@pytest.mark.parametrize("how", ["serve", "run"])
def test_messages_beyond_the_slot_go_in_parts(start, bridge, how):
    """Text of a megabyte travels both ways; each part is taken by the far reader."""
    text = "ab" * 700_000
    child = start(spaces.Text(2_000_000), how)
    with algorithm(how, bridge, mapped=False) as env:
        env.reset(options={"observation": "x"})
        assert env.step(text)[0] == text
        assert env.step("short")[0] == "short"
    child.wait()


@pytest.mark.parametrize("how", ["serve", "run", "poll"])
def test_cut_link_is_made_again(start, bridge, how):
    """What was on its way when the link broke arrives once, after a moment."""
    with ChaosProxy(("127.0.0.1", bridge.port)) as proxy:
        child = start(IMAGE, how, port=proxy.address[1])
        with algorithm(how, bridge, mapped=True) as env:
            env.reset(options={"observation": IMAGE.sample()})
            for _ in range(6):
                action = IMAGE.sample()
                proxy.cut()
                assert_identical(env.step(action)[0], action)
        child.wait()


@pytest.mark.parametrize("how", ["serve", "run"])
def test_killed_program_is_a_loss(start, bridge, how):
    """On the bridge's own machine a program that is gone is a loss within seconds."""
    child = start(BOX, how, sessions=0)
    env = algorithm(how, bridge, mapped=True)
    env.reset(options={"observation": BOX.sample()})
    child.kill()
    with pytest.raises(rlay.EnvLost):
        env.step(BOX.sample())
    env.close()


def test_clients_come_and_go(start, bridge):
    """One client after the other is served over one link."""
    child = start(BOX, "serve", sessions=3)
    for _ in range(3):
        with algorithm("serve", bridge, mapped=True) as env:
            env.reset(options={"observation": BOX.sample()})
            env.step(BOX.sample())
    child.wait()


def test_other_render_mode_is_refused(start, bridge):
    """A refusal reaches the client through the bridge."""
    child = start(BOX, "serve")
    with pytest.raises(rlay.ChannelError, match="renders nothing"):
        rlay.ClientEnv(
            f"tcp://127.0.0.1:{bridge.port}/mirror",
            connect_timeout=20,
            render_mode="rgb_array",
        )
    with algorithm("serve", bridge, mapped=True) as env:
        env.reset(options={"observation": BOX.sample()})
    child.wait()


def test_name_that_is_taken_is_told(start, bridge):
    """A second program of the name ends with the bridge's text."""
    first = start(BOX, "serve")
    with algorithm("serve", bridge, mapped=True) as env:
        second = start(BOX, "serve")
        second.wait(exit_code=1)
        assert "the older one stays" in second.stderr
        env.reset(options={"observation": BOX.sample()})
    first.wait()


def serve_cartpole(name):
    """Serve one client."""
    rlay.ServerBackend("CartPole-v1", name=name).run(sessions=1)


def test_algorithm_in_cpp_is_bit_identical(bridge, children):
    """``rlay::Env`` at an address sees what the same process would see."""
    stepper = compiled(HERE / "tests" / "stepper.cpp", *SANITIZED)
    backend = children.start(serve_cartpole, "pole")
    address = f"tcp://127.0.0.1:{bridge.port}/pole"
    child = children.start_command([stepper, address, str(STEPS)])
    child.wait(60)
    backend.wait(60)
    assert child.stdout.split() == [hash_in_process(STEPS)]


def test_token_is_proved_both_ways(mirror, children, tmp_path):
    """With the bridge's token the program is served; with another it is told so."""
    tokens = [tmp_path / "right", tmp_path / "wrong"]
    for index, token in enumerate(tokens):
        token.touch(0o600)
        token.write_text(f"{index}" * 32 + "\n")
    bridge = BridgeChild(children, "--token-file", tokens[0])
    words = [mirror, f"tcp://127.0.0.1:{bridge.port}/mirror"]
    words += [encode_space(describe(BOX)).hex(), "1", "serve"]
    stranger = children.start_command(words, env={"RLAY_TOKEN_FILE": str(tokens[1])})
    stranger.wait(exit_code=1)
    assert "token" in stranger.stderr
    nobody = children.start_command(words)
    nobody.wait(exit_code=1)
    assert "RLAY_TOKEN_FILE" in nobody.stderr
    child = children.start_command(words, env={"RLAY_TOKEN_FILE": str(tokens[0])})
    with rlay.ClientEnv("mirror", connect_timeout=20) as env:
        env.reset(options={"observation": BOX.sample()})
    child.wait()
    bridge.end()


def test_bridge_that_is_killed_is_dialed_again(children, start, bridge):
    """A program waits for the next bridge, and is announced there."""
    child = start(BOX, "serve", sessions=1)
    wait_until(lambda: "mirror" in bridge.child.stderr, 20, "it is announced")
    port = bridge.port
    bridge.child.kill()
    words = ["-m", "rlay", "bridge", "--listen", f"127.0.0.1:{port}"]
    children.start_command([sys.executable, *words], forever=True)
    with algorithm("serve", bridge, mapped=True) as env:
        env.reset(options={"observation": BOX.sample()})
    child.wait()


def test_way_that_is_not_offered_is_named(mirror, children):
    """TLS is refused with what to do instead."""
    description = encode_space(describe(BOX)).hex()
    words = [mirror, "tls://localhost:1/mirror", description, "1", "serve"]
    child = children.start_command(words)
    child.wait(exit_code=1)
    assert "run a bridge on this machine" in child.stderr


@pytest.mark.parametrize("how", ["serve", "run", "poll"])
def test_mapped_program_is_reached_through_a_bridge(mirror, children, bridge, how):
    """The program maps its channel, the bridge holds the other end: a FIFO is rung."""
    description = encode_space(describe(IMAGE)).hex()
    child = children.start_command([mirror, "mirror", description, "1", how])
    with algorithm(how, bridge, mapped=False) as env:
        env.reset(options={"observation": IMAGE.sample()})
        for _ in range(20):
            action = IMAGE.sample()
            assert_identical(env.step(action)[0], action)
        env.fault("raise")
        with pytest.raises(rlay.RemoteEnvError):
            env.step(action)
    child.wait()


@pytest.mark.parametrize("how", ["serve", "run"])
def test_mapped_program_outlives_its_bridge(mirror, children, bridge, how):
    """A bridge that is killed is a pause for the program: the next one goes on."""
    description = encode_space(describe(BOX)).hex()
    child = children.start_command([mirror, "mirror", description, "1", how])
    with algorithm(how, bridge, mapped=False) as env:
        env.reset(options={"observation": BOX.sample()})
        env.step(BOX.sample())
        bridge.child.kill()
        words = ["-m", "rlay", "bridge", "--listen", f"127.0.0.1:{bridge.port}"]
        children.start_command([sys.executable, *words], forever=True)
        for _ in range(5):
            action = BOX.sample()
            assert_identical(env.step(action)[0], action)
    child.wait()
