"""Commands that are loaded when they are wanted."""

import subprocess
import sys

import click
import pytest

from rlay.cli.application import application
from rlay.cli.lazy import LazyGroup

HEAVY = {"numpy", "gymnasium", "asyncio", "rich", "cryptography"}


def test_every_command_can_be_loaded():
    """And has the name by which it is found."""
    context = click.Context(application)
    for name in application.list_commands(context):
        command = application.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_command_is_loaded_once():
    """The second look finds the same."""
    group = LazyGroup("g", places={"b": "rlay.cli.bridge:bridge"})
    context = click.Context(group)
    assert group.list_commands(context) == ["b"]
    assert group.get_command(context, "b") is group.get_command(context, "b")
    assert group.get_command(context, "c") is None


@pytest.mark.parametrize(
    "name", ["bridge", "ls", "inspect", "clean", "token", "cert", "health"]
)
def test_command_loads_nothing_heavy(name):
    """A bridge has no NumPy, and looking at channels needs none."""
    code = (
        f"import sys; from rlay.cli import main; main([{name!r}, '--help']); "
        f"sys.exit(bool({HEAVY!r} & set(sys.modules)))"
    )
    if name in ("ls", "inspect"):  # they draw tables
        code = code.replace("'rich'", "'-'")
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
