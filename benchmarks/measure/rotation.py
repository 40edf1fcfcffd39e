"""Rounds of contenders that stay open: all are asked in each round, in random order."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import standing
from measure.rounds import Run, least_disturbed
from measure.standing import NotMeasured


class Patience:
    """What may still be spent on waiting for a quiet machine, and on repetitions.

    Attributes:
        left_s: In seconds.
    """

    def __init__(self, left_s: float) -> None:
        """Begin with so many seconds."""
        self.left_s = left_s

    def spend(self, seconds: float) -> None:
        """Take some of it, or all that is left."""
        self.left_s -= min(self.left_s, max(0.0, seconds))


@dataclass
class Outcome:
    """What a rotation found.

    Attributes:
        results: Of each round, by (label, placement), in the order of the runs.
        reasons: Why a contender was not measured, by label.
    """

    results: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Rotation:
    """Opens contenders, asks them in rounds, and closes them.

    A contender that fails is left out from then on, and listed with its reason.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        budget: dict[str, Any],
        patience: Patience,
        peers: Path,
    ) -> None:
        """Start all contenders at once, and wait until each has stepped.

        Args:
            runs: The contenders.
            budget: ``seconds``, ``warmup_s`` and ``steps`` of each round.
            patience: With other programs.
            peers: The directory of the virtual environments of the peers.
        """
        self._usual_s = budget["seconds"] + budget["warmup_s"]
        self._patience = patience
        self._open: dict[Run, Any] = {}
        self.outcome = Outcome()
        try:
            for run in runs:
                self.outcome.results[run.label, run.placement] = []
                with self._listing(run):
                    self._open[run] = standing.start(run, budget, peers)
            for run in list(self._open):
                _show(f"opening {run.label}")
                with self._listing(run):
                    self._open[run].wait_until_open()
        except BaseException:
            self.kill()
            raise

    @contextlib.contextmanager
    def _listing(self, run: Run) -> Iterator[None]:
        """Leave a contender out that fails within the block, and keep the reason."""
        try:
            yield
        except NotMeasured as error:
            self._drop(run, str(error))

    def _drop(self, run: Run, reason: str) -> None:
        self.outcome.reasons[run.label] = reason
        del self.outcome.results[run.label, run.placement]
        contender = self._open.pop(run, None)
        if contender is not None:
            contender.kill()

    def go_round(self, rounds: int, quiet_cores: float, seed: int) -> None:
        """Ask every contender once in each round.

        Args:
            rounds: How many.
            quiet_cores: How much of a core other programs may use.
            seed: Of the order.
        """
        shuffled = random.Random(seed)
        for number in range(rounds):
            order = list(self._open)
            shuffled.shuffle(order)
            for run in order:
                _show(f"round {number + 1}/{rounds} {run.label}")
                with self._listing(run):
                    self._ask(run, quiet_cores)

    def _ask(self, run: Run, quiet_cores: float) -> None:
        began = time.monotonic()
        attempt = self._open[run].attempt
        result = least_disturbed(attempt, quiet_cores, self._patience.left_s)
        self._patience.spend(time.monotonic() - began - self._usual_s)
        self.outcome.results[run.label, run.placement].append(result)

    def close(self) -> None:
        """Close all contenders at once and wait for their processes."""
        _show("closing")
        for contender in self._open.values():
            contender.leave()
        for run, contender in list(self._open.items()):
            try:
                contender.end()
            except NotMeasured as error:
                print(f"{run.label}: {error}", file=sys.stderr)
        self._open.clear()
        _show("")

    def kill(self) -> None:
        """End all contenders at once. Twice is harmless."""
        for contender in self._open.values():
            contender.kill()


def _show(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{words:60.60}\r", end="", file=sys.stderr, flush=True)


def rotate(
    runs: Sequence[Run],
    *,
    rounds: int,
    budget: dict[str, Any],
    quiet_cores: float,
    patience: Patience,
    peers: Path,
    seed: int = 0,
) -> Outcome:
    """Open all contenders, measure each ``rounds`` times in turn, and close them."""
    rotation = Rotation(runs, budget, patience, peers)
    try:
        rotation.go_round(rounds, quiet_cores, seed)
        rotation.close()
    finally:
        rotation.kill()
    return rotation.outcome
