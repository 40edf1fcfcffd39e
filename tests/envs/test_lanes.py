"""Vectors over several channels, side by side with ``SyncVectorEnv``."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import SyncVectorEnv

import rlay
from tests.support.equality import assert_identical
from tests.support.threads import serving
from tests.support.vectors import MODES, Lane, drive

pytestmark = pytest.mark.usefixtures("channel_directory")

ARRANGEMENTS = [[1], [1, 1, 1], [4, 2], [1, 3, 1, 2]]


@contextmanager
def channels(target: Any, counts: list[int], **options: Any) -> Any:
    """Serve channels ``n.0``, ``n.1`` ... with so many environments each."""
    with ExitStack() as stack:
        for number, count in enumerate(counts):
            stack.enter_context(
                serving(target, name=f"n.{number}", num_envs=count, **options)
            )
        yield


def assert_same_calls(actual: Any, expected: Any) -> None:
    """Compare two records of :func:`drive`."""
    assert len(actual) == len(expected)
    for (call, one), (_, other) in zip(actual, expected, strict=True):
        assert_identical(one, other, call)


@pytest.mark.parametrize("copy", [True, False], ids=["copy", "view"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("counts", ARRANGEMENTS, ids=str)
@pytest.mark.parametrize(
    "target", [Lane, "CartPole-v1", "FrozenLake-v1"], ids=["lane", "box", "discrete"]
)
def test_all_is_equal_to_sync_vector_env(target, counts, mode, copy):
    """Step by step, in each mode, with seeds, masks, options and infos."""
    factory = target if callable(target) else lambda: gymnasium.make(target)
    local = SyncVectorEnv([factory] * sum(counts), autoreset_mode=mode)
    extra = 17 if sum(counts) > 2 else None
    expected = drive(local, 60, extra_reset_at=extra)
    local.close()
    with channels(target, counts):
        remote = rlay.ClientVectorEnv("n", sum(counts), autoreset_mode=mode, copy=copy)
        assert remote.metadata["autoreset_mode"] is mode
        actual = drive(remote, 60, extra_reset_at=extra)
        remote.close()
    assert_same_calls(actual, expected)
