"""The connection of a direct peer that is cut after any byte, in either direction."""

import contextlib
import itertools
import socket
import threading
import time

import pytest

from rlay.errors import ChannelError, ConnectTimeout, PeerLost
from rlay.protocol.greeting import Welcome
from rlay.transport import socket_dial
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.socket_client import SocketClient
from rlay.transport.socket_server import SocketServer
from tests.support.attached import AttachedStage
from tests.support.channels import HELLO, INCARNATION, LIMIT_S, receive, send
from tests.support.long import LONG
from tests.support.waiting import wait_until

STRIDE = 1 if LONG else 7
NAME = "x"


@pytest.fixture
def stage(children, channel_directory):
    """A bridge behind a proxy."""
    made = AttachedStage("ClientEnv", "both", children, channel_directory)
    yield made
    made.end()


@pytest.fixture
def soon(monkeypatch):
    """Dial again at once: there are hundreds of cuts."""
    monkeypatch.setattr(socket_dial, "FIRST_PAUSE_S", 0.002)


class Answerer:
    """Greets one client after the other, and answers the one message of each."""

    def __init__(self, server):
        self._server = server
        self._stopped = False
        self._sessions = itertools.count(1)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped = True
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def _run(self):
        while not self._stopped:
            with contextlib.suppress(ConnectTimeout, PeerLost, ChannelError):
                self._serve()

    def _serve(self):
        buffer, _ = self._server.receive_hello(0.02)
        ids = INCARNATION, next(self._sessions)
        channel = self._server.accept(
            buffer, Welcome(0), ids, (1024, 1024), max_message_bytes=2**20
        )
        if channel is not None:
            sequence, payload = receive(channel)
            send(channel, sequence, payload[::-1])
            receive(channel)  # until the client is gone


def ask(client):
    """Greet, and have one message answered."""
    ids, welcome = client.greet(HELLO, (0, 0), LIMIT_S)
    channel = client.attach(welcome, ids)
    send(channel, 1, b"question")
    assert receive(channel) == (1, b"noitseuq")


def attach_client(stage):
    """Attach a client directly, ask, and leave."""
    client = SocketClient.open(stage.place("algorithm", NAME), LIMIT_S)
    try:
        ask(client)
    finally:
        client.close()


def attach_server(stage):
    """Attach a server directly, have it asked by a client of the machine, and leave."""
    server = SocketServer.create(stage.place("environment", NAME), LIMIT_S)
    try:
        with Answerer(server):
            client = wait_until(lambda: local_client(stage), LIMIT_S, "it is there")
            try:
                ask(client)
            finally:
                client.close()
    finally:
        server.close()


def local_client(stage):
    try:
        return MemClient.open(NAME, stage.near.directory)
    except ChannelError:
        return None


def cut_everywhere(stage, direction, attach):
    """Attach again and again, cut after each number of bytes; return how often."""
    attach(stage)
    before = stage.proxy.delivered_bytes(direction)
    attach(stage)
    total = stage.proxy.delivered_bytes(direction) - before
    assert total > 500
    for size in range(0, total, STRIDE):
        stage.proxy.cut_after(size, direction)
        attach(stage)
        stage.proxy.heal()
    return total


@pytest.mark.timeout(900 if LONG else 120)
@pytest.mark.parametrize("direction", ["to_listener", "to_dialer"])
def test_client_cut_after_each_byte(stage, soon, direction):
    """It comes in all the same: greeting, question, session and message."""
    stage.listen(proxied=True)
    server = MemServer.create(NAME, stage.near.directory)
    try:
        with Answerer(server):
            cut_everywhere(stage, direction, attach_client)
    finally:
        server.close()
    assert stage.proxy.cuts > 500 / STRIDE


@pytest.mark.timeout(900 if LONG else 120)
@pytest.mark.parametrize("direction", ["to_listener", "to_dialer"])
def test_server_cut_after_each_byte(stage, soon, direction):
    """Its channel is there all the same, and a client is answered."""
    stage.listen(proxied=True)
    cut_everywhere(stage, direction, attach_server)
    assert stage.proxy.cuts > 500 / STRIDE


class CuttingListener:
    """Passes on what is said to a bridge and by it, and cuts each connection.

    Attributes:
        port: Where it listens.
        cuts: How many connections were cut.
    """

    def __init__(self, target, sizes):
        """Let so many bytes to the bridge, and from it, through."""
        self._target, self._sizes = target, sizes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT_S)
        self._listener.close()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with near, far:
                    there, back = self._sizes
                    far.settimeout(LIMIT_S)
                    near.settimeout(LIMIT_S)
                    with contextlib.suppress(OSError):
                        far.sendall(near.recv(there))
                        near.sendall(far.recv(back))
                    self.cuts += 1


@pytest.mark.parametrize("attach", [SocketClient.open, SocketServer.create])
@pytest.mark.parametrize(
    "sizes", [(0, 0), (1, 0), (64, 0), (100, 0), (4096, 1), (4096, 64)]
)
def test_peer_that_is_always_cut(stage, attach, sizes):
    """ConnectTimeout within its bound, which names the bridge and what it did."""
    stage.listen()
    with CuttingListener(stage.near.port(), sizes) as listener:
        begin = time.monotonic()
        with pytest.raises(ConnectTimeout, match=f"{listener.port} ended the conn"):
            attach(f"tcp://127.0.0.1:{listener.port}/{NAME}", 0.5)
        assert time.monotonic() - begin < 3 * 0.5
        assert listener.cuts
