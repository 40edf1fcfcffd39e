"""The ends of a channel, wherever it is: on this machine, or at a bridge.

A name leads to mapped memory, an address (``tcp://host:port/name``) to a socket. Both
kinds of end have the same methods; who uses them does not care. What speaks over
sockets is loaded when it is needed.
"""

import os
import time
from typing import TYPE_CHECKING, Protocol

from rlay.errors import ConnectTimeout
from rlay.protocol.addresses import is_address
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, Paradigm
from rlay.transport.base import Channel
from rlay.transport.header import ChannelFacts
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer

if TYPE_CHECKING:
    from rlay.protocol.greeting import Hello, Welcome
    from rlay.protocol.refusal import Refusal
    from rlay.transport.socket_client import SocketClient

Ids = tuple[int, int]
Directory = str | os.PathLike[str] | None


class Peer(Protocol):
    """What a client end knows of the server end."""

    @property
    def who(self) -> str:
        """Say in a few words who that is."""


class ClientEnd(Protocol):
    """A client end that found its channel; see ``MemClient``.

    Attributes:
        name: Of the channel.
        facts: What the channel says of itself.
        peer: The server end.
    """

    name: str
    facts: ChannelFacts

    @property
    def peer(self) -> Peer:
        """The server end."""

    def greet(
        self, hello: "Hello", ids: Ids, timeout_s: float | None
    ) -> "tuple[Ids, Welcome]":
        """Say Hello and wait for the answer."""

    def begin_hello(self, hello: "Hello", ids: Ids) -> None:
        """Begin to say Hello."""

    def continue_hello(self) -> bool:
        """Say more of a long Hello; return whether all of it is said."""

    def receive_welcome(
        self, ids: Ids, timeout_s: float | None
    ) -> "tuple[Ids, Welcome]":
        """Wait for the answer to a Hello that is said."""

    def attach(self, welcome: "Welcome", ids: Ids) -> Channel:
        """Return the session that a Welcome speaks of."""

    def close(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Say goodbye and let go. Twice is harmless."""


class PendingGreeting:
    """A Hello that was said, and whose answer nobody waits for.

    Attributes:
        client: The end that said it.
    """

    def __init__(self, client: ClientEnd, hello: "Hello", ids: Ids) -> None:
        """Begin to say Hello.

        Args:
            client: The end of a channel that was found.
            hello: What to say.
            ids: Incarnation and session; the one that the server draws is 0.
        """
        self.client, self._ids = client, ids
        client.begin_hello(hello, ids)

    def look(self) -> "tuple[Welcome, Channel] | None":
        """Return the Welcome and the session, or None where there is no answer yet.

        Raises:
            PeerLost: The server died meanwhile; ChannelClosed: it said goodbye.
            RLayError: What its refusal says.
        """
        if not self.client.continue_hello():
            return None
        try:
            ids, welcome = self.client.receive_welcome(self._ids, 0.0)
        except ConnectTimeout:
            return None
        return welcome, self.client.attach(welcome, ids)


class ServerEnd(Protocol):
    """A server end whose channel is there; see ``MemServer``."""

    @property
    def client_waits(self) -> bool:
        """Whether a client has said Hello."""

    def receive_hello(
        self, timeout_s: float | None = None
    ) -> "tuple[MessageBuffer, Hello]":
        """Wait for a client and return what it says."""

    def refuse(self, hello: MessageBuffer, refusal: "Refusal") -> None:
        """Tell a client that it is not taken."""

    def accept(
        self,
        hello: MessageBuffer,
        welcome: "Welcome",
        ids: Ids,
        capacities: tuple[int, int],
        *,
        max_message_bytes: int,
    ) -> Channel | None:
        """Begin a session, or return None where the client is gone already."""

    def close(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Say goodbye and remove the channel. Twice is harmless."""


def serve_channel(
    name: str,
    directory: Directory,
    timeout_s: float | None,
    *,
    paradigm: Paradigm,
    num_envs: int,
) -> ServerEnd:
    """Make a channel on this machine, or announce one to a bridge.

    Args:
        name: Of the channel, or its address.
        directory: Where channels of this machine live; None for the default.
        timeout_s: How long to wait for the bridge of an address; None for ever.
        paradigm: Which end holds the environment.
        num_envs: Environments in one message; 0 where it is not known yet.

    Raises:
        ChannelError: The channel cannot be made; ChannelBusy: its name is taken.
        ConnectTimeout: There is no bridge; the message says why.
        AuthError: The bridge and this end do not trust each other.
    """
    if not is_address(name):
        return MemServer.create(name, directory, paradigm=paradigm, num_envs=num_envs)
    from rlay.transport.socket_server import SocketServer

    return SocketServer.create(name, timeout_s, paradigm=paradigm, num_envs=num_envs)


def find_channel(address: str, timeout_s: float | None) -> ClientEnd:
    """Wait until a bridge knows a channel that is free, and return its client end.

    Raises:
        ConnectTimeout: No bridge, or no such channel there; the message says which.
        ChannelBusy: It has a client, or all channels of the group have.
        AuthError: The bridge and this end do not trust each other.
    """
    from rlay.transport.socket_client import SocketClient

    return SocketClient.open(address, timeout_s)


class ChannelSearch:
    """Looks for a channel without waiting."""

    def __init__(self, name: str, directory: Directory) -> None:
        """Take note of what to look for: a name, or an address."""
        self._name, self._directory = name, directory
        self._dialing: SocketClient | None = None

    @property
    def problem(self) -> str:
        """What is missing, for people; empty where nothing can be said."""
        return "" if self._dialing is None else self._dialing.problem

    @property
    def missing(self) -> bool:
        """Whether a bridge has said that there is no such channel."""
        return self._dialing is not None and self._dialing.missing

    def look(self) -> ClientEnd | None:
        """Return the client end, or None where there is no such channel yet.

        Raises:
            ChannelNotFound: There is no such channel yet, on this machine.
            ChannelBusy: It has a client.
            AuthError: A bridge and this end do not trust each other.
        """
        if not is_address(self._name):
            return MemClient.open(self._name, self._directory)
        from rlay.transport.socket_client import SocketClient

        if self._dialing is None:
            self._dialing = SocketClient(self._name)
        if not self._dialing.look():
            return None
        client, self._dialing = self._dialing, None
        return client

    def rest(self, seconds: float) -> None:
        """Wait a while before the next look; less where something comes."""
        if self._dialing is None:
            time.sleep(seconds)
        else:
            self._dialing.rest(seconds)

    def close(self) -> None:
        """Stop looking. Twice is harmless."""
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.close(CloseReason.CLOSED)
