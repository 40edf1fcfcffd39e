"""Round trips of frames to a bridge."""

import os

import pytest

from rlay.cli import link_ping
from rlay.cli.link_ping import LinkPing
from rlay.errors import ConnectTimeout, PeerLost
from tests.support.bridge_child import BridgeChild
from tests.support.waiting import wait_until


@pytest.fixture
def bridge(children, channel_directory):
    """A bridge that listens."""
    return BridgeChild(children, "--directory", os.fspath(channel_directory))


@pytest.fixture
def ping(bridge):
    """A link to it that is left at the end."""
    made = LinkPing(f"tcp://127.0.0.1:{bridge.port}/any")
    yield made
    made.close()


def links(bridge):
    """How many links the bridge had."""
    return bridge.child.stderr.count("is up")


def test_trips_go_over_one_link_that_is_left_in_order(bridge, ping):
    """Whatever the name behind the address; the bridge hears a goodbye."""
    for _ in range(3):
        ping.connect()
        ping.trip()
    ping.close()
    bridge.until_logged("said goodbye")
    assert links(bridge) == 1


def test_link_that_was_not_used_for_long_is_made_anew(bridge, ping, monkeypatch):
    """The bridge would end it, for nobody answers its heartbeats."""
    monkeypatch.setattr(link_ping, "_KEPT_S", -1.0)
    for _ in range(2):
        ping.connect()
        ping.trip()
    wait_until(lambda: links(bridge) == 2)


def test_trip_to_a_bridge_that_went_away_says_so(bridge, ping):
    """And does not wait for an answer that will not come."""
    ping.connect()
    ping.trip()
    bridge.end()
    with pytest.raises(PeerLost):
        ping.trip()


def test_connect_gives_up_where_nobody_listens(monkeypatch):
    """With what keeps it from there."""
    monkeypatch.setattr(link_ping, "_CONNECT_LIMIT_S", 0.1)
    with pytest.raises(ConnectTimeout, match="nobody listens on"):
        LinkPing("tcp://127.0.0.1:1/any").connect()
