"""One line per change of state, on stderr."""

import logging
import sys
from typing import Final

from rich.console import Console
from rich.text import Text

_STYLES: Final = {logging.WARNING: "yellow", logging.ERROR: "red"}


class ConsoleHandler(logging.Handler):
    """Writes records to a terminal, above whatever is shown live there."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            style = _STYLES.get(record.levelno, "")
            self._console.print(Text(self.format(record), style=style))
        except Exception:  # as every handler of the standard library
            self.handleError(record)


def configure(*, verbose: bool = False, quiet: bool = False) -> Console | None:
    """Send RLay's log to stderr.

    Args:
        verbose: Also what matters only when something is wrong.
        quiet: Only warnings and errors.

    Returns:
        The console of a terminal, or None where stderr is a file or a pipe.
    """
    console = Console(stderr=True) if sys.stderr.isatty() else None
    handler: logging.Handler
    if console is None:
        handler = logging.StreamHandler()
        time_format = "%Y-%m-%dT%H:%M:%S%z"
    else:
        handler = ConsoleHandler(console)
        time_format = "%H:%M:%S"
    name = " %(name)s" if verbose else ""
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s{name} %(message)s", time_format)
    )
    logger = logging.getLogger("rlay")
    logger.handlers = [handler]
    logger.propagate = False
    level = logging.WARNING if quiet else logging.INFO
    logger.setLevel(logging.DEBUG if verbose else level)
    return console
