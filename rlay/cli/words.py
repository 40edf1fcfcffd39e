"""Options and arguments that several commands share, and their errors."""

import json
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from rlay.errors import AuthError, ChannelError, ChannelPermission, RLayError
from rlay.protocol.addresses import is_address, parse_address
from rlay.protocol.names import check_name

FAILED: Final = 1
CALLED_WRONGLY: Final = 2
REFUSED: Final = 78
MAX_CHANNELS: Final = 1024
"""Of one group: each is a process, or two."""

_Command = TypeVar("_Command", bound=Callable[..., Any])
_AROUND: Final = 20


class Refused(click.ClickException):
    """The configuration is refused."""

    exit_code = REFUSED


class Failed(click.ClickException):
    """What was asked for cannot be done now."""

    exit_code = FAILED


def exit_code_of(error: RLayError) -> int:
    """Return the exit code that an error stands for."""
    refused = isinstance(error, (AuthError, ChannelPermission))
    return REFUSED if refused else FAILED


class ChannelName(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    """The name of a channel; one that is not allowed is refused."""

    name = "name"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name.

        Raises:
            Refused: It may not name a channel.
        """
        try:
            return check_name(value)
        except ChannelError as error:
            raise Refused(str(error)) from None


class ChannelOrAddress(ChannelName):
    """The name of a channel, or its address at a bridge."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name or the address; fail if an address is written wrongly.

        Raises:
            Refused: It is a name that may not name a channel.
        """
        if not is_address(value):
            return super().convert(value, param, ctx)
        try:
            return str(parse_address(value))
        except ChannelError as error:
            self.fail(str(error))


def group_names(name: str, count: int) -> list[str]:
    """Return the names of a group's channels.

    Raises:
        Refused: The longest of them is too long.
    """
    names = [f"{name}.{number}" for number in range(count)]
    try:
        check_name(names[-1])
    except ChannelError as error:
        raise Refused(str(error)) from None
    return names


class JsonObject(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    """A JSON object, such as ``{"render_fps": 30}``."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Return the object; fail with the place of the first mistake."""
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except json.JSONDecodeError as error:
            start = max(0, error.pos - _AROUND)
            line = value[start : error.pos + _AROUND].replace("\n", " ")
            self.fail(
                f"not JSON: {error.msg} at character {error.pos + 1}\n"
                f"    {line}\n    {' ' * (error.pos - start)}^"
            )
        if not isinstance(found, dict):
            self.fail(
                f"{value!r} is JSON, but not an object such as "
                '{"sutton_barto_reward": true}'
            )
        return found


def directory_option(command: _Command) -> _Command:
    """Add ``--directory``."""
    return click.option(
        "--directory",
        metavar="D",
        type=click.Path(file_okay=False),
        help="Where channels live. Default: $RLAY_DIR, or /dev/shm/rlay-<uid>.",
    )(command)


def json_option(command: _Command) -> _Command:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for programs."
    )(command)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def where(directory: str | None) -> str:
    """Return the directory of channels, for messages."""
    from rlay.transport.directory import default_path

    return os.path.abspath(directory or default_path())
