"""One bridge for each directory, and its number."""

import pytest

from rlay.bridge.presence import Presence
from rlay.errors import ChannelBusy
from rlay.transport.bridge_status import PRESENCE_FILE
from rlay.transport.directory import ChannelDirectory


@pytest.fixture
def directory(channel_directory):
    """An open directory of channels."""
    with ChannelDirectory.open(channel_directory) as opened:
        yield opened


def test_second_bridge_is_refused_with_the_remedy(directory):
    """The text says what to do."""
    first = Presence(directory)
    with pytest.raises(ChannelBusy, match="--directory or RLAY_DIR"):
        Presence(directory)
    first.leave()
    first.leave()
    Presence(directory).leave()


def test_number_outlives_a_bridge_that_was_killed(directory):
    """So its peers know the next one as the same."""
    first = Presence(directory)
    number = first.id
    first._lock.release()  # as the kernel does
    second = Presence(directory)
    assert second.id == number
    second.leave()


def test_number_ends_with_a_goodbye(directory, channel_directory):
    """Nothing is left in the directory."""
    first = Presence(directory)
    first.leave()
    assert not list(channel_directory.iterdir())
    second = Presence(directory)
    assert second.id != first.id
    second.leave()


@pytest.mark.parametrize("text", [b"", b"garbage", b"0" * 16, b"\xff" * 16, b"-1"])
def test_file_that_holds_no_number_gets_one(directory, channel_directory, text):
    """Whatever stands there, the number is one of 64 bits and not 0."""
    file = channel_directory / PRESENCE_FILE
    file.write_bytes(text)
    file.chmod(0o600)
    presence = Presence(directory)
    assert 0 < presence.id < 2**64
    assert int(file.read_bytes()[:16], 16) == presence.id
    presence.leave()
