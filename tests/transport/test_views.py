"""What a look shows, whatever stands in the memory."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.protocol.constants import Capability, Holder
from rlay.transport.header import ChannelHeader
from rlay.transport.views import ChannelView, EndView, SlotView, name_of, names_of


def test_numbers_have_names():
    """Known numbers are named, unknown ones shown."""
    assert name_of(Holder, 2) == "bridge"
    assert name_of(Holder, 9) == "unknown (9)"
    assert names_of(Capability.FUTEX | Capability.RECORDS | 1 << 20) == (
        "futex",
        "records",
    )


@given(st.binary(min_size=128, max_size=128), st.booleans())
def test_b6_any_line_can_be_shown(content, held):
    """B6: an end's line may hold anything, and the view is plain data."""
    memory = memoryview(bytearray(4096))
    memory[128:256] = content
    view = EndView.of(ChannelHeader(memory).server, held)
    assert view.held is held
    json.dumps(asdict(view))


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_b6_any_slot_can_be_shown(control, message):
    """B6: a slot's words may hold anything, or be cut off."""
    view = SlotView.of(64, control[:256], message[:64])
    assert 0 <= view.published < 2**31
    assert 0 <= view.taken < 2**31
    json.dumps(asdict(view))


def test_slot_shows_its_last_message():
    """Counts without the buffer bit, and what the header of the message says."""
    control, message = bytearray(256), bytearray(64)
    control[0], control[128] = 7, 4
    message[0], message[4], message[24], message[28], message[32] = 18, 9, 5, 1, 3
    view = SlotView.of(128, bytes(control), bytes(message))
    assert view == SlotView(128, 3, 2, True, "transition", 9, 5, 1, 3)


def test_slot_without_messages_shows_none():
    """Before the first publication there is no message, whatever the buffer holds."""
    assert SlotView.of(128, bytes(256), b"\xff" * 64) == SlotView(
        128, 0, 0, False, None, 0, 0, 0, 0
    )


@pytest.mark.parametrize(
    ("server", "client", "status"),
    [
        (True, True, "attached"),
        (True, False, "waiting"),
        (False, True, "ended"),
        (False, False, "stale"),
    ],
)
def test_status_is_what_the_locks_say(server, client, status):
    """Not what the ends say of themselves, where both are of this machine."""
    end = EndView(True, "closed", "none", "nobody", "poll", (), 0, 0, "")
    view = ChannelView(
        "x", "/x", server=replace(end, held=server), client=replace(end, held=client)
    )
    assert view.status == status
    assert replace(view, problem="it is broken").status == "broken"
    assert replace(view, server=None).status == "broken"


@pytest.mark.parametrize(
    ("held", "state", "holder", "status"),
    [
        (True, "link_down", "bridge", "link_down"),
        (False, "alive", "bridge", "link_down"),
        (False, "link_down", "bridge", "link_down"),
        (True, "alive", "bridge", "attached"),
        (False, "lost", "bridge", "ended"),
        (False, "alive", "process", "ended"),
    ],
)
def test_status_of_a_mirror_tells_a_link_that_is_down_from_an_end(
    held, state, holder, status
):
    """A killed bridge, or one without a link, ends no session."""
    client = EndView(True, "alive", "none", "process", "futex", (), 1, 0, "")
    server = EndView(held, state, "none", holder, "fifo", (), 2, 0, "")
    view = ChannelView("x", "/x", server=server, client=client)
    assert view.status == status
    assert replace(view, client=replace(client, held=False)).status != "ended"
