"""One environment, served by this very process."""

import contextlib
import faulthandler
import logging
import os
from typing import Any

import click
import gymnasium
from rich.console import Console

from rlay.cli.live import LiveTable, shown_from_a_thread
from rlay.cli.signals import StopRequested, raise_stop, stops_call
from rlay.cli.targets import find_target
from rlay.cli.words import FAILED, Failed
from rlay.envs.server_backend import ServerBackend
from rlay.errors import RLayError
from rlay.processes.served import ServeCommand
from rlay.protocol.addresses import is_address

_log = logging.getLogger("rlay.cli.serve")


def serve_here(
    command: ServeCommand, name: str, *, once: bool, console: Console | None
) -> int:
    """Serve until a stop is requested, or the first client has left.

    Args:
        command: What to serve.
        name: Of the channel, or its address at a bridge.
        once: Whether to end when the first client has left.
        console: The terminal, if there is one.

    Returns:
        The exit code.

    Raises:
        UnknownTarget: There is nothing of that name.
        Failed: The environment cannot be made, as Gymnasium says.
        RLayError: The channel cannot be made, or is somebody else's; there is no
            bridge at the address, or it does not trust this process.
    """
    faulthandler.enable()  # a crash in C code shows where Python was
    try:
        with stops_call(raise_stop):
            _serve(command, name, once, console)
    except StopRequested as stop:
        _log.info("stopped by %s", stop)
        return 0
    except SystemExit as end:
        _log.error("the environment ended its process by sys.exit(%r)", end.code)
        return end.code if isinstance(end.code, int) and end.code else FAILED
    except (click.ClickException, RLayError):
        raise  # said in a line, without a traceback
    except gymnasium.error.Error as error:  # such as a dependency that is missing
        raise Failed(f"{command.target!r} cannot be served: {error}") from None
    except Exception:
        _log.exception("%r cannot be served", command.target)
        return FAILED
    return 0


def _serve(
    command: ServeCommand, name: str, once: bool, console: Console | None
) -> None:
    backend = ServerBackend(
        find_target(command.target),
        name=name,
        num_envs=command.num_envs,
        directory=command.directory,
        kwargs=dict(command.kwargs or {}),
        render_mode=command.render_mode,
        allow=command.allow,
    )
    here = not is_address(name)
    with backend:
        kind = "ClientEnv" if command.num_envs == 1 else "ClientVectorEnv"
        _log.info(
            "serving %s on channel %r%s (process %d); use it with rlay.%s(%r)",
            command.target,
            name,
            f" in {command.directory}" if here else "",
            os.getpid(),
            kind,
            name,
        )
        shown: Any = contextlib.nullcontext()
        if console is not None and here and "--quiet" not in command.options:
            shown = shown_from_a_thread(LiveTable(console, [name], command.directory))
        with shown:
            backend.run(sessions=1 if once else None)
