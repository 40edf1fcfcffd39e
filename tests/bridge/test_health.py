"""Health over HTTP: three pages, and no way to be held up."""

import asyncio
import contextlib
import json
import os
import socket

import pytest
import uvloop

from rlay.bridge import health
from rlay.bridge.health import HealthServer, Probes, Report, respond
from rlay.errors import ChannelError
from rlay.protocol.addresses import Endpoint
from tests.bridge.peers import until

LIMIT_S = 20.0
GOOD = Report("", {"links": 2})
BAD = Report("it drains", {"links": 0})


def probes(alive=GOOD, ready=GOOD):
    return Probes(lambda: alive, lambda: ready, lambda: ("text/x", b"rlay_x 1\n"))


def ask(line, **options):
    """Status, header and body of the answer to a request line."""
    answer = respond(line.encode() + b"\r\nHost: x\r\n\r\n", probes(**options))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    header = dict(line.split(": ", 1) for line in lines)
    assert int(header["Content-Length"]) == len(body)
    return int(first.split()[1]), header, body


@pytest.mark.parametrize("page", ["livez", "readyz"])
def test_page_of_a_bridge_that_is_well_is_ok(page):
    """200, with the facts."""
    status, header, body = ask(f"GET /{page} HTTP/1.1")
    assert (status, header["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"ok": True, "problem": "", "links": 2}


@pytest.mark.parametrize("page", ["livez", "readyz"])
def test_page_of_a_bridge_that_is_not_well_says_why(page):
    """503, and not on the other page."""
    what = {"livez": "alive", "readyz": "ready"}[page]
    status, _, body = ask(f"GET /{page}?verbose HTTP/1.0", **{what: BAD})
    assert status == 503
    assert json.loads(body) == {"ok": False, "problem": "it drains", "links": 0}
    other = "readyz" if page == "livez" else "livez"
    assert ask(f"GET /{other} HTTP/1.1", **{what: BAD})[0] == 200


def test_metrics_have_their_own_type():
    """As Prometheus asks for it."""
    status, header, body = ask("GET /metrics HTTP/1.1", alive=BAD, ready=BAD)
    assert (status, header["Content-Type"], body) == (200, "text/x", b"rlay_x 1\n")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.1", 404),
        ("GET /metricsx HTTP/1.1", 404),
        ("POST /livez HTTP/1.1", 405),
        ("HEAD /livez HTTP/1.1", 405),
        ("GET /livez", 400),
        ("RLFR", 400),
        ("", 400),
        ("GET /livez HTTP/2", 400),
    ],
)
def test_other_requests_are_refused(line, status):
    """With a short text."""
    assert ask(line)[0] == status


# --------------------------------------------------------------------------- server


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def serve(request):
    """Run a coroutine with a server, which is closed behind it."""

    def run_test(test):
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(serving(test))

    return run_test


async def serving(test):
    server = HealthServer(probes())
    await server.start(Endpoint("127.0.0.1", 0))
    try:
        async with asyncio.timeout(LIMIT_S):
            host, _, port = server.address.rpartition(":")
            await test(host, int(port))
    finally:
        await server.close()
        await server.close()


async def talk(host, port, data):
    """Send, and return all that comes back; nothing where the connection broke."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_server_answers_and_closes(serve):
    """In one piece or in many."""

    async def test(host, port):
        answer = await talk(host, port, b"GET /livez HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        reader, writer = await asyncio.open_connection(host, port)
        for byte in b"GET /readyz HTTP/1.1\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await writer.wait_closed()

    serve(test)


def test_d6_server_closes_on_who_says_nothing(serve, monkeypatch):
    """D6: after its time; and on who says too much, at once."""
    monkeypatch.setattr(health, "REQUEST_LIMIT_S", 0.05)

    async def test(host, port):
        assert await talk(host, port, b"GET /livez HTTP/1.1\r\n") == b""

    serve(test)


def test_d6_server_drops_who_does_not_read(serve, monkeypatch):
    """D6: a page that nobody takes is not kept for ever, nor its descriptor."""
    monkeypatch.setattr(health, "REQUEST_LIMIT_S", 0.05)
    monkeypatch.setattr(health, "respond", lambda *_: bytes(20_000_000))

    async def test(host, port):
        before = len(os.listdir("/proc/self/fd"))
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        await asyncio.get_running_loop().sock_sendall(
            sock, b"GET /metrics HTTP/1.1\r\n\r\n"
        )
        for expected in (before + 2, before + 1):  # it is accepted, then dropped
            await until(
                lambda: len(os.listdir("/proc/self/fd")) == expected,  # noqa: B023
                "the server's descriptor",
            )
        sock.close()

    serve(test)


def test_d10_server_closes_on_who_says_too_much(serve):
    """D10: an endless header is not kept."""

    async def test(host, port):
        assert await talk(host, port, b"GET " + b"x" * 100_000) == b""

    serve(test)


def test_d7_server_answers_only_so_many_at_once(serve, monkeypatch):
    """D7: the others are closed, and it recovers."""
    monkeypatch.setattr(health, "MAX_CONNECTIONS", 1)

    async def test(host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET ")
        while await talk(host, port, b"GET /livez HTTP/1.1\r\n\r\n"):
            pass  # until the first one was seen
        writer.write(b"/livez HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await writer.wait_closed()
        while not await talk(host, port, b"GET /livez HTTP/1.1\r\n\r\n"):
            pass

    serve(test)


def test_address_that_is_taken_is_an_error(serve):
    """With its reason."""

    async def test(host, port):
        second = HealthServer(probes())
        with pytest.raises(
            ChannelError, match=f"health requests at {host}:{port}: .*use"
        ):
            await second.start(Endpoint(host, port))

    serve(test)
