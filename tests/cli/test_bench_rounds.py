"""Turns and rounds, with a clock of the test's own."""

from typing import Any

import numpy as np
import pytest

from rlay.cli import bench_rounds
from rlay.cli.bench_rounds import EDGES_US, Figures, Timer, Turn, median_of, run_rounds


class Clock:
    """Nanoseconds that pass only when a test says so."""

    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns


class Env:
    """Takes a microsecond for a step, and two for a reset; an episode is 3 steps."""

    def __init__(self, clock):
        self.clock = clock
        self.actions, self.resets = [], 0

    def step(self, action):
        self.clock.ns += 1000
        self.actions.append(action)
        return 0, 0.0, len(self.actions) % 3 == 0, False, {}

    def reset(self):
        self.clock.ns += 2000
        self.resets += 1


def turn(p50_us=1.0, **facts):
    counts = np.zeros(len(EDGES_US) - 1, np.int64)
    return Turn(10, 2.0, p50_us, 2 * p50_us, 3 * p50_us, counts, **facts)


def test_steps_are_timed_without_the_resets_between_them():
    """Which count for the whole, and so for the steps per second."""
    clock = Clock()
    env, timer = Env(clock), Timer(clock)
    timer.steps(env, range(100), 9e-6)
    assert (env.resets, len(env.actions)) == (2, 7)
    found = timer.turn()
    assert (found.steps, found.p50_us, found.p999_us) == (7, 1.0, 1.0)
    assert found.elapsed_s == pytest.approx(11e-6)


def test_calls_are_made_once_at_least():
    """Where one takes longer than the whole turn."""
    clock = Clock()
    timer = Timer(clock)

    def call():
        clock.ns += 10**9

    timer.calls(call, 0.001)
    assert list(timer.durations) == [10**9]


def test_calls_end_at_their_limit(monkeypatch):
    """However long the turn is."""
    monkeypatch.setattr(bench_rounds, "MOST_CALLS", 5)
    timer = Timer(Clock())
    timer.calls(lambda: None, 1000.0)
    assert len(timer.durations) == 5


def test_what_is_done_after_a_call_is_not_timed():
    """But it gets the call's result."""
    clock, seen = Clock(), []
    timer = Timer(clock)

    def call():
        clock.ns += 1000
        return "result"

    def after(result):
        clock.ns += 5000
        seen.append(result)

    timer.calls(call, 5e-6, after)
    assert list(timer.durations) == [1000, 1000]
    assert seen == ["result", "result"]


def test_percentiles_are_of_all_calls():
    """And every call is counted in one bucket, however long it took."""
    timer = Timer(Clock())
    timer.durations.extend([*range(1000, 1_001_000, 1000), 10**15])
    found = timer.turn(environments=4)
    assert found.p50_us == pytest.approx(501, abs=1)
    assert found.p99_us == pytest.approx(991, abs=1)
    assert found.steps == 4 * 1001
    assert found.counts.sum() == 1001


def test_rounds_alternate_and_share_the_time():
    """Everything has its turn in each round, in one order and then in the other."""
    took = []

    def takes(name):
        def take_turn(seconds):
            took.append((name, seconds))
            return turn()

        return take_turn

    done: list[Any] = []
    told: list[Any] = []
    run_rounds(
        {"a": takes("a"), "b": takes("b")},
        done,
        rounds=2,
        seconds=8.0,
        warmup_s=1.0,
        on_round=lambda *numbers: told.append(numbers),
    )
    assert took[:2] == [("a", 0.5), ("b", 0.5)]
    assert took[2:] == [("a", 2.0), ("b", 2.0), ("b", 2.0), ("a", 2.0)]
    assert [list(one) for one in done] == [["a", "b"], ["a", "b"]]
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_interrupted_rounds_leave_those_that_are_whole():
    """Half a round is no round."""
    left = iter([turn(), turn(), turn()])
    done: list[Any] = []
    with pytest.raises(StopIteration):
        run_rounds(
            {"a": lambda _: next(left), "b": lambda _: next(left)},
            done,
            rounds=5,
            seconds=1.0,
            warmup_s=0.0,
        )
    assert len(done) == 1


def test_figures_are_medians_over_the_rounds():
    """Of each figure by itself."""
    turns = [turn(us, cpu_us={"algorithm": us, "bridge": None}) for us in (9.0, 1.0, 2)]
    figures = Figures.of(turns)
    assert (figures.p50_us, figures.p99_us, figures.p999_us) == (2.0, 4.0, 6.0)
    assert figures.steps_per_s == 5.0
    assert figures.steps == 30
    assert figures.cpu_us == {"algorithm": 2.0, "bridge": None}


def test_median_of_what_is_not_known_is_not_known():
    """One round without it is enough."""
    assert median_of([1.0, None, 3.0]) is None
    assert median_of([3.0, 1.0]) == 2.0
