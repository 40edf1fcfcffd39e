"""Links of direct peers: signals, large messages, and who looks rarely."""

from types import SimpleNamespace
from typing import Any

import pytest

from rlay.protocol.frames import MAX_BODY_BYTES
from rlay.transport import socket_link
from rlay.transport.socket_link import _MOST_PARTS
from tests.support.channels import patience, receive, send, socket_pair
from tests.support.hub import Hub
from tests.support.waiting import wait_until
from tests.transport.test_socket_resume import echoing


@pytest.fixture
def pair():
    """Both ends of a session."""
    with Hub() as hub, socket_pair(hub) as made:
        yield made


def test_interrupted_while_it_understands_what_came(pair, monkeypatch):
    """Nobody knows how far it got: the link is made anew, and nothing is lost."""
    client, server = pair.ends
    link = pair.client._link
    with echoing(server, 2):
        send(client, 1, b"one")

        def interrupted(count):
            raise KeyboardInterrupt

        monkeypatch.setattr(link.connection.decoder, "received", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.receive(patience(client))
        assert receive(client) == (1, b"eno")
        assert link.breaks == 1
        send(client, 2, b"two")
        assert receive(client) == (2, b"owt")
        pair.close(client)


def test_message_of_more_pieces_than_one_call_takes():
    """It goes out whole, in order."""
    size = (_MOST_PARTS // 2 + 2) * MAX_BODY_BYTES
    payload = bytes(range(250)) * (size // 250)
    with Hub() as hub, socket_pair(hub, capacity_bytes=size) as pair:
        client, server = pair.ends
        with echoing(server, 1):
            send(client, 1, payload)
            assert receive(client) == (1, payload[::-1])
            pair.close(client)


def test_who_looks_rarely_does_not_take_that_for_silence(monkeypatch):
    """Nothing came while nobody looked: that says nothing of the bridge."""
    now = [1000.0]
    clock: Any = SimpleNamespace(monotonic=lambda: now[0])
    with Hub(heartbeat_ms=1000, dead_after_ms=10_000) as hub, socket_pair(hub) as pair:
        link: Any = pair.client._link
        monkeypatch.setattr(socket_link, "time", clock)
        connection = link.connection
        link._look(connection)
        for _ in range(3):
            now[0] += 60.0
            link._look(connection)
        assert link.connection is connection
        for _ in range(12):
            now[0] += 0.9
            link._look(connection)
        assert link.connection is None
        monkeypatch.undo()


def test_what_a_silent_link_has_not_taken_is_forgotten():
    """Half a frame must not begin the next link; the message goes again whole."""
    size = (_MOST_PARTS // 2 + 2) * MAX_BODY_BYTES
    with (
        Hub(heartbeat_ms=50, dead_after_ms=300) as hub,
        socket_pair(hub, capacity_bytes=size) as pair,
    ):
        client, _ = pair.ends
        hub.held.set()
        send(client, 1, bytes(size))
        assert pair.client._link._queue
        wait_until(lambda: not client.watch.check(), what="the client gives it up")
        assert not pair.client._link._queue
        hub.held.clear()
