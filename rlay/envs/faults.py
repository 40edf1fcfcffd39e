"""Exceptions to Failures and back: what crosses is text and a number."""

import re
import traceback
from typing import Any

from gymnasium.error import InvalidAction, ResetNeeded

from rlay.errors import (
    EnvLost,
    LinkDown,
    LocalProtocolError,
    MessageTooLarge,
    PeerLost,
    RemoteEnvError,
    RemoteProtocolError,
    RLayError,
    SpaceMismatch,
)
from rlay.protocol.constants import ErrorCode
from rlay.protocol.reports import TAIL_NAMES, FailureFields, environment_failure
from rlay.protocol.tails import inner_path
from rlay.protocol.values import Unsendable, encode_value, path_text
from rlay.transport.peers import PeerGone


def failure_of(error: BaseException) -> FailureFields:
    """Return the Failure that tells the algorithm of an exception here.

    Never raises, whatever the exception's own ``__str__`` does.
    """
    code = ErrorCode.ENVIRONMENT
    if isinstance(error, SpaceMismatch):
        code = ErrorCode.SPACE_MISMATCH
    elif isinstance(error, MessageTooLarge):
        code = ErrorCode.TOO_LARGE
    kind = type(error)
    name = kind.__qualname__
    return environment_failure(code, name, _text(error), _traceback(error))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as inner:  # an exception's __str__ is anybody's code
        return f"<its text cannot be had: {type(inner).__name__}>"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        return ""


def unsendable_failure(error: Unsendable) -> FailureFields:
    """Return the Failure for something that the environment returned."""
    told = unsendable_report(error)
    if isinstance(told, SpaceMismatch):
        return environment_failure(ErrorCode.SPACE_MISMATCH, "SpaceMismatch", str(told))
    return environment_failure(ErrorCode.UNSENDABLE_INFO, "Unsendable", str(told))


def unsendable_report(error: Unsendable) -> SpaceMismatch | LocalProtocolError:
    """Return the error that says what of a report cannot travel, and where it is."""
    what, path = inner_path(error, TAIL_NAMES)
    text = (
        f"the {what} cannot be sent: {error.reason}, at {path}. Change it at the "
        "environment's end"
    )
    if what == "observation":
        return SpaceMismatch(text)
    if what == "info":
        text += ", or pass on_unsendable_info='repr' or 'drop' to the backend"
    return LocalProtocolError(text)


def error_of(failure: FailureFields) -> RLayError:
    """Return the exception that a Failure stands for at the algorithm's end."""
    if failure.code == ErrorCode.SPACE_MISMATCH:
        return SpaceMismatch(failure.remote_message)
    if failure.code == ErrorCode.PROTOCOL:
        return RemoteProtocolError(failure.remote_message)
    if failure.code == ErrorCode.TOO_LARGE:
        numbers = re.findall("[0-9]{1,18}", failure.remote_message)
        if len(numbers) >= 2:
            return MessageTooLarge(int(numbers[0]), int(numbers[1]))
    return RemoteEnvError(
        failure.remote_type, failure.remote_message, failure.remote_traceback
    )


def located(error: Unsendable, value: Any) -> Unsendable:
    """Return ``error`` with its path in the whole of an observation or an action.

    The path of a part that travels by itself, such as a text in a dict, begins at
    that part. An error in anything else is returned as it is.
    """
    if error.keys[:1] == [0]:
        try:
            encode_value(value)
        except Unsendable as whole:
            return whole.at(0).at(1)
    return error


def invalid_action(error: Unsendable, action: Any) -> InvalidAction:
    """Return the error for an action that cannot be encoded."""
    error = located(error, action)
    _, path = inner_path(error, {})
    return InvalidAction(f"the action cannot be sent: {error.reason}, at {path}")


def unsendable_request(error: Unsendable, what: str) -> LocalProtocolError:
    """Return the error for options or arguments that cannot be encoded."""
    index, *keys = error.keys
    item = ("options" if index else "seed") if what == "reset" else what
    path = path_text(keys)
    return LocalProtocolError(f"{item} cannot be sent: {error.reason}, at {path}")


class EnvOutOfReach(EnvLost, LinkDown):
    """The link stayed down for too long: this life of the environment is over for us.

    It is caught as either of the two.
    """


def lost_error(error: RLayError, executed: bool | None) -> EnvLost:
    """Return the error that says that this life of the environment is over."""
    kind = EnvOutOfReach if isinstance(error, LinkDown) else EnvLost
    fate = {
        False: "the request in flight, if any, was not run",
        None: "the request in flight may have run",
        True: "the request in flight was run",
    }[executed]
    return kind(
        f"{error}; {fate}. reset() attaches to a new environment of this name",
        executed,
    )


def is_loss(error: BaseException) -> bool:
    """Return whether an error means that the peer's end is over."""
    return isinstance(error, (PeerLost, PeerGone)) and not isinstance(error, EnvLost)


def reset_needed(why: str) -> ResetNeeded:
    """Return Gymnasium's error for a step that needs a reset first."""
    return ResetNeeded(f"{why}; call env.reset() first")
