"""A bridge in a child process, as ``rlay bridge`` starts it."""

import re
import signal
import sys
from pathlib import Path

from tests.support.certificates import Authority, Pair
from tests.support.children import Children
from tests.support.waiting import wait_until

LIMIT_S = 30.0
_BOUND = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
_HEALTH = re.compile(r"health at http://([0-9.:]+)/")


class BridgeChild:
    """Listens on a free port of the loopback address, and is ended by :meth:`end`.

    Attributes:
        child: The process.
        port: Where it listens.
        pair: Its certificate, if it was given one.
        authority: Who signed that.
    """

    pair: Pair
    authority: Authority

    def __init__(self, children: Children, *words: str | Path) -> None:
        """Start it with more options, and wait until it listens."""
        command = [sys.executable, "-m", "rlay", "bridge", "--listen", "127.0.0.1:0"]
        self.child = children.start_command([*command, *words], forever=True)
        self.port = int(self._logged(_BOUND))

    def health(self) -> str:
        """Return where it answers health requests."""
        return self._logged(_HEALTH)

    def _logged(self, pattern: re.Pattern[str]) -> str:
        def found() -> str | None:
            assert self.child.exit_code is None, self.child.stderr
            match = pattern.search(self.child.stderr)
            return match[1] if match else None

        text = wait_until(found, LIMIT_S, pattern.pattern)
        assert text is not None
        return text

    def until_logged(self, text: str) -> None:
        """Wait until its log says so."""
        wait_until(lambda: text in self.child.stderr, LIMIT_S, text)

    def end(self) -> None:
        """End it in order."""
        if self.child.exit_code is None:
            self.child.send_signal(signal.SIGTERM)
        self.child.wait()
