"""How a vector over several channels is to behave."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gymnasium.vector import AutoresetMode

from rlay.envs.lane_sources import Arrival
from rlay.envs.timeouts import Timeouts
from rlay.errors import ChannelError


class OnLaneLost(StrEnum):
    """What becomes of a vector when a lane loses its environment."""

    RAISE = "raise"
    TRUNCATE = "truncate"
    WAIT = "wait"


@dataclass(frozen=True)
class Manner:
    """How the lanes are to behave.

    Attributes:
        on_lost: What becomes of the vector when a lane loses its environment.
        timeouts: Limits of waits.
        copy: Whether observations are copies.
    """

    on_lost: OnLaneLost
    timeouts: Timeouts
    copy: bool


def mode_of_all(found: Sequence[Arrival], wanted: AutoresetMode) -> AutoresetMode:
    """Return the autoreset mode of a vector over some channels.

    Args:
        found: The channels. Single environments take any mode.
        wanted: The algorithm's, where all are single.

    Raises:
        ChannelError: Their vector environments have different ones.
    """
    modes = {
        each.facts.autoreset_mode: each.name for each in found if each.facts.vector
    }
    if len(modes) > 1:
        told = ", ".join(f"{name!r} has {mode}" for mode, name in modes.items())
        raise ChannelError(
            f"the channels have different autoreset modes: {told}. Serve ids or "
            "factories, which adopt the mode that is asked for"
        )
    for mode in modes:
        return AutoresetMode(mode or AutoresetMode.NEXT_STEP)
    return wanted
