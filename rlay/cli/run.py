"""``rlay run``: a game, or several instances of it, started for a channel."""

import os
import re
from typing import Final

import click

from rlay.cli import logs
from rlay.cli.words import (
    CALLED_WRONGLY,
    MAX_CHANNELS,
    ChannelOrAddress,
    directory_option,
    group_names,
    where,
)
from rlay.errors import LaunchFailed
from rlay.processes.child import DEFAULT_GRACE_S
from rlay.processes.headless import ENGINES
from rlay.processes.launch import prepared, subject_of
from rlay.processes.quota import DEFAULT_LIMIT, DEFAULT_WINDOW_S
from rlay.protocol.addresses import is_address

_AUTO: Final = "auto"
_VARIABLE: Final = re.compile(r"(?s)([A-Za-z_][A-Za-z0-9_]*)=(.*)")


class NotStarted(click.ClickException):
    """The command is no program that can be started."""

    exit_code = CALLED_WRONGLY


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--name",
    metavar="N",
    type=ChannelOrAddress(),
    envvar="RLAY_CHANNEL",
    help="Of the channel, or its address at a bridge, tcp://HOST:PORT/N. "
    "Default: $RLAY_CHANNEL, or the program's own name.",
)
@click.option(
    "--instances",
    "-n",
    metavar="K",
    type=click.IntRange(1, MAX_CHANNELS),
    default=1,
    help="Start K of them, for the channels N.0 to N.K-1, where ServerVectorEnv and "
    "ClientVectorEnv look.",
)
@click.option(
    "--headless",
    metavar="ENGINE",
    type=click.Choice([*ENGINES, _AUTO]),
    is_flag=False,
    flag_value=_AUTO,
    help="Open no window. ENGINE is one of "
    f"{', '.join(ENGINES)}; without it, the one that the game's files show.",
)
@click.option(
    "--logs",
    "log_directory",
    metavar="D",
    type=click.Path(file_okay=False),
    help="Write each instance's output to D/NAME.log, and not here.",
)
@click.option(
    "--env",
    metavar="VAR=VALUE",
    multiple=True,
    help="An environment variable of the game. May be repeated.",
)
@click.option(
    "--cwd",
    metavar="D",
    type=click.Path(exists=True, file_okay=False),
    help="Where the game runs. Default: here.",
)
@click.option(
    "--channel-argument/--no-channel-argument",
    default=None,
    help="Whether to append --rlay-channel=NAME to the command. Default: yes, but for "
    "Python programs and where the command has {channel} in it.",
)
@click.option(
    "--connect-timeout",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="End an instance that has not attached to a channel within S seconds. "
    "Default: only say so, after 60.",
)
@click.option(
    "--grace-s",
    metavar="S",
    type=click.FloatRange(min=0),
    default=DEFAULT_GRACE_S,
    show_default=True,
    help="How long an instance may take to end between SIGTERM and SIGKILL.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Start a crashed instance again, "
    f"{DEFAULT_LIMIT} times within {DEFAULT_WINDOW_S / 60:g} minutes.",
)
@directory_option
@click.option("--verbose", "-v", is_flag=True, help="Log more.")
@click.option("--quiet", "-q", is_flag=True, help="Log only warnings and errors.")
def run(
    program: str,
    arguments: tuple[str, ...],
    name: str | None,
    instances: int,
    headless: str | None,
    log_directory: str | None,
    env: tuple[str, ...],
    cwd: str | None,
    channel_argument: bool | None,
    connect_timeout: float | None,
    grace_s: float,
    restart: bool,
    directory: str | None,
    verbose: bool,
    quiet: bool,
) -> int:
    """Run a game, and end it and all that it started when this ends.

    \b
    rlay run -- ./Game.x86_64 --level=3
    rlay run --name game -n 4 --headless --logs logs -- ./Game.x86_64
    rlay run --name game --restart -- python game.py

    The game gets the name of its channel in the variable RLAY_CHANNEL and as the
    argument --rlay-channel=NAME; {channel} in an argument stands for it too. Its
    trainer, or its client, may be started before or after it.

    It runs until all instances have ended. Ctrl-C, SIGTERM and SIGKILL end them too.
    Exit code 2 says that the program cannot be executed, 1 that an instance failed.
    """  # noqa: D301 - click reads the backspaces
    logs.configure(verbose=verbose, quiet=quiet)
    name = name or _channel_of(subject_of([program, *arguments]))
    if instances > 1 and not is_address(name):
        group_names(name, instances)
    launch = {
        "command": [program, *arguments],
        "instances": instances,
        "headless": headless or False,
        "cwd": cwd,
        "env": dict(map(_variable, env)),
        "log_directory": log_directory,
        "channel_argument": channel_argument,
        "grace": grace_s,
    }
    from rlay.cli.running import run_launch

    try:
        launched = prepared(launch, name, where(directory))
    except LaunchFailed as error:
        raise NotStarted(str(error)) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        return run_launch(launched, restart=restart, connect_timeout_s=connect_timeout)
    except LaunchFailed as error:  # only the system knows of what it is made
        raise NotStarted(str(error)) from None


def _channel_of(program: str) -> str:
    stem = os.path.basename(os.path.normpath(program)).partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:40] or "game"


def _variable(text: str) -> tuple[str, str]:
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise click.UsageError(f"--env {text!r}: write VAR=VALUE")
    return match[1], match[2]
