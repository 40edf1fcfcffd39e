"""The end of a channel in memory that makes it and removes it."""

import os
from dataclasses import replace

from rlay.errors import ProtocolError, RLayError
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    SLOT_CONTROL_BYTES,
    Kind,
    Paradigm,
)
from rlay.protocol.greeting import Hello, Refusal, Welcome
from rlay.protocol.names import check_name
from rlay.protocol.slot_layout import slot_capacity
from rlay.transport.directory import ChannelDirectory
from rlay.transport.ends import MemEnd
from rlay.transport.file_store import FileStore
from rlay.transport.header import ChannelFacts, ChannelHeader
from rlay.transport.peers import Deadline, PeerWatch, connecting
from rlay.transport.refusals import refusal_code
from rlay.transport.slot_channel import SlotChannel, SlotGeometry
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End, Store
from rlay.transport.waiting import Patience

Ids = tuple[int, int]


class MemServer(MemEnd):
    """Makes a channel, greets one client after the other, removes the channel.

    The order of calls: :meth:`create`; then for each client :meth:`receive_hello`
    and either :meth:`refuse`, or :meth:`accept` and the session; :meth:`close`.
    """

    def __init__(
        self, store: Store, facts: ChannelFacts, program: str | None = None
    ) -> None:
        """Fill the header of a new store whose server end is held."""
        ChannelHeader(store.header).create(facts)
        super().__init__(store, End.SERVER)
        self._announce(program)
        self._writer, self._reader = self._greeting_slots()
        self._client_held = store.make_probe(End.CLIENT)
        self._geometry: SlotGeometry | None = None
        self._memory: memoryview | None = None
        self._generation = 0
        self._channel: SlotChannel | None = None

    @classmethod
    def create(
        cls,
        name: str,
        directory: str | os.PathLike[str] | None = None,
        *,
        paradigm: Paradigm = Paradigm.CLIENT_ENV,
        num_envs: int = 0,
        program: str | None = None,
    ) -> "MemServer":
        """Make the channel ``name``.

        Its files are made under a hidden name and renamed at the end, so nobody
        ever sees half a channel. A stale channel of that name is replaced.

        Args:
            name: Of the channel.
            directory: Where channels live; None for the default.
            paradigm: Which end holds the environment.
            num_envs: Environments in one message; 0 where it is not known yet.
            program: What people see of this end; None for the command line.

        Raises:
            ChannelError: The name is not allowed, or the files cannot be made.
            ChannelBusy: A living server has the name.
            ChannelNoSpace: There is no room. Nothing is left behind.
        """
        check_name(name)
        root = ChannelDirectory.open(directory)
        try:
            store = FileStore.create(root, name)
        except BaseException:
            root.close()
            raise
        try:
            server = cls(store, ChannelFacts(paradigm, num_envs), program)
            store.publish()
        except BaseException:
            store.remove()
            store.close()
            raise
        return server

    def client_watch(self) -> PeerWatch:
        """Return a watch of the client that is there now.

        A client that says Hello takes the place of the one before it.
        """
        greetings = self._reader
        return PeerWatch(
            self.peer,
            self._client_held,
            f"the client of channel {self.name!r}",
            lambda: greetings.pending,  # not self: that would be a cycle
            self._own,
        )

    @property
    def client_waits(self) -> bool:
        """Whether a client has said Hello."""
        return not self.closed and self._reader.pending

    def receive_hello(
        self, timeout_s: float | None = None
    ) -> tuple[MessageBuffer, Hello]:
        """Wait for a client and return what it says.

        A client that breaks the protocol is refused here, and the next one is
        waited for.

        Returns:
            The buffer, with the ids that the client drew, and its content.

        Raises:
            ConnectTimeout: Nobody came within ``timeout_s`` seconds.
            ChannelClosed: Another thread closed this end.
        """
        self._own.check()
        patience = Deadline(
            self._own,
            timeout_s,
            connecting(timeout_s, f"no client came to {self.name!r}"),
        )
        while True:
            buffer = None
            try:
                buffer = self._receive_greeting(self._reader, patience)
                return buffer, Hello.decode(buffer.body())
            except ProtocolError as error:
                refusal = Refusal(refusal_code(error), str(error))
            if buffer is None:  # not even the message is sound: it is still there
                buffer = self._reader.current
                self._reader.take_and_ring()
            self.refuse(buffer, refusal)

    def refuse(self, hello: MessageBuffer, refusal: Refusal) -> None:
        """Tell a client that it is not taken; a client that is gone is forgotten.

        Raises:
            ChannelClosed: This end was closed.
        """
        self._answer(
            hello, Kind.REFUSAL, refusal.encode(), (hello.incarnation, hello.session)
        )

    def accept(
        self,
        hello: MessageBuffer,
        welcome: Welcome,
        ids: Ids,
        capacities: tuple[int, int],
        policy: WaitPolicy | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> SlotChannel | None:
        """Make the slots of a session, and tell the client.

        Args:
            hello: The client's buffer.
            welcome: What to tell it; its generation is filled in here.
            ids: Incarnation and session.
            capacities: Room in bytes for a request and for a reply.
            policy: How to wait in the session.
            max_message_bytes: Larger messages are refused.

        Returns:
            This end of the session, or None where the client is gone already.

        Raises:
            ChannelNoSpace: There is no room for the slots.
            ChannelClosed: This end was closed.
        """
        self._own.check()
        geometry = SlotGeometry(*map(slot_capacity, capacities))
        memory = self._slots(geometry)
        channel = SlotChannel(
            self._store,
            memory,
            geometry,
            End.SERVER,
            self.peer,
            self.client_watch(),
            ids,
            policy=policy,
            max_message_bytes=max_message_bytes,
        )
        self.header.begin_session(self._generation, *ids)
        welcome = replace(
            welcome, generation=self._generation, max_message_bytes=max_message_bytes
        )
        if not self._answer(hello, Kind.WELCOME, welcome.encode(), ids):
            return None
        self._channel = channel
        return channel

    def _slots(self, geometry: SlotGeometry) -> memoryview:
        """Return memory for a session: that of the last one where its shape fits."""
        old = self._geometry
        if (
            self._memory is None
            or old is None
            or (old.request_capacity, old.reply_capacity)
            != (geometry.request_capacity, geometry.reply_capacity)
        ):
            self._memory = None
            self._geometry = None
            self._generation += 1
            self._memory = self._store.create_slots(
                self._generation, geometry.file_bytes
            )
            geometry.write(self._memory, self._generation)
            self._geometry = geometry
        for offset in (geometry.request_offset, geometry.reply_offset):
            self._memory[offset : offset + SLOT_CONTROL_BYTES] = bytes(
                SLOT_CONTROL_BYTES
            )
        return self._memory

    def _answer(
        self, hello: MessageBuffer, kind: Kind, payload: bytes, ids: Ids
    ) -> bool:
        """Send a greeting; return whether the client was there to take it."""
        self._own.check()
        patience: Patience = Deadline(
            self.client_watch(),
            60.0,
            connecting(60.0, f"the client of {self.name!r} did not read its greeting"),
            counts_link_down=True,
        )
        try:
            self._send_greeting(self._writer, kind, payload, ids, patience)
        except RLayError:
            return False
        return True

    def _say_goodbye(self) -> None:
        # Name and files go first: nobody can come any more.
        try:
            self._store.remove()
        except (KeyboardInterrupt, SystemExit):  # a signal came: finish, then obey
            self._store.remove()
            raise
        finally:
            self._wake_client()

    def _forget(self) -> None:
        super()._forget()
        self._channel = self._memory = self._geometry = None
        del self._writer, self._reader

    def _wake_client(self) -> None:
        self._writer.wake_reader()
        if self._channel is not None:
            self._channel.wake_peer()
