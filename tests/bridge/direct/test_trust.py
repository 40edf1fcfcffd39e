"""Token and TLS of programs that attach directly, at a bridge that asks for them."""

import contextlib
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

import rlay
from rlay.cli import main
from rlay.errors import AuthError
from rlay.transport.credentials import (
    certificate_digest,
    format_fingerprint,
    load_certificate,
)
from tests.support.attached import AttachedStage
from tests.support.certificates import Authority

KINDS: dict[str, Callable[..., Any]] = {
    "ClientEnv": rlay.ClientEnv,
    "ClientVectorEnv": rlay.ClientVectorEnv,
    "ServerEnv": rlay.ServerEnv,
    "ServerVectorEnv": rlay.ServerVectorEnv,
    "ServerBackend": lambda name: rlay.ServerBackend("CartPole-v1", name=name).open(),
    "ClientBackend": lambda name: rlay.ClientBackend(
        gymnasium.make("CartPole-v1"), name=name
    ),
}
"""What a program constructs to attach."""


class Secured(AttachedStage):
    """A stage whose bridge has a certificate of ``rlay cert new``, and a token."""

    def __init__(self, paradigm, children, directory, files, monkeypatch):
        super().__init__(paradigm, "both", children, directory)
        self.files = files
        self._monkeypatch = monkeypatch
        assert main(["cert", "new", "--dir", str(files)]) == 0
        self.token = self.make_token("token")
        self.certificate = files / "rlay.crt"

    def make_token(self, name):
        path = self.files / name
        assert main(["token", "new", str(path)]) == 0
        return path

    @property
    def pin(self):
        """The fingerprint of the bridge's certificate, as it is printed."""
        der = load_certificate(self.certificate)
        return format_fingerprint(certificate_digest(der))

    def listen(self, *, tls=True, token=True, **options):
        """Start the bridge."""
        if tls:
            self.scheme = "tls"
            pair = {"tls_cert": self.certificate, "tls_key": self.files / "rlay.key"}
            options = {**pair, **options}
        if token:
            options["token_file"] = self.token
        super().listen(**options)

    def trust(self, **variables):
        """Set what direct peers prove themselves with: names without RLAY_."""
        for name, value in variables.items():
            self._monkeypatch.setenv(f"RLAY_{name}", str(value))

    def play(self):
        """Have both ends attach, and play a little."""
        self.environment()
        self.player().play(1, 5)


@pytest.fixture(params=["ClientEnv", "ServerEnv"])
def secured(request, children, channel_directory, tmp_path, monkeypatch):
    """A stage with token and TLS, both ends attached."""
    stage = Secured(request.param, children, channel_directory, tmp_path, monkeypatch)
    yield stage
    stage.end()


@pytest.fixture
def bridge(children, channel_directory, tmp_path, monkeypatch):
    """The same for ends of any kind, without an environment."""
    stage = Secured("ClientEnv", children, channel_directory, tmp_path, monkeypatch)
    yield stage
    stage.end()


@pytest.fixture(params=KINDS)
def attach(request, bridge):
    """Construct one of the six classes at the bridge; close it if that succeeds."""
    made = contextlib.ExitStack()

    def construct():
        kind = KINDS[request.param]
        made.callback(kind(bridge.place("algorithm")).close)

    with made:
        yield construct


# ------------------------------------------------------------------------ it is let in


def test_token_over_plain_tcp(secured):
    """Both ends know it, and the bridge proves that it knows it too."""
    secured.listen(tls=False)
    secured.trust(TOKEN_FILE=secured.token)
    secured.play()


def test_tls_with_the_certificate_as_authority(secured):
    """The file of a self-signed certificate is enough, with a name that is in it."""
    secured.host = "localhost"
    secured.listen()
    secured.trust(TOKEN_FILE=secured.token, TLS_CA=secured.certificate)
    secured.play()


def test_tls_with_the_fingerprint(secured):
    """Then the name does not matter."""
    secured.listen()
    secured.trust(TOKEN_FILE=secured.token, TLS_FINGERPRINT=secured.pin)
    secured.play()


def test_tls_without_a_token(secured):
    """Where the bridge asks for none."""
    secured.listen(token=False)
    secured.trust(TLS_CA=secured.certificate)
    secured.play()


def test_mutual_tls(secured):
    """A certificate of the peer's own, where the bridge asks for one."""
    authority = Authority(secured.files)
    pair = authority.issue()
    secured.listen(tls_client_ca=authority.path)
    secured.trust(TOKEN_FILE=secured.token, TLS_FINGERPRINT=secured.pin)
    secured.trust(TLS_CERT=pair.cert, TLS_KEY=pair.key)
    secured.play()


# ---------------------------------------------------------------------- it is kept out


def test_wrong_token(bridge, attach):
    """AuthError, for each of the six classes."""
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.make_token("other"), TLS_FINGERPRINT=bridge.pin)
    with pytest.raises(AuthError, match="token"):
        attach()


def test_wrong_fingerprint(bridge, attach):
    """AuthError that names both, for each of the six classes."""
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.token, TLS_FINGERPRINT="00:" * 31 + "01")
    with pytest.raises(AuthError, match=f"{bridge.pin}, not 00:.*:01"):
        attach()


@pytest.fixture
def client(bridge):
    """Construct a ClientEnv at the bridge."""

    def construct():
        rlay.ClientEnv(bridge.place("algorithm")).close()

    return construct


def test_wrong_token_without_tls(bridge, client):
    """The token is not sent, so a plain connection is no excuse for another answer."""
    bridge.listen(tls=False)
    bridge.trust(TOKEN_FILE=bridge.make_token("other"))
    with pytest.raises(AuthError, match="token"):
        client()


def test_no_token(bridge, client):
    """The error names the variable."""
    bridge.listen()
    bridge.trust(TLS_FINGERPRINT=bridge.pin)
    with pytest.raises(AuthError, match="RLAY_TOKEN_FILE"):
        client()


def test_token_where_the_bridge_has_none(bridge, client):
    """A bridge that cannot prove itself is not believed."""
    bridge.listen(token=False)
    bridge.trust(TOKEN_FILE=bridge.token, TLS_FINGERPRINT=bridge.pin)
    with pytest.raises(AuthError, match="token"):
        client()


def test_unknown_authority(bridge, client):
    """Without the file of the authority a self-signed certificate is refused."""
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.token)
    with pytest.raises(AuthError, match="self-signed certificate"):
        client()


def test_other_authority(bridge, client):
    """The right name is not enough."""
    bridge.host = "localhost"
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.token, TLS_CA=Authority(bridge.files).path)
    with pytest.raises(AuthError, match="certificate"):
        client()


def test_missing_file_of_the_authority(bridge, client):
    """The error names the file."""
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.token, TLS_CA=bridge.files / "gone.pem")
    with pytest.raises(AuthError, match=r"gone\.pem"):
        client()


def test_other_name_than_that_of_the_certificate(bridge, client):
    """An authority vouches for names: another machine of it is refused."""
    authority = Authority(bridge.files)
    pair = authority.issue(hosts=("sim.example",))
    bridge.listen(tls_cert=pair.cert, tls_key=pair.key)
    bridge.trust(TOKEN_FILE=bridge.token, TLS_CA=authority.path)
    with pytest.raises(AuthError, match=r"sim\.example|127\.0\.0\.1"):
        client()


def test_no_certificate_of_our_own(bridge, client):
    """Where the bridge asks for one, the error says so."""
    bridge.listen(tls_client_ca=Authority(bridge.files).path)
    bridge.trust(TOKEN_FILE=bridge.token, TLS_FINGERPRINT=bridge.pin)
    with pytest.raises(AuthError, match="certificate"):
        client()


def test_certificate_of_another_authority(bridge, client):
    """A certificate that the bridge's authority did not sign is refused."""
    bridge.listen(tls_client_ca=Authority(bridge.files, "theirs").path)
    pair = Authority(bridge.files, "ours").issue()
    bridge.trust(TOKEN_FILE=bridge.token, TLS_FINGERPRINT=bridge.pin)
    bridge.trust(TLS_CERT=pair.cert, TLS_KEY=pair.key)
    with pytest.raises(AuthError, match="certificate"):
        client()


def test_tls_at_a_bridge_without_it(bridge):
    """The error says which scheme to use."""
    bridge.listen(tls=False)
    bridge.trust(TOKEN_FILE=bridge.token, TLS_FINGERPRINT=bridge.pin)
    bridge.scheme = "tls"
    with pytest.raises(rlay.ConnectTimeout, match="use tcp://"):
        rlay.ClientEnv(bridge.place("algorithm"), connect_timeout=1)


def test_plain_tcp_at_a_bridge_with_tls(bridge):
    """The error says which scheme to use."""
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.token)
    bridge.scheme = "tcp"
    with pytest.raises(rlay.RLayError, match="tls://"):
        rlay.ClientEnv(bridge.place("algorithm"), connect_timeout=1)


def test_peer_with_a_wrong_token_reaches_no_channel(bridge, client):
    """The bridge says who was refused, and has no link of it."""
    bridge.listen()
    bridge.trust(TOKEN_FILE=bridge.make_token("other"), TLS_FINGERPRINT=bridge.pin)
    with pytest.raises(AuthError):
        client()
    bridge.near.wait_until_logged("refused 127.0.0.1")
    assert "is up" not in bridge.near.log
