"""What every transport promises: the contract in ``rlay.testing.contract``."""

import threading
from typing import Protocol

from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Capability
from rlay.transport.peers import SessionWatch
from rlay.transport.waiting import Patience


class Channel(Protocol):
    """One end of a session: whole messages, one in flight in each direction.

    A message of sequence s is written into ``outgoing[s & 1]`` and then sent. A
    received message stays where it is until :meth:`take`, and for one message
    longer.

    Attributes:
        name: Of the channel.
        incarnation: Of the environment's life.
        session: Of the attachment.
        outgoing: The two buffers for messages to the peer.
        incoming: The two buffers in which messages of one part arrive.
        peer_capabilities: What the peer can do.
        guard: Held while a thread uses the channel. It is never free again in a
            forked child.
        forked: Whether this is a forked child's copy.
    """

    name: str
    incarnation: int
    session: int
    outgoing: tuple[MessageBuffer, MessageBuffer]
    incoming: tuple[MessageBuffer, MessageBuffer]
    peer_capabilities: Capability
    guard: threading.Lock
    forked: bool

    @property
    def watch(self) -> SessionWatch:
        """Says whether the peer lives."""

    def send(self, sequence: int) -> None:
        """Send what is in the buffer of ``sequence``. Never blocks.

        The peer must have taken the message before; in lock step it has.
        """

    def send_parts(self, sequence: int, payload: bytes, patience: Patience) -> None:
        """Send a payload that exceeds the buffer, whose header is filled.

        Raises:
            MessageTooLarge: It exceeds ``max_message_bytes``. Nothing was sent, and
                another message can be.
            RLayTimeout: As ``patience`` says. Half a message is out: nothing more
                can be sent in this session. The same holds for an interruption.
            PeerLost: The peer is gone.
        """

    def receive(self, patience: Patience) -> MessageBuffer:
        """Wait for the next message and return it whole.

        A wait that was broken off by an error or an interruption can be taken up
        again; a message that came meanwhile, or in part, is not lost.

        Raises:
            RLayTimeout: As ``patience`` says.
            PeerLost: The peer is gone and left no message.
            ChannelClosed: The peer said goodbye and left no message; or this end was
                closed meanwhile.
            RemoteProtocolError: The peer broke the protocol.
        """

    def receive_nowait(self) -> bool:
        """Return whether a message, or its first part, is there."""

    def take(self) -> None:
        """Tell the peer that the message was read."""

    @property
    def request_taken(self) -> bool:
        """Whether the peer has taken what was sent last, or may have.

        It may have, unseen from here, while a bridge holds the peer's end and has not
        told how the session ended. False is certain in every case.
        """
