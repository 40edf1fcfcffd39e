"""A socket on the loop: what came is read, and that it broke is noticed."""

import asyncio
import socket
import struct

import pytest
import uvloop

from rlay.bridge.stream import Stream
from rlay.errors import PeerLost

LIMIT_S = 20.0
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def runner(request):
    """Run a coroutine on one loop or the other."""
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


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
                    stream.read(lambda: buffer, lambda size: None)
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
    assert stream.read(lambda: room, lambda size: stream.close())
    assert ours.fileno() == -1
    theirs.close()
    loop.close()
