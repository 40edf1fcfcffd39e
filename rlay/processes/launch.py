"""``rlay.launch`` and ``launch=``: games that are started for a channel."""

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rlay.processes.child import DEFAULT_GRACE_S
from rlay.processes.headless import ENGINES, Headless, headless_engine
from rlay.processes.instances import Launch
from rlay.processes.launched import CHANNEL_ARGUMENT, LaunchedProgram, variables_for
from rlay.processes.programs import find_program, words_of
from rlay.processes.quota import DEFAULT_LIMIT, RestartQuota
from rlay.protocol.addresses import is_address, parse_address
from rlay.protocol.names import check_name
from rlay.transport.directory import default_path

Command = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
LaunchWish = Command | Mapping[str, Any]
"""What ``launch=`` takes: a command, or the arguments of :func:`launch` by name."""

_NAME_CHARACTERS: Final = 40
_PYTHON: Final = re.compile(r"python[0-9.]*|.*\.py")


def launch(
    command: Command,
    *,
    name: str | None = None,
    instances: int = 1,
    headless: bool | str = False,
    directory: str | os.PathLike[str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str | None] | None = None,
    log_directory: str | os.PathLike[str] | None = None,
    channel_argument: bool | None = None,
    grace: float = DEFAULT_GRACE_S,
    restarts: int = DEFAULT_LIMIT,
) -> Launch:
    """Start a game, or several instances of it, and return who owns them.

    Each instance gets the name of its channel in the variable ``RLAY_CHANNEL`` and as
    the argument ``--rlay-channel=NAME``, and the directory of channels in ``RLAY_DIR``.
    They end with :meth:`Launch.close`, when the launch is collected, and when this
    process ends, however that happens, with everything that they started.

    Example::

        with rlay.launch(["./Game.x86_64", "--level=3"], name="game", instances=4):
            envs = rlay.ServerVectorEnv("game", num_envs=4)

    Args:
        command: A program, or a list of a program and its arguments. ``{channel}`` in
            an argument stands for the channel's name, and then nothing is appended.
        name: Of the channel, or its address at a bridge; None for ``$RLAY_CHANNEL``.
            Several instances have ``name.0``, ``name.1`` ..., where vectors look.
        instances: How many to start.
        headless: True for no window, as the engine that the game's files show knows
            it; or ``unity``, ``unreal``, ``godot``, ``sdl`` or ``xvfb``.
        directory: Where channels live; None for ``$RLAY_DIR`` or the default.
        cwd: Where the programs run; None for here.
        env: Environment variables that are added to this process's, or removed (None).
        log_directory: Where each instance's output goes, to ``NAME.log``; None for
            this process's stderr.
        channel_argument: Whether ``--rlay-channel=NAME`` is appended; None for all but
            Python programs, which read the variable.
        grace: Seconds that an instance may take to end between SIGTERM and SIGKILL.
        restarts: How often within 10 minutes each may be started again by an
            environment that owns it.

    Raises:
        ValueError: The arguments do not go together.
        LaunchFailed: The program cannot be executed; the message says why.
    """
    launched = prepared(
        {
            "command": command,
            "instances": instances,
            "headless": headless,
            "cwd": cwd,
            "env": env,
            "log_directory": log_directory,
            "channel_argument": channel_argument,
            "grace": grace,
            "restarts": restarts,
        },
        name,
        directory,
    )
    try:
        launched.start()
    except BaseException:
        launched.close(hurry=True)
        raise
    return launched


_OPTIONS: Final[dict[str, Any]] = {
    "command": None,
    "instances": None,
    "headless": False,
    "cwd": None,
    "env": None,
    "log_directory": None,
    "channel_argument": None,
    "grace": DEFAULT_GRACE_S,
    "restarts": DEFAULT_LIMIT,
}


def prepared(
    launch: LaunchWish | None,
    name: str | Sequence[str] | None,
    directory: str | os.PathLike[str] | None,
    *,
    instances: int | None = None,
    address: str = "",
) -> Launch:
    """Return what ``launch=`` stands for, ready to be started.

    Args:
        launch: A command, or the arguments of :func:`launch` by name; None for
            nothing.
        name: Of the channel, or of each instance's.
        directory: Where channels live.
        instances: How many, where ``launch`` does not say.
        address: Where they may attach directly, as ``tcp://127.0.0.1:7450``; empty
            where nobody listens.

    Raises:
        ValueError: The arguments do not go together.
        LaunchFailed: The program cannot be executed.
    """
    if launch is None:
        return Launch()
    options = {**_OPTIONS, **_wishes(launch)}
    count = _count(options["instances"], instances, name)
    words, cwd = words_of(options["command"]), _existing(options["cwd"])
    variables = variables_for(options["env"], None)
    program = find_program(words[0], cwd, variables)
    engine = headless_engine(options["headless"], program)
    needs = Headless() if engine is None else ENGINES[engine]
    if engine is not None:
        variables = variables_for(options["env"], needs.variables)
    wanted = options["channel_argument"]
    if wanted is None:
        wanted = not _is_python(words)
    where = os.path.abspath(directory or default_path())
    subject = subject_of(words)
    names = _names(name, words, count)
    logs = _made(options["log_directory"])
    programs = []
    for each in names:
        place = f"{address}/{each}" if address else each
        own = {**variables, "RLAY_CHANNEL": each, "RLAY_DIR": where}
        if address:
            own["RLAY_ADDRESS"] = place
        with_names = _named(words, each, place, append=wanted)
        command = needs.words([program, *with_names[1:]])
        find_program(command[0], cwd, own)
        prefix = "" if len(names) == 1 else f"[{each}] "
        short = parse_address(each).name if is_address(each) else each
        programs.append(
            LaunchedProgram(
                each,
                where,
                cwd,
                own,
                RestartQuota(options["restarts"]),
                words=command,
                shown=subject,
                grace_s=float(options["grace"]),
                echo=None if logs else prefix,
                log=os.path.join(logs, f"{short}.log") if logs else "",
            )
        )
    return Launch(programs)


def channel_for(launch: object) -> str:
    """Return the name of a channel for what is launched, where none is given."""
    return os.environ.get("RLAY_CHANNEL") or drawn_name(launch)


def drawn_name(launch: object) -> str:
    """Return a channel's name that nobody else has, and that says what it is for."""
    stem = os.path.basename(subject_of(words_of(_wishes(launch)["command"])))
    shown = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:_NAME_CHARACTERS]
    return f"{shown or 'launch'}-{secrets.token_hex(6)}"


def _wishes(launch: object) -> Mapping[str, Any]:
    """Return the arguments that ``launch=`` names, among them the command."""
    if not isinstance(launch, Mapping):
        return {"command": launch}
    unknown = sorted(map(repr, launch.keys() - _OPTIONS.keys()))
    if unknown or "command" not in launch:
        wrong = f"has no {', '.join(unknown)}" if unknown else "needs a command"
        raise ValueError(f"launch={launch!r} {wrong}: it may have {list(_OPTIONS)}")
    return launch


def subject_of(words: Sequence[str]) -> str:
    """Return what a command is about: of Python, the script or the module."""
    if _is_python(words) and len(words) > 1:
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        return script or words[0]
    return words[0]


def _is_python(words: Sequence[str]) -> bool:
    return _PYTHON.fullmatch(os.path.basename(words[0])) is not None


def _names(
    name: str | Sequence[str] | None, words: Sequence[str], count: int
) -> list[str]:
    if name is not None and not isinstance(name, str):
        return list(name)
    name = name or channel_for(words)
    names = [name] if count == 1 else [f"{name}.{number}" for number in range(count)]
    for each in (names[0], names[-1]):
        if is_address(each):
            parse_address(each)
        else:
            check_name(each)
    return names


def _count(
    wanted: object, instances: int | None, name: str | Sequence[str] | None
) -> int:
    """Return how many instances there are to be."""
    count = (instances or 1) if wanted is None else wanted
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"instances={count!r}: at least 1")
    listed = count if name is None or isinstance(name, str) else len(name)
    if count != listed:
        raise ValueError(f"instances={count}, but {listed} channels are named")
    return count


def _named(words: Sequence[str], name: str, address: str, *, append: bool) -> list[str]:
    """Return a command with the channel's name in it."""
    places = {"{channel}": name, "{address}": address}
    pattern = re.compile("|".join(re.escape(place) for place in places))
    named = [pattern.sub(lambda m: places[m.group()], word) for word in words]
    if append and named == list(words):
        named.append(f"{CHANNEL_ARGUMENT}={name}")
    return named


def _existing(cwd: str | os.PathLike[str] | None) -> str | None:
    if cwd is None:
        return None
    path = os.path.abspath(cwd)
    if not os.path.isdir(path):
        raise ValueError(f"cwd={os.fspath(cwd)!r}: there is no such directory")
    return path


def _made(log_directory: str | os.PathLike[str] | None) -> str:
    if log_directory is None:
        return ""
    path = os.path.abspath(log_directory)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ValueError(f"log_directory={path!r}: {error.strerror}") from None
    return path
