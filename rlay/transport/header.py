"""The header of a channel in mapped memory: who is there, and what they say."""

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from rlay.errors import ChannelCorrupt, VersionMismatch
from rlay.protocol import slot_layout as at
from rlay.protocol.constants import (
    CHANNEL_MAGIC,
    GREETING_SLOT_BYTES,
    HEADER_BYTES,
    MAX_NUM_ENVS,
    PROTOCOL_MINOR,
    PROTOCOL_VERSION,
    UINT32_MASK,
    BellKind,
    Capability,
    CloseReason,
    Holder,
    Paradigm,
    PeerState,
)


class EndLine:
    """What one end says of itself: a line of the header that only it writes."""

    def __init__(self, memory: memoryview, offset: int) -> None:
        """Cover the line at ``offset`` of the header."""
        line = memory[offset : offset + at.END_LINE_BYTES]
        self._words = line.cast("I")
        self._program = line[at.END_PROGRAM_OFFSET :]

    def announce(
        self,
        bell: BellKind,
        capabilities: Capability,
        program: str | None = None,
        *,
        holder: Holder = Holder.PROCESS,
        state: PeerState = PeerState.ALIVE,
    ) -> None:
        """Say who holds this end now.

        Args:
            bell: How it wants to be woken.
            capabilities: What it can do; for a bridge, what the far end can.
            program: What it is, for people; None for its command line.
            holder: What kind of process it is.
            state: Of the end; for a bridge, of the far one.
        """
        words = self._words
        now = int(time.time())  # for people who look at it; nothing is decided by it
        words[at.END_REASON_OFFSET // 4] = CloseReason.NONE
        words[at.END_HOLDER_OFFSET // 4] = holder
        words[at.END_BELL_OFFSET // 4] = bell
        words[at.END_CAPABILITIES_OFFSET // 4] = capabilities
        words[at.END_PID_OFFSET // 4] = os.getpid() & UINT32_MASK
        words[at.END_SINCE_OFFSET // 4] = now & UINT32_MASK
        words[at.END_SINCE_OFFSET // 4 + 1] = now >> 32
        text = (program_text() if program is None else program).encode(
            "utf-8", "replace"
        )[: at.END_PROGRAM_BYTES - 1]
        self._program[:] = text.ljust(at.END_PROGRAM_BYTES, b"\0")
        words[at.END_STATE_OFFSET // 4] = state

    def say(self, state: PeerState, reason: CloseReason) -> None:
        """Say goodbye, or that the far end is gone."""
        self._words[at.END_REASON_OFFSET // 4] = reason
        self._words[at.END_STATE_OFFSET // 4] = state

    @property
    def state(self) -> int:
        """A :class:`PeerState`, as a number: a stranger may have written another."""
        return self._words[at.END_STATE_OFFSET // 4]

    @property
    def reason(self) -> CloseReason:
        """Why it is closed or lost."""
        try:
            return CloseReason(self._words[at.END_REASON_OFFSET // 4])
        except ValueError:
            return CloseReason.NONE

    @property
    def holder(self) -> int:
        """A :class:`Holder`, as a number."""
        return self._words[at.END_HOLDER_OFFSET // 4]

    @property
    def bell(self) -> int:
        """A :class:`BellKind`, as a number."""
        return self._words[at.END_BELL_OFFSET // 4]

    @property
    def capabilities(self) -> Capability:
        """What it can do."""
        return Capability(self._words[at.END_CAPABILITIES_OFFSET // 4])

    @property
    def pid(self) -> int:
        """Its process id, for people only: ids mean nothing across containers."""
        return self._words[at.END_PID_OFFSET // 4]

    @property
    def since(self) -> int:
        """When it came, in seconds since 1970, for people only."""
        words = self._words
        return (
            words[at.END_SINCE_OFFSET // 4] | words[at.END_SINCE_OFFSET // 4 + 1] << 32
        )

    @property
    def program(self) -> str:
        """Its command line, shortened, for people only."""
        text = bytes(self._program).partition(b"\0")[0].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "?" for c in text)

    @property
    def who(self) -> str:
        """Say in a few words who holds this end."""
        return f"process {self.pid} ({self.program or 'unknown program'})"


def program_text() -> str:
    """Return this process's command line, shortened, for people."""
    # Where Python is embedded in a game, there may be no argv at all.
    program, *arguments = getattr(sys, "argv", None) or [""]
    return " ".join([os.path.basename(program) or "python", *arguments])


def _corrupt(path: str, what: str) -> ChannelCorrupt:
    return ChannelCorrupt(f"{path} {what}. Remove it by hand if nobody needs it")


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What never changes in a channel's header.

    Attributes:
        paradigm: Which end holds the environment.
        num_envs: Environments in one message; 0 where it is not known yet.
        mirror: Whether a bridge made the channel for one on another machine.
    """

    paradigm: Paradigm
    num_envs: int
    mirror: bool = False


class ChannelHeader:
    """The header page.

    Attributes:
        server: What the MemServer says of itself.
        client: What the MemClient says of itself.
    """

    def __init__(self, memory: memoryview) -> None:
        """Cover the first page of the header file."""
        self._words = memory[:HEADER_BYTES].cast("I")
        self._memory = memory
        self.server = EndLine(memory, at.SERVER_LINE_OFFSET)
        self.client = EndLine(memory, at.CLIENT_LINE_OFFSET)

    @classmethod
    def of_page(cls, page: bytes) -> "ChannelHeader":
        """Cover a copy of the first page; what is cut off of it counts as zero."""
        return cls(memoryview(bytearray(page.ljust(HEADER_BYTES, b"\0"))))

    def create(self, facts: ChannelFacts) -> None:
        """Write a new channel's header; the magic comes last."""
        words = self._words
        words[at.HEADER_VERSION_OFFSET // 4] = PROTOCOL_VERSION
        words[at.HEADER_MINOR_OFFSET // 4] = PROTOCOL_MINOR
        words[at.HEADER_BYTES_OFFSET // 4] = HEADER_BYTES
        words[at.HEADER_GREETING_BYTES_OFFSET // 4] = GREETING_SLOT_BYTES
        words[at.HEADER_PARADIGM_OFFSET // 4] = facts.paradigm
        words[at.HEADER_MIRROR_OFFSET // 4] = int(facts.mirror)
        words[at.HEADER_NUM_ENVS_OFFSET // 4] = facts.num_envs
        self._memory[: len(CHANNEL_MAGIC)] = CHANNEL_MAGIC

    def check(self, path: str) -> ChannelFacts:
        """Return the facts, once magic, version and sizes are found right.

        Raises:
            ChannelCorrupt: This is no channel's header.
            VersionMismatch: It is one of another major version.
        """
        words = self._words
        if bytes(self._memory[: len(CHANNEL_MAGIC)]) != CHANNEL_MAGIC:
            raise _corrupt(path, "is not a channel: its header has no magic")
        version = words[at.HEADER_VERSION_OFFSET // 4]
        if version != PROTOCOL_VERSION:
            raise VersionMismatch(PROTOCOL_VERSION, version, f"the channel {path}")
        sizes = (
            words[at.HEADER_BYTES_OFFSET // 4],
            words[at.HEADER_GREETING_BYTES_OFFSET // 4],
        )
        if sizes != (HEADER_BYTES, GREETING_SLOT_BYTES):
            raise _corrupt(path, f"claims to have a header of sizes {sizes}")
        try:
            paradigm = Paradigm(words[at.HEADER_PARADIGM_OFFSET // 4])
        except ValueError:
            raise _corrupt(path, "claims an unknown paradigm") from None
        num_envs = words[at.HEADER_NUM_ENVS_OFFSET // 4]
        if num_envs > MAX_NUM_ENVS:
            raise _corrupt(path, f"claims to have {num_envs} environments")
        return ChannelFacts(
            paradigm, num_envs, bool(words[at.HEADER_MIRROR_OFFSET // 4])
        )

    def begin_session(self, generation: int, incarnation: int, session: int) -> None:
        """Write the ids of a new session."""
        self._put(at.HEADER_INCARNATION_OFFSET, incarnation)
        self._put(at.HEADER_SESSION_OFFSET, session)
        self._words[at.HEADER_SESSIONS_OFFSET // 4] += 1
        self._words[at.HEADER_GENERATION_OFFSET // 4] = generation

    def _put(self, offset: int, value: int) -> None:
        self._words[offset // 4] = value & UINT32_MASK
        self._words[offset // 4 + 1] = value >> 32

    def _get(self, offset: int) -> int:
        return self._words[offset // 4] | self._words[offset // 4 + 1] << 32

    @property
    def generation(self) -> int:
        """Number of the present set of slots; 0 before the first session."""
        return self._words[at.HEADER_GENERATION_OFFSET // 4]

    @property
    def incarnation(self) -> int:
        """Of the present session, 0 before the first."""
        return self._get(at.HEADER_INCARNATION_OFFSET)

    @property
    def session(self) -> int:
        """The present session, 0 before the first."""
        return self._get(at.HEADER_SESSION_OFFSET)

    @property
    def origin(self) -> int:
        """Who has the server of a channel that a bridge made; 0 where nobody else."""
        return self._get(at.HEADER_ORIGIN_OFFSET)

    @origin.setter
    def origin(self, peer_id: int) -> None:
        self._put(at.HEADER_ORIGIN_OFFSET, peer_id)

    @property
    def sessions(self) -> int:
        """How many sessions there were."""
        return self._words[at.HEADER_SESSIONS_OFFSET // 4]

    def facts(self) -> dict[str, Any]:
        """Return the plain numbers, for ``rlay inspect``."""
        return {
            "version": self._words[at.HEADER_VERSION_OFFSET // 4],
            "minor": self._words[at.HEADER_MINOR_OFFSET // 4],
            "generation": self.generation,
            "incarnation": f"{self.incarnation:016x}",
            "session": f"{self.session:016x}",
            "sessions": self.sessions,
        }
