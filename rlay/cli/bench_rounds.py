"""Turns of what is measured, in rounds, and what they come to.

What is measured takes turns within each round, so that a machine that is busy for a
while slows all of it. Figures are the medians over the rounds.
"""

import statistics
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_CALLS: Final = 200_000
"""Of one turn: more would say nothing new, and take memory."""
_PER_DECADE: Final = 20
EDGES_US: Final = np.geomspace(0.1, 1e8, 9 * _PER_DECADE + 1)
"""Between them latencies are counted; shorter and longer ones at the ends."""

Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to.

    Attributes:
        steps: How many steps, of all environments together.
        elapsed_s: How long all of it took, resets included.
        p50_us: The median of a call, which is one step of each environment.
        p99_us: The 99th percentile.
        p999_us: The 99.9th percentile.
        counts: How many calls took as long as between two of ``EDGES_US``.
        environment_us: The median of the environment's own step; None where nobody
            knows.
        cpu_us: CPU time of a step by process; None where nobody knows.
    """

    steps: int
    elapsed_s: float
    p50_us: float
    p99_us: float
    p999_us: float
    counts: NDArray[np.int64]
    environment_us: float | None = None
    cpu_us: Mapping[str, float | None] = field(default_factory=dict)


Round = Mapping[str, Turn]
TakeTurn = Callable[[float], Turn]


class Timer:
    """Times calls one by one, for a turn.

    Attributes:
        durations: In nanoseconds.
        elapsed_s: Of the turn so far.
    """

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        """Take no time yet."""
        self.durations = array("q")
        self.elapsed_s = 0.0
        self._clock = clock

    def calls(
        self,
        call: Callable[[], Any],
        seconds: float,
        after: Callable[[Any], None] | None = None,
    ) -> None:
        """Call at least once, and again until the time is up.

        Args:
            call: What is timed.
            seconds: How long.
            after: Called with each result, and not timed.
        """
        clock, note = self._clock, self.durations.append
        began = clock()
        until = began + int(seconds * 1e9)
        for _ in range(MOST_CALLS):
            before = clock()
            result = call()
            now = clock()
            note(now - before)
            if after is not None:
                after(result)
            if now >= until:
                break
        self.elapsed_s = (clock() - began) / 1e9

    def steps(self, env: Any, actions: Iterable[Any], seconds: float) -> None:
        """Step an environment, as :meth:`calls`; its resets are not timed."""
        clock, note, step = self._clock, self.durations.append, env.step
        began = clock()
        until = began + int(seconds * 1e9)
        # The result is bound until the next one replaces it, as in a user's loop.
        for action, _ in zip(actions, range(MOST_CALLS), strict=False):
            before = clock()
            result = step(action)
            now = clock()
            note(now - before)
            if result[2] or result[3]:
                env.reset()
            if now >= until:
                break
        self.elapsed_s = (clock() - began) / 1e9

    def turn(self, environments: int = 1, **facts: Any) -> Turn:
        """Return what it came to.

        Args:
            environments: How many each call has stepped.
            facts: Further attributes of the turn.
        """
        us = np.asarray(self.durations, dtype=np.float64) / 1e3
        p50, p99, p999 = (float(one) for one in np.percentile(us, (50, 99, 99.9)))
        counts, _ = np.histogram(np.clip(us, EDGES_US[0], EDGES_US[-1]), EDGES_US)
        steps = len(us) * environments
        return Turn(steps, self.elapsed_s, p50, p99, p999, counts, **facts)


def run_rounds(
    turns: Mapping[str, TakeTurn],
    done: list[Round],
    *,
    rounds: int,
    seconds: float,
    warmup_s: float,
    on_round: Callable[[int, int], None] | None = None,
) -> None:
    """Give everything its turns, one round after the other.

    Args:
        turns: What is measured.
        done: Each round is added to it as soon as it is whole, so that it holds what
            there is when this is interrupted.
        rounds: How many turns each has.
        seconds: How long all of it takes.
        warmup_s: How long to do the same first, for nothing.
        on_round: Called with the rounds done and all rounds, before each and at last.
    """
    for take_turn in turns.values():
        if warmup_s > 0:
            take_turn(warmup_s / len(turns))
    turn_s = seconds / rounds / len(turns)
    for number in range(rounds):
        if on_round is not None:
            on_round(number, rounds)
        # Forth and back: nothing is always behind the same other thing.
        order = list(turns)[:: 1 if number % 2 == 0 else -1]
        found = {name: turns[name](turn_s) for name in order}
        done.append({name: found[name] for name in turns})
    if on_round is not None:
        on_round(rounds, rounds)


@dataclass(frozen=True, slots=True)
class Figures:
    """The medians over all rounds.

    Attributes:
        steps: In all rounds together.
        steps_per_s: Of all environments together.
        p50_us: See :class:`Turn`; likewise the others.
        p99_us: See :class:`Turn`.
        p999_us: See :class:`Turn`.
        cpu_us: See :class:`Turn`.
        counts: Of all rounds together.
    """

    steps: int
    steps_per_s: float
    p50_us: float
    p99_us: float
    p999_us: float
    cpu_us: dict[str, float | None]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> "Figures":
        """Return those of one measured thing."""
        median = statistics.median
        names = turns[0].cpu_us
        return cls(
            sum(turn.steps for turn in turns),
            median(turn.steps / turn.elapsed_s for turn in turns),
            median(turn.p50_us for turn in turns),
            median(turn.p99_us for turn in turns),
            median(turn.p999_us for turn in turns),
            {name: median_of(turn.cpu_us[name] for turn in turns) for name in names},
            np.sum([turn.counts for turn in turns], axis=0),
        )


def median_of(values: Iterable[float | None]) -> float | None:
    """Return the median, or None where a value is not known."""
    known = list(values)
    return None if None in known else statistics.median(known)  # type: ignore[type-var]
