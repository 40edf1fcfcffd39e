"""A channel whose environment is gone for good: clients are told so, and why."""

import logging
import os
import time
from typing import Final

from rlay.errors import ConnectTimeout, RLayError
from rlay.protocol.constants import CloseReason, ErrorCode
from rlay.protocol.greeting import Refusal
from rlay.transport.inspection import clean_channel, inspect_channel
from rlay.transport.mem_server import MemServer

_log = logging.getLogger("rlay.processes.refusal")

_HELLO_LIMIT_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.05


class RefusedChannel:
    """Holds the name of a channel and refuses every client.

    A client that waits for the environment to come back learns at once that it will
    not, where it would otherwise wait for its time-out.
    """

    def __init__(
        self,
        name: str,
        directory: str | os.PathLike[str] | None,
        reason: str,
        num_envs: int = 0,
    ) -> None:
        """Make the channel.

        Args:
            name: Of the channel.
            directory: Where channels live.
            reason: What clients are told.
            num_envs: Environments that it had; 0 where that is not known.

        Raises:
            RLayError: It cannot be made, as when somebody else took the name.
        """
        self._refusal = Refusal(ErrorCode.ENVIRONMENT_GONE, reason)
        self._server = MemServer.create(
            name, directory, num_envs=num_envs, program=f"gone: {reason}"
        )

    def look(self) -> None:
        """Refuse the client that is there, if any; hardly waits."""
        while self._server.client_waits:
            try:
                hello, _ = self._server.receive_hello(_HELLO_LIMIT_S)
                self._server.refuse(hello, self._refusal)
            except ConnectTimeout:  # it went away again
                return
            except RLayError as error:
                _log.info("%s", error)
                return

    def stay(self, seconds: float) -> None:
        """Refuse clients for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(_LOOK_EVERY_S)

    def close(self) -> None:
        """Remove the channel. Twice is harmless."""
        self._server.close(CloseReason.ENVIRONMENT_EXITED)


def remove_stale(name: str, directory: str | os.PathLike[str] | None) -> bool:
    """Remove what a program that was killed left of its channel.

    Returns:
        Whether there is nothing left to remove: False while a client still holds it.
    """
    try:
        clean_channel(name, directory)
        status = inspect_channel(name, directory).status
    except RLayError:  # it is gone, or nobody may look at it
        return True
    return status != "ended"
