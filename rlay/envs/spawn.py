"""``rlay.spawn``: an environment in a process of its own, which ends with it."""

import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gymnasium.vector import AutoresetMode

from rlay.envs.client_env import ClientEnv
from rlay.envs.client_vector_env import ClientVectorEnv
from rlay.envs.display import backend_mode
from rlay.envs.remote_env import given_arguments
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
)
from rlay.envs.vector_end import vector_spec
from rlay.errors import ChannelClosed, ConnectTimeout, EnvLost, PeerLost
from rlay.processes.served import ServeCommand, ServedProcess, find_python
from rlay.transport.directory import default_path

_FAILED_STARTS: Final = (PeerLost, ChannelClosed, ConnectTimeout)
_NAME_CHARACTERS: Final = 40


def spawn(
    target: str,
    *,
    python: str | os.PathLike[str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str | None] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    num_envs: int = 1,
    render_mode: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    connect_timeout: float | None = DEFAULT_CONNECT_S,
    reset_timeout: float | None = DEFAULT_RESET_S,
    step_timeout: float | None = DEFAULT_STEP_S,
    close_timeout: float | None = DEFAULT_CLOSE_S,
    allow: Iterable[str] = (),
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    copy: bool = True,
) -> ClientEnv | ClientVectorEnv:
    """Start a process that serves an environment, and return the environment.

    The process is owned by what is returned: it ends with ``close()``, when the
    object is collected, and when this process ends, however that happens. If it
    dies, the step in flight raises ``EnvLost`` with its exit code or signal and the
    last lines that it wrote; the next ``reset()`` starts it again, 10 times within 10
    minutes. Its output goes to this process's stderr.

    Example::

        env = rlay.spawn("simulator:make_env", python="/opt/sim/bin/python")
        observation, info = env.reset(seed=0)

    Args:
        target: A Gymnasium id, ``module:ID`` or ``module:callable``, as for ``rlay
            serve``; looked up in the other process.
        python: The interpreter, which must have rlay: a path, or a name on ``$PATH``;
            None for this one.
        cwd: The process's current directory, from which it can import; None for this
            one.
        env: Environment variables that are added to this process's, or removed (None).
        kwargs: For the environment; values that JSON has.
        num_envs: Environments, stepped as one batch where there are several.
        render_mode: As for ``ClientEnv``.
        directory: Where channels live; None for ``$RLAY_DIR`` or the default.
        connect_timeout: Seconds for the process to start and to make the environment.
        reset_timeout: Seconds to wait for a first observation.
        step_timeout: Seconds to wait for a transition.
        close_timeout: Seconds to wait for the environment to close; the process is
            killed at most two seconds later.
        allow: Names of attributes and methods that may be used from here.
        autoreset_mode: With ``num_envs > 1``.
        copy: Whether observations are copies, or views as in ``ClientEnv``.

    Returns:
        A ``ClientEnv``, or a ``ClientVectorEnv`` if ``num_envs > 1``.

    Raises:
        ValueError: There is no such interpreter or directory, or ``kwargs`` holds
            what JSON has not.
        EnvLost: The process ended before it served; the message says why. This comes
            at once, not after ``connect_timeout``.
        RemoteEnvError: The environment could not be made there.
        ConnectTimeout: It was not made in time. The process was ended.
    """
    arguments = given_arguments(locals(), spawn)  # type: ignore[arg-type]  # as a class
    timeouts = {
        "connect_timeout": connect_timeout,
        "reset_timeout": reset_timeout,
        "step_timeout": step_timeout,
        "close_timeout": close_timeout,
    }
    if cwd is not None and not os.path.isdir(cwd):
        raise ValueError(f"cwd={os.fspath(cwd)!r}: there is no such directory")
    where = os.path.abspath(directory or default_path())
    command = ServeCommand(
        target,
        where,
        kwargs,
        num_envs,
        backend_mode(render_mode),
        tuple(allow),
        ("--once", "--quiet"),
    )
    process = ServedProcess(
        _channel_name(target),
        where,
        None if cwd is None else os.path.abspath(cwd),
        _environment(env),
        command=command,
        python=find_python(python),
    )
    options = {"directory": where, "render_mode": render_mode, "copy": copy, **timeouts}
    try:
        if num_envs == 1:
            return SpawnedEnv(process, arguments, **options)
        mode = autoreset_mode
        return SpawnedVectorEnv(
            process, arguments, num_envs=num_envs, autoreset_mode=mode, **options
        )
    except BaseException:
        process.end(hurry=True)
        raise


def _environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    # Unbuffered: the last lines before a crash are those that matter.
    merged = {"PYTHONUNBUFFERED": "1", **os.environ, **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


def _channel_name(target: str) -> str:
    """Return a name that nobody else has, and that says what it is."""
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", target).strip("-_")[:_NAME_CHARACTERS]
    return f"{words or 'spawn'}-{secrets.token_hex(6)}"


class SpawnedEnv(ClientEnv):
    """A ``ClientEnv`` that owns the process of its environment; see :func:`spawn`."""

    _entry_point = "rlay.envs.spawn:spawn"

    def __init__(
        self, process: ServedProcess, arguments: dict[str, Any], **options: Any
    ) -> None:
        """Start the process and attach to its channel.

        Args:
            process: Not started yet.
            arguments: Of :func:`spawn`, for ``spec``.
            options: For ``ClientEnv``.
        """
        self._process = process
        self._close_s = options["close_timeout"]
        super().__init__(process.name, **options)
        self._arguments = arguments

    def _connect(self) -> None:
        _start_and_attach(self._process, super()._connect)

    def _look_while_waiting(self) -> None:
        self._process.check()

    def _after_failure(self, error: BaseException) -> None:
        super()._after_failure(error)
        if isinstance(error, EnvLost):
            self._process.add_facts(error)

    def _say_goodbye(self) -> None:
        _say_goodbye_and_end(super()._say_goodbye, self._process, self._close_s)


class SpawnedVectorEnv(ClientVectorEnv):
    """A ``ClientVectorEnv`` that owns its environments' process; see :func:`spawn`."""

    def __init__(
        self, process: ServedProcess, arguments: dict[str, Any], **options: Any
    ) -> None:
        """Start the process and attach to its channel; as :class:`SpawnedEnv`."""
        self._process = process
        self._close_s = options["close_timeout"]
        super().__init__(process.name, **options)
        self.spec = vector_spec("rlay/ClientEnv-v0", "", arguments)
        self.spec.vector_entry_point = "rlay.envs.spawn:spawn"

    def _connect(self) -> None:
        _start_and_attach(self._process, super()._connect)

    def _look_while_waiting(self) -> None:
        self._process.check()

    def _after_failure(self, error: BaseException) -> None:
        super()._after_failure(error)
        if isinstance(error, EnvLost):
            self._process.add_facts(error)

    def close_extras(self, **kwargs: Any) -> None:
        """Tell the backend, leave the channel, and end the process."""
        if not self._forked:
            _say_goodbye_and_end(super().close_extras, self._process, self._close_s)


def _start_and_attach(process: ServedProcess, attach: Callable[[], None]) -> None:
    process.start()
    try:
        attach()
    except EnvLost:
        raise
    except _FAILED_STARTS as error:
        raise process.lost_while_starting(error) from error


def _say_goodbye_and_end(
    say_goodbye: Callable[[], None], process: ServedProcess, friendly_s: float | None
) -> None:
    try:
        say_goodbye()
    except BaseException:
        process.end(hurry=True)
        raise
    process.end(friendly_s)
