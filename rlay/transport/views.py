"""What a look at a channel from outside shows: plain facts, for people and for JSON.

Nothing here reads a file. What is decoded may have been torn while it was read, so
no number is believed and nothing raises.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from rlay.protocol import slot_layout as at
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    KIND_MASK,
    MESSAGE_HEADER_BYTES,
    SLOT_CONTROL_BYTES,
    BellKind,
    Capability,
    CloseReason,
    Holder,
    Kind,
    PeerState,
)
from rlay.transport.header import ChannelFacts, EndLine


def name_of(kind: type[IntEnum], number: int) -> str:
    """Return the name of a number in lower case, or the number where it has none."""
    try:
        return kind(number).name.lower()
    except ValueError:
        return f"unknown ({number})"


def names_of(flags: IntFlag) -> tuple[str, ...]:
    """Return the names of the bits that are set and known."""
    return tuple(bit.name.lower() for bit in type(flags) if bit & flags and bit.name)


@dataclass(frozen=True, slots=True)
class EndView:
    """One end of a channel.

    Attributes:
        held: Whether a process holds its lock: the only proof of life.
        state: What the end says of itself; see ``PeerState``.
        reason: Why it is closed or lost; see ``CloseReason``.
        holder: What kind of process it says it is; see ``Holder``.
        bell: How it wants to be woken; see ``BellKind``.
        capabilities: What it can do; see ``Capability``.
        pid: Its process id in its own container; nothing is decided by it.
        since: When it came, in seconds since 1970.
        program: Its command line, shortened.
    """

    held: bool
    state: str
    reason: str
    holder: str
    bell: str
    capabilities: tuple[str, ...]
    pid: int
    since: int
    program: str

    @property
    def out_of_reach(self) -> bool:
        """Whether it is on another machine, and the way there is closed for now."""
        if self.state == name_of(PeerState, PeerState.LINK_DOWN):
            return True
        bridge = self.holder == name_of(Holder, Holder.BRIDGE)
        alive = self.state == name_of(PeerState, PeerState.ALIVE)
        return bridge and alive and not self.held  # the bridge was killed

    @classmethod
    def of(cls, line: EndLine, held: bool) -> "EndView":
        """Decode a line of a header."""
        return cls(
            held,
            name_of(PeerState, line.state),
            name_of(CloseReason, line.reason),
            name_of(Holder, line.holder),
            name_of(BellKind, line.bell),
            names_of(Capability(line.capabilities)),
            line.pid,
            line.since,
            line.program,
        )


@dataclass(frozen=True, slots=True)
class SlotView:
    """One direction of a session.

    Attributes:
        capacity_bytes: Room for one message, or part.
        published: Messages and parts that were published, modulo 2**31.
        taken: How many of them were taken, modulo 2**31.
        waiting: Whether the last one waits to be taken.
        kind: Of the message published last; None before the first.
        sequence: Of that message.
        payload_bytes: Of that message or part.
        part: Which part it is, from 0.
        parts: Of how many.
    """

    capacity_bytes: int
    published: int
    taken: int
    waiting: bool
    kind: str | None
    sequence: int
    payload_bytes: int
    part: int
    parts: int

    @classmethod
    def of(cls, capacity_bytes: int, control: bytes, message: bytes) -> "SlotView":
        """Decode copies of a slot's words and of the header of its last message.

        What is cut off of a copy counts as zero.
        """
        control = control.ljust(SLOT_CONTROL_BYTES, b"\0")
        message = message.ljust(MESSAGE_HEADER_BYTES, b"\0")
        words = memoryview(control).cast("I")
        published, taken = words[at.PUBLISHED_WORD], words[at.TAKEN_WORD]
        header = MessageBuffer(memoryview(message))
        number = header.words[at.KIND_WORD] & KIND_MASK
        return cls(
            capacity_bytes,
            published >> 1,
            taken >> 1,
            published != taken,
            name_of(Kind, number) if published else None,
            header.sequence if published else 0,
            header.words[at.PAYLOAD_BYTES_WORD] if published else 0,
            *(header.part if published else (0, 0)),
        )


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel, as it was a moment ago.

    Attributes:
        name: Of the channel.
        path: Of its directory.
        facts: Paradigm, number of environments, whether a bridge mirrors it; None
            where ``problem`` says that the header cannot be trusted.
        version: Major version of the protocol.
        minor: Minor version.
        generation: Number of its present set of slots; 0 before the first session.
        incarnation: Of the environment's life, in hexadecimal.
        session: The present or last session, in hexadecimal.
        sessions: How many there were.
        server: The end that made it, or None.
        client: The end that opened it, or None.
        request: From client to server; None where there is no session.
        reply: From server to client; None where there is no session.
        files: Size in bytes of each file.
        warnings: What people should know.
        problem: Why the channel cannot be used; empty if it can.
    """

    name: str
    path: str
    facts: ChannelFacts | None = None
    version: int = 0
    minor: int = 0
    generation: int = 0
    incarnation: str = ""
    session: str = ""
    sessions: int = 0
    server: EndView | None = None
    client: EndView | None = None
    request: SlotView | None = None
    reply: SlotView | None = None
    files: dict[str, int] | None = None
    warnings: tuple[str, ...] = ()
    problem: str = ""

    @property
    def status(self) -> str:
        """The channel in one word.

        ``broken``: see ``problem``. ``attached``: both ends are held. ``waiting``: for
        a client. ``ended``: the server is gone, the client has not noticed. ``stale``:
        both are gone; ``clean`` removes it. ``link_down``: an end is on another machine
        and cannot be reached now, and the session goes on when it can.
        """
        if self.problem or self.server is None or self.client is None:
            return "broken"
        held = (self.server.held, self.client.held)
        if any(held) and (self.server.out_of_reach or self.client.out_of_reach):
            return "link_down"
        return {
            (True, True): "attached",
            (True, False): "waiting",
            (False, True): "ended",
            (False, False): "stale",
        }[held]
