"""Authorities and certificates for tests, made on the spot."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files.

    Attributes:
        cert: PEM file.
        key: PEM file of mode 0600.
        der: The certificate itself.
    """

    cert: Path
    key: Path
    der: bytes


class Authority:
    """Signs certificates; its own is in the file ``path``."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        """Make one, with its files in ``directory``."""
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        own = _builder(self._name, self._name, self._key.public_key(), 0, 30)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.path = directory / f"{name}.pem"
        signed = own.sign(self._key, hashes.SHA256())
        self.path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str = "peer",
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
        *,
        from_days: int = 0,
        to_days: int = 30,
        passphrase: bytes | None = None,
    ) -> Pair:
        """Sign a certificate for ``hosts``, valid between two days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            _name(name), self._name, key.public_key(), from_days, to_days
        ).add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), False)
        signed = builder.sign(self._key, hashes.SHA256())
        pem = signed.public_bytes(serialization.Encoding.PEM)
        pair = Pair(
            self.directory / f"{name}.crt",
            self.directory / f"{name}.key",
            ssl.PEM_cert_to_DER_cert(pem.decode()),
        )
        pair.cert.write_bytes(pem)
        pair.key.touch(0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(passphrase)
                if passphrase
                else serialization.NoEncryption(),
            )
        )
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    from_days: int,
    to_days: int,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + (from_days - 1) * _DAY)
        .not_valid_after(now + to_days * _DAY)
    )
