"""The chaos proxy does to a connection what its methods say, and nothing else."""

import contextlib
import errno
import select
import socket
import threading
import time

import pytest

from rlay.protocol.frames import FrameType, pack_frame
from rlay.testing import Blackhole, ChaosProxy, Direction
from tests.support.waiting import wait_until

LIMIT_S = 20.0
QUIET_S = 0.2
"""How long nothing must come where nothing may: a fault shows sooner by far."""


class Pair:
    """A proxy, and both ends of the first connection through it."""

    def __init__(self, proxy, door, stack):
        self.proxy, self._door, self._stack = proxy, door, stack
        self.dialer, self.listener = self.connect()

    def dial(self):
        """Connect to the proxy."""
        dialer = socket.create_connection(self.proxy.address, LIMIT_S)
        return self._stack.enter_context(dialer)

    def accept(self):
        """Accept what the proxy dialled."""
        listener, _ = self._door.accept()
        listener.settimeout(LIMIT_S)
        return self._stack.enter_context(listener)

    def connect(self):
        """Make another connection; return its dialer's and its listener's end."""
        dialer = self.dial()
        return dialer, self.accept()


@pytest.fixture
def door():
    """A listening socket on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(LIMIT_S)
        yield made


@pytest.fixture
def make_pair(door):
    """Make pairs whose proxies have options."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            proxy = stack.enter_context(ChaosProxy(door.getsockname(), **options))
            return Pair(proxy, door, stack)

        yield make


@pytest.fixture
def pair(make_pair):
    """A pair whose proxy passes everything on."""
    return make_pair()


def receive(sock, size):
    """Receive exactly so many bytes."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the stream ended after {len(data)} of {size} bytes"
        data += piece
    return data


def is_quiet(sock):
    """Whether nothing comes, no end of the stream either."""
    return not select.select([sock], [], [], QUIET_S)[0]


def is_reset(sock):
    """Whether the connection ends with a RST, after what may have come before."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return False


def is_turned_away(pair):
    """Whether a new connection is reset, before or after the dialer knows it is up."""
    try:
        return is_reset(pair.dial())
    except ConnectionResetError:
        return True


# ---------------------------------------------------------------------- it passes on


def test_proxy_without_faults_passes_bytes_both_ways(pair):
    """What one end sends, the other receives."""
    pair.dialer.sendall(b"there")
    assert receive(pair.listener, 5) == b"there"
    pair.listener.sendall(b"and back")
    assert receive(pair.dialer, 8) == b"and back"


def test_proxy_without_faults_passes_many_bytes_unchanged(pair):
    """More than all buffers hold goes through while both ends are busy."""
    data = bytes(range(256)) * 40_000
    sender = threading.Thread(target=pair.dialer.sendall, args=(data,))
    sender.start()
    assert receive(pair.listener, len(data)) == data
    sender.join(LIMIT_S)


@pytest.mark.parametrize(
    ("one", "other"), [("dialer", "listener"), ("listener", "dialer")]
)
def test_end_of_stream_is_passed_on_behind_the_bytes(pair, one, other):
    """A FIN of either end reaches the other; the other direction goes on."""
    near, far = getattr(pair, one), getattr(pair, other)
    near.sendall(b"last words")
    near.shutdown(socket.SHUT_WR)
    assert receive(far, 10) == b"last words"
    assert far.recv(1) == b""
    far.sendall(b"I heard")
    assert receive(near, 7) == b"I heard"
    far.close()
    assert near.recv(1) == b""
    wait_until(lambda: pair.proxy.open_connections == 0)


def test_reset_of_one_end_resets_the_other(pair):
    """A crash of the dialer's machine does not look like a goodbye to the listener."""
    pair.dialer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.dialer.close()
    assert is_reset(pair.listener)


def test_connections_are_counted(pair):
    """Accepted and open ones, and bytes in each direction."""
    other, _ = pair.connect()
    wait_until(lambda: pair.proxy.open_connections == 2)
    assert pair.proxy.connections == 2
    pair.dialer.sendall(b"123")
    receive(pair.listener, 3)
    wait_until(lambda: pair.proxy.delivered_bytes("to_listener") == 3)
    assert pair.proxy.received_bytes("to_listener") == 3
    assert pair.proxy.received_bytes("to_dialer") == 0
    assert pair.proxy.delivered_bytes() == 3
    other.close()


def test_listener_that_is_away_resets_the_dialer(door, make_pair):
    """Nobody listens where the proxy dials: the dialer is not left waiting."""
    pair = make_pair()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    pair.proxy.listener = address
    assert is_turned_away(pair)
    assert pair.proxy.refused == 1


@pytest.mark.parametrize("host", ["no..host", "no-such-host.invalid"])
def test_listener_whose_name_leads_nowhere_resets_the_dialer(pair, host):
    """And the proxy goes on: the next one finds its listener."""
    right = pair.proxy.listener
    pair.proxy.listener = (host, 7450)
    assert is_turned_away(pair)
    pair.proxy.listener = right
    dialer, listener = pair.connect()
    dialer.sendall(b"x")
    assert receive(listener, 1) == b"x"


def test_listener_that_moved_is_dialled_at_its_new_address(pair):
    """The next connection goes to the address that was assigned."""
    with socket.create_server(("127.0.0.1", 0)) as moved:
        moved.settimeout(LIMIT_S)
        pair.proxy.listener = moved.getsockname()
        pair.dial().sendall(b"x")
        with moved.accept()[0] as listener:
            assert receive(listener, 1) == b"x"


# -------------------------------------------------------------------- it breaks them


def test_cut_resets_both_ends(pair):
    """Both ends see a RST, and the proxy has nothing open."""
    assert pair.proxy.cut() == 1
    assert is_reset(pair.dialer)
    assert is_reset(pair.listener)
    assert (pair.proxy.open_connections, pair.proxy.cuts) == (0, 1)


def test_cut_leaves_the_door_open(pair):
    """After a cut the next connection is as good as ever."""
    pair.proxy.cut()
    dialer, listener = pair.connect()
    dialer.sendall(b"again")
    assert receive(listener, 5) == b"again"


@pytest.mark.parametrize("size", [0, 1, 7])
def test_cut_after_delivers_exactly_so_many_bytes(pair, size):
    """Not one byte more gets through, then both ends are reset."""
    pair.dialer.sendall(b"before")
    receive(pair.listener, 6)
    pair.proxy.cut_after(size, "to_listener")
    pair.dialer.sendall(b"0123456789")
    assert receive(pair.listener, size) == b"0123456789"[:size]
    with pytest.raises(ConnectionResetError):
        pair.listener.recv(1)
    assert is_reset(pair.dialer)


def test_cut_after_in_one_direction_spares_the_other(pair):
    """Bytes to the dialer do not count as bytes to the listener."""
    pair.proxy.cut_after(3, Direction.TO_LISTENER)
    pair.listener.sendall(b"0123456789")
    assert receive(pair.dialer, 10) == b"0123456789"


def test_half_close_ends_one_direction_and_spares_the_other(pair):
    """The listener reads an end of stream, and what it says still arrives."""
    pair.proxy.half_close("to_listener")
    assert pair.listener.recv(1) == b""
    pair.dialer.sendall(b"into the void")
    pair.listener.sendall(b"still here")
    assert receive(pair.dialer, 10) == b"still here"
    wait_until(lambda: pair.proxy.discarded_bytes("to_listener") == 13)


def test_refuse_turns_new_connections_away_and_keeps_the_old(pair):
    """Nobody listens there, as far as a dialer can see."""
    pair.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        pair.dial()
    pair.dialer.sendall(b"x")
    assert receive(pair.listener, 1) == b"x"
    pair.proxy.refuse(False)
    dialer, listener = pair.connect()
    dialer.sendall(b"y")
    assert receive(listener, 1) == b"y"


def test_connections_beyond_the_limit_are_reset(make_pair):
    """The limit holds, and those within it are unhurt."""
    pair = make_pair(max_connections=1)
    assert is_turned_away(pair)
    pair.dialer.sendall(b"x")
    assert receive(pair.listener, 1) == b"x"
    assert (pair.proxy.refused, pair.proxy.open_connections) == (1, 1)


# --------------------------------------------------------------------- it worsens them


@pytest.mark.parametrize("what", [Blackhole.STALL, Blackhole.KEEP])
def test_blackhole_delivers_nothing_until_it_is_healed(pair, what):
    """Not a byte and no FIN gets through; afterwards all of it does."""
    pair.proxy.blackhole(what=what)
    pair.dialer.sendall(b"late")
    pair.dialer.shutdown(socket.SHUT_WR)
    assert is_quiet(pair.listener)
    pair.proxy.heal()
    assert receive(pair.listener, 4) == b"late"
    assert pair.listener.recv(1) == b""


def test_blackhole_of_one_direction_spares_the_other(pair):
    """Requests are swallowed, replies are not."""
    pair.proxy.blackhole("to_listener")
    pair.dialer.sendall(b"x")
    pair.listener.sendall(b"y")
    assert receive(pair.dialer, 1) == b"y"
    assert is_quiet(pair.listener)


def test_blackhole_that_stalls_reads_nothing(pair):
    """The sender's own buffers hold what it sends."""
    pair.proxy.blackhole(what="stall")
    pair.dialer.sendall(b"x")
    assert is_quiet(pair.listener)
    assert pair.proxy.received_bytes() == 0


def test_blackhole_that_keeps_holds_no_more_than_its_buffer(make_pair):
    """At the limit the sender is made to wait, and nothing is lost."""
    pair = make_pair(buffer_bytes=100_000)
    pair.proxy.blackhole(what="keep")
    data = bytes(range(256)) * 40_000
    sender = threading.Thread(target=pair.dialer.sendall, args=(data,))
    sender.start()
    wait_until(lambda: pair.proxy.received_bytes() >= 100_000)
    assert is_quiet(pair.listener)
    assert pair.proxy.received_bytes() < 100_000 + 64 * 1024
    pair.proxy.heal()
    assert receive(pair.listener, len(data)) == data
    sender.join(LIMIT_S)


def test_blackhole_that_discards_resets_who_lost_bytes(pair):
    """The sender feels no stall; healed, no stream goes on with a hole in it."""
    other, other_end = pair.connect()
    pair.proxy.blackhole("to_listener", "discard")
    pair.dialer.sendall(bytes(3_000_000))
    wait_until(lambda: pair.proxy.discarded_bytes() == 3_000_000)
    pair.proxy.heal()
    assert is_reset(pair.listener)
    other.sendall(b"x")
    assert receive(other_end, 1) == b"x"


def test_blackhole_lets_new_connections_wait(pair):
    """They connect, hear nothing, and are served once it is over."""
    pair.proxy.blackhole("to_dialer")
    dialer = pair.dial()
    dialer.sendall(b"hello?")
    assert is_quiet(dialer)
    assert pair.proxy.connections == 1
    pair.proxy.heal()
    assert receive(pair.accept(), 6) == b"hello?"


def test_latency_delays_and_keeps_the_order(pair):
    """Each piece is late by at least latency less jitter, in the order it was sent."""
    pair.proxy.degrade(latency_s=0.1, jitter_s=0.05)
    begin = time.monotonic()
    for number in range(20):
        pair.dialer.sendall(bytes([number]))
    assert receive(pair.listener, 20) == bytes(range(20))
    assert time.monotonic() - begin >= 0.05


def test_rate_limit_makes_bytes_take_their_time(pair):
    """4000 bytes at 20 000 a second need a fifth of a second."""
    pair.proxy.degrade("to_listener", bytes_per_s=20_000)
    begin = time.monotonic()
    pair.dialer.sendall(bytes(4000))
    receive(pair.listener, 4000)
    assert time.monotonic() - begin >= 0.15


def test_segments_arrive_one_by_one(pair):
    """A reader that keeps up reads less at once than was sent at once."""
    pair.proxy.degrade(segment_bytes=1, bytes_per_s=1000)
    pair.dialer.sendall(bytes(50))
    pieces: list[int] = []
    while sum(pieces) < 50:
        pieces.append(len(pair.listener.recv(50)))
    assert len(pieces) > 5


def test_slow_close_delays_the_end_of_the_stream_only(pair):
    """The bytes come at once, the FIN later."""
    pair.proxy.degrade(close_delay_s=0.3)
    begin = time.monotonic()
    pair.dialer.sendall(b"bye")
    pair.dialer.close()
    assert receive(pair.listener, 3) == b"bye"
    assert pair.listener.recv(1) == b""
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize("position", [0, 3, 9])
def test_corrupt_flips_one_byte(pair, position):
    """The byte at the position, in its direction, once."""
    pair.proxy.corrupt(position, "to_listener", mask=0xFF)
    pair.dialer.sendall(bytes(10))
    pair.dialer.sendall(bytes(10))
    expected = bytearray(20)
    expected[position] = 0xFF
    assert receive(pair.listener, 20) == expected
    pair.listener.sendall(bytes(20))
    assert receive(pair.dialer, 20) == bytes(20)


def test_heal_forgets_faults_that_have_not_happened(pair):
    """A cut and a damage that were to come do not come."""
    pair.proxy.cut_after(5)
    pair.proxy.corrupt(2)
    pair.proxy.degrade(latency_s=60)
    pair.proxy.drop_frame(None, "both")
    pair.proxy.heal()
    frame = pack_frame(FrameType.PING, bytes(8))
    pair.dialer.sendall(frame)
    assert receive(pair.listener, len(frame)) == frame


# ---------------------------------------------------------------------- whole frames


def ping(number):
    """Return a frame of its own."""
    return pack_frame(FrameType.PING, bytes([number]) * 8)


def send_frames(pair, *frames):
    """Send them to the listener in pieces that end nowhere near a frame's end."""
    stream = b"".join(frames)
    for begin in range(0, len(stream), 50):
        pair.dialer.sendall(stream[begin : begin + 50])


PING, DATA = FrameType.PING, FrameType.DATA
LARGE = pack_frame(DATA, bytes(200_000))


def test_frames_are_counted_by_type(pair):
    """Large and small ones, however they are cut."""
    send_frames(pair, ping(1), ping(2))
    pair.dialer.sendall(LARGE)
    receive(pair.listener, 2 * len(ping(1)) + len(LARGE))
    assert pair.proxy.frames("to_listener") == 3
    assert pair.proxy.frames("to_listener", PING) == 2
    assert pair.proxy.frames("both", DATA) == 1
    assert pair.proxy.frames("to_dialer") == 0


def test_dropped_frame_leaves_the_others(pair):
    """Only the next frame of the type is lost."""
    pair.proxy.drop_frame(PING, "to_listener")
    send_frames(pair, pack_frame(FrameType.DRAIN), ping(1), ping(2))
    expected = pack_frame(FrameType.DRAIN) + ping(2)
    assert receive(pair.listener, len(expected)) == expected
    assert is_quiet(pair.listener)


def test_duplicated_frame_comes_twice(pair):
    """Once more, right behind itself."""
    pair.proxy.duplicate_frame(DATA, "to_listener")
    pair.dialer.sendall(LARGE)
    assert receive(pair.listener, 2 * len(LARGE)) == LARGE * 2


def test_delayed_frame_is_passed_by_others(pair):
    """Two frames overtake it."""
    pair.proxy.delay_frame(PING, "to_listener", behind=2)
    send_frames(pair, ping(1), ping(2), ping(3), ping(4))
    expected = ping(2) + ping(3) + ping(1) + ping(4)
    assert receive(pair.listener, len(expected)) == expected


def test_delayed_frame_comes_at_last_though_nothing_passes_it(make_pair):
    """Patience ends: a conversation in lock step does not stand still for ever."""
    pair = make_pair(patience_s=0.05)
    pair.proxy.delay_frame(PING, "to_listener", behind=2)
    pair.dialer.sendall(ping(1))
    assert receive(pair.listener, len(ping(1))) == ping(1)


def test_replayed_frame_comes_again_later(pair):
    """It is passed on where it stands, and again behind two others."""
    pair.proxy.replay_frame(PING, "to_listener", behind=2)
    send_frames(pair, ping(1), ping(2), ping(3), ping(4))
    expected = ping(1) + ping(2) + ping(3) + ping(1) + ping(4)
    assert receive(pair.listener, len(expected)) == expected


def test_held_back_frame_is_sent_before_the_stream_ends(pair):
    """Nothing that was to be late is lost when its sender leaves."""
    pair.proxy.delay_frame(PING, "to_listener", behind=5)
    send_frames(pair, ping(1), ping(2)[:20])
    pair.dialer.shutdown(socket.SHUT_WR)
    expected = ping(2)[:20] + ping(1)
    assert receive(pair.listener, len(expected)) == expected


@pytest.mark.parametrize(
    "begin", [b"GET / HTTP/1.1\r\n\r\n", b"RLFX" + bytes(60), b"\x16"]
)
def test_stream_without_frames_passes_untouched(pair, begin):
    """TLS, HTTP and damaged frames are none of the proxy's business."""
    pair.proxy.drop_frame(None, "to_listener")
    data = begin + bytes(100)
    pair.dialer.sendall(data)
    assert receive(pair.listener, len(data)) == data
    assert pair.proxy.frames() == 0


# -------------------------------------------------------------------------- its end


def test_close_closes_both_ends_and_its_port(pair):
    """Nobody is left waiting, and nobody listens there any more."""
    pair.proxy.close()
    pair.proxy.close()
    assert pair.dialer.recv(1) == b""
    assert pair.listener.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        pair.dial()


def test_close_ends_in_a_blackhole_full_of_bytes(make_pair):
    """Neither bytes that wait nor peers that do not read can hold it up."""
    pair = make_pair(buffer_bytes=1000)
    pair.dialer.setblocking(False)
    pair.proxy.blackhole(what="keep")
    with contextlib.suppress(BlockingIOError):
        while True:
            pair.dialer.send(bytes(65536))
    threads = threading.active_count()
    pair.proxy.close()
    assert threading.active_count() == threads - 1


def test_closed_proxy_refuses_to_be_told(pair):
    """A fault after the end is an error, not a wait."""
    pair.proxy.close()
    with pytest.raises(RuntimeError, match="closed"):
        pair.proxy.cut()


def test_address_in_use_is_an_error_at_once(pair):
    """A second proxy cannot have the address of the first."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 (its number is looked at)
        ChaosProxy(("127.0.0.1", 1), listen=pair.proxy.address)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    "call",
    [
        lambda proxy: proxy.cut_after(-1),
        lambda proxy: proxy.degrade(latency_s=-1),
        lambda proxy: proxy.degrade(segment_bytes=0),
        lambda proxy: proxy.degrade(bytes_per_s=0),
        lambda proxy: proxy.corrupt(mask=256),
        lambda proxy: proxy.corrupt(-1),
        lambda proxy: proxy.blackhole("sideways"),
        lambda proxy: proxy.blackhole(what="black"),
        lambda proxy: proxy.delay_frame(None, "both", behind=0),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(pair, call):
    """A number out of its range is a ValueError, and the proxy goes on."""
    with pytest.raises(ValueError, match=r"."):
        call(pair.proxy)
    pair.dialer.sendall(b"x")
    assert receive(pair.listener, 1) == b"x"
