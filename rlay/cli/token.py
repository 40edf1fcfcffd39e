"""``rlay token``: the secret that two machines share."""

import os
import secrets
import shlex
from typing import Final

import click

from rlay.cli.new_files import PRIVATE, write_new

_TOKEN_BYTES: Final = 32
DEFAULT_FILE: Final = "rlay.token"


@click.group()
def token() -> None:
    """Make the token with which bridges prove themselves to each other."""


@token.command("new")
@click.argument("file", default=DEFAULT_FILE, type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--stdout", is_flag=True, help="Print the token and write no file.")
def token_new(file: str, force: bool, stdout: bool) -> None:
    """Write a new random token to FILE, readable by you alone.

    FILE is rlay.token in the current directory by default. Every machine needs the same
    token, as a file of mode 0600.
    """
    digits = secrets.token_hex(_TOKEN_BYTES)
    if stdout:
        click.echo(digits)
        return
    path = os.path.abspath(file)
    write_new(path, digits.encode() + b"\n", PRIVATE, force=force)
    quoted = shlex.quote(path)
    click.echo(
        f"wrote a token of {_TOKEN_BYTES} random bytes to {path}, mode 0600\n"
        "\n"
        "Copy the file to each machine, and keep its mode:\n"
        f"  scp -p {quoted} HOST:\n"
        "Every bridge, and every program that attaches to one directly, names it:\n"
        f"  rlay bridge --token-file {quoted} ...\n"
        f"  export RLAY_TOKEN_FILE={quoted}"
    )
