"""A group of commands of which only the one that is wanted is loaded."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands by name, loaded when they are looked at.

    A bridge must not load NumPy, and ``rlay ls`` need not.
    """

    def __init__(self, *args: Any, places: Mapping[str, str], **kwargs: Any) -> None:
        """Take note of where commands are: ``name: "module:attribute"``."""
        super().__init__(*args, **kwargs)
        self._places = dict(places)
        # Names without their commands, for the list and for guesses at typos.
        self.commands.update((name, click.Command(name)) for name in places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded; None where there is none of this name."""
        place = self._places.pop(cmd_name, None)
        if place is not None:
            module, _, attribute = place.partition(":")
            self.commands[cmd_name] = getattr(import_module(module), attribute)
        return super().get_command(ctx, cmd_name)
