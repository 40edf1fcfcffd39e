"""The resume window: for how long a channel waits for a link that is down."""

from asyncio import TimerHandle
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlay.bridge.mirror import Mirror
    from rlay.bridge.origin import Origin
    from rlay.bridge.registry import Registry


class Window:
    """Waits, and then gives up; nothing happens where it is closed before."""

    # It does not know its holder while it is closed: who lets go of a channel lets go
    # of its memory, without the garbage collector.

    def __init__(self, registry: "Registry") -> None:
        """Start closed."""
        self._registry = registry
        self._timer: TimerHandle | None = None

    def open(
        self, seconds: float, holder: "Origin | Mirror", expired: Callable[[], None]
    ) -> None:
        """Wait from now, whether or not it is open, then call ``expired``.

        Args:
            seconds: How long.
            holder: Which channel waits; a fault of ``expired`` ends it.
            expired: Gives up.
        """
        self.close()
        self._timer = self._registry.later(seconds, holder, expired)

    def close(self) -> None:
        """Do not wait any more. Twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
