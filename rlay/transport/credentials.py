"""What a link proves itself with: a token from a file, and TLS 1.3.

Rule 1: a secret comes from a file that is ours alone, never from an argument or from a
variable: those are shown to everybody by ``ps`` and by ``docker inspect``.
Rule 2: a certificate is checked before anything is said: against an authority, with the
name that was dialled, or against a fingerprint that was given.
Rule 3: no secret stands in a message or in a ``repr``.
"""

import hashlib
import hmac
import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from rlay.errors import AuthError
from rlay.transport.failures import describe

MIN_TOKEN_BYTES: Final = 16
"""128 bits, if they are random: out of reach of guessing."""
MAX_SECRET_BYTES: Final = 64 * 1024
"""Of a file that is read as a secret: a wrong path must not fill the memory."""
TOKEN_FILE_VARIABLE: Final = "RLAY_TOKEN_FILE"
CA_VARIABLE: Final = "RLAY_TLS_CA"
FINGERPRINT_VARIABLE: Final = "RLAY_TLS_FINGERPRINT"
CERT_VARIABLE: Final = "RLAY_TLS_CERT"
KEY_VARIABLE: Final = "RLAY_TLS_KEY"

_PRIVATE_MODES: Final = (0o600, 0o400)
# Docker and Kubernetes mount secrets there: root's, 0444 by default, on a tmpfs that
# only this container sees. Who is not root in it can neither own nor chmod them.
_SECRETS_DIRECTORY: Final = "/run/secrets/"
_MOUNTED_MODES: Final = (0o600, 0o400, 0o440, 0o444)
_OPEN: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_HEX_DIGITS: Final = hashlib.sha256().digest_size * 2


# ------------------------------------------------------------------------- files


def load_token(path: str | os.PathLike[str]) -> bytes:
    """Return the token in a file: its bytes, without one newline at the end.

    Hexadecimal digits stay digits: both machines have the same file, that is all.

    Args:
        path: A file of this user with mode 0600 or 0400; under ``/run/secrets`` also
            one of root's with mode 0440 or 0444, as containers get their secrets.

    Raises:
        AuthError: It cannot be read, others may read it, or it is too short.
    """
    where = os.fspath(path)
    content = _read_private(where, "token", "rlay token new " + where)
    token = content.removesuffix(b"\n").removesuffix(b"\r")
    if len(token) < MIN_TOKEN_BYTES:
        raise AuthError(
            f"the token in {where} has {len(token)} bytes, fewer than "
            f"{MIN_TOKEN_BYTES}: make another one with: rlay token new --force {where}"
        )
    return token


def check_private(path: str | os.PathLike[str], what: str) -> None:
    """Make sure that a file holds a secret of ours, without reading it.

    Args:
        path: As in :func:`load_token`.
        what: The word for it, for messages.

    Raises:
        AuthError: It cannot be opened, or others may read it.
    """
    os.close(_open_private(os.fspath(path), what, ""))


def _read_private(path: str, what: str, remedy: str) -> bytes:
    fd = _open_private(path, what, remedy)
    try:
        content = os.read(fd, MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise AuthError(f"the {what} {path} cannot be read: {error}") from error
    finally:
        os.close(fd)
    if len(content) > MAX_SECRET_BYTES:
        raise AuthError(
            f"{path} is no {what}: it has more than {MAX_SECRET_BYTES} bytes"
        )
    return content


def _open_private(path: str, what: str, remedy: str) -> int:
    try:
        fd = os.open(path, _OPEN)
    except ValueError as error:
        raise AuthError(f"{path!r} cannot be the path of a {what}: {error}") from error
    except OSError as error:
        made = f". Make one with: {remedy}" if remedy else ""
        raise AuthError(
            f"the {what} {path} cannot be opened ({error.strerror}); "
            f"{describe(path)}{made}"
        ) from error
    try:
        _check_private(os.fstat(fd), path, what)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_private(facts: os.stat_result, path: str, what: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise AuthError(f"the {what} {path} is no plain file; {describe(path)}")
    if os.name == "nt":  # modes say nothing there
        return
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid == os.geteuid() and mode in _PRIVATE_MODES:
        return
    mounted = os.path.realpath(path).startswith(_SECRETS_DIRECTORY)
    if facts.st_uid == 0 and mode in _MOUNTED_MODES and mounted:
        return
    if facts.st_uid == os.geteuid():
        remedy = f"Run: chmod 600 {path}"
    else:
        remedy = f"This process runs as uid {os.geteuid()}: give it a copy of its own"
    raise AuthError(
        f"the {what} {path} is not ours alone: it is {stat.filemode(facts.st_mode)}, "
        f"owner uid {facts.st_uid}, gid {facts.st_gid}; it must belong to uid "
        f"{os.geteuid()} with mode 0600. {remedy}"
    )


# ------------------------------------------------------------------ certificates


def certificate_digest(der: bytes) -> bytes:
    """Return the SHA-256 of a certificate in DER: 32 bytes."""
    return hashlib.sha256(der).digest()


def load_certificate(path: str | os.PathLike[str]) -> bytes:
    """Return the first certificate of a PEM file, in DER: the one that is shown.

    Raises:
        AuthError: The file cannot be read, or holds none.
    """
    where = os.fspath(path)
    try:
        with open(where, encoding="ascii", errors="replace") as file:
            found = _CERTIFICATE.search(file.read(MAX_SECRET_BYTES))
        if found is None:
            raise AuthError(f"{where} holds no certificate in PEM")
        return ssl.PEM_cert_to_DER_cert(found.group())
    except (OSError, ValueError) as error:
        raise AuthError(f"the certificate {where} cannot be read: {error}") from error


def parse_fingerprint(text: str) -> bytes:
    """Return the 32 bytes of a SHA-256 in hexadecimal, with or without colons.

    Raises:
        AuthError: It is something else.
    """
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if len(digits) != _HEX_DIGITS or not re.fullmatch("[0-9a-f]+", digits):
        raise AuthError(
            f"a fingerprint is the SHA-256 of a certificate, {_HEX_DIGITS} hexadecimal "
            f"digits with or without colons, not {text!r}"
        )
    return bytes.fromhex(digits)


def format_fingerprint(digest: bytes) -> str:
    """Return a digest as pairs of digits with colons, as ``openssl`` prints it."""
    return digest.hex(":").upper()


def check_pin(der: bytes | None, fingerprint: str) -> None:
    """Make sure that the peer's certificate is the one that was named.

    Call it after the handshake and before anything is sent.

    Args:
        der: What ``getpeercert(binary_form=True)`` returned.
        fingerprint: Of the certificate that is expected; see :func:`parse_fingerprint`.

    Raises:
        AuthError: It is another one, or none. Close the connection.
    """
    expected = parse_fingerprint(fingerprint)
    if der is None:
        raise AuthError("the peer showed no certificate, where one was pinned")
    found = certificate_digest(der)
    if not hmac.compare_digest(found, expected):
        raise AuthError(
            f"the peer's certificate has the fingerprint {format_fingerprint(found)}, "
            f"not {format_fingerprint(expected)}: it is another machine, or its "
            "certificate was made anew. Nothing was sent to it"
        )


# ---------------------------------------------------------------------- contexts


def server_context(
    cert: str | os.PathLike[str],
    key: str | os.PathLike[str],
    client_ca: str | os.PathLike[str] | None = None,
) -> ssl.SSLContext:
    """Return the context of who accepts connections. TLS 1.3 only.

    Args:
        cert: PEM file with the certificate, and those that lead to its authority.
        key: PEM file with its key, without a passphrase; ours alone.
        client_ca: PEM file with the authorities that clients' certificates are
            checked against. None asks for no certificate.

    Raises:
        AuthError: A file is missing, unreadable, not ours alone, or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # no session is resumed: every dialer proves itself anew
    _load_pair(context, cert, key)
    if client_ca is not None:
        _load_authorities(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    fingerprint: str | None = None,
) -> ssl.SSLContext:
    """Return the context of who dials. TLS 1.3 only.

    With an authority the name that is dialled must be in the certificate: give it to
    ``wrap_socket`` as ``server_hostname``. With a fingerprint the handshake accepts any
    certificate, and :func:`check_pin` **must** follow before anything is sent.

    Args:
        ca: PEM file with authorities; without it and a fingerprint, the system's.
        cert: PEM file with a certificate of our own, for who asks for one.
        key: Its key. None where ``cert`` holds it too.
        fingerprint: SHA-256 of the one certificate to accept.

    Raises:
        AuthError: A file is missing, unreadable, not ours alone, or does not fit; or
            an authority and a fingerprint are both given.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if fingerprint is not None:
        if ca is not None:
            raise AuthError("give an authority or a fingerprint for TLS, not both")
        parse_fingerprint(fingerprint)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is not None:
        _load_authorities(context, ca)
    else:
        context.load_default_certs()
    if cert is not None:
        _load_pair(context, cert, key or cert)
    elif key is not None:
        raise AuthError(f"the key {os.fspath(key)} has no certificate: give both")
    return context


def _load_pair(
    context: ssl.SSLContext,
    cert: str | os.PathLike[str],
    key: str | os.PathLike[str],
) -> None:
    load_certificate(cert)  # its errors name the file; OpenSSL's do not
    check_private(key, "key")
    where = os.fspath(key)
    try:
        context.load_cert_chain(cert, key, password=_passphrase_of(where))
    except OSError as error:  # SSLError is one
        if "MISMATCH" in str(error):
            reason = f"is not that of the certificate {os.fspath(cert)}"
        else:
            reason = f"cannot be used: {error}"
        raise AuthError(f"the key {where} {reason}") from error


def _passphrase_of(path: str) -> Callable[[], str]:
    def refuse() -> NoReturn:  # else OpenSSL asks at a terminal that nobody watches
        raise AuthError(
            f"the key {path} has a passphrase, which nobody could type here. Take it "
            f"away with: openssl pkey -in {path} -out NEW_KEY"
        )

    return refuse


def _load_authorities(context: ssl.SSLContext, path: str | os.PathLike[str]) -> None:
    where = os.fspath(path)
    load_certificate(where)
    try:
        context.load_verify_locations(where)
    except OSError as error:
        raise AuthError(
            f"the authorities in {where} cannot be used: {error}"
        ) from error


def explain_tls(error: OSError) -> str:
    """Return what a failed handshake means, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the peer's certificate is refused: {error.verify_message or error}. Name "
            "its authority (RLAY_TLS_CA; of a bridge --tls-ca) or its fingerprint, and "
            "dial a name that stands in it"
        )
    reason = getattr(error, "reason", None) or str(error)
    for sign, meaning in _HANDSHAKE_FAILURES:
        if sign in reason.upper():
            return f"{meaning} ({reason})"
    return f"the TLS handshake failed ({reason})"


_HANDSHAKE_FAILURES: Final = (
    ("WRONG_VERSION_NUMBER", "the peer does not speak TLS on this port"),
    ("HTTP_REQUEST", "the peer speaks HTTP, not TLS, on this port"),
    ("PROTOCOL_VERSION", "the peer is too old: TLS 1.3 is needed"),
    ("UNSUPPORTED_PROTOCOL", "the peer is too old: TLS 1.3 is needed"),
    ("CERTIFICATE_REQUIRED", "the peer asks for a certificate, and we have none"),
    ("DID_NOT_RETURN_A_CERTIFICATE", "the peer has no certificate, and one is needed"),
    ("UNKNOWN_CA", "the peer does not know the authority of our certificate"),
    ("CERTIFICATE", "the peer refuses our certificate"),
    ("EOF", "the peer closed the connection during the TLS handshake"),
)


# ------------------------------------------------------------------- environment


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one end proves itself with, and what it expects of the other.

    Attributes:
        token: The shared secret; None where there is none.
        ca: PEM file with authorities.
        fingerprint: Of the one certificate to accept.
        cert: PEM file with a certificate of our own.
        key: PEM file with its key.
    """

    token: bytes | None = field(default=None, repr=False)
    ca: str | None = None
    fingerprint: str | None = None
    cert: str | None = None
    key: str | None = None

    def client_context(self) -> ssl.SSLContext:
        """Return the context to dial with; raises as :func:`client_context`."""
        return client_context(self.ca, self.cert, self.key, self.fingerprint)

    def check_certificate(self, der: bytes | None) -> None:
        """Check the peer's certificate if it is pinned; raises as :func:`check_pin`."""
        if self.fingerprint is not None:
            check_pin(der, self.fingerprint)


def from_environment(environment: Mapping[str, str] | None = None) -> Credentials:
    """Return the credentials of a peer that attaches directly.

    ``RLAY_TOKEN_FILE`` names the file of the token, ``RLAY_TLS_CA`` that of the
    authorities or ``RLAY_TLS_FINGERPRINT`` the one certificate to accept,
    ``RLAY_TLS_CERT`` and ``RLAY_TLS_KEY`` a certificate of our own. Empty is unset.

    Args:
        environment: None for that of this process.

    Raises:
        AuthError: The token cannot be had; see :func:`load_token`.
    """
    found = os.environ if environment is None else environment
    token_file = found.get(TOKEN_FILE_VARIABLE)
    return Credentials(
        token=load_token(token_file) if token_file else None,
        ca=found.get(CA_VARIABLE) or None,
        fingerprint=found.get(FINGERPRINT_VARIABLE) or None,
        cert=found.get(CERT_VARIABLE) or None,
        key=found.get(KEY_VARIABLE) or None,
    )
