"""``ClientVectorEnv`` and ``SyncVectorEnv`` side by side, over all of Gymnasium.

Three lanes: a channel with one environment, and one with two of them. What is compared
is everything that reset and step return, step by step, with its types, in each mode.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import iterate
from hypothesis import HealthCheck, Phase, given, settings

import rlay
from rlay.testing.environments import EchoEnv
from rlay.testing.strategies import spaces_of_any_kind
from tests.envs.test_exactness import DIFFER_FROM_THEMSELVES, FAMILIES
from tests.envs.test_spaces_exactness import NOTABLE_SPACES
from tests.support.equality import assert_identical
from tests.support.pairs import BackendProcess, backend_process
from tests.support.threads import serving
from tests.support.vectors import MODES, drive

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("channel_directory"),
]

LANES = 3
STEPS = 40
ENOUGH = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def in_threads(make: Callable[[], Any], mode: Any) -> Iterator[tuple[Any, Any]]:
    """Give a ``SyncVectorEnv`` and a ``ClientVectorEnv`` of the same lanes."""
    with (
        serving(make, name="n.0"),
        serving(make, name="n.1", num_envs=LANES - 1),
        vectors(make, mode) as both,
    ):
        yield both


@contextmanager
def in_processes(
    processes: list[BackendProcess], name: str, mode: Any
) -> Iterator[tuple[Any, Any]]:
    """Give the same for a registered environment; some cannot run in two threads."""
    with ExitStack() as stack:
        for number, process in enumerate(processes):
            options = {"name": f"n.{number}", "num_envs": 1 + number}
            process.order("ServerBackend", name, **options)
            stack.enter_context(process.running())
        make = functools.partial(gymnasium.make, name)
        yield stack.enter_context(vectors(make, mode))


@contextmanager
def vectors(make: Callable[[], Any], mode: Any) -> Iterator[tuple[Any, Any]]:
    """Make both vectors over what is served."""
    local = SyncVectorEnv([make] * LANES, autoreset_mode=mode)
    remote = rlay.ClientVectorEnv("n", LANES, autoreset_mode=mode)
    try:
        yield local, remote
    finally:
        remote.close()
        local.close()


def difference(one: Any, other: Any) -> str | None:
    """Return how two runs of :func:`drive` differ, or None."""
    for (call, actual), (_, expected) in zip(one, other, strict=True):
        try:
            assert_identical(actual, expected, call)
        except AssertionError as error:
            return str(error)
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_environments_of_gymnasium_are_as_in_sync_vector_env(family, children):
    """Resets with seeds, a mask in mid-episode, and steps with ends: all identical."""
    differ = {}
    with backend_process(children) as one, backend_process(children) as other:
        for name in FAMILIES[family]:
            if name in DIFFER_FROM_THEMSELVES:
                continue
            for mode in MODES:
                with in_processes([one, other], name, mode) as (local, remote):
                    expected = drive(local, STEPS, extra_reset_at=STEPS // 2)
                    found = drive(remote, STEPS, extra_reset_at=STEPS // 2)
                differ[name, mode.name] = difference(found, expected)
    assert {key: text for key, text in differ.items() if text} == {}


def is_iterable(space: Any, actions: Any, lanes: int = LANES) -> bool:
    """Return whether a batch has its lanes: an empty tuple or dict has none.

    Gymnasium steps nobody then, or raises ValueError, according to its version.
    """
    try:
        return len(list(iterate(space, actions))) == lanes
    except ValueError:
        return False


def assert_echoes(space: Any) -> None:
    """Compare a reset and some steps of lanes that echo their actions."""

    def make() -> EchoEnv:
        return EchoEnv(copy.deepcopy(space))

    with in_threads(make, MODES[0]) as (local, remote):
        assert_identical(remote.reset(seed=3), local.reset(seed=3), "reset")
        actions = copy.deepcopy(local.action_space)
        actions.seed(7)
        for _ in range(3):
            action = actions.sample()
            if is_iterable(local.action_space, action):
                assert_identical(remote.step(action), local.step(action), "step")
                continue
            with pytest.raises(
                ValueError, match=r"actions (were given|cannot be shared out)"
            ):
                remote.step(action)


@pytest.mark.parametrize("name", NOTABLE_SPACES)
def test_notable_spaces_are_batched_as_gymnasium_batches_them(name):
    """All ten kinds and their odd forms, in three lanes."""
    assert_echoes(NOTABLE_SPACES[name])


@ENOUGH
@given(space=spaces_of_any_kind())
def test_any_space_is_batched_as_gymnasium_batches_it(space):
    """Observations, actions and infos of generated spaces."""
    assert_echoes(space)
