"""The program ``rlay``: its commands, and what its exit codes mean.

0   done, or stopped on request
1   it failed
2   called wrongly: a typo in an option, an unknown environment
78  refused: a directory that others may write, a name that is not allowed, a bridge
    that others could reach without a token and TLS
"""

from collections.abc import Sequence
from typing import Final

import click

from rlay.cli.lazy import LazyGroup
from rlay.cli.words import FAILED, exit_code_of
from rlay.errors import RLayError
from rlay.transport.software import SOFTWARE

_COMMANDS: Final = {
    "bench": "rlay.cli.bench:bench",
    "bridge": "rlay.cli.bridge:bridge",
    "cert": "rlay.cli.cert:cert",
    "clean": "rlay.cli.clean:clean",
    "demo": "rlay.cli.demo:demo",
    "doctor": "rlay.cli.doctor:doctor",
    "health": "rlay.cli.health:health",
    "inspect": "rlay.cli.inspect:inspect_",
    "ls": "rlay.cli.ls:ls",
    "run": "rlay.cli.run:run",
    "serve": "rlay.cli.serve:serve",
    "token": "rlay.cli.token:token",
}


@click.group(
    cls=LazyGroup,
    places=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(SOFTWARE, "--version", message="%(version)s")
def application() -> None:
    """Gymnasium environments in another process, or on another machine.

    \b
    See it work:            rlay demo
    Serve an environment:   rlay serve CartPole-v1 --name cartpole
    Run a game:             rlay run -- ./Game.x86_64
    Use it from Python:     env = rlay.ClientEnv("cartpole")
    Reach another machine:  rlay bridge --help

    Exit codes: 0 done, 1 failed, 2 called wrongly, 78 refused.
    """  # noqa: D301 - click reads the backspaces


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None for ``sys.argv``.

    Returns:
        The exit code.
    """
    try:
        code = application.main(arguments, prog_name="rlay", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Stopped.", err=True)
        return FAILED
    except RLayError as error:
        click.echo(f"Error: {error}", err=True)
        return exit_code_of(error)
    return code if isinstance(code, int) else 0
