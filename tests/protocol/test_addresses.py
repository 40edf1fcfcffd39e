"""Addresses are read as they are meant, and what is wrong with one is said."""

import pytest

from rlay.errors import ChannelError
from rlay.protocol.addresses import (
    Address,
    Endpoint,
    is_address,
    parse_address,
    parse_endpoint,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://localhost:80/x", Address("tcp", Endpoint("localhost", 80), "x")),
        ("tls://sim.example/x.1", Address("tls", Endpoint("sim.example", 7450), "x.1")),
        ("tcp://10.0.0.1/x", Address("tcp", Endpoint("10.0.0.1", 7450), "x")),
        ("tcp://[::1]/x", Address("tcp", Endpoint("::1", 7450), "x")),
        ("tls://[fe80::1%eth0]:9/x", Address("tls", Endpoint("fe80::1%eth0", 9), "x")),
    ],
)
def test_address_is_read(text, address):
    """Scheme, host, port and name; the port has a default, IPv6 has brackets."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


def test_secure_is_tls():
    """tls:// goes through TLS, tcp:// does not."""
    assert parse_address("tls://h/x").secure
    assert not parse_address("tcp://h/x").secure


def test_group_is_read_where_it_may_be():
    """A group is an address only for who attaches as a client."""
    assert parse_address("tcp://h/n.*", group=True).name == "n.*"
    with pytest.raises(ChannelError, match=r"n\.\*"):
        parse_address("tcp://h/n.*")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ws://h/x", "WebSocket is for browsers"),
        ("http://h/x", "'http' is no way to attach"),
        ("://h/x", "'' is no way"),
        ("tcp://h:80", "names no channel"),
        ("tcp://h:80/", "names no channel"),
        ("tcp:///x", "names no host"),
        ("tcp://:80/x", "names no host"),
        ("tcp://h:/x", "'' is no port"),
        ("tcp://h:0/x", "port 0"),
        ("tcp://h:65536/x", "no port"),
        ("tcp://h:00000099999/x", "no port"),
        ("tcp://h:http/x", "no port"),
        ("tcp://h:-1/x", "no port"),
        ("tcp://h:٣/x", "no port"),
        ("tcp://::1/x", "brackets"),
        ("tcp://::1:80/x", "brackets"),
        ("tcp://[::1/x", "no host and port"),
        ("tcp://[localhost]:80/x", "no IPv6"),
        ("tcp://a b/x", "cannot be the name of a host"),
        ("tcp://user@h/x", "cannot be the name of a host"),
        ("tcp://h/x/y", "cannot name a channel"),
        ("tcp://h/../x", "cannot name a channel"),
        ("tcp://h/x?y=1", "cannot name a channel"),
        ("tcp://h/" + 65 * "x", "cannot name a channel"),
    ],
)
def test_wrong_address_says_what_is_wrong(text, problem):
    """The message shows the address and what is wrong with it."""
    with pytest.raises(ChannelError, match=problem) as caught:
        parse_address(text)
    assert text[:60] in str(caught.value)


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:7450", "http://[::1]:7450"])
def test_endpoint_has_no_scheme(text):
    """Who writes one is told to leave it out, and not about IPv6."""
    with pytest.raises(ChannelError, match=f"without {text.partition(':')[0]}://"):
        parse_endpoint(text)


def test_endpoint_may_leave_its_port_to_the_system():
    """Where one listens, port 0 means any."""
    assert parse_endpoint("127.0.0.1:0") == Endpoint("127.0.0.1", 0)


def test_name_is_no_address():
    """What has no scheme is the name of a channel of this machine."""
    assert is_address("tcp://h/x")
    assert not is_address("x")
    assert not is_address(None)
