"""Every transport, however its ends wait, passes the contract of channels."""

import functools

import pytest

from rlay.protocol.constants import BellKind
from rlay.testing.contract import CHECKS, check_channel
from rlay.transport import futex
from rlay.transport.spinning import WaitPolicy
from tests.support.channels import in_process_pair, mapped_pair


@pytest.fixture(params=["default", "no spin", "no yield", "poll"])
def policy(request, monkeypatch):
    """The ways in which both ends may wait."""
    if request.param == "poll":
        monkeypatch.setattr(futex, "AVAILABLE", False)
        return WaitPolicy(0)
    return {
        "default": WaitPolicy.default(),
        "no spin": WaitPolicy(0),
        "no yield": WaitPolicy(20_000, yields=False),
    }[request.param]


@pytest.fixture(params=["mapped", "in process"])
def make_pair(request, channel_directory, policy):
    """The transports."""
    if request.param == "in process":
        return functools.partial(in_process_pair, policy=policy)
    return functools.partial(mapped_pair, channel_directory, policy=policy)


@pytest.mark.parametrize("name", CHECKS)
def test_contract(make_pair, name):
    """The transport does what every channel must do."""
    check_channel(make_pair, name)


def test_poll_variant_asks_for_no_bell(channel_directory, monkeypatch):
    """Without futexes an end says that it looks by itself."""
    monkeypatch.setattr(futex, "AVAILABLE", False)
    with mapped_pair(channel_directory) as pair:
        assert pair.server.line.bell == BellKind.POLL
        assert pair.client.line.bell == BellKind.POLL


class Broken:
    """A pair whose second end receives something else than was sent."""

    def __init__(self, pair, receive):
        self.ends = (pair.ends[0], pair.ends[1])
        self.close, self.lose = pair.close, pair.lose
        self.ends[1].receive = receive(self.ends[1].receive)


def test_contract_fails_a_channel_that_changes_a_byte(channel_directory):
    """The contract sees what it is there to see."""

    def receive(original):
        def changed(patience):
            message = original(patience)
            if message.body():
                message.payload[0] ^= 1
            return message

        return changed

    def make_broken(capacity_bytes, max_message_bytes):
        pair = mapped_pair(channel_directory, capacity_bytes, max_message_bytes)
        return _Wrapped(pair, receive)

    with pytest.raises(AssertionError, match="order, client to server"):
        check_channel(make_broken)


def test_contract_fails_a_channel_that_forgets_in_a_time_out(channel_directory):
    """A transport that drops what came during a time-out breaks the contract."""

    def receive(original):
        def forgetful(patience):
            try:
                return original(patience)
            except TimeoutError:
                raise AssertionError("forgotten") from None

        return forgetful

    def make_broken(capacity_bytes, max_message_bytes):
        pair = mapped_pair(channel_directory, capacity_bytes, max_message_bytes)
        return _Wrapped(pair, receive)

    with pytest.raises(AssertionError, match="late, client to server"):
        check_channel(make_broken, "late")


class _Wrapped:
    def __init__(self, pair, receive):
        self._pair, self._receive = pair, receive

    def __enter__(self):
        return Broken(self._pair.__enter__(), self._receive)

    def __exit__(self, *error):
        return self._pair.__exit__(*error)
