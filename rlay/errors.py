"""Every exception that RLay raises on purpose.

The type says whose fault it is and what can be done now; the facts are
attributes; the message has the numbers and the remedy::

    RLayError
      ProtocolError                    peers disagree about bytes or order
        LocalProtocolError               we did something that is forbidden now
        RemoteProtocolError              the peer did; the session is over
          DecodeError(path)                bytes that do not mean what was agreed
          MessageTooLarge(size_bytes, limit_bytes)
        VersionMismatch(ours, theirs)
      ChannelError                     the file or the name of a channel
        ChannelNotFound  ChannelBusy  ChannelPermission
        ChannelCorrupt   ChannelNoSpace  ChannelClosed
      PeerLost (ConnectionError)       the process or link at the other end is gone
        EnvLost(executed)                this life of the environment is over
        LinkDown  SlowPeer
      AuthError
      RLayTimeout (TimeoutError)       ConnectTimeout  ResetTimeout
                                       StepTimeout     CloseTimeout
      SpaceMismatch                    data outside the space that was promised
      RemoteEnvError(remote_type, remote_message, remote_traceback)
      ForkedError                      used in a forked child
      Draining                         the peer is shutting down

Misuse of the Gymnasium API raises Gymnasium's own errors; ``rlay.envs``
translates them. This module imports nothing.
"""

__all__ = [
    "AuthError",
    "ChannelBusy",
    "ChannelClosed",
    "ChannelCorrupt",
    "ChannelError",
    "ChannelNoSpace",
    "ChannelNotFound",
    "ChannelPermission",
    "CloseTimeout",
    "ConnectTimeout",
    "DecodeError",
    "Draining",
    "EnvLost",
    "ForkedError",
    "LaunchFailed",
    "LinkDown",
    "LocalProtocolError",
    "MessageTooLarge",
    "PeerLost",
    "ProtocolError",
    "RLayError",
    "RLayTimeout",
    "RemoteEnvError",
    "RemoteProtocolError",
    "ResetTimeout",
    "SlowPeer",
    "SpaceMismatch",
    "StepTimeout",
    "VersionMismatch",
]


class RLayError(Exception):
    """Base of every error that RLay raises."""


# ------------------------------------------------------------------ protocol


class ProtocolError(RLayError):
    """The two ends disagree about bytes or about the order of messages."""


class LocalProtocolError(ProtocolError):
    """This end did something that the protocol forbids in its present state.

    Nothing was sent; the channel stays as it was.
    """


class RemoteProtocolError(ProtocolError):
    """The peer sent something that the protocol forbids. The session is over."""


class DecodeError(RemoteProtocolError):
    """Bytes from the peer do not mean what the greeting agreed upon.

    Attributes:
        path: Where in the message, such as ``$.camera``.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        """Keep the path beside the text."""
        super().__init__(f"{message}, at {path}")
        self.message = message
        self.path = path

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Pickle as the arguments, not as the composed text."""
        return type(self), (self.message, self.path)


class MessageTooLarge(RemoteProtocolError):
    """A message is larger than ``max_message_bytes``.

    Raised before any memory is taken for it: on the sender's side nothing was
    sent and the channel stays usable.

    Attributes:
        size_bytes: The size of the message.
        limit_bytes: The limit that it exceeds.
    """

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        """Compose the text from the two numbers."""
        super().__init__(
            f"a message of {size_bytes} bytes exceeds the limit of {limit_bytes} "
            "bytes; raise max_message_bytes at the backend, or send less"
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        """Pickle as the two numbers."""
        return type(self), (self.size_bytes, self.limit_bytes)


class VersionMismatch(ProtocolError):
    """The two ends speak different major versions of the protocol.

    Attributes:
        ours: The version that this end speaks.
        theirs: The version that the peer, or the file, speaks.
    """

    def __init__(self, ours: int, theirs: int, where: str = "the peer") -> None:
        """Compose the text from both versions."""
        older = "this end" if ours < theirs else where
        super().__init__(
            f"this end speaks protocol version {ours}, {where} speaks version "
            f"{theirs}; upgrade rlay at {older}"
        )
        self.ours = ours
        self.theirs = theirs
        self.where = where

    def __reduce__(self) -> tuple[type, tuple[int, int, str]]:
        """Pickle as the arguments."""
        return type(self), (self.ours, self.theirs, self.where)


# ------------------------------------------------------------------- channel


class ChannelError(RLayError):
    """Something is wrong with the file or the name of a channel."""


class ChannelNotFound(ChannelError):
    """There is no channel of this name."""


class ChannelBusy(ChannelError):
    """Somebody else holds this end of the channel."""


class ChannelPermission(ChannelError):
    """The channel's directory or files are not ours alone, or cannot be opened."""


class ChannelCorrupt(ChannelError):
    """The channel's files are not what they claim to be."""


class ChannelNoSpace(ChannelError):
    """There is no room, or there are no descriptors, for the channel's files."""


class ChannelClosed(ChannelError):
    """The channel was closed, by us or by a peer that said goodbye."""


# ---------------------------------------------------------------------- peer


class PeerLost(RLayError, ConnectionError):
    """The process, or the link, at the other end is gone."""


class EnvLost(PeerLost):
    """This life of the environment is over.

    Attributes:
        executed: Whether the step that was in flight ran. False: it certainly
            did not. None: it may have, wholly or in part.
        lanes: Which of a vector's environments are lost; empty where it is no vector
            over several channels.
    """

    lanes: tuple[int, ...] = ()

    def __init__(self, message: str, executed: bool | None = None) -> None:
        """Keep what is known of the step in flight."""
        super().__init__(message)
        self.executed = executed

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle with ``executed``."""
        return type(self), (*self.args, self.executed)


class LaunchFailed(EnvLost):
    """A program that RLay was to start is of no use.

    Attributes:
        stage: How far it came: ``execute`` if it could not be executed, ``attach`` if
            it ended before it attached to its channel.
    """

    def __init__(self, message: str, stage: str) -> None:
        """Keep how far it came; no step was in flight."""
        super().__init__(message, executed=False)
        self.stage = stage

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle with ``stage``."""
        return type(self), (*self.args, self.stage)


class LinkDown(PeerLost):
    """The link between two bridges stayed down for longer than its window."""


class SlowPeer(PeerLost):
    """The peer stopped reading for longer than the write stall limit."""


class AuthError(RLayError):
    """The peer could not prove who it is, or we could not prove it to the peer."""


# ------------------------------------------------------------------ time-outs


class RLayTimeout(RLayError, TimeoutError):
    """A bounded wait ended without its result."""


class ConnectTimeout(RLayTimeout):
    """No peer, or no greeting from it, within ``connect_timeout``."""


class ResetTimeout(RLayTimeout):
    """No first observation within ``reset_timeout``."""


class StepTimeout(RLayTimeout):
    """No transition within ``step_timeout``; call ``reset`` or ``close`` next."""


class CloseTimeout(RLayTimeout):
    """The peer did not say goodbye within ``close_timeout``."""


# ----------------------------------------------------------------------- data


class SpaceMismatch(RLayError):
    """Data are not in the space that was promised, or two spaces differ."""


class RemoteEnvError(RLayError):
    """The environment raised an exception at the other end.

    The remote class is never looked up here: type, message and traceback are
    text. The environment stays usable after a reset.

    Attributes:
        remote_type: Name of the remote exception's class, such as ``ValueError``.
        remote_message: Its text, at most 8 KiB.
        remote_traceback: The remote traceback, at most 64 KiB.
    """

    def __init__(
        self, remote_type: str, remote_message: str, remote_traceback: str = ""
    ) -> None:
        """Compose the text from the three remote ones."""
        text = f"{remote_type}: {remote_message}" if remote_message else remote_type
        if remote_traceback:
            text += "\n\nRemote traceback:\n" + remote_traceback
        super().__init__(text)
        self.remote_type = remote_type
        self.remote_message = remote_message
        self.remote_traceback = remote_traceback

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        """Pickle as the three texts."""
        return type(self), (
            self.remote_type,
            self.remote_message,
            self.remote_traceback,
        )


class ForkedError(RLayError):
    """A forked child used a channel that its parent attached."""


class Draining(RLayError):
    """The peer is shutting down and takes no new requests."""
