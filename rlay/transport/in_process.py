"""A channel within one process, between two threads.

It is the mapped channel over anonymous memory, with locks of this process in
place of lock files: the same code, the same contract.
"""

from rlay.errors import ChannelBusy, ChannelNotFound
from rlay.protocol.constants import Paradigm
from rlay.transport.header import ChannelFacts, ChannelHeader
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.memory_store import MemoryStore
from rlay.transport.stores import End


class InProcessServer(MemServer):
    """The server end; :meth:`client` opens the other."""

    def __init__(
        self, name: str = "pair", paradigm: Paradigm = Paradigm.CLIENT_ENV
    ) -> None:
        """Make the channel."""
        store = MemoryStore(name)
        store.hold(End.SERVER)
        super().__init__(store, ChannelFacts(paradigm, 0))

    def client(self) -> MemClient:
        """Open the client end.

        Raises:
            ChannelNotFound: This end is closed.
            ChannelBusy: It is held.
        """
        store = self._store
        facts = ChannelHeader(store.header).check(store.path)
        if not store.make_probe(End.SERVER)():
            raise ChannelNotFound(f"channel {self.name!r} is closed")
        if not store.hold(End.CLIENT):
            raise ChannelBusy(f"channel {self.name!r} has a client already")
        return MemClient(store, facts)
