"""How long an algorithm's end waits for its environment."""

from dataclasses import dataclass
from typing import Final

DEFAULT_CONNECT_S: Final = 60.0
DEFAULT_RESET_S: Final = 300.0
DEFAULT_STEP_S: Final = 60.0
DEFAULT_CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds; None waits for ever.

    Attributes:
        connect: For the channel to appear and the greeting to be answered.
        reset: For the first observation.
        step: For a transition, or the result of a call.
        close: For the environment to close.
    """

    connect: float | None = DEFAULT_CONNECT_S
    reset: float | None = DEFAULT_RESET_S
    step: float | None = DEFAULT_STEP_S
    close: float | None = DEFAULT_CLOSE_S

    def __post_init__(self) -> None:
        """Check that none is negative."""
        for name in ("connect", "reset", "step", "close"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(
                    f"{name}_timeout={value!r}: give seconds, 0 or more, or None"
                )
