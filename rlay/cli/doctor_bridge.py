"""What ``rlay doctor`` looks at around the bridge of this machine."""

import datetime
import os
from collections.abc import Iterator
from typing import Final

from rlay.bridge.settings import BridgeSettings, SettingsError, check_settings
from rlay.cli.findings import Finding, info, ok, problem, warning
from rlay.cli.log_lines import one_line
from rlay.errors import AuthError, RLayError
from rlay.transport.bridge_status import read_status
from rlay.transport.credentials import (
    certificate_digest,
    client_context,
    format_fingerprint,
    load_certificate,
    load_token,
    server_context,
)

_SOON: Final = datetime.timedelta(days=14)


def settings(found: BridgeSettings) -> Iterator[Finding]:
    """Whether a bridge with these settings would start."""
    if not found.listen and not found.connect:
        yield info("settings", "no bridge is set up here by variables or a file")
        return
    try:
        check_settings(found)
    except AuthError as error:
        text, _, remedy = str(error).partition(". ")
        yield problem("settings", text, one_line(remedy.replace("\n", " ")))
    except SettingsError as error:
        yield problem("settings", one_line(str(error)), "see the message")
    else:
        places = [*map(str, found.listen), *(f"to {each}" for each in found.connect)]
        yield ok("settings", f"a bridge for {', '.join(places)} would start")
    if found.insecure:
        yield warning(
            "settings",
            "--insecure: others may read and change what is said",
            "give a token and TLS: rlay token new, rlay cert new",
        )


def token(found: BridgeSettings) -> Iterator[Finding]:
    """Whether the token can be read, by us alone."""
    if found.token_file is None:
        return
    try:
        load_token(found.token_file)
    except AuthError as error:
        yield problem("token", str(error), f"chmod 600 {found.token_file}, or make one")
    else:
        yield ok("token", f"{found.token_file} is ours alone")


def certificates(found: BridgeSettings) -> Iterator[Finding]:
    """Whether certificates fit their keys, and for how long."""
    try:
        if found.tls_cert is not None and found.tls_key is not None:
            server_context(found.tls_cert, found.tls_key, found.tls_client_ca)
            pin = format_fingerprint(
                certificate_digest(load_certificate(found.tls_cert))
            )
            yield ok("TLS", f"{found.tls_cert} and its key fit; fingerprint {pin}")
        if found.dials_tls:
            client_context(
                found.tls_ca, found.tls_cert, found.tls_key, found.tls_fingerprint
            )
            yield ok("TLS", "what dialing needs can be read")
    except AuthError as error:
        yield problem("TLS", str(error), "see the message, or rlay cert new")
        return
    for path in (found.tls_cert, found.tls_ca, found.tls_client_ca):
        if path is not None:
            yield from validity(path, datetime.datetime.now(datetime.UTC))


def validity(path: str, now: datetime.datetime) -> Iterator[Finding]:
    """For how long a certificate is valid, and for which names.

    Args:
        path: PEM file.
        now: When.
    """
    from cryptography import x509

    found = x509.load_der_x509_certificate(load_certificate(path))
    until = found.not_valid_after_utc
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        listed = ", ".join(str(name.value) for name in names.value)
    except x509.ExtensionNotFound:
        listed = ""
    facts = f"{path} is valid until {until:%Y-%m-%d}, for {listed or 'no name'}"
    fix = f"rlay cert new --force --dir {os.path.dirname(os.path.abspath(path))}"
    if now < found.not_valid_before_utc:
        begin = found.not_valid_before_utc
        yield problem(
            "TLS",
            f"{path} is valid only from {begin:%Y-%m-%d %H:%M} UTC on",
            "set the clock of this machine, or of the one that made it",
        )
    elif until <= now:
        yield problem("TLS", f"{path} has expired on {until:%Y-%m-%d}", fix)
    elif until - now < _SOON:
        yield warning("TLS", facts, fix)
    else:
        yield ok("TLS", facts)


def running(directory: str | None) -> Iterator[Finding]:
    """What the bridge that runs here says of itself."""
    try:
        status = read_status(directory)
    except RLayError:
        return  # the check of the directory has said so
    if status is None:
        yield info("bridge", "none serves this directory now")
        return
    yield ok(
        "bridge",
        f"process {status['pid']} serves this directory with {len(status['links'])} "
        f"links, {status['shared']} shared and {status['mirrored']} mirrored channels",
    )
    for dialed in status["dialed"]:
        if dialed["problem"]:
            yield warning(
                "bridge",
                f"no link to {dialed['where']}: {one_line(dialed['problem'])}",
                f"rlay doctor --peer {dialed['where']}",
            )
