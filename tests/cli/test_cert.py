"""``rlay cert new``: a certificate that works as it is printed."""

import datetime
import re
import shlex
import stat

import pytest
from cryptography import x509

from rlay.cli import main
from rlay.cli.certificates import make_certificate
from rlay.transport.credentials import (
    certificate_digest,
    check_pin,
    client_context,
    format_fingerprint,
    load_certificate,
    server_context,
)
from tests.support.handshakes import shake_hands


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in an empty directory; exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_words(*words):
        code = main(["cert", "new", *words])
        return (code, *capsys.readouterr())

    return run_words


def names_in(path):
    found = x509.load_pem_x509_certificate(path.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def test_certificate_and_key_fit_each_other(run, tmp_path):
    """The key is for its owner alone, the certificate for everybody."""
    code, _, err = run()
    assert (code, err) == (0, "")
    cert, key = tmp_path / "rlay.crt", tmp_path / "rlay.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(cert.stat().st_mode) == 0o644
    server_context(cert, key)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("host", ["sim-1.lab", "192.0.2.7", "2001:db8::7", "localhost"])
def test_certificate_works_as_its_own_authority(run, tmp_path, host):
    """For the names that were given, and for no other one."""
    run("--host", "sim-1.lab", "--host", "192.0.2.7", "--host", "[2001:db8::7]")
    cert, key = tmp_path / "rlay.crt", tmp_path / "rlay.key"
    server, client = server_context(cert, key), client_context(cert)
    assert shake_hands(server, client, host)[:2] == (None, None)
    assert shake_hands(server, client, "elsewhere.lab")[1] is not None


def test_certificate_works_with_the_printed_fingerprint(run, tmp_path):
    """It is that of the file."""
    _, out, _ = run()
    (pin,) = re.findall("^fingerprint (.*)$", out, re.MULTILINE)
    der = load_certificate(tmp_path / "rlay.crt")
    check_pin(der, pin)
    assert pin == format_fingerprint(certificate_digest(der))


def test_certificate_works_as_a_clients(run, tmp_path):
    """The same pair serves for mutual TLS."""
    run()
    cert, key = tmp_path / "rlay.crt", tmp_path / "rlay.key"
    server = server_context(cert, key, client_ca=cert)
    assert shake_hands(server, client_context(cert, cert, key))[:2] == (None, None)


def test_certificate_is_no_authority(run, tmp_path):
    """Who trusts this machine trusts no other one by it."""
    run()
    found = x509.load_pem_x509_certificate((tmp_path / "rlay.crt").read_bytes())
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value.ca is False


def test_certificate_is_for_this_machine_by_default(run, tmp_path, monkeypatch):
    """By its host name, and always for the machine itself."""
    monkeypatch.setattr("socket.gethostname", lambda: "trainer")
    run()
    names = names_in(tmp_path / "rlay.crt")
    assert names == ["trainer", "localhost", "127.0.0.1", "::1"]


def test_certificate_ends_when_asked(run, tmp_path):
    """After so many days; it is valid now, also where a clock is a little behind."""
    run("--days", "3")
    found = x509.load_pem_x509_certificate((tmp_path / "rlay.crt").read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    assert 2 * day < found.not_valid_after_utc - now <= 3 * day
    assert found.not_valid_before_utc < now - datetime.timedelta(minutes=30)


def test_printed_commands_name_the_files_as_they_are(run, tmp_path):
    """They can be typed as they stand, with a space in the path too."""
    (tmp_path / "a b").mkdir()
    _, out, _ = run("--dir", "a b", "--host", "2001:db8::7")
    lines = [line.strip() for line in out.splitlines() if "rlay bridge" in line]
    here, there = (shlex.split(line) for line in lines)
    assert here[here.index("--tls-cert") + 1] == str(tmp_path / "a b" / "rlay.crt")
    assert here[here.index("--tls-key") + 1] == str(tmp_path / "a b" / "rlay.key")
    assert there[there.index("--connect") + 1] == "[2001:db8::7]:7450"
    pin = there[there.index("--tls-fingerprint") + 1]
    check_pin(load_certificate(tmp_path / "a b" / "rlay.crt"), pin)


@pytest.mark.parametrize("there", ["rlay.crt", "rlay.key"])
def test_pair_that_is_there_is_kept(run, tmp_path, there):
    """Exit code 1; neither file is touched."""
    (tmp_path / there).write_text("old")
    code, out, err = run()
    assert (code, out) == (1, "")
    assert f"{tmp_path / there} is there already" in err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "old"


def test_pair_is_replaced_by_force(run, tmp_path):
    """Both files."""
    run()
    before = (tmp_path / "rlay.crt").read_bytes()
    assert run("--force")[0] == 0
    assert (tmp_path / "rlay.crt").read_bytes() != before
    server_context(tmp_path / "rlay.crt", tmp_path / "rlay.key")


@pytest.mark.parametrize("host", ["", "a b", "sim:7450", "-x", "é.lab", "a" * 300])
def test_host_that_is_none_is_refused(run, tmp_path, host):
    """Exit code 2; nothing was written."""
    code, _, err = run("--host", host)
    assert code == 2
    assert "neither a host name nor an IP address" in err
    assert list(tmp_path.iterdir()) == []


def test_host_with_a_long_name_is_possible():
    """The common name is cut, which nobody compares."""
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    name = ".".join(["a" * 60] * 4)
    found = x509.load_der_x509_certificate(make_certificate([name], until).der)
    assert len(found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
