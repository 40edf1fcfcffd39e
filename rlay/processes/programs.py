"""The program of a command: found and looked at before it is started."""

import difflib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rlay.errors import LaunchFailed

_ALIKE: Final = 0.6
_MOST_MEANT: Final = 3


def words_of(command: object) -> list[str]:
    """Return the words of a command: a program, or a program and its arguments.

    Raises:
        ValueError: It is empty, or no command at all.
    """
    if isinstance(command, str | os.PathLike):
        words = [os.fspath(command)]
    elif isinstance(command, Sequence) and not isinstance(command, bytes | bytearray):
        words = [os.fspath(word) for word in command]
    else:
        raise ValueError(  # noqa: TRY004 - as for any other command that is none
            f"{command!r} is no command: give a program, or a list of a program and "
            "its arguments"
        )
    if not words or not words[0] or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{command!r} is no command: it names no program")
    return words


def find_program(word: str, cwd: str | None, env: Mapping[str, str]) -> str:
    """Return the path of a program, which exists and may be executed.

    Args:
        word: A path, from ``cwd`` or from here; or a name on ``$PATH``.
        cwd: Where it will run; None for here.
        env: Its environment variables.

    Raises:
        LaunchFailed: There is none, or it cannot be executed.
    """
    if os.sep not in word:
        found = shutil.which(word, path=env.get("PATH"))
        if found is None:
            raise _cannot(word, f"there is no such program on $PATH.{_here(word, cwd)}")
        return found
    word = os.path.expanduser(word)
    places = [os.path.join(cwd or os.curdir, word), word]
    path = os.path.abspath(next((p for p in places if os.path.exists(p)), word))
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise _cannot(word, f"{error.strerror}: {path}.{_meant(path)}") from None
    if stat.S_ISDIR(mode):
        raise _cannot(word, f"it is a directory.{_programs_in(path)}")
    if not os.access(path, os.X_OK):
        raise _cannot(
            word, f"it is not marked as executable. Mark it with: chmod +x {path}"
        )
    return path


def not_executed(word: str, reason: str) -> LaunchFailed:
    """Return the error for a program that is there, but did not start.

    Args:
        word: The program.
        reason: What the system said.
    """
    if "Exec format error" in reason:
        reason += (
            ". It is a program for another system or processor, or a script without a "
            "first line such as #!/bin/sh"
        )
    elif "No such file" in reason:
        reason += (
            ". The interpreter that its first line names, or its loader, is missing"
        )
    return _cannot(word, reason)


def _cannot(word: str, reason: str) -> LaunchFailed:
    return LaunchFailed(f"{word!r} cannot be executed: {reason.rstrip()}", "execute")


def _here(word: str, cwd: str | None) -> str:
    """Say what a bare name may have meant: a shell does not look here either."""
    if " " in word.strip():
        return (
            " It is one word with a space in it: give a list, with each argument as a "
            "word of its own"
        )
    if os.path.isfile(os.path.join(cwd or os.curdir, word)):
        return f" There is a file of that name here: write ./{word}"
    return ""


def _meant(path: str) -> str:
    """Say which files are spelt like a missing one."""
    first = path.split(" ")[0]
    if first != path and os.path.isfile(first):
        return f" {first} exists: give a list, with each argument as a word of its own"
    folder, name = os.path.split(path)
    with_names = {n.casefold(): n for n in _programs(folder)}
    found = difflib.get_close_matches(name.casefold(), with_names, _MOST_MEANT, _ALIKE)
    meant = [os.path.join(folder, with_names[each]) for each in found]
    return f" Did you mean {' or '.join(meant)}?" if meant else ""


def _programs_in(folder: str) -> str:
    found = sorted(_programs(folder))[:_MOST_MEANT]
    listed = ", ".join(os.path.join(folder, name) for name in found)
    return f" Programs in it: {listed}" if found else ""


def _programs(folder: str) -> list[str]:
    try:
        files = [path for path in Path(folder).iterdir() if path.is_file()]
    except OSError:
        return []
    return [path.name for path in files if os.access(path, os.X_OK)]
