"""Resets without seed and options, which have a short way of their own, both ways."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.testing.environments import HashChainEnv, ScriptedEnv
from tests.support.equality import assert_identical
from tests.support.threads import playing, serving

pytestmark = pytest.mark.usefixtures("channel_directory")

SPACE = spaces.Box(-1e6, 1e6, (2,), np.float64)


@contextlib.contextmanager
def remote(paradigm: str, env: Any, **options: Any) -> Iterator[Any]:
    """Return the algorithm's environment, with ``env`` at the other end."""
    if paradigm == "ClientEnv":
        with serving(env, name="x", **options), rlay.ClientEnv("x") as algorithm:
            yield algorithm
        return
    with rlay.ServerEnv("x") as algorithm, playing(env, name="x", **options):
        algorithm.wait_until_connected()
        yield algorithm
        algorithm.close()


@pytest.fixture(params=["ClientEnv", "ServerEnv"])
def paradigm(request):
    return request.param


class PlainChain(HashChainEnv):
    """A hash chain whose infos are empty, so that all of it is steady."""

    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0], {}

    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], {})


class MoodyChain(HashChainEnv):
    """A hash chain that has an info only now and then."""

    def reset(self, **kwargs: Any) -> Any:
        observation, info = super().reset(**kwargs)
        return observation, info if self.resets % 3 == 0 else {}

    def step(self, action: Any) -> Any:
        *rest, info = super().step(action)
        return (*rest, info if self._steps % 4 == 0 else {})


@pytest.mark.parametrize("make", [PlainChain, MoodyChain, HashChainEnv])
def test_episodes_are_those_of_the_same_environment_here(paradigm, make):
    """Resets at ends, in mid-episode, twice in a row, seeded between: all the same."""

    def play(env: gymnasium.Env[Any, Any]) -> list[Any]:
        seen: list[Any] = [env.reset(seed=5)]
        for number in range(300):
            seen.append(env.step(number % 256))
            if seen[-1][2] or number % 17 == 0:
                seen.append(env.reset())
            if number % 29 == 0:
                seen.append(env.reset())
            if number % 37 == 0:
                seen.append(env.reset(seed=number, options={"n": number}))
        return seen

    with remote(paradigm, make(7)) as env:
        assert_identical(play(env), play(make(7)))


def test_reset_passes_none_for_seed_and_options(paradigm):
    """The environment's reset is called as for any other reset."""
    calls: list[Any] = []

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        calls.append((seed, options))
        return np.zeros(2), {}

    with remote(paradigm, ScriptedEnv(observation_space=SPACE, reset_fn=reset)) as env:
        env.reset()
        env.reset(seed=1)
        env.reset(options={})
        env.reset()
    assert calls == [(None, None), (1, None), (None, {}), (None, None)]


def test_reset_that_raises_is_told_and_the_next_one_works(paradigm):
    """In a row of steady resets too, and a step may come between, as in-process."""

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        if env.resets % 3 == 0:
            raise ZeroDivisionError("unlucky")
        return np.full(2, float(env.resets)), {}

    game = ScriptedEnv(
        observation_space=SPACE,
        reset_fn=reset,
        step_fn=lambda env, action: (np.zeros(2), 1.0, env.steps == 2, False, {}),
    )
    with remote(paradigm, game) as env:
        for number in range(1, 13):
            if number % 3:
                assert env.reset()[0].tolist() == [number, number]
                assert env.step(0)[2] is False
                assert env.step(0)[2] is True
            else:
                with pytest.raises(rlay.RemoteEnvError, match="unlucky") as caught:
                    env.reset()
                assert caught.value.remote_type == "ZeroDivisionError"
        assert env.reset()[0].tolist() == [13, 13]
        assert env.step(0)[2] is False


def test_reset_of_another_space_is_a_space_mismatch(paradigm):
    """The short way refuses, and the long way says what is wrong."""

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        return np.zeros(2 if env.resets % 2 else 3), {}

    with remote(paradigm, ScriptedEnv(observation_space=SPACE, reset_fn=reset)) as env:
        for _ in range(3):
            env.reset()
            with pytest.raises(rlay.SpaceMismatch, match=r"got float64 \(3,\)"):
                env.reset()


@pytest.mark.parametrize("returned", [None, (), (np.zeros(2),), (np.zeros(2), {}, 1)])
def test_reset_that_returns_no_pair_is_told(paradigm, returned):
    """What the environment returned instead is its error, not the backend's end."""

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        return (np.zeros(2), {}) if env.resets % 2 else returned

    class Odd(ScriptedEnv):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            self.resets += 1
            return reset(self, seed, options)

    with remote(paradigm, Odd(observation_space=SPACE)) as env:
        for _ in range(2):
            env.reset()
            with pytest.raises(rlay.RemoteEnvError):
                env.reset()


def test_reset_bounds_are_checked_where_that_was_asked_for(paradigm):
    """With check_bounds=True nothing is steady."""

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        return np.full(2, 0.0 if env.resets % 2 else 1e9), {}

    game = ScriptedEnv(observation_space=SPACE, reset_fn=reset)
    with remote(paradigm, game, check_bounds=True) as env:
        for _ in range(2):
            env.reset()
            with pytest.raises(rlay.SpaceMismatch, match="outside"):
                env.reset()
