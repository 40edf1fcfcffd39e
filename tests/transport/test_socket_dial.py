"""Dialing: what a listener may do before it has proved itself, and for how long."""

import contextlib
import socket
import threading

import pytest

from rlay.errors import AuthError
from rlay.protocol.addresses import parse_address
from rlay.protocol.frames import (
    FRAME_HEADER_BYTES,
    MAX_BODY_BYTES,
    FrameType,
    pack_frame,
)
from rlay.transport import socket_dial
from rlay.transport.credentials import (
    Credentials,
    certificate_digest,
    format_fingerprint,
    server_context,
)
from rlay.transport.socket_dial import LAST_PAUSE_S, Dialer, draw_identity
from tests.support.certificates import Authority
from tests.support.channels import LIMIT_S
from tests.support.waiting import wait_until


class Stranger:
    """Listens, says something to everybody who comes, and nothing else.

    Attributes:
        met: How many came.
    """

    def __init__(self, words=b"", meet=None):
        self._meet = meet or (lambda sock: sock.sendall(words))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        self._thread = threading.Thread(target=self._run)

    @property
    def met(self):
        return len(self._open)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT_S)
        for sock in (self._listener, *self._open):
            sock.close()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self._meet(sock)


@pytest.fixture
def dial():
    """Make a dialer for a port; it is closed at the test's end."""
    with contextlib.ExitStack() as stack:

        def make(port, scheme="tcp", credentials=None):
            dialer = Dialer(
                parse_address(f"{scheme}://127.0.0.1:{port}/x"),
                draw_identity(),
                lambda frame: None,
                lambda frame, body: None,
                credentials or Credentials(),
            )
            stack.callback(dialer.close)
            return dialer

        yield make


def go_on(dialer):
    assert dialer.advance(0.01) is None


def test_silent_listener_is_given_up_and_dialed_again(dial, monkeypatch):
    """After its time for a stage; the problem says so."""
    monkeypatch.setattr(socket_dial, "_STAGE_S", 0.2)
    with Stranger() as stranger:
        dialer = dial(stranger.port)
        wait_until(lambda: go_on(dialer) or dialer.problem)
        assert "the greeting was not answered" in dialer.problem
        wait_until(lambda: go_on(dialer) or stranger.met > 1)


def test_frame_that_is_not_of_the_greeting_is_not_awaited(dial):
    """Its header is enough to end the connection: no body of a stranger is taken."""
    body = bytes(MAX_BODY_BYTES)
    with Stranger(pack_frame(FrameType.DATA, body, 1)[:FRAME_HEADER_BYTES]) as stranger:
        dialer = dial(stranger.port)
        wait_until(lambda: go_on(dialer) or dialer.problem)
        assert "DATA" in dialer.problem


def test_listener_that_does_not_speak_rlay_is_named(dial):
    """With what it may be instead."""
    with Stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(64)) as stranger:
        dialer = dial(stranger.port)
        wait_until(lambda: go_on(dialer) or dialer.problem)
        assert "does not speak RLay" in dialer.problem
        assert "use tls://" in dialer.problem


def test_pauses_grow_to_a_limit(dial, monkeypatch):
    """And are short again once a connection was of use."""
    drawn: list[float] = []

    def uniform(low, high):
        drawn.append(high)
        return 0.0

    monkeypatch.setattr("random.uniform", uniform)
    dialer = dial(9)
    for _ in range(10):
        dialer.rest()
    assert drawn[:3] == [0.1, 0.2, 0.4]
    assert drawn[-1] == LAST_PAUSE_S
    dialer.succeeded()
    dialer.rest()
    assert drawn[-1] == 0.1


def test_tls_that_ends_thrice_before_a_word_asks_for_a_certificate(
    dial, tmp_path, monkeypatch
):
    """A bridge that is killed does so once; the error names the variables."""
    monkeypatch.setattr(socket_dial, "FIRST_PAUSE_S", 0.002)
    pair = Authority(tmp_path).issue()
    context = server_context(pair.cert, pair.key)
    pin = format_fingerprint(certificate_digest(pair.der))

    def hang_up(sock):
        with contextlib.suppress(OSError):
            context.wrap_socket(sock, server_side=True).close()

    with Stranger(meet=hang_up) as stranger:
        dialer = dial(stranger.port, "tls", Credentials(fingerprint=pin))
        with pytest.raises(AuthError, match="RLAY_TLS_CERT"):
            wait_until(lambda: go_on(dialer))
        assert stranger.met == 3
