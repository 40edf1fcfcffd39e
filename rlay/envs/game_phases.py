"""Where a game that asks for decisions is in its loop.

It goes through these states, one request at a time::

    state         what it means                                may be reported
    UNCONNECTED   no trainer, or its greeting is not answered   -
    IDLE          a trainer is there                            Ready
    RESETTING     it said Reset                                 ResetResult, Failure
    RUNNING       it said Action                                Transition, Failure
"""

from enum import Enum
from typing import Any, NamedTuple

from rlay.envs.decisions import Decision


class Phase(Enum):
    """Where the game is in its loop."""

    UNCONNECTED = "unconnected"
    IDLE = "idle"
    RESETTING = "resetting"
    RUNNING = "running"


class EnvironmentRaised(Exception):
    """The environment's own code raised. It never leaves RLay.

    Attributes:
        error: What it raised.
        phase: Where the game was in its loop.
    """

    def __init__(self, error: Exception, phase: Phase) -> None:
        """Keep what it raised, and when."""
        super().__init__(str(type(error)))
        self.error = error
        self.phase = phase


class Halt(NamedTuple):
    """Where a steady run ended.

    Attributes:
        decision: The first one that is neither a steady Action nor a steady Reset;
            None where ``result`` must be reported the long way.
        phase: RESETTING where the environment was reset last, else RUNNING.
        result: What it returned last, as from ``step``.
    """

    decision: Decision | None
    phase: Phase
    result: Any
