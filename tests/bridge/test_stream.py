"""A socket on the loop: what came is read, and that it broke is noticed."""

import asyncio
import socket
import struct

import pytest

from rlay.bridge.stream import Stream
from rlay.errors import PeerLost
from tests.bridge.peers import until

LIMIT_S = 20.0


def _no_more():
    """Receive into one buffer only."""


RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def ends():
    """The two ends of a TCP connection: one for the stream, one to play with."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        other = socket.create_connection(door.getsockname(), LIMIT_S)
        sock, _ = door.accept()
    with sock, other:
        yield sock, other


@pytest.mark.parametrize("data", [b"", b"last words", bytes(2_000_000)])
@pytest.mark.parametrize("layered", [False, True])
def test_reset_behind_bytes_is_noticed_at_once(runner, ends, data, layered):
    """Also where the loop tells of both together, and only once."""
    sock, other = ends
    buffer = memoryview(bytearray(1000))

    async def wait_for_the_end():
        stream = Stream(asyncio.get_running_loop(), sock)
        broken = asyncio.get_running_loop().create_future()

        def ready():
            try:
                if layered:
                    stream.read_layered(lambda data: None)
                else:
                    stream.read(lambda: buffer, _no_more, lambda size: None)
            except PeerLost as error:
                if not broken.done():
                    broken.set_result(str(error))

        other.setblocking(False)
        if data:
            other.send(data)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        other.close()
        stream.listen(ready, lambda: None)
        try:
            return await asyncio.wait_for(broken, LIMIT_S)
        finally:
            stream.close()

    assert "reset" in runner.run(wait_for_the_end())


def test_read_after_the_stream_was_closed_by_what_came_returns():
    """Bytes that end the link end the reading too, without a look at the socket."""
    loop = asyncio.new_event_loop()
    ours, theirs = socket.socketpair()
    stream = Stream(loop, ours)
    room = memoryview(bytearray(64))
    theirs.sendall(b"goodbye")
    assert stream.read(lambda: room, _no_more, lambda size: stream.close())
    assert ours.fileno() == -1
    theirs.close()
    loop.close()


class Through:
    """A layer that changes nothing."""

    def __init__(self):
        self.data = b""

    def receive(self, data):
        return [data]

    def check(self):
        """Nothing came behind it."""

    def send(self, data):
        self.data += bytes(data)

    def data_to_send(self):
        data, self.data = self.data, b""
        return data

    def close(self):
        """Say nothing."""


def test_layers_do_not_keep_the_loop_busy_once_all_is_out(runner, ends):
    """Being told of room ends with what waited for it: the loop sleeps again."""
    sock, other = ends
    other.setblocking(False)

    async def scene():
        loop = asyncio.get_running_loop()
        stream = Stream(loop, sock)
        stream.layers.append(Through())
        calls = []

        def writable():
            calls.append(1)
            stream.flush_layers()

        stream.listen(lambda: None, writable)
        sent = 0
        while sent < 10**9:
            size = stream.write([bytes(200_000)])
            sent += size
            if not size or stream._pending:
                break
        assert stream._pending
        came = 0
        while came < sent:
            came += len(await loop.sock_recv(other, 10**6))
        calls.clear()
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(calls) < 5
        stream.close()

    runner.run(scene())


class Ending(Through):
    """What comes is the last that comes, and the end came with it."""

    def check(self):
        raise PeerLost("it said goodbye")


def test_end_that_came_behind_bytes_is_told_with_them(ends):
    """A browser says goodbye and waits for ours: nothing more would ever be read."""
    sock, _ = ends
    fed: list[bytes] = []
    stream = Stream(asyncio.new_event_loop(), sock)
    stream.layers.append(Ending())
    with pytest.raises(PeerLost, match="goodbye"):
        stream.climb(b"last words", 0, fed.append)
    assert fed == [b"last words"]
    stream.loop.close()


def test_paused_stream_reads_nothing_for_a_while(runner, ends):
    """What came meanwhile is read afterwards."""
    sock, other = ends

    async def scene():
        loop = asyncio.get_running_loop()
        stream = Stream(loop, sock)
        buffer = memoryview(bytearray(100))
        sizes: list[int] = []

        def ready():
            stream.read(lambda: buffer, _no_more, sizes.append)

        stream.listen(ready, lambda: None)
        stream.pause(0.05)
        stream.pause(10.0)
        other.send(b"bytes")
        begin = loop.time()
        await until(lambda: sizes, "they are read")
        assert (sizes, loop.time() - begin >= 0.04) == ([5], True)
        stream.close()

    runner.run(scene())
