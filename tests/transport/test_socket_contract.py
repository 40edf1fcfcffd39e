"""Two direct peers pass the contract of channels, over TCP, with CRC and over TLS."""

import contextlib

import pytest

from rlay.testing.contract import CHECKS, check_channel
from rlay.transport.credentials import Credentials, certificate_digest, server_context
from tests.support.certificates import Authority
from tests.support.channels import socket_pair
from tests.support.hub import Hub


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority for the module."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["tcp", "crc", "tls"])
def make_hub(request, authority):
    """The ways to a hub, and what a peer needs for them."""
    if request.param == "tls":
        pair = authority.issue()
        context = server_context(pair.cert, pair.key)
        digest = certificate_digest(pair.der)
        return (
            lambda window_s: Hub(
                window_s=window_s, context=context, certificate=digest
            ),
            "tls",
            Credentials(ca=str(authority.path)),
        )
    crc = request.param == "crc"
    return lambda window_s: Hub(window_s=window_s, crc=crc), "tcp", None


@pytest.mark.parametrize("name", CHECKS)
def test_contract(make_hub, name):
    """A direct peer does what every channel must do."""
    hub_of, scheme, credentials = make_hub

    @contextlib.contextmanager
    def make_pair(capacity_bytes, max_message_bytes):
        # A peer that vanishes is given up at once, or else its link comes back.
        window_s = 0.0 if "lost" in name else 20.0
        with (
            hub_of(window_s) as hub,
            socket_pair(
                hub,
                capacity_bytes,
                max_message_bytes,
                scheme=scheme,
                credentials=credentials,
            ) as pair,
        ):
            yield pair

    check_channel(make_pair, name)
