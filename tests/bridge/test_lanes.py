"""Vectors whose lanes are on this machine, behind bridges, and attached directly."""

from __future__ import annotations

from typing import Any

import pytest
from gymnasium.vector import SyncVectorEnv

import rlay
from tests.bridge.two_machines import Machines
from tests.support.equality import assert_identical
from tests.support.threads import serving
from tests.support.vectors import MODES, Lane, drive

pytestmark = pytest.mark.timeout(120)


def expected(count: int, mode: Any) -> Any:
    """Return what SyncVectorEnv does."""
    local = SyncVectorEnv([Lane] * count, autoreset_mode=mode)
    calls = drive(local, 40, extra_reset_at=11)
    local.close()
    return calls


def assert_as_expected(envs: Any, mode: Any) -> None:
    """Drive a vector, and compare with what SyncVectorEnv does."""
    found = drive(envs, 40, extra_reset_at=11)
    for (call, one), (_, other) in zip(
        found, expected(envs.num_envs, mode), strict=True
    ):
        assert_identical(one, other, call)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_lanes_of_every_kind_in_one_vector(joined: Machines, mode: Any):
    """Local, bridged and direct, single and batched: equal to SyncVectorEnv."""
    with (
        serving(Lane, name="here", directory=joined.near),
        serving(Lane, name="there", num_envs=2, directory=joined.far),
        serving(Lane, name="direct.0", directory=joined.far),
        serving(Lane, name="direct.1", num_envs=2, directory=joined.far),
    ):
        names = ["here", "there"]
        names += [f"tcp://{joined.address}/direct.{number}" for number in range(2)]
        envs = rlay.ClientVectorEnv(names, autoreset_mode=mode)
        assert envs.num_envs == 6
        assert_as_expected(envs, mode)
        envs.close()


@pytest.mark.parametrize("place", ["mirrored", "direct"])
def test_group_on_another_machine_is_gathered(joined: Machines, place: str):
    """The name is the same as for a local group; an address names one at a bridge."""
    with (
        serving(Lane, name="n", directory=joined.far),
        serving(Lane, name="n.0", num_envs=2, directory=joined.far),
        serving(Lane, name="n.1", directory=joined.far),
    ):
        name = "n" if place == "mirrored" else f"tcp://{joined.address}/n"
        envs = rlay.ClientVectorEnv(name, num_envs=4)
        assert envs.channels == ("n", "n.0", "n.0", "n.1")
        assert_as_expected(envs, MODES[0])
        envs.close()


def test_group_at_a_bridge_without_a_number_is_what_is_there(joined: Machines):
    """Once the bridge names no more, the vector begins."""
    with (
        serving(Lane, name="n.3", directory=joined.far),
        serving(Lane, name="n.4", directory=joined.far),
    ):
        envs = rlay.ClientVectorEnv(f"tcp://{joined.address}/n.3")
        assert envs.num_envs == 1
        envs.close()
        envs = rlay.ClientVectorEnv("n.4")
        envs.close()


def test_group_that_is_not_at_the_bridge_is_told(joined: Machines):
    """The message says what the bridge says, and where."""
    with pytest.raises(rlay.ConnectTimeout, match=r"0 of 2 .*n.* at the bridge"):
        rlay.ClientVectorEnv(
            f"tcp://{joined.address}/n", num_envs=2, connect_timeout=1.0
        )
