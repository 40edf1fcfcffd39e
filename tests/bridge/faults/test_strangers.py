"""Rows D1 to D8: who may not come in, over real sockets."""

import contextlib
import os
import secrets
import socket
import ssl
import statistics
import threading
import time

import pytest

from rlay.errors import AuthError, RLayError
from rlay.protocol.control import pack_map, unpack_map
from rlay.protocol.frames import Frame, FrameDecoder, FrameType, pack_frame
from rlay.protocol.link_greeting import LinkTerms, ListenerGreeting
from rlay.transport.credentials import certificate_digest
from tests.bridge.faults.test_cuts import descriptors
from tests.support.bridged import LOOPBACK
from tests.support.certificates import Authority
from tests.support.dialers import IDENTITY, LIMIT_S, RawDialer
from tests.support.waiting import wait_until

TOKEN = secrets.token_bytes(32)


def write_token(path, token=TOKEN):
    """Write a token into a file that only we can read; return its path."""
    path.touch(mode=0o600)
    path.write_text(token.hex() + "\n")
    return path


@pytest.fixture
def listening(stage, tmp_path):
    """A bridge that listens and asks for the token; its port is ``port()``."""
    bridge = stage.far
    bridge.start(listen=[f"{LOOPBACK}:0"], token_file=write_token(tmp_path / "token"))
    bridge.port()
    return bridge


def token_of(bridge):
    """Return the token as a bridge has read it."""
    from rlay.transport.credentials import load_token

    return load_token(bridge.options["token_file"])


def lines(bridge, level):
    """Return the lines of a level in a bridge's log."""
    return [line for line in bridge.log.splitlines() if f" {level} " in line]


# ------------------------------------------------------------------------------- D1, D2


@pytest.mark.parametrize("how", ["none", "wrong", "truncated"])
def test_d1_without_the_token_nobody_is_let_in(listening, within, how):
    """AuthError within 0.1 s, one line in the log, and whoever knows it still may."""
    right = token_of(listening)
    token = {"none": None, "wrong": bytes(len(right)), "truncated": right[:-1]}[how]
    took = []
    for _ in range(5):
        with RawDialer(listening.port()) as dialer:
            begin = time.monotonic()
            with pytest.raises(AuthError):
                dialer.greet(token)
            took.append(time.monotonic() - begin)
    within(0.1, statistics.median(took))
    with RawDialer(listening.port()) as dialer:
        dialer.greet(right)
    listening.wait_until_logged("is up")
    assert "Traceback" not in listening.log


def test_d1_many_attempts_are_one_line_and_a_count(listening):
    """Who guesses tokens, or has an old one, does not fill the disk."""
    for _ in range(60):
        with RawDialer(listening.port()) as dialer, contextlib.suppress(RLayError):
            dialer.greet(bytes(32))
    assert len(lines(listening, "WARNING")) == 1
    listening.end()
    _, summary = lines(listening, "WARNING")
    assert "refused 127.0.0.1 again, 59 times" in summary


def test_d2_recorded_greeting_proves_nothing(listening):
    """The same bytes again are refused: the nonce is another."""
    with RawDialer(listening.port()) as dialer:
        dialer.greet(token_of(listening))
        recorded = dialer.sent
    with RawDialer(listening.port()) as replay:
        replay.send(recorded)
        replay.rest()
    listening.wait_until_logged("refused")


def test_d2_proof_that_is_sent_back_proves_nothing(stage, tmp_path):
    """A listener without the token returns the dialer's own mac; it is not taken."""
    token = write_token(tmp_path / "token")
    terms = LinkTerms(False, 2000, 10_000, 300_000)
    fake = ListenerGreeting(IDENTITY, bytes(32), terms)
    answers = []

    def deliver(frame: Frame, body: memoryview) -> None:
        if frame.type is FrameType.PROOF:
            mac = unpack_map(bytes(body)).get("mac", bytes)
            welcome = pack_map({"mac": mac, **terms.pack()})
            answers.append(pack_frame(FrameType.WELCOME, welcome))
        elif frame.type is FrameType.HELLO:
            answers.append(fake.receive(frame, body))

    with socket.create_server((LOOPBACK, 0)) as door:
        door.settimeout(LIMIT_S)
        stage.near.start(
            connect=[f"{LOOPBACK}:{door.getsockname()[1]}"], token_file=token
        )
        sock, _ = door.accept()
        with sock:
            sock.settimeout(LIMIT_S)
            decoder = FrameDecoder(lambda frame: None, deliver)
            with contextlib.suppress(ConnectionResetError):
                while data := sock.recv(4096):
                    decoder.feed(data)
                    sock.sendall(b"".join(answers))
                    answers.clear()
    stage.near.wait_until_logged("does not know the token")
    assert "is up" not in stage.near.log


# --------------------------------------------------------------------------- D3, D4, D5


@pytest.fixture
def authority(tmp_path):
    """Signs certificates."""
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    """The listener's certificate, for loopback."""
    return authority.issue("listener")


def listen_with(stage, pair, tmp_path, **options):
    """Start a listening bridge with TLS and a token; return its port."""
    stage.far.start(
        listen=[f"{LOOPBACK}:0"],
        token_file=write_token(tmp_path / "token"),
        tls_cert=pair.cert,
        tls_key=pair.key,
        **options,
    )
    return stage.far.port()


def dial_in_vain(stage, port, tmp_path, why, **options):
    """Start a bridge that dials, and assert that it is kept out, for a reason."""
    stage.near.start(
        connect=[f"{LOOPBACK}:{port}"], token_file=tmp_path / "token", **options
    )
    stage.near.wait_until_logged(why)
    assert "is up" not in stage.near.log + stage.far.log
    assert "Traceback" not in stage.near.log + stage.far.log


def test_d3_right_certificate_and_token_are_let_in(stage, authority, pair, tmp_path):
    """The others below are refused for their one fault only."""
    port = listen_with(stage, pair, tmp_path)
    stage.near.start(
        connect=[f"{LOOPBACK}:{port}"],
        token_file=tmp_path / "token",
        tls_ca=authority.path,
    )
    stage.near.wait_until_logged("is up")


@pytest.mark.parametrize(
    "fault", ["another authority", "another host", "out of date", "known to nobody"]
)
def test_d3_wrong_certificate_keeps_the_dialer_away(stage, authority, tmp_path, fault):
    """It says why, and the environment's machine never hears more than the TLS."""
    shown = {
        "another host": lambda: authority.issue(hosts=("elsewhere",)),
        "out of date": lambda: authority.issue(from_days=-5, to_days=-1),
    }.get(fault, authority.issue)
    trusted: dict[str, object] = {"tls_ca": authority.path}
    if fault == "another authority":
        trusted = {"tls_ca": Authority(tmp_path, "other").path}
    elif fault == "known to nobody":
        trusted = {"tls": True}
    port = listen_with(stage, shown(), tmp_path)
    dial_in_vain(stage, port, tmp_path, "TLS failed", **trusted)


def test_d3_tls_1_2_is_refused(stage, pair, tmp_path):
    """By the listener, whatever the dialer wants."""
    port = listen_with(stage, pair, tmp_path)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        RawDialer(port, context)
    stage.far.wait_until_logged("refused")


def test_d3_plain_frames_to_a_tls_port_are_refused(stage, pair, tmp_path):
    """Nothing is said in clear, not even to somebody who knows the token."""
    port = listen_with(stage, pair, tmp_path)
    with RawDialer(port) as dialer, pytest.raises((RLayError, ConnectionError)):
        dialer.greet(token_of(stage.far))
    stage.far.wait_until_logged("does not speak TLS")


def test_d3_tls_to_a_plain_port_is_refused(listening):
    """The dialer is not left waiting for a handshake."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        RawDialer(listening.port(), ssl.create_default_context())
    listening.wait_until_logged("it speaks TLS")


@pytest.mark.parametrize("fault", ["none", "foreign"])
def test_d4_dialer_without_the_right_certificate(
    stage, authority, pair, tmp_path, fault
):
    """It says that it was not let in, and never that it is connected."""
    port = listen_with(stage, pair, tmp_path, tls_client_ca=authority.path)
    options = {"tls_ca": authority.path}
    if fault == "foreign":
        own = Authority(tmp_path, "other").issue("dialer")
        options |= {"tls_cert": own.cert, "tls_key": own.key}
    dial_in_vain(stage, port, tmp_path, "no link to", **options)


def test_d4_dialer_with_the_right_certificate_is_let_in(
    stage, authority, pair, tmp_path
):
    """Both ends prove themselves by certificates, beside the token."""
    port = listen_with(stage, pair, tmp_path, tls_client_ca=authority.path)
    own = authority.issue("dialer")
    stage.near.start(
        connect=[f"{LOOPBACK}:{port}"],
        token_file=tmp_path / "token",
        tls_ca=authority.path,
        tls_cert=own.cert,
        tls_key=own.key,
    )
    stage.near.wait_until_logged("is up")


def relay(door, port, near_context, far_context):
    """Pass on what is said through two TLS connections, as a man in the middle."""
    with contextlib.suppress(OSError):
        while True:
            plain, _ = door.accept()
            with contextlib.suppress(OSError):
                victim = near_context.wrap_socket(plain, server_side=True)
                far = far_context.wrap_socket(
                    socket.create_connection((LOOPBACK, port), LIMIT_S)
                )
                with victim, far:
                    back = threading.Thread(target=pass_on, args=(far, victim))
                    back.start()
                    pass_on(victim, far)
                    back.join(LIMIT_S)


def pass_on(source, target):
    """Pass on bytes until one of the two ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_d5_relayed_greeting_through_another_certificate(
    stage, authority, pair, tmp_path
):
    """A valid certificate is not enough: the proofs name the one that was shown."""
    port = listen_with(stage, pair, tmp_path)
    own = authority.issue("middle")
    near_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    near_context.load_cert_chain(own.cert, own.key)
    far_context = ssl.create_default_context()
    far_context.check_hostname, far_context.verify_mode = False, ssl.CERT_NONE
    with socket.create_server((LOOPBACK, 0)) as door:
        middle = threading.Thread(
            target=relay, args=(door, port, near_context, far_context), daemon=True
        )
        middle.start()
        dial_in_vain(
            stage,
            door.getsockname()[1],
            tmp_path,
            "no link to",
            tls_ca=authority.path,
        )
        stage.far.wait_until_logged("does not know the token")
        stage.near.kill()
        door.shutdown(socket.SHUT_RDWR)
        middle.join(LIMIT_S)
    stage.near.options["connect"] = [f"{LOOPBACK}:{port}"]
    stage.near.start()
    stage.near.wait_until_logged("is up")
    assert certificate_digest(pair.der) != certificate_digest(own.der)


# ------------------------------------------------------------------------------- D6, D7


def test_d6_silent_strangers_do_not_keep_others_out(listening, within):
    """They are closed in time, and whoever speaks is let in meanwhile."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(RawDialer(listening.port())) for _ in range(80)]
        begin = time.monotonic()
        with RawDialer(listening.port()) as dialer:
            dialer.greet(token_of(listening))
        within(1, time.monotonic() - begin)
        # One of them says a byte at a time; it has said half of a header at the end.
        silent[-1].send(b"RLF")
        for each in silent:
            each.rest()
        within(5, time.monotonic() - begin)
    assert len(lines(listening, "WARNING")) < 40


def test_d7_more_connections_than_descriptors(stage, tmp_path):
    """The excess is turned away, quietly, and afterwards all is as before."""
    stage.far.prefix = ["prlimit", "--nofile=128:128"]
    stage.far.start(
        listen=[f"{LOOPBACK}:0"], token_file=write_token(tmp_path / "token")
    )
    port = stage.far.port()
    before = descriptors(stage.far)
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(RawDialer(port))
        with RawDialer(port) as dialer:
            dialer.greet(token_of(stage.far))
    wait_until(lambda: descriptors(stage.far) <= before)
    with RawDialer(port) as dialer:
        dialer.greet(token_of(stage.far))
    assert len(stage.far.log.splitlines()) < 60
    assert "Traceback" not in stage.far.log


# ---------------------------------------------------------------------------------- D8


@pytest.mark.parametrize(
    "data",
    [
        b"\x8f\x00\xff" + bytes(range(200)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("16030100c8010000c40303") + bytes(200),
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"",
        b"R",
        b"RLFR" + bytes(60),
    ],
    ids=["random", "http", "tls", "ssh", "nothing", "one byte", "frame of zeros"],
)
def test_d8_scanner_costs_one_line_and_no_traceback(listening, data):
    """It is turned away with a reason, and leaves nothing open."""
    before = descriptors(listening)
    with RawDialer(listening.port()) as scanner:
        scanner.send(data)
        scanner.sock.shutdown(socket.SHUT_WR)
        scanner.rest()
    wait_until(lambda: descriptors(listening) <= before)
    # Who connects and leaves looks whether the port is open: nobody is refused.
    expected = 1 if data else 0
    wait_until(lambda: len(lines(listening, "WARNING")) >= expected)
    assert len(lines(listening, "WARNING")) == expected, listening.log
    assert not lines(listening, "ERROR")
    assert "Traceback" not in listening.log
    assert os.path.exists(f"/proc/{listening.running.pid}")
