"""WebSocket, without a socket: bytes in, bytes out."""

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from rlay.bridge.websocket import (
    MAX_MESSAGE_BYTES,
    MAX_STRANGER_BYTES,
    SUBPROTOCOL,
    OriginPolicy,
    WebSocketFilter,
)
from rlay.errors import AuthError, PeerLost, RemoteProtocolError, RLayError

ANYBODY = OriginPolicy(["*"], loopback=True, token=False)


class Pair:
    """The filter under test, and a client of the library at the other end."""

    def __init__(
        self,
        policy=ANYBODY,
        *,
        subprotocols=(SUBPROTOCOL,),
        origin=None,
        deflates=False,
    ):
        self.filter = WebSocketFilter(policy)
        self.client = ClientProtocol(
            parse_uri("ws://localhost/"),
            subprotocols=list(subprotocols) or None,
            origin=origin,
            extensions=[ClientPerMessageDeflateFactory()] if deflates else None,
            max_size=None,
        )
        self.client.send_request(self.client.connect())

    def to_filter(self):
        """Bring over what the client has to say."""
        return self.filter.receive(b"".join(self.client.data_to_send()))

    def to_client(self):
        """Bring over what the filter has to say; return what came out."""
        self.client.receive_data(self.filter.data_to_send())
        return self.client.events_received()

    @classmethod
    def opened(cls, **options):
        """A pair that is done with the handshake, and trusts."""
        pair = cls(**options)
        assert pair.to_filter() == []
        (response,) = pair.to_client()
        assert response.status_code == 101
        pair.filter.trust()
        return pair


def refused(pair, error, text):
    """Bring over the request; return the status of the answer."""
    with pytest.raises(error, match=text):
        pair.to_filter()
    answer = pair.filter.data_to_send()
    assert not pair.filter.open
    assert answer.startswith(b"HTTP/1.1 ")
    return int(answer.split()[1])


# ----------------------------------------------------------------------- handshake


def test_handshake_agrees_on_the_subprotocol():
    """It is the only one there is."""
    pair = Pair()
    pair.to_filter()
    (response,) = pair.to_client()
    assert isinstance(response, Response)
    assert response.headers["Sec-WebSocket-Protocol"] == "rlay.1"
    assert pair.filter.open


def test_d14_handshake_agrees_on_no_compression():
    """D14: a client that offers it, as browsers do, is let in without."""
    pair = Pair(deflates=True)
    asked = b"".join(pair.client.data_to_send())
    assert b"permessage-deflate" in asked
    pair.filter.receive(asked)
    (response,) = pair.to_client()
    assert isinstance(response, Response)
    assert "Sec-WebSocket-Extensions" not in response.headers
    assert pair.filter.open


def test_d14_compressed_message_is_refused_and_not_unpacked():
    """D14: a kilobyte that would be a megabyte is not looked into."""
    pair = Pair.opened()
    packed = zlib.compress(bytes(2**20), wbits=-15)
    assert len(packed) < 2000
    bomb = bytearray(Frame(Opcode.BINARY, packed).serialize(mask=True, extensions=[]))
    bomb[0] |= 0x40  # RSV1: it is compressed
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="broke WebSocket"):
            pair.filter.receive(bytes(bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**17


@pytest.mark.parametrize("offered", [(), ("chat",), ("rlay.2",)])
def test_handshake_without_the_subprotocol_is_refused(offered):
    """Who does not name it means something else."""
    pair = Pair(subprotocols=offered)
    assert refused(pair, RemoteProtocolError, "subprotocol") == 400


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 426),
        (
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n",
            400,
        ),
    ],
)
def test_d8_plain_http_is_answered_and_refused(request_text, status):
    """D8: a browser that came here by mistake sees why."""
    made = WebSocketFilter(ANYBODY)
    with pytest.raises(RemoteProtocolError, match=r"it speaks HTTP|is wrong"):
        made.receive(request_text.encode())
    assert made.data_to_send().startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "data", [b"GET \x00\xff\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /\n\n"]
)
def test_d8_broken_http_is_refused(data):
    """D8: with one error of ours, and the end of the connection."""
    with pytest.raises(RemoteProtocolError):
        WebSocketFilter(ANYBODY).receive(data)


def test_d6_endless_request_is_cut_off():
    """D6: a stranger costs what it may cost, and no more."""
    made = WebSocketFilter(ANYBODY)
    made.receive(b"GET / HTTP/1.1\r\n")
    line = b"Cookie: " + b"x" * 2000 + b"\r\n"
    for _ in range(MAX_STRANGER_BYTES // len(line)):
        made.receive(line)
    with pytest.raises(AuthError, match="without proving who it is"):
        made.receive(line)


def test_d6_endless_message_of_a_stranger_is_cut_off():
    """D6: nor may it fill the memory once it speaks WebSocket."""
    pair = Pair()
    pair.to_filter()
    pair.to_client()
    pair.client.send_binary(bytes(MAX_STRANGER_BYTES))
    with pytest.raises(AuthError, match="without proving who it is"):
        pair.to_filter()
    assert pair.to_client()[-1].opcode is Opcode.CLOSE


# -------------------------------------------------------------------------- stream


@given(
    st.lists(st.binary(max_size=300), max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
def test_stream_is_what_was_sent_however_it_is_cut(messages, cuts):
    """Messages, fragments and segments leave no trace in it."""
    pair = Pair.opened()
    for number, message in enumerate(messages):
        half = len(message) // 2
        if number % 2:
            pair.client.send_binary(message, fin=True)
        else:
            pair.client.send_binary(message[:half], fin=False)
            pair.client.send_ping(b"between fragments")
            pair.client.send_continuation(message[half:], fin=True)
    data = b"".join(pair.client.data_to_send())
    found = b""
    while data:
        cut = cuts[len(found) % len(cuts)]
        found += b"".join(pair.filter.receive(data[:cut]))
        data = data[cut:]
    assert found == b"".join(messages)


@given(st.lists(st.binary(min_size=1, max_size=100_000), max_size=4))
def test_what_is_sent_arrives(buffers):
    """In messages that no engine is too small for."""
    pair = Pair.opened()
    for buffer in buffers:
        pair.filter.send(memoryview(buffer))
    frames = pair.to_client()
    assert all(frame.opcode is Opcode.BINARY and frame.fin for frame in frames)
    assert all(len(frame.data) <= 32_768 for frame in frames)
    assert b"".join(bytes(frame.data) for frame in frames) == b"".join(buffers)


def test_first_frames_may_come_with_the_request():
    """Nobody has to wait for the answer."""
    pair = Pair()
    request = b"".join(pair.client.data_to_send())
    hello = Frame(Opcode.BINARY, b"RLFR").serialize(mask=True, extensions=[])
    assert pair.filter.receive(request + hello) == [b"RLFR"]


def test_ping_is_answered():
    """With its own payload."""
    pair = Pair.opened()
    pair.client.send_ping(b"there?")
    assert pair.to_filter() == []
    (frame,) = pair.to_client()
    assert (frame.opcode, bytes(frame.data)) == (Opcode.PONG, b"there?")


def test_nothing_to_send_is_nothing():
    """What was sent is not sent again."""
    pair = Pair.opened()
    pair.filter.send(b"x")
    assert pair.filter.data_to_send()
    assert pair.filter.data_to_send() == b""


# ---------------------------------------------------------------------------- ends


def test_text_is_refused_with_the_way_that_is_right():
    """Also told to the peer."""
    pair = Pair.opened()
    pair.client.send_text(b"hello")
    with pytest.raises(RemoteProtocolError, match=r"send\(ArrayBuffer\)"):
        pair.to_filter()
    (frame,) = pair.to_client()
    assert frame.opcode is Opcode.CLOSE
    assert pair.client.close_rcvd.code == 1003


def test_d10_message_that_is_too_large_is_refused_by_its_length():
    """D10: before any of it is read."""
    pair = Pair.opened()
    message = Frame(Opcode.BINARY, bytes(MAX_MESSAGE_BYTES + 1))
    data = message.serialize(mask=True, extensions=[])
    with pytest.raises(RemoteProtocolError, match="broke WebSocket"):
        pair.filter.receive(data[:14])
    pair.to_client()
    assert pair.client.close_rcvd.code == 1009


def test_largest_message_passes():
    """To the byte."""
    pair = Pair.opened()
    pair.client.send_binary(bytes(MAX_MESSAGE_BYTES))
    assert sum(map(len, pair.to_filter())) == MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01x",  # not masked
        b"\xf2\x80\0\0\0\0",  # reserved bits
        b"\x80\x80\0\0\0\0",  # the rest of nothing
        b"\x83\x80\0\0\0\0",  # an opcode that does not exist
        b"\x09\x80\0\0\0\0",  # a ping in pieces
    ],
)
def test_broken_websocket_is_refused(data):
    """With one error of ours."""
    with pytest.raises(RemoteProtocolError, match="broke WebSocket"):
        Pair.opened().filter.receive(data)


def test_goodbye_of_the_peer_is_told_behind_its_data():
    """What it sent before still counts; then it is gone, again and again."""
    pair = Pair.opened()
    pair.client.send_binary(b"last")
    pair.client.send_close(1000, "done")
    assert pair.to_filter() == [b"last"]
    with pytest.raises(PeerLost, match="done"):
        pair.filter.check()
    for _ in range(2):
        with pytest.raises(PeerLost, match="done"):
            pair.filter.receive(b"")
    (frame,) = pair.to_client()
    assert frame.opcode is Opcode.CLOSE
    pair.filter.send(b"too late")
    assert pair.filter.data_to_send() == b""


def test_goodbye_of_ours_is_said_once():
    """The peer sees that the server goes away."""
    pair = Pair.opened()
    pair.filter.close()
    pair.filter.close()
    (frame,) = pair.to_client()
    assert frame.opcode is Opcode.CLOSE
    assert pair.client.close_rcvd.code == 1001


def test_goodbye_before_the_handshake_says_nothing():
    """There is nobody to say it to."""
    made = WebSocketFilter(ANYBODY)
    made.close()
    assert made.data_to_send() == b""


@given(st.binary(max_size=400), st.booleans())
def test_d9_arbitrary_bytes_raise_only_our_errors(data, opened):
    """D9: whatever comes, before the handshake and after it."""
    made = Pair.opened().filter if opened else WebSocketFilter(ANYBODY)
    try:
        made.receive(data if opened else b"GET " + data)
        made.receive(data)
    except RLayError:
        pass
    made.data_to_send()


# ------------------------------------------------------------------------- origins


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "http://localhost",
        "http://localhost:8000",
        "https://127.0.0.1:8443",
        "http://[::1]:3000",
        "HTTP://LOCALHOST",
        "file://",
    ],
)
def test_pages_of_this_machine_may_attach_on_loopback(origin):
    """And programs that are no pages."""
    policy = OriginPolicy([], loopback=True, token=False)
    assert policy.accepts(origin)
    Pair.opened(policy=policy, origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost:80@evil.example",
        "http://localhost:80\nx",
        "http://127.0.0.1evil",
        "null",
        "",
    ],
)
def test_d8_other_pages_are_refused(origin):
    """D8: anybody's page can dial 127.0.0.1, in a frame without an origin too."""
    assert not OriginPolicy([], loopback=True, token=False).accepts(origin)


def test_page_that_hides_its_origin_needs_the_token():
    """Such as one from a file. Who has the token may come from anywhere."""
    assert OriginPolicy([], loopback=True, token=True).accepts("null")
    assert not OriginPolicy([], loopback=False, token=True).accepts("null")
    assert OriginPolicy(["null"], loopback=False, token=False).accepts("null")


def test_refused_page_is_told_so_and_the_log_how_to_allow_it():
    """403, and the option with the origin in it."""
    policy = OriginPolicy([], loopback=True, token=False)
    pair = Pair(policy, origin="https://evil.example")
    text = "--allow-origin https://evil.example"
    assert refused(pair, AuthError, text) == 403


def test_two_origins_are_none():
    """Whichever of them is meant."""
    policy = OriginPolicy([], loopback=True, token=False)
    pair = Pair(policy, origin="http://localhost")
    request = b"".join(pair.client.data_to_send())
    doubled = request.replace(b"\r\n\r\n", b"\r\nOrigin: http://localhost\r\n\r\n")
    with pytest.raises(AuthError):
        pair.filter.receive(doubled)


def test_off_loopback_no_page_may_attach_unless_named():
    """Programs may; they have the token."""
    policy = OriginPolicy([], loopback=False, token=True)
    assert policy.accepts(None)
    assert not policy.accepts("http://localhost")


def test_named_origins_are_all():
    """Not those of this machine besides; a slash at the end is no difference."""
    policy = OriginPolicy(["https://Play.example/"], loopback=True, token=False)
    assert policy.accepts("https://play.example")
    assert not policy.accepts("https://play.example:8443")
    assert not policy.accepts("http://localhost")
    assert OriginPolicy(["*"], loopback=False, token=False).accepts("https://x.example")


def test_d8_request_with_something_behind_it_is_an_error_of_the_peer():
    """D8: the library has closed already; no error of its inside comes out."""
    end = WebSocketFilter(ANYBODY)
    with pytest.raises(RemoteProtocolError):
        end.receive(b"GET / HTTP/1.1\r\n\r\n\r\n")
    assert not end.open
