"""Looking up the name of a host, and never waiting for longer than one is told.

``getaddrinfo`` knows no limit: where no name server answers it takes half a minute, or
more. So it runs in a thread of its own, which ends when it is answered. An address in
numbers needs none.
"""

import contextlib
import socket
import threading
from typing import Any, Final

Candidates = list[tuple[Any, ...]]

_NUMBERS: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Lookup:
    """The question for the addresses of one host."""

    def __init__(self, host: str, port: int) -> None:
        """Ask; :meth:`result` has the answer, once there is one."""
        self._host, self._port = host, port
        self._found: Candidates = []
        self._error: Exception | None = None
        self._answered = threading.Event()
        with contextlib.suppress(OSError, UnicodeError):
            self._found = self._ask(_NUMBERS)
            self._answered.set()
            return
        threading.Thread(target=self._run, name="rlay-lookup", daemon=True).start()

    def _ask(self, flags: int = 0) -> Candidates:
        kind = socket.SOCK_STREAM
        return [*socket.getaddrinfo(self._host, self._port, type=kind, flags=flags)]

    def _run(self) -> None:
        try:
            self._found = self._ask()
        except Exception as error:
            self._error = error
        self._answered.set()

    def answered(self, wait_s: float) -> bool:
        """Return whether there is an answer, waiting for it at most so long."""
        return self._answered.wait(max(0.0, wait_s))

    def result(self) -> Candidates:
        """Return what ``getaddrinfo`` returned.

        Raises:
            OSError: The name is not known.
            UnicodeError: It cannot be a name.
        """
        if self._error is not None:
            raise self._error
        return self._found
