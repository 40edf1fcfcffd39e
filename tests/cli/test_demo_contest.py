"""Steps per second of several environments: fair turns, honest medians."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from rlay.cli.demo_contest import contest, make_cartpole


class Slow(gymnasium.Env):
    """Each step takes as long as it says, on a clock of the test's own."""

    def __init__(self, clock, costs, log, name):
        self.action_space = gymnasium.spaces.Discrete(2)
        self.observation_space = gymnasium.spaces.Discrete(2)
        self.clock, self.costs, self.log, self.name = clock, costs, log, name
        self.calls = 0

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        self.clock[0] += self.costs(self.calls)
        self.calls += 1
        if not self.log or self.log[-1] != self.name:
            self.log.append(self.name)
        return 0, 0.0, False, False, {}


def hold(*costs):
    clock = [0.0]
    log: list[str] = []
    names = [f"env-{n}" for n in range(len(costs))]
    envs = {n: Slow(clock, cost, log, n) for n, cost in zip(names, costs, strict=True)}
    found = contest(envs, rounds=5, round_s=1.0, clock=lambda: clock[0])
    return list(found.values()), log


def test_rate_is_steps_by_seconds():
    """Of each by itself."""
    rates, _ = hold(lambda n: 0.001, lambda n: 0.004)
    assert rates == [pytest.approx(1000, rel=0.01), pytest.approx(250, rel=0.01)]


def test_environments_take_turns():
    """One after the other, in each round: a busy while slows all of them."""
    _, log = hold(lambda n: 0.001, lambda n: 0.001)
    assert log == ["env-0", "env-1"] * 6  # one of them to warm up


def test_single_slow_turn_does_not_count():
    """The median forgives what the mean would not."""
    rates, _ = hold(lambda n: 0.1 if 3000 < n < 3010 else 0.001)
    assert rates == [pytest.approx(1000, rel=0.01)]


def test_real_environments_single_and_vector_can_be_measured():
    """Both kinds that the demo has."""
    vector = SyncVectorEnv([make_cartpole])
    rounds = []
    found = contest(
        {"one": make_cartpole(), "vector": vector},
        rounds=2,
        round_s=0.01,
        on_round=lambda done, all_: rounds.append((done, all_)),
    )
    vector.close()
    assert all(rate > 0 for rate in found.values())
    assert rounds == [(0, 2), (1, 2), (2, 2)]
    assert np.isfinite(list(found.values())).all()
