"""Rows C11, C12, C13, C17: dialing where nobody, or somebody else, answers."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import rlay
from rlay.testing.environments import HashChainEnv
from tests.bridge.faults.test_cuts import descriptors
from tests.faults.stage import LIMIT_S
from tests.support.bridged import LOOPBACK
from tests.support.channels import say
from tests.support.long import LONG
from tests.support.privileges import unshare_command
from tests.support.waiting import wait_until

# --------------------------------------------------------------------------------- C11


def test_c11_greeting_that_breaks_off_at_each_byte(stage):
    """The listener keeps nothing of it, and the next one is as good as ever."""
    player, _ = stage.playing(dialer="far")
    player.env.close()
    port = stage.near.port()
    greeting = recorded_greeting(stage)
    before = descriptors(stage.near)
    for size in range(0, len(greeting), 1 if LONG else 7):
        with socket.create_connection((LOOPBACK, port), LIMIT_S) as sock:
            sock.sendall(greeting[:size])
            if size % 2:  # a RST; else a FIN
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" * 2)
    wait_until(lambda: descriptors(stage.near) <= before)
    stage.player().play(seed=2, steps=2)


def recorded_greeting(stage):
    """Return what a dialer without a token sends first."""
    with socket.create_server((LOOPBACK, 0)) as door:
        door.settimeout(LIMIT_S)
        port = door.getsockname()[1]
        stage.far.kill()
        options = dict(stage.far.options)
        stage.far.start(connect=[f"{LOOPBACK}:{port}"])
        with door.accept()[0] as sock:
            sock.settimeout(LIMIT_S)
            hello = sock.recv(4096)
        stage.far.kill()
    stage.far.start(**options)
    stage.far.wait_until_logged("is up")
    return hello


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 150])
def test_c11_greeting_that_the_listener_breaks_off(stage, size):
    """The dialer dials again, and is soon there."""
    stage.connect(wait=False)
    stage.proxy.cut()
    stage.proxy.cut_after(size, "to_dialer")
    stage.environment()
    stage.player().play(seed=1, steps=2)


# --------------------------------------------------------------------------------- C12


def banner(text):
    """Return a server that says something else to each who comes, and its port."""
    door = socket.create_server((LOOPBACK, 0))

    def serve():
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                sock, _ = door.accept()
                with sock:
                    sock.sendall(text)
                    sock.settimeout(0.2)
                    with contextlib.suppress(OSError):
                        sock.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    return door


@pytest.mark.parametrize(
    ("where", "why"),
    [
        # Where no server of names answers, it is the time that ends.
        ("no-such-host.invalid:7450", "no link to no-such-host.invalid:7450"),
        ("no..host:7450", "the name cannot be resolved"),
        ("127.0.0.1:1", "nobody listens there"),
        ("http", "no frame begins with"),
        ("ssh", "no frame begins with"),
    ],
    ids=["unknown name", "no name", "refused", "http", "ssh"],
)
def test_c12_dialer_says_once_why_it_has_no_link(stage, where, why):
    """Once for each change of state; and it goes on dialing."""
    texts = {
        "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + bytes(64),
        "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + bytes(64),
    }
    with contextlib.ExitStack() as stack:
        if where in texts:
            door = stack.enter_context(banner(texts[where]))
            where = f"{LOOPBACK}:{door.getsockname()[1]}"
        stage.near.start(connect=[where], insecure=True)
        stage.near.wait_until_logged(why)
        # Long enough for some more attempts.
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() > begin + 1.5)
        assert stage.near.log.count("no link to") <= 2, stage.near.log
        assert "Traceback" not in stage.near.log


def test_c12_name_that_cannot_be_listened_at_is_an_error_of_one_line(stage):
    """The bridge ends with 1, and says why."""
    stage.far.start(listen=["no..host:0"], insecure=True).wait(exit_code=1)
    assert "cannot listen on no..host:0" in stage.far.log
    assert "Traceback" not in stage.far.log


def test_c12_connect_timeout_where_no_bridge_answers(stage):
    """A client of a machine whose bridge has no link does not wait for ever."""
    stage.near.start(connect=["127.0.0.1:1"])
    stage.near.wait_until_logged("no link to")
    with pytest.raises(rlay.ConnectTimeout):
        stage.algorithm(connect_timeout=0.5)


# --------------------------------------------------------------------------------- C13


def test_c13_listener_that_comes_back_at_another_address(stage, tmp_path):
    """Its name is looked up at each attempt."""
    unshare = unshare_command()
    if unshare is None:
        pytest.skip("no private mounts here, to have other names on the machine")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 simulator\n")
    stage.far.start(listen=["127.0.0.2:0"])
    port = stage.far.port()
    mount = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    stage.near.prefix = [*unshare, "sh", "-c", mount, "sh"]
    stage.near.start(connect=[f"simulator:{port}"], insecure=True)
    stage.near.wait_until_logged("is up")
    stage.environment()
    player = stage.player()
    player.play(seed=1, steps=2)
    stage.far.kill()
    hosts.write_text("127.0.0.3 simulator\n")
    stage.far.start(listen=[f"127.0.0.3:{port}"])
    player.step()


# --------------------------------------------------------------------------------- C17

MANY = 256


def serve_many(names):
    """Serve hash chains in one process: the child's main function."""
    with contextlib.ExitStack() as stack:
        backends = [
            stack.enter_context(rlay.ServerBackend(HashChainEnv, name=name))
            for name in names
        ]
        threads = [
            threading.Thread(target=backend.run, daemon=True) for backend in backends
        ]
        for thread in threads:
            thread.start()
        say("serving")
        for thread in threads:
            thread.join()


def test_c17_many_environments_lose_their_link_at_once(stage, within):
    """All of them are back within 15 s."""
    stage.connect()
    names = [f"many.{number}" for number in range(MANY)]
    child = stage.children.start(
        serve_many, names, forever=True, env={"RLAY_DIR": str(stage.far.directory)}
    )
    stage.processes.append(child)
    players = [stage.player(name) for name in names]
    with ThreadPoolExecutor(MANY) as threads:
        list(threads.map(lambda player: player.play(seed=1, steps=2), players))
        stage.proxy.cut()
        begin = time.monotonic()
        list(threads.map(lambda player: player.step(), players))
        within(15, time.monotonic() - begin)
