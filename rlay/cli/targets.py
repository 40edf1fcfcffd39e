"""What a TARGET names, and what it may have meant."""

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from rlay.cli.words import CALLED_WRONGLY
from rlay.envs.sources import Target, load_target
from rlay.errors import ChannelError

_CUTOFF: Final = 0.6
_MOST: Final = 3


class UnknownTarget(click.ClickException):
    """There is nothing of that name; the message says what was meant, perhaps."""

    exit_code = CALLED_WRONGLY


def find_target(text: str) -> Target:
    """Return what ``text`` names.

    Raises:
        UnknownTarget: There is nothing of that name.
        Exception: What importing its module raised.
    """
    try:
        return load_target(text)
    except ChannelError as error:
        raise UnknownTarget(_with_remedy(text, str(error))) from None


def _with_remedy(text: str, message: str) -> str:
    meant = suggestions(text)
    if not meant:
        return message
    *others, last = meant
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"{message}.\nDid you mean {listed}?"


def suggestions(text: str) -> list[str]:
    """Return targets that are spelt like ``text``, the closest first."""
    import gymnasium

    module_name, colon, rest = text.partition(":")
    if not colon:
        found = _close(text, gymnasium.registry)
        # A file or a module was named where module:callable is wanted.
        stem = text.removesuffix(".py")
        if not found and _is_module(stem):
            found = [f"{stem}:{name}" for name in _factories(stem)]
        return found
    if module_name not in sys.modules:
        return [f"{name}:{rest}" for name in _close(module_name, _modules_here())]
    names = [n for n in vars(sys.modules[module_name]) if not n.startswith("_")]
    return [f"{module_name}:{name}" for name in _close(rest, names)]


def _close(text: str, names: Iterable[str]) -> list[str]:
    by_folded = {name.casefold(): name for name in names}
    folded = text.casefold()
    found = difflib.get_close_matches(folded, by_folded, _MOST, _CUTOFF)
    # "CartPole" stands for its newest version, which difflib may rank below others.
    versions = [name for name in by_folded if name.rpartition("-v")[0] == folded]
    ordered = dict.fromkeys([*sorted(versions, key=_version, reverse=True), *found])
    return [by_folded[name] for name in ordered][:_MOST]


def _version(name: str) -> int:
    digits = name.rpartition("-v")[2]
    return int(digits) if digits.isdigit() else 0


def _modules_here() -> list[str]:
    return sorted(
        path.stem
        for path in Path.cwd().iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    )


def _is_module(name: str) -> bool:
    return os.path.isfile(f"{name}.py") and name.isidentifier()


def _factories(module_name: str) -> list[str]:
    """Return what a file in this directory defines that may be a factory."""
    import ast

    try:
        tree = ast.parse(Path(f"{module_name}.py").read_text())
    except (OSError, SyntaxError, ValueError):
        return []
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    ][:_MOST]
