"""One opened way to reach an environment.

Nothing heavy is imported, and nothing of RLay: the contenders of other packages, each
in a virtual environment of its own, are measured by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from measure.bridges import Helper

# Enough to be unpredictable, few enough to stay in the cache.
_ACTIONS = 256


def _nothing() -> None:
    """Stand in for what most contenders need not do."""


@dataclass
class Opened:
    """An environment that is ready to step.

    ``episodic`` says that the caller must reset it at the end of an episode; a
    Gymnasium vector environment does that by itself. ``pids`` are the processes at
    the other end, ``bridges`` those between, by name. One call of ``step`` steps
    ``envs`` environments. ``rest`` and ``wake`` are called around the time in which
    others are measured. ``notes`` go with the result.
    """

    reset: Callable[..., Any]
    step: Callable[[Any], Any]
    close: Callable[[], None]
    actions: Sequence[Any]
    episodic: bool = True
    pids: list[int] = field(default_factory=list)
    bridges: dict[str, Helper] = field(default_factory=dict)
    envs: int = 1
    rest: Callable[[], None] = _nothing
    wake: Callable[[], None] = _nothing
    notes: Callable[[], dict[str, float]] = dict


def draw_actions(lanes: int | None = None) -> list[Any]:
    """Return actions to step with: single ones, or batches for so many lanes."""
    shape = _ACTIONS if lanes is None else (_ACTIONS, lanes)
    return list(np.random.default_rng(0).integers(0, 2, shape, dtype=np.int64))
