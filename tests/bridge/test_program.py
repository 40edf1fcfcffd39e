"""A bridge process: what it loads, what it refuses, and how it ends."""

import json
import os
import signal
import socket
import sys

import pytest

import rlay
from rlay.transport.mem_server import MemServer
from tests.support.bridge_child import LIMIT_S, BridgeChild
from tests.support.waiting import wait_until

TELLING = """
import json, signal, sys

def tell(*_):
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(json.dumps(sorted(loaded)), flush=True)

signal.signal(signal.SIGUSR1, tell)
from rlay.cli import main
main(sys.argv[1:])
"""
"""A bridge that tells which modules it has loaded, when it is asked."""


def serve(name: str) -> None:
    """Serve an environment; for a child."""
    rlay.ServerBackend("CartPole-v1", name=name).run()


def test_running_bridge_has_loaded_neither_numpy_nor_gymnasium(
    children, channel_directory
):
    """Not before a session, and not after one in either direction."""
    near, far = channel_directory / "near", channel_directory / "far"
    for directory in (near, far):
        directory.mkdir(mode=0o700)
    listening = BridgeChild(children, "--directory", near)
    telling = children.start_command(
        [
            *(sys.executable, "-c", TELLING, "bridge", "--directory", far),
            *("--connect", f"127.0.0.1:{listening.port}"),
        ],
        forever=True,
    )
    backends = [
        children.start(serve, name, forever=True, env={"RLAY_DIR": str(where)})
        for name, where in (("here", far), ("there", near))
    ]
    for name, where in (("here", near), ("there", far)):
        env = rlay.ClientEnv(name, directory=where, connect_timeout=LIMIT_S)
        env.reset(seed=1)
        env.step(0)
        env.close()
    os.kill(telling.pid, signal.SIGUSR1)
    wait_until(lambda: "]" in telling.stdout, LIMIT_S, "it told")
    loaded = set(json.loads(telling.stdout))
    assert "asyncio" in loaded
    assert not loaded & {"numpy", "gymnasium", "cryptography", "rich"}
    for backend in backends:
        backend.end()
    telling.end_orderly()
    listening.end()
    for directory in (near, far):
        directory.rmdir()  # nothing is left in it


def bridge(*words):
    """A command that runs a bridge."""
    return [sys.executable, "-m", "rlay", "bridge", *words]


def test_second_bridge_of_a_directory_is_refused(children, channel_directory):
    """In one line that says what to do; the first one goes on."""
    first = BridgeChild(children)
    second = children.start_command(bridge("--listen", "127.0.0.1:0"))
    second.wait(exit_code=1)
    assert "another bridge serves the channels" in second.stderr
    assert "--directory" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.child.exit_code is None
    first.end()


def test_port_in_use_is_one_line_and_exit_code_1(children):
    """With the address, and nothing left behind."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        where = f"127.0.0.1:{door.getsockname()[1]}"
        child = children.start_command(bridge("--listen", where))
        child.wait(exit_code=1)
    assert where in child.stderr
    assert "in use" in child.stderr
    assert len(child.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_in_order_and_leaves_nothing(
    children, channel_directory, number
):
    """Exit code 0; a channel of this machine stays as it is."""
    server = MemServer.create("pole", channel_directory)
    child = BridgeChild(children)
    child.until_logged("channel 'pole' is here")
    child.child.send_signal(number)
    child.child.wait(exit_code=0)
    assert [path.name for path in channel_directory.iterdir()] == ["pole"]
    server.close()


@pytest.mark.parametrize("ending", ["dialer", "listener"])
def test_bridge_that_ends_says_goodbye(children, channel_directory, ending):
    """Whoever dialed: the other side does not wait for a link that never comes."""
    far = channel_directory / "far"
    far.mkdir(mode=0o700)
    listening = BridgeChild(children)
    dialing = children.start_command(
        bridge("--directory", far, "--connect", f"127.0.0.1:{listening.port}"),
        forever=True,
    )
    listening.until_logged("is up")
    first, second = dialing, listening.child
    if ending == "listener":
        first, second = second, first
    first.send_signal(signal.SIGTERM)
    first.wait(exit_code=0)
    wait_until(lambda: "said goodbye" in second.stderr, LIMIT_S, "it heard the goodbye")
    second.send_signal(signal.SIGTERM)
    second.wait(exit_code=0)
    far.rmdir()


@pytest.mark.parametrize("descriptors", [24])
def test_few_descriptors_are_told_and_survived(
    children, channel_directory, descriptors
):
    """Channels that find no room wait; what there is goes on."""
    limited = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))\n"
        "from rlay.cli import main\nmain(sys.argv[1:])"
    )
    child = children.start_command(
        [sys.executable, "-c", limited, "bridge", "--listen", "127.0.0.1:0"],
        forever=True,
    )
    wait_until(lambda: "listening" in child.stderr, LIMIT_S, "it listens")
    servers = [MemServer.create(f"pole.{n}", channel_directory) for n in range(12)]
    wait_until(lambda: "is here" in child.stderr, LIMIT_S, "some are found")
    for server in servers:
        server.close()
    last = MemServer.create("last", channel_directory)
    wait_until(lambda: "'last' is here" in child.stderr, LIMIT_S, "there is room again")
    assert "Traceback" not in child.stderr
    last.close()
    child.end_orderly()
