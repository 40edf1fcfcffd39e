"""What a terminal shows while environments are served: states and rates."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rlay.cli.ls import ends_of, holder
from rlay.cli.rates import Rates, steps_of
from rlay.cli.tables import fitted, number
from rlay.errors import RLayError
from rlay.transport.inspection import list_channels
from rlay.transport.views import ChannelView

_EVERY_S: Final = 1.0
_MOST_ROWS: Final = 16
_COLUMNS: Final = ("CHANNEL", "STATE", "ALGORITHM", "STEPS", "STEPS/S", "")


class LiveTable:
    """A table that is drawn again about once a second.

    It reads the channels' files from outside, as ``rlay ls`` does.
    """

    def __init__(
        self,
        console: Console,
        names: Sequence[str],
        directory: str,
        note: Callable[[str], str] | None = None,
    ) -> None:
        """Take note of what to show.

        Args:
            console: Where.
            names: Of the channels.
            directory: Where channels live.
            note: Returns what else is to be said of a channel.
        """
        self._names = list(names)
        self._directory = directory
        self._note = note
        self._rates = Rates()
        self._next_s = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveTable":
        """Start to show it."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._live.stop()

    def refresh(self) -> None:
        """Draw it again, if that was long enough ago."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + _EVERY_S
            with contextlib.suppress(RLayError):
                self._live.update(self._table(now), refresh=True)

    def _table(self, now: float) -> Table:
        views = {
            view.name: view
            for view in list_channels(self._directory)
            if view.name in self._names
        }
        rates = self._rates.look(views.values(), now)
        rows = [self._row(name, views.get(name), rates) for name in self._names]
        width = self._live.console.width
        table = Table(box=None, pad_edge=False)
        for title in _COLUMNS:
            right = title.startswith("STEPS")
            table.add_column(title, justify="right" if right else "left")
        for row in fitted(_COLUMNS, rows[:_MOST_ROWS], ("ALGORITHM", ""), width):
            table.add_row(*map(Text, row))
        if len(rows) > _MOST_ROWS:
            table.add_row(f"and {len(rows) - _MOST_ROWS} more: rlay ls")
        return table

    def _row(
        self, name: str, view: ChannelView | None, rates: dict[str, float | None]
    ) -> list[str]:
        note = self._note(name) if self._note is not None else ""
        if view is None:
            return [name, "-", "-", "-", "-", note]
        return [
            name,
            view.status,
            holder(ends_of(view)[1]),
            number(steps_of(view)),
            number(rates[name]),
            note,
        ]


@contextlib.contextmanager
def shown_from_a_thread(table: LiveTable) -> Iterator[None]:
    """Keep a table fresh from a thread, while the main thread serves."""
    done = threading.Event()

    def refresh() -> None:
        while not done.is_set():
            table.refresh()
            done.wait(_EVERY_S)

    thread = threading.Thread(target=refresh, name="rlay-live", daemon=True)
    with table:
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
