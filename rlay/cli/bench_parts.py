"""Where a step's time goes: what was measured apart, and what is left.

Nothing is guessed. What was not measured, or cannot be, is not known; the rest is told
as what it is. Each part is the median over the rounds of what a round says of it, so
that the parts need not add up exactly.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rlay.cli.bench_rounds import Round, median_of

STEP: Final = "step"
LOCAL: Final = "local"
COPYING: Final = "copying"
NETWORK: Final = "network"


class Place(StrEnum):
    """Where the environment is."""

    HERE = "here"
    """In another process of this machine."""
    BRIDGES = "bridges"
    """Behind two bridges on this machine."""
    MIRROR = "mirror"
    """Somewhere else, and this machine's bridge leads there."""
    ADDRESS = "address"
    """Somewhere else, at a bridge that is reached without one of this machine."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a step.

    Attributes:
        name: Of the part.
        us: How long it takes, in microseconds; None where that is not known.
        how: How it was measured, or why it is not known.
    """

    name: str
    us: float | None
    how: str


@dataclass(frozen=True, slots=True)
class Breakdown:
    """All parts of a step.

    Attributes:
        step_us: The whole: the median of a step on one channel.
        parts: Environment, waking, copying, bridge, network.
        other_us: What is left of the whole; below zero where the parts are more.
    """

    step_us: float
    parts: tuple[Part, ...]
    other_us: float


_ENVIRONMENT: Final = "its own step(), timed in the process that serves it"
_COPYING: Final = "the work of both ends on the same two messages, done in one thread"
_NONE_BETWEEN: Final = "none: both ends are on this machine"
_ELSEWHERE: Final = "not known: runs elsewhere, and does not time itself there"
_IN_OTHER: Final = "not known: cannot be told apart from here, is in other"
_NOT_NOW: Final = "not known: it could not be measured"


def break_down(
    rounds: Sequence[Round],
    place: Place,
    *,
    network: str = "",
    heartbeat_us: float | None = None,
) -> Breakdown:
    """Return where the time of a step on one channel goes.

    Args:
        rounds: With the turns ``step``, and where they were measured ``local``,
            ``copying`` and ``network``.
        place: Where the environment is.
        network: How the network was measured; empty for raw TCP.
        heartbeat_us: What the links' heartbeats say of it, where nothing else does.
    """

    def over(value: Callable[[Round], float | None]) -> float | None:
        return median_of(map(value, rounds))

    environment_us = over(lambda turns: turns[STEP].environment_us)
    copying_us = over(lambda turns: _p50(turns, COPYING))
    network_us = over(lambda turns: _p50(turns, NETWORK))
    if network_us is None:
        network_us = heartbeat_us
    parts = (
        Part(
            "environment",
            environment_us,
            _ELSEWHERE if environment_us is None else _ENVIRONMENT,
        ),
        _waking(place, over(lambda turns: _waking_us(turns, place))),
        Part("copying", copying_us, _NOT_NOW if copying_us is None else _COPYING),
        _bridge(place, over(_bridge_us)),
        _network(place, network_us, network),
    )
    step_us = statistics.median(turns[STEP].p50_us for turns in rounds)
    known = sum(part.us for part in parts if part.us is not None)
    return Breakdown(step_us, parts, step_us - known)


def _p50(turns: Round, name: str) -> float | None:
    return turns[name].p50_us if name in turns else None


def _less(whole: float | None, *parts: float | None) -> float | None:
    """Return what is left of the whole; None where anything is not known."""
    if whole is None or None in parts:
        return None
    return whole - sum(part for part in parts if part is not None)


def _waking_us(turns: Round, place: Place) -> float | None:
    local = {Place.HERE: STEP, Place.BRIDGES: LOCAL}.get(place)
    if local is None or local not in turns:
        return None
    turn = turns[local]
    return _less(turn.p50_us, turn.environment_us, _p50(turns, COPYING))


def _bridge_us(turns: Round) -> float | None:
    return _less(turns[STEP].p50_us, _p50(turns, LOCAL), _p50(turns, NETWORK))


def _waking(place: Place, us: float | None) -> Part:
    whose = "a step" if place is Place.HERE else "a step without the bridges"
    how = _IN_OTHER
    if us is not None:
        how = f"{whose}, less environment and copying: waiting, waking, caches"
    return Part("waking", us, how)


def _bridge(place: Place, us: float | None) -> Part:
    if place is Place.HERE:
        return Part("bridge", 0.0, _NONE_BETWEEN)
    how = _IN_OTHER
    if us is not None:
        how = "what two bridges add to a step, less the network"
    return Part("bridge", us, how)


def _network(place: Place, us: float | None, how: str) -> Part:
    if place is Place.HERE:
        return Part("network", 0.0, _NONE_BETWEEN)
    if us is None:
        return Part("network", None, _NOT_NOW)
    raw = "a TCP ping-pong of the same bytes between two processes, over loopback"
    return Part("network", us, how or raw)
