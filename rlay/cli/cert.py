"""``rlay cert``: a certificate for a machine that has none."""

import contextlib
import datetime
import ipaddress
import os
import re
import shlex
import socket
from typing import Final

import click

from rlay.cli.new_files import PRIVATE, PUBLIC, write_new
from rlay.cli.words import Failed
from rlay.transport.credentials import certificate_digest, format_fingerprint

CERT_FILE: Final = "rlay.crt"
KEY_FILE: Final = "rlay.key"
_DEFAULT_DAYS: Final = 365
_MOST_DAYS: Final = 3650
_MOST_CHARACTERS: Final = 253
# The underscore is for names that docker compose gives.
_HOST: Final = re.compile(
    r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*"
)
_HERE: Final = ("localhost", "127.0.0.1", "::1")


@click.group()
def cert() -> None:
    """Make a certificate for TLS."""


@cert.command("new")
@click.option(
    "--dir",
    "directory",
    metavar="D",
    type=click.Path(file_okay=False),
    default=".",
    help=f"Where {CERT_FILE} and {KEY_FILE} are written. Default: here.",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name or an address of this machine, as others dial it. May be repeated. "
    "Default: its host name. localhost is always in it.",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, _MOST_DAYS),
    default=_DEFAULT_DAYS,
    help=f"For how long it is valid. Default: {_DEFAULT_DAYS}.",
)
@click.option("--force", is_flag=True, help="Replace the files if they are there.")
def cert_new(directory: str, hosts: tuple[str, ...], days: int, force: bool) -> None:
    """Write a self-signed certificate and its key.

    The other machine is told the fingerprint, or gets the file of the certificate. The
    key stays here.
    """
    from rlay.cli.certificates import make_certificate  # takes a tenth of a second

    named = [_checked(host) for host in hosts or (socket.gethostname(),)]
    names = list(dict.fromkeys([*named, *_HERE]))
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    der, cert_pem, key_pem = make_certificate(names, until)
    where = os.path.abspath(directory)
    cert_path, key_path = os.path.join(where, CERT_FILE), os.path.join(where, KEY_FILE)
    for path in (cert_path, key_path):  # not one without the other
        if os.path.lexists(path) and not force:
            raise Failed(f"{path} is there already; replace both files with --force")
    write_new(key_path, key_pem, PRIVATE, force=force)
    write_new(cert_path, cert_pem, PUBLIC, force=force)
    pin = format_fingerprint(certificate_digest(der))
    token = "--token-file rlay.token"
    click.echo(
        f"wrote {cert_path}\n"
        f"  and {key_path}, mode 0600\n"
        f"for {', '.join(names)}\n"
        f"valid until {until:%Y-%m-%d}\n"
        f"fingerprint {pin}\n"
        "\n"
        "Here:\n"
        "  rlay bridge --listen 0.0.0.0:7450 --tls-cert "
        f"{shlex.quote(cert_path)} --tls-key {shlex.quote(key_path)} {token}\n"
        "On the other machine:\n"
        f"  rlay bridge --connect {_dialled(names[0])}:7450 "
        f"--tls-fingerprint {pin} {token}"
    )


def _checked(host: str) -> str:
    """Return a host as it stands in a certificate; an address without brackets."""
    bare = host.removeprefix("[").removesuffix("]")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(bare))
    if len(host) > _MOST_CHARACTERS or not _HOST.fullmatch(host):
        raise click.BadParameter(
            f"{host!r} is neither a host name nor an IP address. A name of other "
            "letters is given in its xn-- form, and without a port",
            param_hint="--host",
        )
    return host


def _dialled(name: str) -> str:
    return f"'[{name}]'" if ":" in name else shlex.quote(name)
