"""A session over two slots: geometry, limits, and what a fork makes of it."""

import gc
import os
import struct

import pytest

from rlay.errors import ChannelCorrupt, MessageTooLarge
from rlay.protocol import slot_layout as at
from rlay.protocol.constants import (
    BellKind,
    Capability,
    CloseReason,
    Holder,
    PeerState,
)
from rlay.transport import futex, slot_channel
from rlay.transport.header import ChannelHeader
from rlay.transport.memory_store import MemoryStore
from rlay.transport.peers import PeerWatch
from rlay.transport.slot_channel import SlotChannel, SlotGeometry, make_ring
from rlay.transport.slots import SlotReader
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End
from tests.support.channels import (
    exchange,
    in_process_pair,
    mapped_pair,
    patience,
    receive,
    send,
)

# ---------------------------------------------------------------------- geometry


@pytest.fixture
def geometry():
    return SlotGeometry(128, 4096)


@pytest.fixture
def memory(geometry):
    made = memoryview(bytearray(geometry.file_bytes))
    geometry.write(made, 3)
    return made


def test_geometry_lies_where_the_layout_says(geometry, memory):
    """Magic, version, generation, offsets of 64 bits, capacities; then zeros."""
    assert bytes(memory[:40]) == b"RLAYSLOT" + struct.pack(
        "<IIQQII", 1, 3, 4096, 8192, 128, 4096
    )
    assert not any(memory[40:])
    assert len(memory) == 8192 + 12288


def test_geometry_is_read_back(memory):
    """What was written is what is read."""
    found = SlotGeometry.read(memory, 3, "path")
    assert (found.request_capacity, found.reply_capacity) == (128, 4096)
    assert (found.request_offset, found.reply_offset) == (4096, 8192)


def test_geometry_of_a_head_needs_the_size_of_the_file(memory):
    """Who reads only the head says how large the file is."""
    head = memory[:4096]
    assert SlotGeometry.read(head, 3, "path", len(memory)).reply_capacity == 4096
    with pytest.raises(ChannelCorrupt):
        SlotGeometry.read(head, 3, "path", len(memory) - 1)
    with pytest.raises(ChannelCorrupt):
        SlotGeometry.read(head, 3, "path")


@pytest.mark.parametrize("generation", [2, 4])
def test_geometry_of_another_generation_is_corrupt(memory, generation):
    """A file of slots belongs to one generation."""
    with pytest.raises(ChannelCorrupt, match="head of path is not sound"):
        SlotGeometry.read(memory, generation, "path")


def test_b6_every_byte_of_the_head_is_checked(memory):
    """B6: a change of any byte is ChannelCorrupt, or leaves slots that are in the file.

    Only a capacity can be changed into another sound one, within the padding of its
    slot's last page: messages then lie where the peer finds no sequence that it knows.
    """
    for offset in range(4096):
        for change in (0x01, 0x80, 0xFF):
            memory[offset] ^= change
            try:
                found = SlotGeometry.read(memory, 3, "path")
            except ChannelCorrupt:
                assert offset < 40
            else:
                assert offset >= 32
                assert found.file_bytes <= len(memory)
                assert found.reply_offset == 8192
                capacities = (found.request_capacity, found.reply_capacity)
                assert offset < 40 or capacities == (128, 4096)
            memory[offset] ^= change


@pytest.mark.parametrize("capacities", [(0, 64), (64, 0), (64, 100), (1, 64)])
def test_b6_impossible_capacities_are_corrupt(capacities):
    """B6: a slot without room, or that is not aligned, is not believed."""
    odd = SlotGeometry(*capacities)
    memory = memoryview(bytearray(odd.file_bytes))
    odd.write(memory, 1)
    with pytest.raises(ChannelCorrupt):
        SlotGeometry.read(memory, 1, "path")


# -------------------------------------------------------------------------- ring


class Bells(MemoryStore):
    """A store that notes for whom it rang."""

    def __init__(self):
        super().__init__("x")
        self.rung = []

    def ring_fifo(self, end):
        self.rung.append(end)


@pytest.mark.parametrize(
    ("kind", "futexes", "fifos"),
    [(BellKind.POLL, 0, 0), (BellKind.FUTEX, 1, 0), (BellKind.FIFO, 0, 1), (77, 0, 0)],
    ids=["poll", "futex", "fifo", "unknown"],
)
def test_each_kind_of_bell_is_rung_in_its_way(monkeypatch, kind, futexes, fifos):
    """Who polls is left alone, also by a ring that does not know its kind."""
    woken: list[int] = []
    monkeypatch.setattr(futex, "wake", woken.append)
    store = Bells()
    line = ChannelHeader(store.header).client
    line.announce(kind, Capability.NONE)
    ring = make_ring(store.header, 4096, line, store, End.CLIENT)
    ring(128)
    assert len(woken) == futexes
    assert store.rung == [End.CLIENT] * fifos
    if woken:
        assert woken == [futex.address_of(store.header, 4096 + 128)]


def test_bell_without_futexes_is_not_rung(monkeypatch):
    """Where we have no futex, an end that wants one is left to its slices."""
    monkeypatch.setattr(futex, "AVAILABLE", False)
    store = Bells()
    line = ChannelHeader(store.header).client
    line.announce(BellKind.FUTEX, Capability.NONE)
    make_ring(store.header, 4096, line, store, End.CLIENT)(0)
    assert store.rung == []


# ----------------------------------------------------------------------- session


def _channel(store, policy=None, **options):
    geometry = SlotGeometry(64, 64)
    memory = store.create_slots(1, geometry.file_bytes)
    line = ChannelHeader(store.header).server
    watch = PeerWatch(line, lambda: True, "the server")
    return SlotChannel(
        store,
        memory,
        geometry,
        End.CLIENT,
        line,
        watch,
        (1, 2),
        policy=policy,
        **options,
    )


def test_an_end_looks_for_longer_behind_a_bridge(monkeypatch):
    """An answer over a bridge takes longer, and may be too far away for any look."""
    policies = []

    def note(slot, capacity, ring, policy):
        policies.append(policy)
        return original(slot, capacity, ring, policy)

    original = SlotReader
    monkeypatch.setattr(slot_channel, "SlotReader", note)
    monkeypatch.setattr(WaitPolicy, "default", lambda: WaitPolicy(50_000))
    monkeypatch.setattr(WaitPolicy, "bridged", lambda: WaitPolicy(400_000))
    for holder in (Holder.PROCESS, Holder.BRIDGE):
        store = MemoryStore("x")
        struct.pack_into("<I", store.header, 128 + 8, holder)
        _channel(store)
    _channel(MemoryStore("x"), WaitPolicy(7))
    assert policies == [WaitPolicy(50_000), WaitPolicy(400_000), WaitPolicy(7)]


def test_limit_is_at_most_what_a_header_can_say():
    """A message has 32 bits for its size, whatever the limit is set to."""
    channel = _channel(MemoryStore("x"), max_message_bytes=2**40)
    assert channel.max_message_bytes == 2**32 - 1


@pytest.mark.parametrize("capacity", [64, 100, 1000])
def test_b21_slot_has_the_room_that_was_asked_for(channel_directory, capacity):
    """B21: a slot holds what was asked for, rounded up to whole cache lines."""
    with mapped_pair(channel_directory, capacity) as pair:
        for end in pair.ends:
            for buffer in (*end.outgoing, *end.incoming):
                assert len(buffer.payload) == -(-capacity // 64) * 64
        exchange(*pair.ends, 1, bytes(capacity))


def test_b21_receiver_refuses_what_exceeds_its_own_limit(channel_directory):
    """B21: a peer with a larger limit cannot make this end take the memory."""
    with mapped_pair(channel_directory, 64) as pair:
        one, other = pair.ends
        other.receive = slot_channel._compile_receive(other._reader, 1000)
        buffer = one.outgoing[1]
        buffer.write(2, bytes(64))
        buffer.set_part(0, 100, 64, 6400)
        one.send(1)
        with pytest.raises(MessageTooLarge) as caught:
            other.receive(patience(other))
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (6400, 1000)


def test_ids_are_stamped_on_what_goes_out(channel_directory):
    """Each outgoing buffer carries incarnation and session from the start."""
    with mapped_pair(channel_directory) as pair:
        for end in pair.ends:
            for buffer in end.outgoing:
                assert (buffer.incarnation, buffer.session) == (
                    end.incarnation,
                    end.session,
                )


def test_closed_session_gives_its_memory_back_at_once(channel_directory):
    """The mapping goes with the last reference, not with the garbage collector."""

    def mapped():
        with open("/proc/self/maps") as maps:
            return str(channel_directory) in maps.read()

    gc.disable()
    try:
        with mapped_pair(channel_directory) as pair:
            assert mapped()
        del pair
        assert not mapped()
    finally:
        gc.enable()


# -------------------------------------------------------------------------- fork


@pytest.mark.parametrize("opener", ["mapped", "in process"])
@pytest.mark.parametrize("guarded", [False, True], ids=["at rest", "in use"])
def test_a21_forked_child_cannot_use_the_session(channel_directory, opener, guarded):
    """A21: in a child the channel says so, and its guard is never free again."""
    opened = in_process_pair() if opener != "mapped" else mapped_pair(channel_directory)
    with opened as pair:
        one, other = pair.ends
        if guarded:
            one.guard.acquire()
        pid = os.fork()
        if not pid:
            refused = one.forked and not one.guard.acquire(blocking=False)
            pair.client.close()
            pair.server.close()
            os._exit(0 if refused and other.forked else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not one.forked
        exchange(one, other, 1)  # closing in the child did not close it here
        exchange(other, one, 2)
        assert one.watch.check()
        assert other.watch.check()


def test_bridge_that_has_not_told_the_end_may_have_taken(tmp_path):
    """A slot that a bridge mirrors says "not taken" for certain only at the end."""
    with mapped_pair(tmp_path) as pair:
        client, server = pair.ends
        line = pair.server.line

        def taken() -> bool:
            return client.request_taken

        send(client, 1, b"request")
        assert not taken()
        line._words[at.END_HOLDER_OFFSET // 4] = Holder.BRIDGE
        assert taken()
        line.say(PeerState.LOST, CloseReason.LINK_DOWN)
        assert taken()
        line.say(PeerState.LOST, CloseReason.VANISHED)
        assert not taken()
        receive(server)
        assert taken()
