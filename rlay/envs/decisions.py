"""What a game is told to do: the answers of ``decide`` and ``poll``."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Action:
    """Apply this action, and report at the next decision point.

    Attributes:
        action: An element of the action space, or whatever else the trainer sent;
            with ``num_envs`` > 1 an element of the batched space.
        reset_mask: With ``num_envs`` > 1, a bool array of shape (num_envs,): these
            environments reset now and ignore their action. None where none does.
    """

    action: Any
    reset_mask: Any = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Start a new episode, run no tick, and report the first observation.

    Attributes:
        seed: For the environment's random numbers, or None; with ``num_envs`` > 1
            a list with one entry per environment.
        options: What the trainer passed, or None.
        mask: With ``num_envs`` > 1, a bool array of shape (num_envs,): only these
            environments reset. None for all.
    """

    seed: Any = None
    options: dict[str, Any] | None = None
    mask: Any = None


@dataclass(frozen=True, slots=True)
class Close:
    """The trainer left; the next ``decide`` waits for the next one.

    Attributes:
        reason: "closed" after a goodbye, "lost" without one, "draining" where the
            trainer's process shuts down.
    """

    reason: Literal["closed", "lost", "draining"]


Decision = Action | Reset | Close
