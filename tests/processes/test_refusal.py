"""A channel whose environment is gone for good."""

import threading

import pytest

import rlay
from rlay.processes.refusal import RefusedChannel, remove_stale
from rlay.transport.inspection import inspect_channel, list_channels
from rlay.transport.mem_server import MemServer


@pytest.fixture
def refused(channel_directory):
    channel = RefusedChannel("sim", channel_directory, "sim crashed 11 times")
    yield channel
    channel.close()


def test_client_of_a_refused_channel_is_told_why(refused):
    """At once, and with the error for an environment that is gone."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            refused.look()
            done.wait(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        with pytest.raises(rlay.EnvLost, match="sim crashed 11 times") as caught:
            rlay.ClientEnv("sim", connect_timeout=20)
    finally:
        done.set()
        thread.join()
    assert caught.value.executed is False


def test_status_of_a_refused_channel_says_why(refused, channel_directory):
    """Whoever lists channels sees that there is no environment behind this one."""
    view = inspect_channel("sim", channel_directory)
    assert view.server is not None
    assert view.server.program == "gone: sim crashed 11 times"


def test_look_at_a_channel_without_clients_does_not_wait(refused):
    """It can be called again and again."""
    for _ in range(100):
        refused.look()


def test_refused_channel_of_a_batch_says_how_many_it_had(channel_directory):
    """A vector looks at the number before it greets, and is told nothing otherwise."""
    channel = RefusedChannel("sim", channel_directory, "reason", 8)
    facts = inspect_channel("sim", channel_directory).facts
    assert facts is not None
    assert facts.num_envs == 8
    channel.close()


def test_closed_refused_channel_leaves_no_files(channel_directory):
    """Twice is harmless."""
    channel = RefusedChannel("sim", channel_directory, "reason")
    channel.close()
    channel.close()
    assert list(channel_directory.iterdir()) == []


def test_remove_stale_removes_what_a_killed_server_left(children, channel_directory):
    """Only that channel, and no other."""
    for name in ("a", "b"):
        child = children.start(hold, name, forever=True)
        child.wait_until_printed("made")
        child.kill()
    remove_stale("a", channel_directory)
    assert [view.name for view in list_channels(channel_directory)] == ["b"]
    remove_stale("b", channel_directory)


def test_remove_stale_spares_a_living_channel(channel_directory):
    """A lock proves that somebody is there."""
    server = MemServer.create("a", channel_directory)
    remove_stale("a", channel_directory)
    assert inspect_channel("a", channel_directory).status == "waiting"
    server.close()


def test_remove_stale_of_nothing_is_harmless(channel_directory):
    """It may have been removed before."""
    remove_stale("a", channel_directory)


def hold(name: str) -> None:
    import signal
    import sys

    from rlay.transport.mem_server import MemServer

    server = MemServer.create(name)
    sys.stdout.write("made\n")
    sys.stdout.flush()
    signal.pause()
    server.close()
