"""How often a program that crashes is started again."""

from collections import deque
from typing import Final

DEFAULT_LIMIT: Final = 10
DEFAULT_WINDOW_S: Final = 600.0
_FIRST_DELAY_S: Final = 0.1
_LAST_DELAY_S: Final = 2.0


class RestartQuota:
    """At most ``limit`` restarts within ``window_s`` seconds, with growing pauses.

    Pure: it reads no clock. The times given to it come from a monotonic one, so that
    a clock that is set never restarts a program too often, or never again.

    Attributes:
        limit: Restarts within the window.
        window_s: Length of the window, in seconds.
    """

    def __init__(
        self, limit: int = DEFAULT_LIMIT, window_s: float = DEFAULT_WINDOW_S
    ) -> None:
        """Start with nothing used.

        Raises:
            ValueError: ``limit`` is negative, or ``window_s`` is not positive.
        """
        if limit < 0 or not window_s > 0:
            raise ValueError(
                f"a quota of {limit} restarts in {window_s} s: give 0 or more restarts "
                "and a positive time"
            )
        self.limit = limit
        self.window_s = window_s
        self._restarts: deque[float] = deque()

    def delay_after_crash(self, now: float) -> float | None:
        """Return how long to pause before the next start; count that start.

        Args:
            now: Of a monotonic clock, in seconds.

        Returns:
            Seconds: 0.1, doubled with each restart within the window, at most 2. None
            if the quota is used up; nothing is counted then.
        """
        while self._restarts and now - self._restarts[0] >= self.window_s:
            self._restarts.popleft()
        if len(self._restarts) >= self.limit:
            return None
        delay = min(_FIRST_DELAY_S * 2.0 ** len(self._restarts), _LAST_DELAY_S)
        self._restarts.append(now)
        return delay

    @property
    def used(self) -> int:
        """Restarts counted at the last crash."""
        return len(self._restarts)

    def __str__(self) -> str:
        """Say what the quota is."""
        return f"{self.limit} restarts within {self.window_s:g} s"
