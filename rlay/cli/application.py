"""The program ``rlay``: its commands, and what its exit codes mean.

0   done, or stopped on request
1   it failed
2   called wrongly: a typo in an option, an unknown environment
78  refused: a directory that others may write, a name that is not allowed, a bridge
    that others could reach without a token and TLS
"""

from collections.abc import Sequence

import click

from rlay.cli.cert import cert
from rlay.cli.clean import clean
from rlay.cli.demo import demo
from rlay.cli.inspect import inspect_
from rlay.cli.ls import ls
from rlay.cli.serve import serve
from rlay.cli.token import token
from rlay.cli.words import FAILED, exit_code_of
from rlay.errors import RLayError
from rlay.transport.software import SOFTWARE


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(SOFTWARE, "--version", message="%(version)s")
def application() -> None:
    """Gymnasium environments in another process.

    \b
    See it work:            rlay demo
    Serve an environment:   rlay serve CartPole-v1 --name cartpole
    Use it from Python:     env = rlay.ClientEnv("cartpole")

    Exit codes: 0 done, 1 failed, 2 called wrongly, 78 refused.
    """  # noqa: D301 - click reads the backspaces


for _command in (demo, serve, ls, inspect_, clean, token, cert):
    application.add_command(_command)


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
