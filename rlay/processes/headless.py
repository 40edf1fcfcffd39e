"""How a game is told to open no window: each engine has words of its own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_DUMMIES: Final = {
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
    "QT_QPA_PLATFORM": "offscreen",
}


@dataclass(frozen=True, slots=True)
class Headless:
    """What one engine needs.

    Attributes:
        before: Words in front of the command.
        first: Words right behind the program.
        last: Words at the end.
        variables: Environment variables.
    """

    before: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command with what it needs; words that it has stay once."""
        program, *others = words
        first = [word for word in self.first if word not in others]
        last = [] if set(self.last) <= set(others) else self.last
        return [*self.before, program, *first, *others, *last]


ENGINES: Final = {
    # -logFile - writes the log to stdout instead of to a file of the player's.
    "unity": Headless(last=("-batchmode", "-nographics", "-logFile", "-")),
    "unreal": Headless(
        last=("-nullrhi", "-nosound", "-unattended", "-nosplash", "-stdout")
    ),
    "godot": Headless(first=("--headless",)),
    "sdl": Headless(variables=_DUMMIES),
    "xvfb": Headless(before=("xvfb-run", "-a")),
}
"""The words of each engine; ``docs/guide/launch.md`` explains them."""

_SUFFIXES: Final = (".x86_64", ".x86", ".arm64", ".exe", ".app", ".sh")


def headless_engine(headless: bool | str, program: str) -> str | None:
    """Return whose words to use, or None for a game with its window.

    Args:
        headless: An engine, True for the one that the program's files show, or False.
        program: Its path.

    Raises:
        ValueError: There is no such engine.
    """
    if not headless:
        return None
    if headless is True or headless == "auto":
        return engine_of(program)
    if headless not in ENGINES:
        raise ValueError(
            f"headless={headless!r}: choose one of {', '.join(ENGINES)}, or True for "
            "the engine that the game's files show"
        )
    return headless


def engine_of(program: str) -> str:
    """Return the engine that the files beside a program show; ``sdl`` for any other.

    Its variables do no harm where a game does not read them.
    """
    path = Path(program)
    name = path.name.casefold()
    stem = path.name
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    beside = path.parent
    if beside.joinpath(f"{stem}_Data").is_dir():
        return "unity"
    unreal_name = name.startswith(("unrealeditor", "ue4editor"))
    unreal_place = f"{os.sep}Binaries{os.sep}Linux" in os.path.abspath(program)
    if unreal_name or unreal_place or beside.joinpath("Engine", "Binaries").is_dir():
        return "unreal"
    if beside.joinpath(f"{stem}.pck").is_file():
        return "godot"
    if name.startswith("godot") and not name.startswith("godot3"):
        return "godot"
    return "sdl"
