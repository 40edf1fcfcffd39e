"""The two ends of a channel, held by a bridge for somebody on another machine."""

from asyncio import AbstractEventLoop
from collections.abc import Iterator
from typing import Final

from rlay.bridge.doorbell import Doorbell
from rlay.errors import (
    ChannelBusy,
    ChannelCorrupt,
    ChannelNoSpace,
    ChannelNotFound,
    RemoteProtocolError,
)
from rlay.protocol import slot_layout as at
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    KIND_MASK,
    MAX_GREETING_BYTES,
    SLOT_CONTROL_BYTES,
    BellKind,
    Capability,
    Holder,
    Kind,
    Paradigm,
    PeerState,
)
from rlay.transport.directory import ChannelDirectory
from rlay.transport.ends import CAPABILITIES, GREETING_SEQUENCE, MemEnd
from rlay.transport.file_store import FileStore
from rlay.transport.header import ChannelFacts, ChannelHeader, EndLine
from rlay.transport.locks import Probe
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.stores import End

Ids = tuple[int, int]
_RINGS: Final = Capability.FUTEX | Capability.FIFO
"""What the far end can ring means nothing here: the bridge rings."""


def is_answer(ids: Ids, hello: Ids) -> bool:
    """Return whether an answer carries the ids that a Hello drew."""
    return all(drawn in (0, own) for own, drawn in zip(ids, hello, strict=True))


class NotYet(Exception):
    """Something is not there yet; the doorbell will say when it is."""


class _NoPatience:
    """Waits for nothing: a bridge comes back when it is rung."""

    def start(self) -> float:
        raise NotYet

    def check(self) -> float:
        raise NotYet


NO_PATIENCE: Final = _NoPatience()


class BridgeEnd(MemEnd):
    """An end whose owner is elsewhere.

    It is rung by a FIFO and keeps all its bell words raised. It has the far end's
    capabilities, and says in the header how the far end and the link fare.

    Attributes:
        store: Where the channel is.
        program: What people see of the far end.
        bell: By which the other end of this machine rings.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        store: FileStore,
        end: End,
        capabilities: Capability,
        program: str,
        state: PeerState = PeerState.ALIVE,
    ) -> None:
        """Take over a store whose end is held and whose header is filled."""
        super().__init__(store, end)
        self.store = store
        self.program = program
        self.bell = Doorbell(loop, store.fd, store.path, end)
        self._capabilities = capabilities
        self._writer, self._reader = self._greeting_slots()
        self._saying: Iterator[None] | None = None
        self._said_one = False
        self.say_who(state)
        self._raise_greeting_bells()

    def say_who(self, state: PeerState) -> None:
        """Write this end's line of the header."""
        own = self._capabilities & ~_RINGS | CAPABILITIES & _RINGS
        self.line.announce(
            BellKind.FIFO, own, self.program, holder=Holder.BRIDGE, state=state
        )

    def _raise_greeting_bells(self) -> None:
        outgoing, incoming = self._greeting_words()
        outgoing[at.TAKEN_BELL_WORD] = 1
        incoming[at.PUBLISHED_BELL_WORD] = 1

    def _greeting_words(self) -> tuple[memoryview, memoryview]:
        places = (at.REQUEST_GREETING_OFFSET, at.REPLY_GREETING_OFFSET)
        outgoing, incoming = places if self._end is End.CLIENT else places[::-1]
        memory = self.store.header

        def words(place: int) -> memoryview:
            return memory[place : place + SLOT_CONTROL_BYTES].cast("I")

        return words(outgoing), words(incoming)

    @property
    def path(self) -> str:
        """Where the channel is."""
        return self.store.path

    @property
    def is_current(self) -> bool:
        """Whether the channel's name still leads to these files."""
        return self.store.is_current()

    def probe(self, end: End) -> Probe:
        """Return a function that says whether an end is held."""
        return self.store.make_probe(end)

    # ---------------------------------------------------------------- greeting

    @property
    def greeted(self) -> bool:
        """Whether a greeting, or a part of one, waits to be read."""
        return self._reader.pending

    def read_greeting(self) -> tuple[MessageBuffer, bytes]:
        """Return the next whole greeting and its payload, and take it.

        Raises:
            NotYet: It has not come whole.
            RemoteProtocolError: It is malformed.
        """
        buffer = self._reader.receive(NO_PATIENCE)
        if not self._reader.expects(buffer):  # left half-said by somebody who died
            self._reader.take_and_ring()
            raise NotYet
        whole = self._reader.assemble(buffer, MAX_GREETING_BYTES, NO_PATIENCE)
        return whole, bytes(whole.body())

    def peek_greeting(self) -> tuple[Ids, bytes] | None:
        """Return ids and payload of the next greeting without taking it.

        None where it comes in parts: those must be taken one by one.
        """
        buffer = self._reader.current
        if buffer.part != (0, 1):
            return None
        try:
            return (buffer.incarnation, buffer.session), bytes(buffer.body())
        except RemoteProtocolError:
            return None

    def skip_greetings(self) -> None:
        """Take what waits in the greeting slot without reading it."""
        while self._reader.pending:
            self._reader.take_and_ring()

    def begin_greeting(self, kind: Kind, payload: bytes, ids: Ids) -> None:
        """Begin to say a greeting; :meth:`continue_greeting` says the rest."""
        self._saying = self._greeting(self._writer, kind, payload, ids)
        self._said_one = False
        self.continue_greeting()

    def continue_greeting(self) -> bool:
        """Say as much as the reader has taken the parts before of.

        Returns:
            Whether all of it is said.
        """
        while self._saying is not None:
            if self._said_one and not self._writer.taken:
                return False
            try:
                next(self._saying)
                self._said_one = True
            except StopIteration:
                self._saying = None
        return True

    @property
    def heard(self) -> bool:
        """Whether the greeting that was said last was taken."""
        return self._writer.taken

    # ------------------------------------------------------------------- slots

    def open_slots(self, generation: int) -> tuple[memoryview, SlotGeometry]:
        """Map the slots of a generation.

        Raises:
            ChannelError: They are not there or not sound.
        """
        memory = self.store.open_slots(generation)
        return memory, SlotGeometry.read(memory, generation, self.store.path)

    def _say_goodbye(self) -> None:
        self.bell.close()
        self._writer.wake_reader()

    def _forget(self) -> None:
        super()._forget()
        self._saying = None
        del self._writer, self._reader


class BridgeServer(BridgeEnd):
    """Makes a channel for a server on another machine."""

    @classmethod
    def create(
        cls,
        loop: AbstractEventLoop,
        root: str,
        name: str,
        facts: ChannelFacts,
        capabilities: Capability,
        program: str,
    ) -> "BridgeServer":
        """Make the channel ``name``; as ``MemServer.create``.

        Raises:
            ChannelBusy: A living server has the name.
            ChannelError: It cannot be made. Nothing is left behind.
        """
        directory = ChannelDirectory.open(root)
        try:
            store = FileStore.create(directory, name)
        except BaseException:
            directory.close()
            raise
        try:
            ChannelHeader(store.header).create(facts)
            server = cls(loop, store, End.SERVER, capabilities, program)
            store.publish()
        except BaseException:
            store.remove()
            store.close()
            raise
        return server

    @classmethod
    def adopt(cls, loop: AbstractEventLoop, root: str, name: str) -> "BridgeServer":
        """Take over the server end that a bridge before this one has left.

        Raises:
            ChannelBusy: Somebody holds it.
            ChannelNotFound: It is no channel that a bridge made.
            ChannelError: It cannot be opened.
        """
        store = _open(root, name)
        try:
            header = ChannelHeader(store.header)
            header.check(store.path)
            line = _left_by_bridge(store, header.server)
            _hold(store, End.SERVER)
            return cls(
                loop,
                store,
                End.SERVER,
                line.capabilities,
                line.program,
                PeerState.LINK_DOWN,
            )
        except BaseException:
            store.close()
            raise

    @property
    def facts(self) -> ChannelFacts:
        """What the channel's header says."""
        return self.header.check(self.path)

    def make_slots(
        self, generation: int, capacities: tuple[int, int], ids: Ids
    ) -> tuple[memoryview, SlotGeometry]:
        """Make the slots of a session, and write its ids into the header.

        Raises:
            ChannelNoSpace: There is no room.
        """
        geometry = SlotGeometry(*capacities)
        memory = self.store.create_slots(generation, geometry.file_bytes)
        geometry.write(memory, generation)
        self.header.begin_session(generation, *ids)
        return memory, geometry

    def finish_answer(self, ids: Ids) -> bool:
        """Finish answering a client as a bridge before this one did not.

        Args:
            ids: Of the session in the header.

        Returns:
            Whether its client has a whole Welcome. If not, it still waits for one.
        """
        answer = self._writer.buffers[GREETING_SEQUENCE & 1]
        kind = answer.words[at.KIND_WORD] & KIND_MASK
        told = answer.incarnation, answer.session
        if kind != Kind.WELCOME or told != ids or answer.part != (0, 1):
            return False
        if self.greeted:
            # No answer is read before the Hello is taken: to say it again is safe.
            hello = self.peek_greeting()
            if hello is None or not is_answer(ids, hello[0]):
                return False
            self._writer.publish(GREETING_SEQUENCE)
            self.skip_greetings()
        return True

    def _say_goodbye(self) -> None:
        try:
            self.store.remove()
        finally:
            super()._say_goodbye()


_GOES_ON: Final = (PeerState.ALIVE, PeerState.LINK_DOWN)


class BridgeClient(BridgeEnd):
    """Opens a channel for a client on another machine."""

    @classmethod
    def open(
        cls,
        loop: AbstractEventLoop,
        root: str,
        name: str,
        capabilities: Capability,
        program: str,
    ) -> "BridgeClient":
        """Open the channel ``name`` and hold its client end.

        Raises:
            ChannelNotFound: There is none, or its server is gone.
            ChannelBusy: Somebody holds the client end.
            ChannelError: It cannot be opened.
        """
        store = _open(root, name)
        try:
            _check_served(store)
            _hold(store, End.CLIENT)
            return cls(loop, store, End.CLIENT, capabilities, program)
        except BaseException:
            store.close()
            raise

    @classmethod
    def adopt(cls, loop: AbstractEventLoop, root: str, name: str) -> "BridgeClient":
        """Take over the client end that a bridge before this one has left.

        Raises:
            ChannelBusy: Somebody holds it.
            ChannelNotFound: No bridge was in a session there.
            ChannelError: It cannot be opened.
        """
        store = _open(root, name)
        try:
            line = _left_by_bridge(store, ChannelHeader(store.header).client)
            _check_served(store)
            _hold(store, End.CLIENT)
            return cls(
                loop,
                store,
                End.CLIENT,
                line.capabilities,
                line.program,
                PeerState.LINK_DOWN,
            )
        except BaseException:
            store.close()
            raise


def _open(root: str, name: str) -> FileStore:
    directory = ChannelDirectory.open(root, create=False)
    try:
        return FileStore.open(directory, name)
    except BaseException:
        directory.close()
        raise


def _hold(store: FileStore, end: End) -> None:
    if not store.hold(end):
        raise ChannelBusy(store.busy_text(end))


def _left_by_bridge(store: FileStore, line: EndLine) -> EndLine:
    """Return an end's line if a bridge held that end and was in the midst of it."""
    if line.holder != Holder.BRIDGE or line.state not in _GOES_ON:
        raise ChannelNotFound(f"no bridge was at work at {store.path}")
    return line


def _check_served(store: FileStore) -> None:
    ChannelHeader(store.header).check(store.path)
    if not store.is_held(End.SERVER):
        raise ChannelNotFound(
            f"channel {store.name!r} is stale: its server is gone without a goodbye"
        )


def facts_of(paradigm: int, num_envs: int, *, mirror: bool) -> ChannelFacts:
    """Return the facts that an announcement stands for.

    Raises:
        RemoteProtocolError: The paradigm is unknown.
    """
    try:
        return ChannelFacts(Paradigm(paradigm), num_envs, mirror)
    except ValueError:
        raise RemoteProtocolError(f"unknown paradigm {paradigm}") from None


def check_capacities(
    capacities: tuple[int, int], most_bytes: int, machine: str
) -> None:
    """Check capacities from another machine before memory is taken.

    Args:
        capacities: Of both slots, for payload.
        most_bytes: What a slot may have here.
        machine: The name of this machine, for the message.

    Raises:
        ChannelCorrupt: They are no capacities of slots.
        ChannelNoSpace: They are larger than this machine allows.
    """
    for capacity in capacities:
        if capacity != at.slot_capacity(capacity):
            raise ChannelCorrupt(f"a slot cannot have room for {capacity} bytes")
        if capacity > most_bytes:
            raise ChannelNoSpace(
                f"its messages want slots for {capacity} bytes, and {most_bytes} are "
                f"the limit of the bridge on {machine}: raise its --max-slot-bytes"
            )
