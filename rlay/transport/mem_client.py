"""The end of a channel in memory that opens what a server made."""

import os
from collections.abc import Callable, Iterator

from rlay.errors import ChannelBusy, ChannelNotFound, PeerLost, RemoteProtocolError
from rlay.protocol.constants import DEFAULT_MAX_MESSAGE_BYTES, Kind
from rlay.protocol.greeting import Hello, Refusal, Welcome
from rlay.protocol.names import check_name
from rlay.transport.directory import ChannelDirectory
from rlay.transport.ends import MemEnd
from rlay.transport.file_store import FileStore
from rlay.transport.header import ChannelFacts, ChannelHeader
from rlay.transport.peers import Deadline, PeerWatch, connecting
from rlay.transport.refusals import refusal_error
from rlay.transport.slot_channel import SlotChannel, SlotGeometry
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End, Store

Ids = tuple[int, int]


class MemClient(MemEnd):
    """Opens a channel and greets its server.

    The order of calls: :meth:`open`, :meth:`greet`, :meth:`attach` and the
    session, :meth:`close`.

    Attributes:
        facts: What the channel's header says.
        watch: Says whether the server lives.
    """

    def __init__(self, store: Store, facts: ChannelFacts) -> None:
        """Cover a store whose client end is held and whose header was checked."""
        super().__init__(store, End.CLIENT)
        self.facts = facts
        self.watch = self._watch_of(store.make_probe(End.SERVER))
        self._announce()
        self._writer, self._reader = self._greeting_slots()
        self._channel: SlotChannel | None = None
        self._hello: Iterator[None] | None = None
        self._hello_waits = False

    def _watch_of(self, held: Callable[[], bool]) -> PeerWatch:
        what = f"the server of channel {self.name!r}"
        return PeerWatch(self.peer, held, what, own=self._own)

    @classmethod
    def open(
        cls, name: str, directory: str | os.PathLike[str] | None = None
    ) -> "MemClient":
        """Open the channel ``name`` and hold its client end.

        Args:
            name: Of the channel.
            directory: Where channels live; None for the default.

        Raises:
            ChannelNotFound: There is none, or its server is gone.
            ChannelBusy: Somebody else holds the client end.
            ChannelError: The name is not allowed, or the files are not sound.
            VersionMismatch: The channel is of another major version.
        """
        check_name(name)
        root = ChannelDirectory.open(directory, create=False)
        try:
            store = FileStore.open(root, name)
        except BaseException:
            root.close()
            raise
        try:
            return cls(store, _enter(store))
        except BaseException:
            store.close()
            raise

    def greet(
        self, hello: Hello, ids: Ids, timeout_s: float | None
    ) -> tuple[Ids, Welcome]:
        """Say Hello and wait for the answer.

        Args:
            hello: What to say.
            ids: Incarnation and session; the one that the server draws is 0.
            timeout_s: How long to wait, in seconds; None for ever.

        Returns:
            Both ids, and what the server said.

        Raises:
            ConnectTimeout: No answer in time.
            PeerLost: The server died meanwhile.
            ChannelClosed: The server said goodbye, or this end was closed.
            RLayError: What the server's refusal says.
        """
        patience = self._patience(timeout_s).running()
        self._send_hello(hello, ids, patience)
        return self._receive_welcome(ids, patience)

    def send_hello(self, hello: Hello, ids: Ids, timeout_s: float | None) -> None:
        """Say Hello; the first half of :meth:`greet`."""
        self._send_hello(hello, ids, self._patience(timeout_s).running())

    def _send_hello(self, hello: Hello, ids: Ids, patience: Deadline) -> None:
        self.begin_hello(hello, ids)
        while not self.continue_hello():
            self._writer.wait_until_taken(patience)

    def _patience(self, timeout_s: float | None) -> Deadline:
        return Deadline(
            self.watch,
            timeout_s,
            connecting(
                timeout_s,
                f"channel {self.name!r} exists and its server ({self.peer.who}) is "
                "alive, but it did not answer the greeting",
            ),
            counts_link_down=True,
        )

    def begin_hello(self, hello: Hello, ids: Ids) -> None:
        """Begin to say Hello; :meth:`continue_hello` says it, without waiting."""
        self._own.check()
        while self._reader.pending:  # what a client before us did not read any more
            self._reader.take_and_ring()
        self._hello = self._greeting(self._writer, Kind.HELLO, hello.encode(), ids)
        self._hello_waits = False

    def continue_hello(self) -> bool:
        """Say as much of a long Hello as the server has taken the parts before of.

        Returns:
            Whether all of it is said.

        Raises:
            PeerLost: The server died meanwhile.
            ChannelClosed: The server said goodbye, or this end was closed.
        """
        self.watch.check()
        while self._hello is not None:
            if self._hello_waits and not self._writer.taken:
                return False
            try:
                next(self._hello)
                self._hello_waits = True
            except StopIteration:
                self._hello = None
        return True

    def receive_welcome(self, ids: Ids, timeout_s: float | None) -> tuple[Ids, Welcome]:
        """Wait for the answer to a Hello that is said.

        After a ConnectTimeout it may be called again; 0 looks once.
        """
        self._own.check()
        return self._receive_welcome(ids, self._patience(timeout_s).running())

    def _receive_welcome(self, ids: Ids, patience: Deadline) -> tuple[Ids, Welcome]:
        while True:
            buffer = self._receive_greeting(self._reader, patience)
            answered = (buffer.incarnation, buffer.session)
            if any(
                ours not in (0, theirs)
                for ours, theirs in zip(ids, answered, strict=True)
            ):
                continue  # it was for the client before us
            kind = buffer.kind
            if kind is Kind.REFUSAL:
                raise refusal_error(Refusal.decode(buffer.body()))
            if kind is not Kind.WELCOME:
                raise RemoteProtocolError(f"{kind.name} came in answer to a HELLO")
            return answered, Welcome.decode(buffer.body())

    def attach(
        self, welcome: Welcome, ids: Ids, policy: WaitPolicy | None = None
    ) -> SlotChannel:
        """Map the slots that a Welcome speaks of and return the session.

        Raises:
            PeerLost: The slots are not there: the server died since, and another one,
                or nobody, is in its place.
            ChannelError: The slots are not sound.
        """
        generation = welcome.generation
        try:
            memory = self._store.open_slots(generation)
        except ChannelNotFound as error:
            raise PeerLost(
                f"{self.peer.who} is gone since it greeted: {error}"
            ) from error
        geometry = SlotGeometry.read(memory, generation, self._store.path)
        self._channel = SlotChannel(
            self._store,
            memory,
            geometry,
            End.CLIENT,
            self.peer,
            self.watch,
            ids,
            policy=policy,
            max_message_bytes=min(DEFAULT_MAX_MESSAGE_BYTES, welcome.max_message_bytes),
        )
        return self._channel

    def _say_goodbye(self) -> None:
        if self._channel is not None:
            self._channel.wake_peer()
        else:
            self._writer.wake_reader()

    def _forget(self) -> None:
        super()._forget()
        self.watch = self._watch_of(self.watch.held)
        self._channel = self._hello = None
        del self._writer, self._reader


def _enter(store: FileStore) -> ChannelFacts:
    """Hold the client end of a living channel and return what its header says."""
    facts = ChannelHeader(store.header).check(store.path)
    if not store.is_held(End.SERVER):
        raise ChannelNotFound(
            f"channel {store.name!r} is stale: its server is gone without a goodbye"
        )
    if not store.hold(End.CLIENT):
        raise ChannelBusy(store.busy_text(End.CLIENT))
    if not store.is_current():
        raise ChannelNotFound(f"channel {store.name!r} was just replaced")
    return facts
