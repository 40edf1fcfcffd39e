"""Tokens from files, and TLS 1.3 that is checked before anything is said."""

import hashlib
import os
import ssl

import pytest

from rlay.errors import AuthError
from rlay.transport.credentials import (
    Credentials,
    certificate_digest,
    check_pin,
    client_context,
    explain_tls,
    format_fingerprint,
    from_environment,
    load_certificate,
    load_token,
    parse_fingerprint,
    server_context,
)
from tests.support.certificates import Authority
from tests.support.handshakes import shake_hands
from tests.support.privileges import NOBODY, needs_root

TOKEN = b"0123456789abcdef"


@pytest.fixture
def token_file(tmp_path):
    """A file with a token, as it should be."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_bytes(TOKEN)
    return path


@pytest.fixture
def authority(tmp_path):
    """An authority of this test."""
    return Authority(tmp_path)


# ------------------------------------------------------------------------ tokens


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_token_is_the_bytes_of_the_file(token_file, mode):
    """A file that only its owner may read is accepted."""
    token_file.chmod(mode)
    assert load_token(token_file) == TOKEN


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_token_goes_without_one_newline(token_file, end):
    """An editor's newline makes no other token."""
    token_file.write_bytes(TOKEN + end)
    assert load_token(token_file) == TOKEN


def test_token_keeps_a_second_newline(token_file):
    """Exactly one is taken away: raw bytes may end in one."""
    token_file.write_bytes(TOKEN + b"\n\n")
    assert load_token(token_file) == TOKEN + b"\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o666, 0o700, 0o444])
def test_token_that_others_may_read_is_refused(token_file, mode):
    """The facts of ls -l, and the command that mends it."""
    token_file.chmod(mode)
    with pytest.raises(AuthError, match=f"Run: chmod 600 {token_file}") as caught:
        load_token(token_file)
    assert f"owner uid {os.geteuid()}" in str(caught.value)
    assert "is -r" in str(caught.value)


@needs_root
def test_token_of_somebody_else_is_refused(token_file):
    """Its owner may change it."""
    os.chown(token_file, NOBODY, NOBODY)
    with pytest.raises(AuthError, match=f"owner uid {NOBODY}.* a copy of its own"):
        load_token(token_file)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444])
def test_secret_of_a_container_may_be_readable_there(token_file, monkeypatch, mode):
    """Docker mounts /run/secrets/token as root's, 0444, and nobody can change that."""
    monkeypatch.setattr(
        "rlay.transport.credentials._SECRETS_DIRECTORY", f"{token_file.parent}/"
    )
    monkeypatch.setattr("os.fstat", root_owned(os.fstat))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    token_file.chmod(mode)
    assert load_token(token_file) == TOKEN


def test_secret_of_root_elsewhere_is_refused(token_file, monkeypatch):
    """Only that directory is known to be a container's own."""
    monkeypatch.setattr("os.fstat", root_owned(os.fstat))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    token_file.chmod(0o444)
    with pytest.raises(AuthError, match="not ours alone"):
        load_token(token_file)


def root_owned(fstat):
    def facts(fd):
        found = list(fstat(fd))
        found[4] = found[5] = 0
        return os.stat_result(found)

    return facts


def test_token_that_is_missing_says_how_to_make_one(tmp_path):
    """The command stands in the message."""
    path = tmp_path / "none"
    with pytest.raises(AuthError, match=f"Make one with: rlay token new {path}"):
        load_token(path)


def test_token_that_is_short_says_how_long_it_is(token_file):
    """And its bytes do not stand in the message."""
    token_file.write_bytes(b"hunter2\n")
    with pytest.raises(AuthError, match="has 7 bytes, fewer than 16") as caught:
        load_token(token_file)
    assert "hunter2" not in str(caught.value)


def test_token_file_that_is_huge_is_refused(token_file):
    """A wrong path does not fill the memory."""
    token_file.write_bytes(bytes(70_000))
    with pytest.raises(AuthError, match="is no token: it has more than 65536"):
        load_token(token_file)


def test_token_file_that_is_a_fifo_does_not_block(tmp_path):
    """Nobody would ever write into it."""
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    with pytest.raises(AuthError, match="no plain file"):
        load_token(path)


def test_token_path_with_a_nul_is_refused():
    """As any other path that cannot be one."""
    with pytest.raises(AuthError, match="cannot be the path of a token"):
        load_token("a\0b")


# ------------------------------------------------------------------ certificates


def test_digest_is_the_sha256_of_the_certificate(authority):
    """Of its DER, as openssl x509 -fingerprint -sha256 prints it."""
    pair = authority.issue()
    assert load_certificate(pair.cert) == pair.der
    assert certificate_digest(pair.der) == hashlib.sha256(pair.der).digest()


def test_fingerprint_is_read_in_every_usual_form():
    """With colons and without, upper case and lower."""
    digest = bytes(range(32))
    text = format_fingerprint(digest)
    assert text.startswith("00:01:02:")
    bare = digest.hex()
    forms = (text, bare, text.lower(), "sha256:" + bare, f" {text}\n")
    for form in forms:
        assert parse_fingerprint(form) == digest


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "xy" * 32, "é" * 64])
def test_fingerprint_that_is_none_is_refused(text):
    """Its form is explained."""
    with pytest.raises(AuthError, match="64 hexadecimal digits"):
        parse_fingerprint(text)


def test_pin_accepts_its_certificate_and_no_other(authority):
    """Both fingerprints stand in the message."""
    ours, other = authority.issue("ours"), authority.issue("other")
    pin = format_fingerprint(certificate_digest(ours.der))
    check_pin(ours.der, pin)
    with pytest.raises(AuthError, match="another machine") as caught:
        check_pin(other.der, pin)
    assert pin in str(caught.value)
    assert format_fingerprint(certificate_digest(other.der)) in str(caught.value)


def test_pin_without_a_certificate_is_an_error():
    """None is not taken for any."""
    with pytest.raises(AuthError, match="showed no certificate"):
        check_pin(None, "ab" * 32)


def test_file_without_a_certificate_is_refused(tmp_path):
    """And one that is not there."""
    (tmp_path / "empty").write_text("nothing")
    with pytest.raises(AuthError, match="holds no certificate in PEM"):
        load_certificate(tmp_path / "empty")
    with pytest.raises(AuthError, match="cannot be read"):
        load_certificate(tmp_path / "none")


# --------------------------------------------------------------------- handshakes


def test_d3_known_authority_is_accepted(authority):
    """TLS 1.3, with the name that was dialled."""
    pair = authority.issue()
    server = server_context(pair.cert, pair.key)
    refused, failed, end = shake_hands(server, client_context(authority.path))
    assert (refused, failed) == (None, None)
    assert end.version() == "TLSv1.3"


def test_d3_unknown_authority_is_refused(authority, tmp_path):
    """The client says nothing to a stranger."""
    pair = authority.issue()
    stranger = Authority(tmp_path, "stranger")
    server = server_context(pair.cert, pair.key)
    _, failed, _ = shake_hands(server, client_context(stranger.path))
    assert isinstance(failed, ssl.SSLCertVerificationError)
    assert "the peer's certificate is refused" in explain_tls(failed)
    assert "RLAY_TLS_CA; of a bridge --tls-ca" in explain_tls(failed)


def test_d3_systems_authorities_do_not_know_it(authority):
    """Without an authority and a pin, those of the system count."""
    pair = authority.issue()
    server = server_context(pair.cert, pair.key)
    _, failed, _ = shake_hands(server, client_context())
    assert isinstance(failed, ssl.SSLCertVerificationError)


def test_d3_wrong_host_is_refused(authority):
    """A certificate of another machine is none of this one."""
    pair = authority.issue(hosts=("elsewhere.example",))
    server = server_context(pair.cert, pair.key)
    _, failed, _ = shake_hands(server, client_context(authority.path))
    assert isinstance(failed, ssl.SSLCertVerificationError)
    assert "localhost" in explain_tls(failed)


def test_d3_expired_certificate_is_refused(authority):
    """It says so."""
    pair = authority.issue(from_days=-10, to_days=-1)
    server = server_context(pair.cert, pair.key)
    _, failed, _ = shake_hands(server, client_context(authority.path))
    assert failed is not None
    assert "expired" in explain_tls(failed)


def test_d3_older_tls_is_refused_by_both(authority):
    """TLS 1.2 gets no further than its hello."""
    pair = authority.issue()
    server = server_context(pair.cert, pair.key)
    old = client_context(authority.path)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    refused, failed, _ = shake_hands(server, old)
    assert refused is not None
    assert failed is not None
    assert "TLS 1.3 is needed" in explain_tls(failed)
    old_server = server_context(pair.cert, pair.key)
    old_server.minimum_version = ssl.TLSVersion.TLSv1_2
    old_server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert all(shake_hands(old_server, client_context(authority.path))[:2])


def test_pinned_certificate_needs_no_authority(authority):
    """Nor a name: the fingerprint says more than both."""
    pair = authority.issue(hosts=("elsewhere.example",), to_days=1)
    pin = certificate_digest(pair.der).hex()
    server = server_context(pair.cert, pair.key)
    refused, failed, end = shake_hands(server, client_context(fingerprint=pin))
    assert (refused, failed) == (None, None)
    check_pin(end.getpeercert(binary_form=True), pin)


def test_d4_client_needs_a_certificate_where_one_is_asked_for(authority, tmp_path):
    """None, and one of a stranger, are refused by the server; one of ours is not."""
    pair, client = authority.issue(), authority.issue("client")
    foreign = Authority(tmp_path, "stranger").issue("foreign")
    server = server_context(pair.cert, pair.key, client_ca=authority.path)

    def tried(*own):
        return shake_hands(server, client_context(authority.path, *own))

    refused, failed, _ = tried()
    assert refused is not None
    assert failed is not None
    assert "asks for a certificate" in explain_tls(failed)
    assert "one is needed" in explain_tls(refused)
    refused, failed, _ = tried(foreign.cert, foreign.key)
    assert refused is not None
    assert failed is not None
    assert tried(client.cert, client.key)[:2] == (None, None)


def test_d3_plaintext_is_explained(authority):
    """Where TLS dials a port that speaks none, the message says that."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = client_context(authority.path).wrap_bio(
        incoming, outgoing, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        end.do_handshake()
    incoming.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        end.do_handshake()
    assert "does not speak TLS" in explain_tls(caught.value)


def test_failure_without_a_known_reason_is_explained_by_itself():
    """Nothing is made up."""
    assert explain_tls(OSError("odd")) == "the TLS handshake failed (odd)"


# ----------------------------------------------------------------------- contexts


def test_no_session_of_tls_is_resumed(authority):
    """Every dialer proves itself anew: no ticket is given out."""
    pair = authority.issue()
    assert server_context(pair.cert, pair.key).num_tickets == 0


def test_key_that_others_may_read_is_refused(authority):
    """At both ends: it is as secret as the token."""
    pair = authority.issue()
    pair.key.chmod(0o640)
    with pytest.raises(AuthError, match=r"the key .* not ours alone"):
        server_context(pair.cert, pair.key)
    with pytest.raises(AuthError, match=r"the key .* not ours alone"):
        client_context(authority.path, pair.cert, pair.key)


def test_key_of_another_certificate_is_refused(authority):
    """Both files are named."""
    ours, other = authority.issue("ours"), authority.issue("other")
    with pytest.raises(AuthError, match="is not that of the certificate") as caught:
        server_context(ours.cert, other.key)
    assert str(other.key) in str(caught.value)
    assert str(ours.cert) in str(caught.value)


def test_key_with_a_passphrase_is_refused(authority):
    """Instead of a question at a terminal that nobody watches."""
    pair = authority.issue(passphrase=b"secret")
    with pytest.raises(AuthError, match="has a passphrase") as caught:
        server_context(pair.cert, pair.key)
    assert str(pair.key) in str(caught.value)


def test_file_that_is_no_key_is_refused(authority):
    """With its name."""
    pair = authority.issue()
    pair.key.write_text("no key")
    with pytest.raises(AuthError, match="cannot be used") as caught:
        server_context(pair.cert, pair.key)
    assert str(pair.key) in str(caught.value)


def test_key_without_a_certificate_is_refused(authority):
    """It would not be used, silently."""
    pair = authority.issue()
    with pytest.raises(AuthError, match="has no certificate"):
        client_context(authority.path, key=pair.key)


def test_authority_and_fingerprint_together_are_refused(authority):
    """One of them would not be checked, silently."""
    with pytest.raises(AuthError, match="not both"):
        client_context(authority.path, fingerprint="ab" * 32)


def test_authority_that_is_none_is_refused(tmp_path):
    """Also one whose certificate is damaged."""
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(AuthError, match=r"authorities .* cannot be used"):
        client_context(path)


# ------------------------------------------------------------------- environment


def test_environment_without_variables_has_no_credentials():
    """Empty ones are as good as none."""
    assert from_environment({}) == Credentials()
    assert from_environment({"RLAY_TOKEN_FILE": "", "RLAY_TLS_CA": ""}) == Credentials()


def test_environment_names_files(token_file, authority, monkeypatch):
    """All of it is used where a context is made."""
    pair = authority.issue()
    monkeypatch.setenv("RLAY_TOKEN_FILE", str(token_file))
    monkeypatch.setenv("RLAY_TLS_CA", str(authority.path))
    monkeypatch.setenv("RLAY_TLS_CERT", str(pair.cert))
    monkeypatch.setenv("RLAY_TLS_KEY", str(pair.key))
    monkeypatch.delenv("RLAY_TLS_FINGERPRINT", raising=False)
    found = from_environment()
    assert found.token == TOKEN
    server = server_context(pair.cert, pair.key, client_ca=authority.path)
    assert shake_hands(server, found.client_context())[:2] == (None, None)


def test_environment_pins_a_certificate(authority):
    """Every other one is refused."""
    ours, other = authority.issue("ours"), authority.issue("other")
    pin = certificate_digest(ours.der).hex()
    found = from_environment({"RLAY_TLS_FINGERPRINT": pin})
    found.check_certificate(ours.der)
    with pytest.raises(AuthError, match="another machine"):
        found.check_certificate(other.der)


def test_credentials_do_not_show_their_token():
    """Neither in a log nor in a traceback."""
    assert "0123456789abcdef" not in repr(Credentials(token=TOKEN))
