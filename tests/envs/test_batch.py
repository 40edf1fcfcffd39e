"""Several environments on one clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlay.envs.batch import EnvironmentBatch
from rlay.envs.decisions import Action, Reset
from rlay.testing.environments import ScriptedEnv
from tests.support.vectors import Lane


def lanes(batch: EnvironmentBatch) -> list[Lane]:
    return [env for env in batch.envs if isinstance(env, Lane)]


def test_reset_without_a_mask_resets_all_with_their_seeds():
    """Each lane gets its own seed of the list, or all the same."""
    batch = EnvironmentBatch([Lane] * 2)
    one, infos = batch.reset(Reset([3, 3]))
    assert one["place"][0].tolist() == one["place"][1].tolist()
    assert [info["resets"] for info in infos] == [1, 1]
    other, _ = batch.reset(Reset([3, 4]))
    assert other["place"][0].tolist() == one["place"][0].tolist()
    assert other["place"][1].tolist() != one["place"][1].tolist()


def test_reset_with_a_mask_leaves_the_others_where_they_are():
    """Only the masked lanes reset; the others report what they last observed."""
    batch = EnvironmentBatch([Lane] * 2)
    batch.reset(Reset([1, 2]))
    before, *_ = batch.step(Action(np.array([3, 4])))
    after, infos = batch.reset(Reset([9, 9], None, np.array([False, True])))
    assert after["count"].tolist() == [1, 0]
    assert after["place"][0].tolist() == before["place"][0].tolist()
    assert infos[0] == {}
    assert [lane.resets for lane in lanes(batch)] == [1, 2]


def test_step_with_a_reset_mask_resets_those_lanes_and_ignores_their_action():
    """A lane in the mask resets now: no reward, no flag, its reset's info."""
    batch = EnvironmentBatch([Lane] * 2)
    batch.reset(Reset([1, 2]))
    result = batch.step(Action(np.array([3, 4]), np.array([True, False])))
    observations, rewards, terminations, truncations, infos = result
    assert observations["count"].tolist() == [0, 1]
    assert rewards.tolist() == [0.0, 2.0]
    assert (rewards.dtype, terminations.dtype) == (np.float64, np.bool_)
    assert not terminations[0]
    assert not truncations[0]
    assert infos[0]["resets"] == 2
    assert infos[1]["count"] == 1


def test_set_attr_takes_one_value_or_one_for_each():
    """A list of another length is refused, and nothing is set."""
    batch = EnvironmentBatch([Lane] * 2)
    batch.set_attr("scale", 2.0)
    assert batch.call("scale") == (2.0, 2.0)
    batch.set_attr("scale", [3.0, 4.0])
    assert batch.call("scale") == (3.0, 4.0)
    with pytest.raises(ValueError, match="3 values"):
        batch.set_attr("scale", [1.0, 1.0, 1.0])
    assert batch.call("doubled", 1.0) == (6.0, 8.0)


def test_environment_that_cannot_be_made_closes_those_that_were():
    """Nothing is left running when the second of three factories raises."""
    closed: list[Any] = []

    def good() -> ScriptedEnv:
        return ScriptedEnv(close_fn=closed.append)

    def bad() -> ScriptedEnv:
        raise OSError("no licence left")

    with pytest.raises(OSError, match="no licence"):
        EnvironmentBatch([good, bad, good])
    assert len(closed) == 1


def test_close_reaches_every_environment():
    """One that raises when it is closed does not keep the others open."""
    closed: list[Any] = []

    def close(env: ScriptedEnv) -> None:
        closed.append(env)
        if len(closed) == 1:
            raise OSError("already gone")

    batch = EnvironmentBatch([lambda: ScriptedEnv(close_fn=close)] * 3)
    with pytest.raises(OSError, match="already gone"):
        batch.close()
    assert len(closed) == 3
