"""Names of hosts are looked up within the time that there is."""

import socket
import threading
import time

import pytest

from rlay.errors import ConnectTimeout
from rlay.transport.socket_client import SocketClient
from rlay.transport.socket_names import Lookup
from rlay.transport.socket_server import SocketServer
from tests.support.channels import LIMIT_S, socket_pair
from tests.support.hub import Hub
from tests.support.waiting import wait_until

HOST = "sim.example"


@pytest.fixture
def name_server(monkeypatch):
    """Set it to have names answered; until then no look-up returns."""
    answers = threading.Event()
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host == HOST and not kwargs.get("flags"):
            assert answers.wait(LIMIT_S)
            return ask("127.0.0.1", port, *args, **kwargs)
        return ask(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answers
    answers.set()
    for thread in threading.enumerate():
        if thread.name == "rlay-lookup":
            thread.join(LIMIT_S)


def test_numbers_are_answered_without_a_thread():
    """Nobody needs to be asked."""
    lookup = Lookup("127.0.0.1", 7450)
    assert lookup.answered(0)
    assert [each[4] for each in lookup.result()] == [("127.0.0.1", 7450)]


def test_name_is_answered():
    """As by getaddrinfo."""
    lookup = Lookup("localhost", 7450)
    assert lookup.answered(LIMIT_S)
    expected = socket.getaddrinfo("localhost", 7450, type=socket.SOCK_STREAM)
    assert lookup.result() == expected


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 64 + ".example"])
def test_unknown_name_is_raised(host):
    """Unknown, or such as no host can have."""
    lookup = Lookup(host, 7450)
    assert lookup.answered(LIMIT_S)
    with pytest.raises((OSError, UnicodeError)):
        lookup.result()


def test_silent_name_server_keeps_nobody(name_server):
    """A look that may not wait returns at once."""
    lookup = Lookup(HOST, 7450)
    assert not lookup.answered(0)
    name_server.set()
    assert lookup.answered(LIMIT_S)


@pytest.mark.parametrize("attach", [SocketClient.open, SocketServer.create])
def test_silent_name_server_is_a_connect_timeout(name_server, attach):
    """Within its bound; the error says what was waited for."""
    begin = time.monotonic()
    with pytest.raises(ConnectTimeout, match=f"name '{HOST}' is being looked up"):
        attach(f"tcp://{HOST}/x", 0.2)
    assert time.monotonic() - begin < 3 * 0.2


def test_silent_name_server_is_asked_once(name_server):
    """However long nobody answers, there is one thread."""
    client = SocketClient(f"tcp://{HOST}/x")
    for _ in range(20):
        client.rest(0.001)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("rlay-lookup") == 1
    client.close()


def test_late_answer_is_of_use(name_server):
    """Who still waits connects with it."""
    with Hub() as hub:
        server = SocketServer(f"tcp://{HOST}:{hub.port}/x")
        server._link.pump(0.0)
        assert not server._link.up
        name_server.set()
        wait_until(lambda: server._link.pump(0.01) or server._link.up)
        server.close()


def test_name_is_looked_up_again_for_each_connection(name_server, monkeypatch):
    """A container that is made anew has another address."""
    asked = []
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        asked.append(host)
        return ask(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with Hub() as hub, socket_pair(hub) as pair:
        before = len(asked)
        hub.cut_now("client")
        wait_until(lambda: not pair.ends[0].watch.check())
        wait_until(lambda: pair.client._link.pump(0.01) and pair.client._link.up)
        assert len(asked) > before
