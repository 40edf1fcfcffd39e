"""Every exception: its place in the tree, its text, its attributes, its pickle."""

import copy
import pickle

import pytest

from rlay import errors

TREE = """
RLayError(Exception)
  ProtocolError(RLayError)
    LocalProtocolError(ProtocolError)
    RemoteProtocolError(ProtocolError)
      DecodeError(RemoteProtocolError)
      MessageTooLarge(RemoteProtocolError)
    VersionMismatch(ProtocolError)
  ChannelError(RLayError)
    ChannelNotFound(ChannelError)
    ChannelBusy(ChannelError)
    ChannelPermission(ChannelError)
    ChannelCorrupt(ChannelError)
    ChannelNoSpace(ChannelError)
    ChannelClosed(ChannelError)
  PeerLost(RLayError, ConnectionError)
    EnvLost(PeerLost)
      LaunchFailed(EnvLost)
    LinkDown(PeerLost)
    SlowPeer(PeerLost)
  AuthError(RLayError)
  RLayTimeout(RLayError, TimeoutError)
    ConnectTimeout(RLayTimeout)
    ResetTimeout(RLayTimeout)
    StepTimeout(RLayTimeout)
    CloseTimeout(RLayTimeout)
  SpaceMismatch(RLayError)
  RemoteEnvError(RLayError)
  ForkedError(RLayError)
  Draining(RLayError)
"""
"""The tree, written out a second time."""

TEXT_ONLY = [
    "ChannelBusy",
    "ChannelClosed",
    "ChannelCorrupt",
    "ChannelError",
    "ChannelNoSpace",
    "ChannelNotFound",
    "ChannelPermission",
    "CloseTimeout",
    "ConnectTimeout",
    "AuthError",
    "Draining",
    "ForkedError",
    "LinkDown",
    "LocalProtocolError",
    "PeerLost",
    "ProtocolError",
    "RLayError",
    "RLayTimeout",
    "RemoteProtocolError",
    "ResetTimeout",
    "SlowPeer",
    "SpaceMismatch",
    "StepTimeout",
]
"""Exceptions whose text is what they were given."""

COMPOSED = [
    (
        errors.DecodeError("expected float32 (84, 84), got uint8 (84, 84)", "$.camera"),
        "expected float32 (84, 84), got uint8 (84, 84), at $.camera",
        {
            "message": "expected float32 (84, 84), got uint8 (84, 84)",
            "path": "$.camera",
        },
    ),
    (errors.DecodeError("no"), "no, at $", {"message": "no", "path": "$"}),
    (
        errors.MessageTooLarge(2000, 1000),
        "a message of 2000 bytes exceeds the limit of 1000 bytes; raise "
        "max_message_bytes at the backend, or send less",
        {"size_bytes": 2000, "limit_bytes": 1000},
    ),
    (
        errors.VersionMismatch(1, 2),
        "this end speaks protocol version 1, the peer speaks version 2; upgrade rlay "
        "at this end",
        {"ours": 1, "theirs": 2, "where": "the peer"},
    ),
    (
        errors.VersionMismatch(2, 1, "the channel /dev/shm/rlay-0/x"),
        "this end speaks protocol version 2, the channel /dev/shm/rlay-0/x speaks "
        "version 1; upgrade rlay at the channel /dev/shm/rlay-0/x",
        {"ours": 2, "theirs": 1, "where": "the channel /dev/shm/rlay-0/x"},
    ),
    (errors.EnvLost("the backend died"), "the backend died", {"executed": None}),
    (
        errors.EnvLost("the backend died", executed=False),
        "the backend died",
        {"executed": False},
    ),
    (
        errors.EnvLost("the backend died", executed=True),
        "the backend died",
        {"executed": True},
    ),
    (
        errors.LaunchFailed("no such program", "execute"),
        "no such program",
        {"executed": False, "stage": "execute"},
    ),
    (
        errors.RemoteEnvError("ValueError", "bad action", "Traceback ..."),
        "ValueError: bad action\n\nRemote traceback:\nTraceback ...",
        {
            "remote_type": "ValueError",
            "remote_message": "bad action",
            "remote_traceback": "Traceback ...",
        },
    ),
    (
        errors.RemoteEnvError("KeyError", "no"),
        "KeyError: no",
        {"remote_type": "KeyError", "remote_message": "no", "remote_traceback": ""},
    ),
    (
        errors.RemoteEnvError("KeyError", "", "trace"),
        "KeyError\n\nRemote traceback:\ntrace",
        {"remote_message": ""},
    ),
]
EVERY = [
    *(getattr(errors, name)(f"text of {name}") for name in TEXT_ONLY),
    *(error for error, _, _ in COMPOSED),
]


def test_tree_is_this_one():
    """Each exception has these bases, and there is no other."""
    written = {}
    for line in TREE.split("\n"):
        name, _, bases = line.strip().rstrip(")").partition("(")
        if name:
            written[name] = bases
    found = {
        name: ", ".join(base.__name__ for base in getattr(errors, name).__bases__)
        for name in errors.__all__
    }
    assert found == written


def test_every_exception_is_public_and_tested_here():
    """No class of the module is left out of its list, or of this file."""
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes == set(errors.__all__)
    assert {type(error).__name__ for error in EVERY} == classes


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_text_is_what_was_given(name):
    """The message stands where it is raised, with its facts."""
    assert str(getattr(errors, name)("facts, numbers, remedy")) == (
        "facts, numbers, remedy"
    )


@pytest.mark.parametrize(("error", "text", "attributes"), COMPOSED)
def test_text_is_composed(error, text, attributes):
    """The facts are in the text and beside it."""
    assert str(error) == text
    assert {name: getattr(error, name) for name in attributes} == attributes


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(error, protocol):
    """A pool of workers passes exceptions on: type, text and facts stay."""
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_copy_keeps_everything(error):
    """So do copies."""
    for back in (copy.copy(error), copy.deepcopy(error)):
        assert type(back) is type(error)
        assert (str(back), vars(back)) == (str(error), vars(error))


def test_builtins_catch_what_people_expect():
    """A lost peer is a ConnectionError, a time-out a TimeoutError, without errno."""
    assert issubclass(errors.EnvLost, ConnectionError)
    assert issubclass(errors.StepTimeout, TimeoutError)
    assert errors.EnvLost("gone", executed=False).errno is None
    assert errors.StepTimeout("late").errno is None


def test_imports_nothing():
    """This layer is the lowest: it needs no other module."""
    names = {n for n, v in vars(errors).items() if type(v) is type(errors)}
    assert not names
