"""A small actor-critic in numpy, the same learner for every contender.

One hidden layer for policy and value, written-out gradients, Adam. It learns CartPole
within a minute; what is measured is how many steps of the environments a second has.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from measure.opened import Opened

_HIDDEN, _ROLLOUT, _ACTIONS, _INPUTS = 64, 32, 2, 4
_GAMMA, _LAMBDA, _RATE, _VALUE, _ENTROPY = 0.99, 0.95, 3e-3, 0.5, 0.01
_ADAM = (0.9, 0.999, 1e-8)
_EPISODES = 100


class _Network:
    """Policy and value of an observation, and one step of Adam."""

    def __init__(self, random: np.random.Generator) -> None:
        outputs = _ACTIONS + 1
        self.weights = {
            "in": random.normal(0.0, 0.5, (_INPUTS, _HIDDEN)),
            "bias": np.zeros(_HIDDEN),
            "out": random.normal(0.0, 0.01, (_HIDDEN, outputs)),
            "last": np.zeros(outputs),
        }
        self._means = {name: np.zeros_like(w) for name, w in self.weights.items()}
        self._squares = {name: np.zeros_like(w) for name, w in self.weights.items()}
        self._updates = 0

    def look(self, observations: Any) -> tuple[Any, Any, Any]:
        """Return hidden layer, probabilities and values."""
        w = self.weights
        hidden = np.tanh(observations @ w["in"] + w["bias"])
        outputs = hidden @ w["out"] + w["last"]
        logits = outputs[..., :_ACTIONS]
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return hidden, powers / powers.sum(axis=-1, keepdims=True), outputs[..., -1]

    def descend(self, observations: Any, hidden: Any, at_outputs: Any) -> None:
        """Follow the gradient that is known at the outputs."""
        at_hidden = at_outputs @ self.weights["out"].T * (1.0 - hidden**2)
        gradients = {
            "in": observations.T @ at_hidden,
            "bias": at_hidden.sum(axis=0),
            "out": hidden.T @ at_outputs,
            "last": at_outputs.sum(axis=0),
        }
        first, second, tiny = _ADAM
        self._updates += 1
        for name, gradient in gradients.items():
            mean, square = self._means[name], self._squares[name]
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient**2 - square)
            size = np.sqrt(square / (1 - second**self._updates)) + tiny
            self.weights[name] -= _RATE * mean / (1 - first**self._updates) / size


class Learner:
    """Steps a vector environment with its policy, and learns from each rollout."""

    def __init__(self, opened: Opened) -> None:
        """Take note of the environment; nothing is reset yet."""
        self._opened = opened
        self._random = np.random.default_rng(0)
        self._network = _Network(self._random)
        self._returns = np.zeros(opened.envs)
        self._ended = np.zeros(opened.envs, bool)
        self._episodes: collections.deque[float] = collections.deque(maxlen=_EPISODES)

    def reset(self, seed: int) -> Any:
        """Reset the environments."""
        self._observations, info = self._opened.reset(seed=seed)
        return self._observations, info

    def notes(self) -> dict[str, float]:
        """Return the mean return of the last episodes."""
        return {"mean_return": float(np.mean(self._episodes or [0.0]))}

    def iterate(self, _: Any) -> None:
        """Make one rollout and learn from it."""
        steps = [self._step() for _ in range(_ROLLOUT)]
        seen, acted, rewards, values, ended, valid = (
            np.array(column) for column in zip(*steps, strict=True)
        )
        following = self._network.look(self._observations)[2]
        advantages = _advantages(rewards, values, ended, following)
        self._learn(
            seen.reshape(-1, _INPUTS),
            acted.ravel(),
            advantages.ravel(),
            (advantages + values).ravel(),
            valid.ravel(),
        )

    def _step(self) -> tuple[Any, ...]:
        seen, valid = self._observations, ~self._ended
        _, chances, values = self._network.look(seen)
        drawn = self._random.random(len(chances)) < chances[:, 1]
        actions = drawn.astype(self._opened.actions[0].dtype)
        self._observations, rewards, over, cut, _ = self._opened.step(actions)
        self._ended = over | cut
        self._returns += rewards
        if self._ended.any():
            self._episodes.extend(self._returns[self._ended])
            self._returns[self._ended] = 0.0
        return seen, actions, rewards, values, self._ended, valid

    def _learn(
        self, seen: Any, acted: Any, advantages: Any, aims: Any, valid: Any
    ) -> None:
        # In the step after an episode's end the environment was only reset.
        seen, acted, aims = seen[valid], acted[valid], aims[valid]
        advantages = advantages[valid]
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        hidden, chances, values = self._network.look(seen)
        logs = np.log(chances + 1e-12)
        entropy = -(chances * logs).sum(axis=1, keepdims=True)
        at_policy = (chances - np.eye(_ACTIONS)[acted]) * advantages[:, None]
        at_policy += _ENTROPY * chances * (logs + entropy)
        at_value = _VALUE * (values - aims)
        at_outputs = np.column_stack([at_policy, at_value]) / len(seen)
        self._network.descend(seen, hidden, at_outputs)


def _advantages(rewards: Any, values: Any, ended: Any, following: Any) -> Any:
    """Return generalised advantage estimates of shape (rollout, lanes)."""
    advantages = np.zeros_like(values)
    later = np.zeros_like(following)
    for number in reversed(range(len(rewards))):
        goes_on = 1.0 - ended[number]
        delta = rewards[number] + _GAMMA * following * goes_on - values[number]
        later = delta + _GAMMA * _LAMBDA * goes_on * later
        advantages[number], following = later, values[number]
    return advantages


def learning(opened: Opened) -> Opened:
    """Return a contender of which one step is a whole iteration of a learner."""
    learner = Learner(opened)
    return Opened(
        learner.reset,
        learner.iterate,
        opened.close,
        [None],
        False,
        pids=opened.pids,
        bridges=opened.bridges,
        envs=opened.envs * _ROLLOUT,
        notes=learner.notes,
    )
