"""Token and certificates of a running bridge: read again, all of them or none."""

import pytest

from rlay.bridge.program import Keys
from rlay.bridge.settings import BridgeSettings
from rlay.errors import AuthError
from rlay.transport.credentials import certificate_digest
from tests.support.certificates import Authority

OLD, NEW = b"0123456789abcdef", b"fedcba9876543210"


@pytest.fixture
def files(tmp_path):
    """A token, a certificate and its key; and the settings that name them."""
    pair = Authority(tmp_path).issue()
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_bytes(OLD)
    settings = BridgeSettings(
        token_file=str(token), tls_cert=str(pair.cert), tls_key=str(pair.key)
    )
    return token, pair, settings


def test_a20_keys_that_are_read_again_are_the_new_ones(files, tmp_path):
    """A20: the token, the certificate, and its digest in the proof."""
    token, pair, settings = files
    keys = Keys(settings)
    assert (keys.token, keys.digest) == (OLD, certificate_digest(pair.der))
    before = keys.server
    token.write_bytes(NEW)
    other = Authority(tmp_path, "other").issue("peer")  # in the same two files
    keys.reload()
    assert (keys.token, keys.digest) == (NEW, certificate_digest(other.der))
    assert keys.server is not before


def test_a20_keys_of_which_one_cannot_be_read_stay_the_old_ones(files):
    """A20: no new token beside an old certificate."""
    token, pair, settings = files
    keys = Keys(settings)
    before = (keys.token, keys.digest, keys.server)
    token.write_bytes(NEW)
    pair.key.chmod(0o644)
    with pytest.raises(AuthError):
        keys.reload()
    assert (keys.token, keys.digest, keys.server) == before


def test_keys_of_a_pinned_dialer_accept_one_certificate(files):
    """And say its digest, which goes into the proof."""
    _, pair, _ = files
    digest = certificate_digest(pair.der)
    keys = Keys(BridgeSettings(tls_fingerprint=digest.hex()))
    assert keys.check(pair.der) == digest
    with pytest.raises(AuthError):
        keys.check(pair.der + b"x")
    with pytest.raises(AuthError):
        keys.check(None)
