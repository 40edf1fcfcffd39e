"""Exceptions to Failures and back."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

import rlay
from rlay.envs import faults
from rlay.errors import (
    EnvLost,
    LinkDown,
    LocalProtocolError,
    MessageTooLarge,
    PeerLost,
    RemoteEnvError,
    RemoteProtocolError,
    SpaceMismatch,
)
from rlay.protocol.constants import CloseReason, ErrorCode, Holder, PeerState
from rlay.protocol.reports import FailureFields
from rlay.protocol.slot_layout import END_HOLDER_OFFSET
from rlay.protocol.values import Unsendable
from rlay.testing.environments import HashChainEnv
from rlay.transport.peers import PeerGone
from tests.support.threads import LIMIT_S, background, raised_by, serving


def test_failure_has_type_text_and_traceback():
    """What crosses is text: the qualified name, the message, the traceback."""
    caught = raised_by(KeyError, {}.pop, "left")
    try:
        raise caught
    except KeyError as error:
        failure = faults.failure_of(error)
    assert failure.code == ErrorCode.ENVIRONMENT
    assert (failure.remote_type, failure.remote_message) == ("KeyError", "'left'")
    assert "test_faults.py" in failure.remote_traceback


class Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_failure_of_an_exception_that_cannot_be_told():
    """An exception's own code may raise too; the failure is told all the same."""
    failure = faults.failure_of(Mute())
    assert failure.remote_type == "Mute"
    assert "RuntimeError" in failure.remote_message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpaceMismatch("other"), ErrorCode.SPACE_MISMATCH),
        (MessageTooLarge(9, 5), ErrorCode.TOO_LARGE),
        (ValueError("x"), ErrorCode.ENVIRONMENT),
    ],
)
def test_failure_comes_back_as_the_error_it_was(error, code):
    """RLay's own errors keep their type and facts; others are RemoteEnvError."""
    failure = faults.failure_of(error)
    assert failure.code == code
    back = faults.error_of(failure)
    if code is ErrorCode.ENVIRONMENT:
        assert isinstance(back, RemoteEnvError)
        assert back.remote_type == "ValueError"
    else:
        assert type(back) is type(error)
    if isinstance(back, MessageTooLarge):
        assert (back.size_bytes, back.limit_bytes) == (9, 5)


def test_failure_of_other_codes():
    """A breach is one here too; an unreadable size is what the peer said of it."""
    breach = faults.error_of(FailureFields(ErrorCode.PROTOCOL, "X", "sequence 7", ""))
    assert isinstance(breach, RemoteProtocolError)
    vague = faults.error_of(FailureFields(ErrorCode.TOO_LARGE, "X", "too large", ""))
    assert isinstance(vague, RemoteEnvError)


@pytest.mark.parametrize(
    ("item", "kind", "remedy"),
    [
        (0, SpaceMismatch, False),
        (2, LocalProtocolError, True),
        (3, LocalProtocolError, False),
    ],
    ids=["observation", "info", "reward"],
)
def test_report_that_cannot_be_sent_names_the_remedy_that_applies(item, kind, remedy):
    """Only an info can be passed as text; an observation is outside its space."""
    error = Unsendable("a set cannot travel", {1}).at("eyes").at(0).at(item)
    told = faults.unsendable_report(error)
    assert type(told) is kind
    assert "at $.eyes" in str(told)
    assert ("on_unsendable_info" in str(told)) is remedy
    code = ErrorCode.UNSENDABLE_INFO if item else ErrorCode.SPACE_MISMATCH
    assert faults.unsendable_failure(error).code == code


def test_loss_says_whether_the_request_ran():
    """EnvLost carries what is known: certainly not, perhaps, certainly."""
    gone = PeerGone("the backend was closed", CloseReason.CLOSED)
    for executed, said in (
        (False, "was not run"),
        (None, "may have"),
        (True, "was run"),
    ):
        error = faults.lost_error(gone, executed)
        assert error.executed is executed
        assert said in str(error)
        assert "reset()" in str(error)


def test_loss_of_the_link_is_both_errors():
    """A link that stayed down is caught as LinkDown and as EnvLost, pickled too."""
    error = faults.lost_error(LinkDown("the link was down"), None)
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert isinstance(copy, LinkDown)
        assert isinstance(copy, EnvLost)
        assert copy.executed is None
        assert "the link was down; the request in flight may have run" in str(copy)
    assert not isinstance(faults.lost_error(PeerLost("gone"), None), LinkDown)


class Stuck(HashChainEnv):
    """Steps only when it is allowed to."""

    def __init__(self, allowed):
        super().__init__()
        self.entered, self.allowed = threading.Event(), allowed

    def step(self, action):
        self.entered.set()
        assert self.allowed.wait(LIMIT_S)
        return super().step(action)


def test_a10_step_behind_a_link_that_stayed_down_may_have_run(channel_directory):
    """A10: LinkDown from a step: nobody knows whether it ran, and that is said."""
    allowed = threading.Event()
    made = Stuck(allowed)
    with serving(made, name="x", sessions=None), rlay.ClientEnv("x") as env:
        env.reset(seed=1)
        with background(lambda: raised_by(LinkDown, env.step, 0)) as thread:
            assert made.entered.wait(LIMIT_S)
            link = env._link
            assert link is not None
            watch: Any = link.channel.watch
            line = watch._line
            line._words[END_HOLDER_OFFSET // 4] = Holder.BRIDGE
            line.say(PeerState.LOST, CloseReason.LINK_DOWN)
            error = thread.outcome()
            allowed.set()
        assert isinstance(error, EnvLost)
        assert error.executed is None


def test_loss_is_told_from_other_errors():
    """A loss that was told already is not told again."""
    assert faults.is_loss(PeerLost("gone"))
    assert faults.is_loss(PeerGone("closed", CloseReason.CLOSED))
    assert not faults.is_loss(EnvLost("told"))
    assert not faults.is_loss(ValueError())
