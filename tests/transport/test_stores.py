"""What the two kinds of store have in common, and the names of ends."""

import pytest

from rlay.errors import ChannelNotFound
from rlay.protocol.slot_layout import HEADER_FILE_BYTES
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore
from rlay.transport.memory_store import MemoryStore
from rlay.transport.stores import End


@pytest.fixture(params=["files", "memory"])
def store(request, channel_directory):
    if request.param == "memory":
        in_memory = MemoryStore("name")
        in_memory.hold(End.SERVER)
        yield in_memory
        return
    with ChannelDirectory.open(channel_directory) as root:
        made = FileStore.create(root, "name")
        yield made
        made.remove()
        made.close()


def test_ends_are_opposite():
    """Each end is the other one's other."""
    assert End.SERVER.other is End.CLIENT
    assert End.CLIENT.other is End.SERVER


def test_new_store_is_zero_and_has_its_name(store):
    """A header of the right size, all zeros, and a path for messages."""
    assert len(store.header) == HEADER_FILE_BYTES
    assert not any(store.header)
    assert store.name == "name"
    assert store.path.endswith("/name")


def test_end_is_held_once(store):
    """An end that is held cannot be had; one that was left can."""
    server, client = store.make_probe(End.SERVER), store.make_probe(End.CLIENT)
    assert server()
    assert not client()
    assert not store.hold(End.SERVER)
    assert store.hold(End.CLIENT)
    assert client()
    store.release(End.CLIENT)
    store.release(End.CLIENT)
    assert not client()
    assert server()


def test_busy_text_names_channel_and_end(store):
    """Who is refused is told what is taken, and that it is this process."""
    text = store.busy_text(End.SERVER)
    assert "channel 'name' has a server already" in text
    assert "this" in text
    assert "process" in text


def test_new_generation_takes_the_place_of_the_one_before(store):
    """Slots are zeros, found by their generation, and gone with the next one."""
    first = store.create_slots(1, 8192)
    assert not any(first)
    first[5] = 7
    assert store.open_slots(1)[5] == 7
    second = store.create_slots(2, 4096)
    assert not any(second)
    with pytest.raises(ChannelNotFound):
        store.open_slots(1)
    assert len(store.open_slots(2)) == 4096
    assert first[5] == 7  # who still has it keeps it


def test_ringing_a_fifo_that_is_not_there_does_nothing(store):
    """A bell that nobody made is ignored."""
    store.ring_fifo(End.CLIENT)
