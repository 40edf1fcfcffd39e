"""WebSocket at a running bridge: the library's own client, a browser's rules, Node."""

import contextlib
import shutil
import signal
import socket
import subprocess

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from rlay.bridge.websocket import MAX_STRANGER_BYTES
from rlay.cli.link_probe import LinkProbe
from rlay.errors import AuthError
from rlay.protocol.link_messages import Announcement
from rlay.transport.credentials import certificate_digest, client_context
from rlay.transport.mem_server import MemServer
from tests.support.bridge_child import LIMIT_S, BridgeChild
from tests.support.certificates import Authority

TOKEN = b"0123456789abcdef"
OURS = Subprotocol("rlay.1")


@pytest.fixture
def bridge(children):
    """A bridge on loopback, without token and TLS."""
    served = BridgeChild(children)
    yield served
    served.end()


@pytest.fixture
def secure(children, tmp_path):
    """A bridge with both; ``pair`` is its certificate, ``authority`` who signed it."""
    authority = Authority(tmp_path)
    pair = authority.issue()
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_bytes(TOKEN)
    served = BridgeChild(
        children, "--token-file", str(token), "--tls-cert", str(pair.cert),
        "--tls-key", str(pair.key),
    )  # fmt: skip
    served.pair, served.authority = pair, authority
    yield served
    served.end()


def open_plain(bridge, **options):
    return connect(
        f"ws://127.0.0.1:{bridge.port}/",
        subprotocols=[OURS],
        open_timeout=LIMIT_S,
        **options,
    )


def probe_of(websocket):
    return LinkProbe(websocket.send, lambda: websocket.recv(LIMIT_S))


def read_to_the_end(websocket):
    while True:
        websocket.recv(LIMIT_S)


def raw(bridge, data):
    """Send bytes, return everything that comes back."""
    with socket.create_connection(("127.0.0.1", bridge.port), LIMIT_S) as sock:
        sock.sendall(data)
        found = b""
        with contextlib.suppress(ConnectionResetError):  # it did not read everything
            while more := sock.recv(4096):
                found += more
        return found


def test_websocket_peer_greets_and_finds_a_channel(bridge):
    """Frames in binary messages are frames."""
    server = MemServer.create("cart")
    with open_plain(bridge) as websocket:
        probe = probe_of(websocket)
        assert probe.greet(None).role == "bridge"
        assert probe.ping() >= 0
        found = probe.find("cart")
        assert isinstance(found, Announcement)
        assert found.name == "cart"
    bridge.until_logged("is down")
    server.close()


def test_websocket_peer_may_fragment_as_it_likes(bridge):
    """A frame in pieces, and several frames in one message."""
    with open_plain(bridge) as websocket:
        sent: list[bytes] = []

        def in_pieces(data: bytes) -> None:
            websocket.send([data[:1], data[1:30], data[30:]])  # one message
            sent.append(data)

        probe = LinkProbe(in_pieces, lambda: websocket.recv(LIMIT_S))
        probe.greet(None)
        probe.ping()
        assert len(sent) == 3


def test_websocket_peer_that_is_known_may_say_more_than_a_stranger(bridge):
    """The limit of what is read ends with the greeting."""
    with open_plain(bridge) as websocket:
        probe = probe_of(websocket)
        probe.greet(None)
        said = 0
        while said <= 2 * MAX_STRANGER_BYTES:
            probe.ping()
            said += 72


def test_wss_peer_proves_the_token_over_tls(secure):
    """The certificate is in the proof, as over plain TLS."""
    context = client_context(secure.authority.path)
    where = f"wss://localhost:{secure.port}/"
    with connect(where, ssl=context, subprotocols=[OURS]) as websocket:
        probe = probe_of(websocket)
        probe.greet(TOKEN, certificate_digest(secure.pair.der))
        assert probe.ping() >= 0


def test_tls_peer_beside_it_needs_no_websocket(secure):
    """The same port, told apart by the first byte under TLS."""
    context = client_context(secure.authority.path)
    with (
        socket.create_connection(("127.0.0.1", secure.port), LIMIT_S) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        probe = LinkProbe(tls.sendall, lambda: tls.recv(65536))
        probe.greet(TOKEN, certificate_digest(secure.pair.der))
        assert probe.ping() >= 0


def test_wss_with_a_wrong_token_is_refused(secure):
    """As any other peer."""
    context = client_context(secure.authority.path)
    where = f"wss://localhost:{secure.port}/"
    with (
        connect(where, ssl=context, subprotocols=[OURS]) as websocket,
        pytest.raises(AuthError),
    ):
        probe_of(websocket).greet(b"x" * 16, certificate_digest(secure.pair.der))
    secure.until_logged("refused 127.0.0.1")


def test_page_of_this_machine_may_attach(bridge):
    """Its origin says so."""
    with open_plain(bridge, origin="http://localhost:8000") as websocket:
        probe_of(websocket).greet(None)


def test_d8_page_of_somebody_else_may_not(bridge):
    """D8: 403, before it said a word; the log has the way to allow it."""
    with pytest.raises(InvalidStatus) as caught:
        open_plain(bridge, origin="https://evil.example")
    assert caught.value.response.status_code == 403
    bridge.until_logged("--allow-origin https://evil.example")


def test_named_page_may_attach(children):
    """And then no other one, of this machine or not."""
    served = BridgeChild(children, "--allow-origin", "https://play.example")
    with open_plain(served, origin="https://play.example") as websocket:
        probe_of(websocket).greet(None)
    with pytest.raises(InvalidStatus):
        open_plain(served, origin="http://localhost")
    served.end()


def test_text_message_is_refused(bridge):
    """With the code that says so."""
    with open_plain(bridge) as websocket:
        websocket.send("hello")
        with pytest.raises(ConnectionClosed) as caught:
            websocket.recv(LIMIT_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1003
    bridge.until_logged("text message")


def test_d8_browser_that_came_by_mistake_is_told(bridge):
    """D8: 426 and a sentence; one line in the log, no traceback."""
    answer = raw(bridge, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 426 ")
    bridge.until_logged("it speaks HTTP")
    assert "Traceback" not in bridge.child.stderr


@pytest.mark.parametrize("data", [b"GETTING\r\n\r\n", b"G\x00\xff\r\n\r\n"])
def test_d8_what_only_begins_like_http_is_refused(bridge, data):
    """D8: with one warning."""
    raw(bridge, data)
    bridge.until_logged("refused 127.0.0.1")
    assert "Traceback" not in bridge.child.stderr


def test_d8_request_in_single_bytes_is_understood(bridge):
    """D8: a slow network may cut anywhere."""
    with socket.create_connection(("127.0.0.1", bridge.port), LIMIT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert sock.recv(100).startswith(b"HTTP/1.1 426 ")


def test_d3_plaintext_websocket_to_tls_is_refused(secure):
    """D3: the log says what was missing."""
    assert raw(secure, b"GET / HTTP/1.1\r\n\r\n") == b""
    secure.until_logged("does not speak TLS")


def test_websocket_peer_hears_the_end_of_the_bridge(bridge):
    """A goodbye of its own kind, behind that of the frames."""
    with open_plain(bridge) as websocket:
        probe_of(websocket).greet(None)
        bridge.child.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            read_to_the_end(websocket)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
    bridge.child.wait()


def test_tls_peer_hears_the_end_of_the_bridge(secure):
    """The end is signed: nobody on the way can make one."""
    context = client_context(secure.authority.path)
    with (
        socket.create_connection(("127.0.0.1", secure.port), LIMIT_S) as sock,
        context.wrap_socket(
            sock, server_hostname="localhost", suppress_ragged_eofs=False
        ) as tls,
    ):
        LinkProbe(tls.sendall, lambda: tls.recv(65536)).greet(
            TOKEN, certificate_digest(secure.pair.der)
        )
        secure.child.send_signal(signal.SIGTERM)
        while tls.recv(65536):
            pass  # an end that is not signed raises ssl.SSLEOFError
    secure.child.wait()


NODE = """
const socket = new WebSocket(process.argv[1], "rlay.1");
socket.binaryType = "arraybuffer";
const hello = Buffer.from(process.argv[2], "hex");
socket.onopen = () => {
  // In two messages: their borders mean nothing.
  socket.send(hello.subarray(0, 10));
  socket.send(hello.subarray(10));
};
socket.onmessage = (event) => {
  const answer = Buffer.from(event.data);
  console.log(socket.protocol, answer.toString("latin1", 0, 4), answer[5]);
  socket.close();
};
socket.onclose = () => process.exit(0);
setTimeout(() => process.exit(3), 20000);
"""


def test_node_gets_a_challenge_for_its_hello(bridge):
    """The client that Node has built in, as browsers have it."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    words = [node, "--experimental-websocket", "--no-warnings", "-e", NODE]
    where = f"ws://127.0.0.1:{bridge.port}/"
    hello: list[bytes] = []

    def stop() -> bytes:
        raise EOFError

    with pytest.raises(EOFError):
        LinkProbe(hello.append, stop).greet(None)
    done = subprocess.run(
        [*words, where, hello[0].hex()],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    if "bad option" in done.stderr or "WebSocket is not defined" in done.stderr:
        pytest.skip(f"this node has no WebSocket: {done.stderr.strip()[:200]}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "rlay.1 RLFR 2\n"
