"""Making a self-signed certificate. Loads ``cryptography``: import it where needed."""

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CLOCKS_DIFFER: Final = datetime.timedelta(hours=1)
_MOST_COMMON_NAME: Final = 64
_USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class Certificate(NamedTuple):
    """A certificate in DER and in PEM, and its key in PEM."""

    der: bytes
    pem: bytes
    key_pem: bytes


def make_certificate(names: Sequence[str], until: datetime.datetime) -> Certificate:
    """Make a self-signed certificate, valid from an hour ago.

    It is not an authority: who trusts this machine trusts no other one by it.

    Args:
        names: Host names, and IP addresses, that it is for; at least one.
        until: When it ends.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    # What counts is the list of names; this one is for people.
    common = x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_MOST_COMMON_NAME])
    subject = x509.Name([common])
    own = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.UTC) - _CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES), False)
        .add_extension(own, False)
    )
    signed = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Certificate(
        signed.public_bytes(serialization.Encoding.DER),
        signed.public_bytes(pem),
        key.private_bytes(pem, *private),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
