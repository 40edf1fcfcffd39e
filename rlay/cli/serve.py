"""``rlay serve``: an environment, for a ``ClientEnv`` in another process."""

from dataclasses import replace
from typing import Any

import click

from rlay.cli import logs
from rlay.cli.words import (
    MAX_CHANNELS,
    ChannelOrAddress,
    JsonObject,
    directory_option,
    group_names,
    where,
)
from rlay.processes.quota import DEFAULT_LIMIT, DEFAULT_WINDOW_S
from rlay.processes.served import ServeCommand
from rlay.protocol.addresses import is_address, parse_address
from rlay.protocol.constants import MAX_NUM_ENVS


@click.command()
@click.argument("target")
@click.option(
    "--name",
    "-n",
    metavar="N",
    type=ChannelOrAddress(),
    envvar="RLAY_CHANNEL",
    required=True,
    help="Of the channel, or its address at a bridge, tcp://HOST:PORT/N. "
    "Default: $RLAY_CHANNEL.",
)
@click.option(
    "--num-envs",
    metavar="K",
    type=click.IntRange(1, MAX_NUM_ENVS),
    default=1,
    help="Environments, stepped together by a ClientVectorEnv.",
)
@click.option(
    "--channels",
    metavar="C",
    type=click.IntRange(1, MAX_CHANNELS),
    help="Serve N.0 to N.C-1, each with an environment and a process of its own; "
    'ClientEnv("N.*") takes the first free one.',
)
@click.option(
    "--processes",
    metavar="P",
    type=click.IntRange(1, MAX_CHANNELS),
    help="Divide the K environments among P processes, on the channels N.0 to N.P-1; "
    'ClientVectorEnv("N") steps all of them. Implies --restart.',
)
@click.option(
    "--kwargs",
    metavar="JSON",
    type=JsonObject(),
    help="Keyword arguments of the environment.",
)
@click.option(
    "--render-mode", metavar="M", help="How it renders. Default: the client decides."
)
@click.option(
    "--allow",
    metavar="NAME",
    multiple=True,
    help="An attribute or a method that the client may use. May be repeated.",
)
@click.option("--once", is_flag=True, help="End when the first client has left.")
@click.option(
    "--restart",
    is_flag=True,
    help="Start a crashed environment again, "
    f"{DEFAULT_LIMIT} times within {DEFAULT_WINDOW_S / 60:g} minutes.",
)
@directory_option
@click.option("--verbose", "-v", is_flag=True, help="Log more.")
@click.option("--quiet", "-q", is_flag=True, help="Log only warnings and errors.")
def serve(
    target: str,
    name: str,
    num_envs: int,
    channels: int | None,
    processes: int | None,
    kwargs: dict[str, Any] | None,
    render_mode: str | None,
    allow: tuple[str, ...],
    once: bool,
    restart: bool,
    directory: str | None,
    verbose: bool,
    quiet: bool,
) -> int:
    """Serve an environment to algorithms in other processes.

    TARGET is a Gymnasium id, module:ID, or module:callable (which returns an
    environment). Modules are found in the current directory too.

    \b
    rlay serve CartPole-v1 --name cartpole
    rlay serve simulator:make_env --name sim --kwargs '{"level": 3}' --restart
    rlay serve CartPole-v1 --name cartpole --channels 4
    rlay serve CartPole-v1 --name poles --num-envs 64 --processes 4

    It serves one client after the other until it is stopped: Ctrl-C or SIGTERM say
    goodbye to the client and leave no files. An environment that calls sys.exit(code)
    ends it with that code.
    """  # noqa: D301 - click reads the backspaces
    _check_combination(name, num_envs, channels, processes, restart)
    console = logs.configure(verbose=verbose, quiet=quiet)
    flags = {"--once": once, "--verbose": verbose, "--quiet": quiet}
    options = tuple(flag for flag, wanted in flags.items() if wanted)
    command = ServeCommand(
        target, where(directory), kwargs, num_envs, render_mode, allow, options
    )
    if processes is None and channels is None and not restart:
        from rlay.cli.serving import serve_here

        return serve_here(command, name, once=once, console=console)
    from rlay.cli.supervising import serve_in_processes

    if processes is not None:
        commands = _divided(command, name, processes)
        vector = f"rlay.ClientVectorEnv({name!r}, num_envs={num_envs})"
        return serve_in_processes(
            commands, restart=True, vector=vector, console=console
        )
    names = [name] if channels is None else group_names(name, channels)
    commands = dict.fromkeys(names, command)
    return serve_in_processes(commands, restart=restart, console=console)


def _check_combination(
    name: str,
    num_envs: int,
    channels: int | None,
    processes: int | None,
    restart: bool,
) -> None:
    """Refuse options that do not go together.

    Raises:
        click.UsageError: The message says which, and what to do.
    """
    if channels is not None and processes is not None:
        raise click.UsageError(
            "--channels and --processes do not go together: use --processes for one "
            "ClientVectorEnv over all environments, --channels for many ClientEnvs "
            "that take one each"
        )
    if processes is not None and processes > num_envs:
        raise click.UsageError(
            f"--processes {processes} for --num-envs {num_envs}: each process needs an "
            f"environment. Raise --num-envs to {processes}, or lower --processes to "
            f"{num_envs}"
        )
    given = {"--channels": channels, "--processes": processes, "--restart": restart}
    words = [word for word, value in given.items() if value]
    if is_address(name) and words:
        address = parse_address(name)
        raise click.UsageError(
            f"{words[0]} is for channels of this machine, not for an address: use "
            f"--name {address.name}, and share it with: rlay bridge --connect "
            f"{address.endpoint}"
        )


def _divided(
    command: ServeCommand, name: str, processes: int
) -> dict[str, ServeCommand]:
    """Return the command of each channel; the first ones may carry one more."""
    each, more = divmod(command.num_envs, processes)
    return {
        channel: replace(command, num_envs=each + (number < more))
        for number, channel in enumerate(group_names(name, processes))
    }
