"""ALE, MiniGrid, NLE and ViZDoom through RLay, bit by bit as in-process.

They come with the extra ``envs``; ``make test-envs`` runs this module. Each package
registers hundreds of environments: some of each are run, spread over the list, or all
of them with ``RLAY_ALL_ENVIRONMENTS=1`` (an hour).
"""

from __future__ import annotations

import copy
import functools
import importlib
import os
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.envs.test_actions_exactness import actions_for, outcome
from tests.support.equality import assert_identical, assert_same_space
from tests.support.pairs import PAIRS, backend_process
from tests.support.trajectories import Reference, difference, record, run_twice

pytestmark = [
    pytest.mark.optional_environments,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(3600),
]

PACKAGES = {
    "ale_py": "ale_py",
    "minigrid": "minigrid",
    "nle": "nle",
    "vizdoom": "vizdoom.gymnasium_wrapper",
}
"""What to import so that a package registers its environments."""

SPREAD = 8
"""How many environments of a package are run."""

DIFFER_FROM_THEMSELVES = {"NetHackChallenge-v0"}
"""It forbids seeds, so that a second run in-process differs from the first."""


@functools.cache
def environments_of(package: str) -> list[str]:
    """Import a package, and return the ids of the environments to run."""
    before = set(gymnasium.registry)
    module = importlib.import_module(PACKAGES[package])
    names = [
        spec.id
        for spec in gymnasium.registry.values()
        if package in str(spec.entry_point) or spec.id not in before
    ]
    assert names, f"{module.__name__} registered nothing"
    if os.environ.get("RLAY_ALL_ENVIRONMENTS"):
        return names
    return names[:: max(1, len(names) // SPREAD)]


class SeededNetHack(gymnasium.Wrapper[Any, Any, Any, Any]):
    """NetHack whose resets can be repeated, and whose info can be sent.

    Its own reset passes no seed on to the game, and its info holds an enumeration.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._resets += 1
        if self.spec is not None and self.spec.id not in DIFFER_FROM_THEMSELVES:
            core = self._resets if seed is None else seed
            self.unwrapped.seed(core=core, disp=1, reseed=False)  # type: ignore[attr-defined]
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._plain(info)

    def step(self, action: Any) -> Any:
        *transition, info = self.env.step(action)
        return *transition, self._plain(info)

    def _plain(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "end_status": int(info["end_status"])}


def make_environment(package: str, name: str) -> gymnasium.Env[Any, Any]:
    """Make an environment of a package that registers it when it is imported."""
    importlib.import_module(PACKAGES[package])
    env: gymnasium.Env[Any, Any] = gymnasium.make(name)
    return SeededNetHack(env) if package == "nle" else env


def why_not(package: str, name: str) -> str | None:
    """Return why an environment cannot be made or reset here, or None."""
    try:
        env = make_environment(package, name)
        env.reset()
        env.close()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return None


@functools.lru_cache(maxsize=SPREAD + 1)  # a package, for both paradigms
def reference(package: str, name: str) -> Reference:
    """Run an environment twice in this process, once for all tests."""
    return run_twice(functools.partial(make_environment, package, name))


def assert_same_space_as_far_as_known(actual: Any, expected: Any, path: str) -> None:
    """Compare spaces; of a class that only its package knows, its name arrives."""
    if isinstance(expected, spaces.Dict):
        assert list(actual.spaces) == list(expected.spaces)
        for key, part in expected.spaces.items():
            assert_same_space_as_far_as_known(actual[key], part, f"{path}.{key}")
    elif type(expected).__module__.startswith("gymnasium."):
        assert_same_space(actual, expected, path)
    else:
        kind = type(expected)
        assert actual.type_name == f"{kind.__module__}.{kind.__qualname__}"


def form(value: Any) -> Any:
    """Return a value's types, keys, dtypes and shapes, without its numbers."""
    if isinstance(value, dict):
        return {key: form(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [form(part) for part in value]
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape
    return type(value)


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize("package", PACKAGES)
def test_trajectories_through_rlay_are_those_in_process(
    package, paradigm, children, capsys
):
    """Spaces and 1,000 seeded steps with resets are identical, types and bits.

    Of an environment that differs from its own second run, types, keys and shapes of
    the first two observations are compared.
    """
    pytest.importorskip(PACKAGES[package], reason=f"{package} is not installed")
    differ, lines = {}, []
    with backend_process(children) as process:
        for name in environments_of(package):
            reason = why_not(package, name)
            if reason is not None:
                lines.append(f"not run: {name} ({reason})")
                continue
            actions, expected, own_difference = reference(package, name)
            target = functools.partial(make_environment, package, name)
            with PAIRS[paradigm](process, target) as (local, remote):
                for kind in ("observation_space", "action_space"):
                    assert_same_space_as_far_as_known(
                        getattr(remote, kind), getattr(local, kind), name
                    )
                trajectory = record(remote, actions)
            if own_difference is not None:
                lines.append(f"{name}: differs from its own second run")
                assert name in DIFFER_FROM_THEMSELVES, own_difference
                assert form(trajectory[0][1][0]) == form(expected[0][1][0])
                assert form(trajectory[1][1][:4]) == form(expected[1][1][:4])
                continue
            found = difference(trajectory, expected)
            if found is None:
                lines.append(f"{name}: {len(actions)} steps identical")
            else:
                differ[name] = found
    with capsys.disabled():
        sys.stdout.write("".join(f"\n  {paradigm}: {line}" for line in lines))
    assert differ == {}
    assert any("identical" in line or "differs" in line for line in lines)


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize("package", PACKAGES)
def test_unusual_actions_have_the_outcome_that_they_have_in_process(
    package, paradigm, children
):
    """The same transition, bit by bit, or the same type of exception."""
    pytest.importorskip(PACKAGES[package], reason=f"{package} is not installed")
    name = next(
        name for name in environments_of(package) if why_not(package, name) is None
    )
    target = functools.partial(make_environment, package, name)
    differ = {}
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (local, remote),
    ):
        for kind, action in actions_for(local.action_space).items():
            expected = copy.deepcopy(outcome(local, action))
            try:
                assert_identical(outcome(remote, action), expected)
            except AssertionError as error:
                differ[kind] = str(error)
    assert differ == {}
