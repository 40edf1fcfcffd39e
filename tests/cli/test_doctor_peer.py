"""``rlay doctor --peer``: the stage that fails, and what to do about it."""

import json
import os
import socket
import threading

import pytest

from rlay.cli import main
from rlay.cli.doctor_peer import STAGES
from rlay.transport.credentials import certificate_digest
from rlay.transport.mem_server import MemServer
from tests.support.bridge_child import LIMIT_S, BridgeChild
from tests.support.certificates import Authority


@pytest.fixture
def run(capsys, monkeypatch):
    """Go somewhere; exit code, and findings by stage."""
    for name in list(os.environ):
        if name.startswith(("RLAY_BRIDGE_", "RLAY_T")):
            monkeypatch.delenv(name)

    def go(where, *words):
        capsys.readouterr()
        code = main(["doctor", "--json", "--peer", where, *words])
        found = json.loads(capsys.readouterr().out)
        return code, {each["check"]: each for each in found}

    return go


@pytest.fixture
def token(tmp_path):
    """A file with a token."""
    return write_token(tmp_path / "token", b"0123456789abcdef")


def write_token(path, content):
    path.touch(0o600)
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def plain(children):
    """A bridge without token and TLS."""
    served = BridgeChild(children)
    yield served
    served.end()


@pytest.fixture
def secure(children, tmp_path, token):
    """A bridge with both."""
    authority = Authority(tmp_path)
    pair = authority.issue()
    served = BridgeChild(
        children, "--token-file", token, "--tls-cert", pair.cert, "--tls-key", pair.key
    )
    served.authority, served.pair = authority, pair
    yield served
    served.end()


def failed(result, stage):
    """The finding of the stage that failed; those behind it were not reached."""
    code, found = result
    assert code == 1
    problems = [each for each in found.values() if each["level"] == "problem"]
    assert [each["check"] for each in problems] == [stage]
    assert problems[0]["fix"]
    left = STAGES[STAGES.index(stage) + 1 :]
    if left:
        assert found["peer"]["text"] == f"not reached: {', '.join(left)}"
    return problems[0]


def test_way_without_obstacles_has_all_stages(run, secure, token):
    """Each of them ok, up to the round trips."""
    server = MemServer.create("cart")
    code, found = run(
        f"localhost:{secure.port}", "--token-file", token, "--tls-ca",
        str(secure.authority.path), "--channel", "cart",
    )  # fmt: skip
    server.close()
    assert code == 0
    assert list(found) == list(STAGES)
    assert {each["level"] for each in found.values()} == {"ok"}
    assert "both know the token" in found["token"]["text"]
    assert "round trips: median" in found["first reply"]["text"]


def test_way_to_a_plain_bridge_says_that_it_is_open(run, plain):
    """No token and no TLS are told, not complained of."""
    code, found = run(f"127.0.0.1:{plain.port}")
    assert code == 0
    assert "in the clear" in found["TLS"]["text"]
    assert "no token is asked for" in found["token"]["text"]


def test_environment_of_direct_peers_counts(run, secure, token, monkeypatch):
    """The same variables as for a program that attaches."""
    monkeypatch.setenv("RLAY_TOKEN_FILE", token)
    pin = certificate_digest(secure.pair.der).hex()
    monkeypatch.setenv("RLAY_TLS_FINGERPRINT", pin)
    assert run(f"127.0.0.1:{secure.port}")[0] == 0


def test_name_that_nobody_knows(run):
    """The first stage."""
    found = failed(run("no-such-host.invalid:1"), "name")
    assert "cannot be resolved" in found["text"]


def test_port_at_which_nobody_listens(run):
    """With the command that starts a bridge."""
    found = failed(run("127.0.0.1:1"), "port")
    assert "rlay bridge --listen 0.0.0.0:1" in found["fix"]


def test_port_at_which_nobody_listens_over_ipv6(run):
    """A bridge at 0.0.0.0 would not be reached there either."""
    found = failed(run("[::1]:1"), "port")
    assert "rlay bridge --listen [::]:1" in found["fix"]


def test_unknown_authority(run, secure, tmp_path, token):
    """The fingerprint that it shows is told, to be compared."""
    other = Authority(tmp_path, "other").path
    where = f"localhost:{secure.port}"
    found = failed(run(where, "--token-file", token, "--tls-ca", str(other)), "TLS")
    shown = certificate_digest(secure.pair.der).hex(":").upper()
    assert shown in found["fix"]


def test_wrong_fingerprint(run, secure, token):
    """Nothing was said to it."""
    where = f"localhost:{secure.port}"
    words = ["--token-file", token, "--tls-fingerprint", "ab" * 32]
    found = failed(run(where, *words), "TLS")
    assert "another machine" in found["text"]


def test_tls_that_we_do_not_speak(run, secure, token):
    """The peer only closes; what it would have wanted is found out."""
    where = f"127.0.0.1:{secure.port}"
    found = failed(run(where, "--token-file", token), "TLS")
    assert "--tls-fingerprint" in found["fix"]


def test_tls_that_the_peer_does_not_speak(run, plain):
    """A bridge without a certificate."""
    code, found = run(f"127.0.0.1:{plain.port}", "--tls-fingerprint", "ab" * 32)
    assert (code, found["TLS"]["level"]) == (1, "problem")


def test_d4_certificate_that_we_do_not_have(run, children, tmp_path, token):
    """D4: under TLS 1.3 the handshake seems to be done before it is refused."""
    authority = Authority(tmp_path)
    pair = authority.issue()
    served = BridgeChild(
        children, "--token-file", token, "--tls-cert", pair.cert, "--tls-key",
        pair.key, "--tls-client-ca", authority.path,
    )  # fmt: skip
    where, ca = f"localhost:{served.port}", str(authority.path)
    code, found = run(where, "--token-file", token, "--tls-ca", ca)
    assert (code, found["TLS"]["level"]) == (1, "problem")
    assert "--tls-cert" in found["TLS"]["fix"]
    client = authority.issue("client")
    words = ["--tls-cert", str(client.cert), "--tls-key", str(client.key)]
    assert run(where, "--token-file", token, "--tls-ca", ca, *words)[0] == 0
    served.end()


def test_d1_wrong_token(run, secure, tmp_path):
    """D1: with how to compare the two files."""
    other = write_token(tmp_path / "other", b"fedcba9876543210")
    where, ca = f"localhost:{secure.port}", str(secure.authority.path)
    found = failed(run(where, "--token-file", other, "--tls-ca", ca), "token")
    assert "sha256sum" in found["fix"]


def test_token_that_cannot_be_read(run, tmp_path):
    """Nobody was dialed."""
    code, found = run("127.0.0.1:1", "--token-file", str(tmp_path / "none"))
    assert (code, list(found)) == (1, ["token"])


def test_channel_that_is_not_there(run, plain):
    """With those that are."""
    server = MemServer.create("cart")
    where = f"127.0.0.1:{plain.port}"
    found = failed(run(where, "--channel", "crat"), "channel")
    server.close()
    assert "rlay serve ... --name crat" in found["fix"]


def test_c12_something_else_that_listens(run):
    """C12: such as a web server or SSH."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer() -> None:
            for _ in range(2):  # the second one wants to see a certificate
                sock, _ = door.accept()
                with sock:
                    sock.settimeout(LIMIT_S)
                    sock.sendall(b"SSH-2.0-OpenSSH_9.9\r\n" + bytes(100))
                    sock.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        found = failed(run(f"127.0.0.1:{door.getsockname()[1]}"), "token")
        thread.join()
    assert "is it a bridge" in found["fix"]


def test_peer_that_is_no_address_is_called_wrongly(capsys):
    """Exit code 2."""
    assert main(["doctor", "--peer", "::1"]) == 2
    assert "IPv6 address stands in brackets" in capsys.readouterr().err
