"""A channel between two threads of this process."""

import pytest

from rlay.errors import ChannelBusy, ChannelNotFound
from rlay.protocol.constants import Paradigm
from rlay.transport.in_process import InProcessServer
from tests.support.channels import connect, exchange


@pytest.fixture
def server():
    made = InProcessServer("game", Paradigm.SERVER_ENV)
    yield made
    made.close()


def test_client_learns_what_the_server_says(server):
    """Name and paradigm are those of the server."""
    client = server.client()
    assert (client.name, client.facts.paradigm) == ("game", Paradigm.SERVER_ENV)
    client.close()


def test_second_client_is_busy_until_the_first_is_closed(server):
    """One client at a time; the next one starts a new session."""
    client = server.client()
    exchange(*connect(server, client), 1)
    with pytest.raises(ChannelBusy, match="game"):
        server.client()
    client.close()
    again = server.client()
    exchange(*connect(server, again), 1)
    again.close()


def test_closed_server_has_no_clients(server):
    """There is nothing to open once the server is closed."""
    server.close()
    with pytest.raises(ChannelNotFound, match="closed"):
        server.client()
