"""The FIFO by which local processes wake the bridge."""

import asyncio
import os
import stat
from contextlib import contextmanager

import pytest

from rlay.bridge.doorbell import Doorbell
from rlay.errors import ChannelError
from rlay.transport.stores import End
from tests.bridge.peers import until


@contextmanager
def directory(path):
    """Open a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def test_ring_is_heard(runner, tmp_path):
    """One byte wakes, and many at once wake too; none is left."""

    async def scene():
        rings = []
        with directory(tmp_path) as fd:
            bell = Doorbell(asyncio.get_running_loop(), fd, "x", End.SERVER)
            bell.listen(lambda: rings.append(1))
            path = tmp_path / "bell.server"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            for count in (1, 60_000):
                rings.clear()
                os.write(writer, bytes(count))
                await until(lambda: rings, "it rang")
            await asyncio.sleep(0)
            os.close(writer)
            bell.close()
            bell.close()

    runner.run(scene())


def test_fifo_of_the_bridge_before_is_taken_over(runner, tmp_path):
    """A process that has it open goes on ringing."""

    async def scene():
        rings = []
        loop = asyncio.get_running_loop()
        with directory(tmp_path) as fd:
            first = Doorbell(loop, fd, "x", End.CLIENT)
            writer = os.open(tmp_path / "bell.client", os.O_WRONLY | os.O_NONBLOCK)
            first.close()
            second = Doorbell(loop, fd, "x", End.CLIENT)
            second.listen(lambda: rings.append(1))
            os.write(writer, b"\0")
            await until(lambda: rings, "it rang")
            os.close(writer)
            second.close()

    runner.run(scene())


def test_end_of_a_ringer_is_no_ring(runner, tmp_path):
    """A reader that is a writer too never sees an end of file, so nothing spins."""

    async def scene():
        rings = []
        with directory(tmp_path) as fd:
            bell = Doorbell(asyncio.get_running_loop(), fd, "x", End.SERVER)
            bell.listen(lambda: rings.append(1))
            for _ in range(3):
                path = tmp_path / "bell.server"
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            for _ in range(20):
                await asyncio.sleep(0)
            assert rings == []
            bell.close()

    runner.run(scene())


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_something_else_in_its_place_is_refused(runner, tmp_path, kind):
    """Nobody leads a bridge to another file."""
    place = tmp_path / "bell.server"
    if kind == "link":
        place.symlink_to("/dev/null")
    else:
        place.mkdir()

    async def scene():
        with directory(tmp_path) as fd, pytest.raises(ChannelError):
            Doorbell(asyncio.get_running_loop(), fd, str(tmp_path), End.SERVER)

    runner.run(scene())
