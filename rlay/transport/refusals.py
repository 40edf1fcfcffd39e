"""Refusals as exceptions, and the reverse."""

from rlay.errors import (
    ChannelBusy,
    ChannelError,
    ChannelNoSpace,
    Draining,
    EnvLost,
    ProtocolError,
    RemoteEnvError,
    RemoteProtocolError,
    SpaceMismatch,
    VersionMismatch,
)
from rlay.protocol.constants import PROTOCOL_VERSION, ErrorCode
from rlay.protocol.refusal import Refusal


def refusal_error(refusal: Refusal) -> Exception:
    """Return the exception that a server's refusal stands for."""
    text = f"the server refused: {refusal.message}"
    if refusal.code == ErrorCode.ENVIRONMENT:
        return RemoteEnvError(refusal.remote_type, refusal.message, refusal.traceback)
    if refusal.code == ErrorCode.ENVIRONMENT_GONE:
        return EnvLost(text, executed=False)
    kinds: dict[int, type[Exception]] = {
        ErrorCode.SPACE_MISMATCH: SpaceMismatch,
        ErrorCode.NUM_ENVS: SpaceMismatch,
        ErrorCode.UNSUPPORTED: ChannelError,
        ErrorCode.BUSY: ChannelBusy,
        ErrorCode.NO_SPACE: ChannelNoSpace,
        ErrorCode.DRAINING: Draining,
    }
    if refusal.code == ErrorCode.VERSION:
        return VersionMismatch(PROTOCOL_VERSION, _stated_version(refusal.message))
    kind = kinds.get(refusal.code)
    return kind(text) if kind else RemoteProtocolError(text)


def _stated_version(text: str) -> int:
    digits = [word for word in text.replace(",", " ").split() if word.isdigit()]
    return int(digits[0]) if digits else 0


def refusal_code(error: ProtocolError) -> ErrorCode:
    """Return the code with which to refuse a client that broke the protocol."""
    if isinstance(error, VersionMismatch):
        return ErrorCode.VERSION
    return ErrorCode.PROTOCOL
