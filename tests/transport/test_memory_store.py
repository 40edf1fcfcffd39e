"""The store in this process's own memory."""

import pytest

from rlay.errors import ChannelNotFound
from rlay.transport.memory_store import MemoryStore
from rlay.transport.stores import End


def test_ends_are_held_by_nobody_at_first():
    """A new store has two free ends."""
    store = MemoryStore("x")
    assert [store.make_probe(end)() for end in End] == [False, False]


def test_removed_store_has_no_slots():
    """The server's goodbye forgets the slots; who mapped them keeps them."""
    store = MemoryStore("x")
    memory = store.create_slots(1, 4096)
    store.remove()
    store.remove()
    with pytest.raises(ChannelNotFound, match="no generation 1"):
        store.open_slots(1)
    memory[0] = 1


def test_closing_leaves_the_other_end_alone():
    """Both ends share the store: closing one takes nothing from the other."""
    store = MemoryStore("x")
    store.create_slots(1, 4096)
    store.hold(End.CLIENT)
    store.close()
    assert store.make_probe(End.CLIENT)()
    store.open_slots(1)
