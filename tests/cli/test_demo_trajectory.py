"""Whether two environments return the same: the demo's own judgement."""

import math

import gymnasium
import numpy as np
import pytest

from rlay.cli.demo_trajectory import first_difference, same, trajectory


class Altered(gymnasium.Wrapper):
    """Changes what one step returns."""

    def __init__(self, env, step, change):
        super().__init__(env)
        self.left, self.change = step, change

    def step(self, action):
        self.left -= 1
        found = self.env.step(action)
        return self.change(*found) if self.left == 0 else found


def run(step=0, change=None):
    with gymnasium.make("CartPole-v1") as env:
        return trajectory(Altered(env, step, change), 200, 3)


def test_trajectory_of_the_same_environment_is_the_same():
    """Seeded actions, seeded resets."""
    assert first_difference(run(), run()) is None


def test_trajectory_has_all_steps_and_the_resets_after_each_episode():
    """The first event is a reset."""
    names = [event.name for event in run()]
    assert names[0] == "reset"
    assert names.count("step") == 200
    assert names.count("reset") > 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda o, r, t, u, i: (np.nextafter(o, np.float32(9)), r, t, u, i),
            "at step 150, the observation of the step is array",
        ),
        (
            lambda o, r, t, u, i: (o.astype(np.float64), r, t, u, i),
            "ndarray of float64) instead of",
        ),
        (
            lambda o, r, t, u, i: (o, int(r), t, u, i),
            "the reward of the step is 1 (int)",
        ),
        (lambda o, r, t, u, i: (o, -r, t, u, i), "is -1.0 (float) instead of 1.0"),
        (lambda o, r, t, u, i: (o, r, np.bool_(t), u, i), "the terminated of the step"),
        (lambda o, r, t, u, i: (o, r, t, u, {"a": 1}), "the info of the step is"),
    ],
    ids=["one-bit", "dtype", "reward-type", "reward", "flag-type", "info"],
)
def test_first_difference_names_step_and_values(change, text):
    """However small it is."""
    found = first_difference(run(), run(150, change))
    assert found is not None
    assert found.startswith("at step 150, ")
    assert text in found


def test_first_difference_is_the_first_one():
    """An episode that ends elsewhere differs from there on; that is not the news."""
    found = first_difference(run(), run(5, lambda o, r, t, u, i: (o, r, True, u, i)))
    assert found is not None
    assert found.startswith("at step 5, the terminated of the step is True")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0), (1, 1.0), (1, True), ((1,), [1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.float32(1), np.float64(1)), (np.zeros(2), np.zeros((2, 1))), ("a", b"a"),
        ([1, [2]], [1, [3]]),
    ],
)  # fmt: skip
def test_same_tells_types_signs_and_orders_apart(one, other):
    """What compares equal in Python may differ."""
    assert not same(one, other)
    assert same(one, one)
    assert same(other, other)


def test_same_takes_nan_for_itself():
    """Bits, not numbers, are compared."""
    assert same(math.nan, math.nan)
    assert same(np.array([math.nan]), np.array([math.nan]))
