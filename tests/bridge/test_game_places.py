"""Games on two machines, bridged and attached directly, that join one trainer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

import rlay
from tests.bridge.test_lanes import assert_as_expected
from tests.bridge.two_machines import Machines
from tests.support.threads import LIMIT_S, background, playing
from tests.support.vectors import MODES, Lane
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


@contextmanager
def games(*options: dict[str, Any]) -> Iterator[None]:
    """Let games play, one with each of these options."""
    with ExitStack() as stack:
        for each in options:
            stack.enter_context(playing(Lane, **{"name": "game", **each}))
        yield


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("trainer", ["near", "direct"])
def test_games_of_every_kind_in_one_vector(joined: Machines, trainer: str, mode: Any):
    """On the trainer's machine, behind bridges and direct: equal to SyncVectorEnv."""
    address = f"tcp://{joined.address}/game"
    name = "game" if trainer == "near" else address
    with games(
        {"directory": joined.near},
        {"directory": joined.far},
        {"directory": joined.far},
        {"name": address},
    ):
        envs = rlay.ServerVectorEnv(name, 4, autoreset_mode=mode)
        assert_as_expected(envs, mode)
        envs.close()


def test_direct_games_pass_over_places_that_are_taken_elsewhere(joined: Machines):
    """Their bridge has mirrors only, and cannot see who holds a place at the origin."""
    address = f"tcp://{joined.address}/game"
    with playing(Lane, name="game"), playing(Lane, name="game"):
        envs = rlay.ServerVectorEnv("game", 4, connect_timeout=0.5)
        wait_until(lambda: tried(envs) == 2)
        with games({"name": address}, {"name": f"{address}.*"}):
            wait_until(lambda: tried(envs) == 4)
            envs.reset()
            envs.close()


def tried(envs: Any) -> int:
    """Wait for games, in vain or not; return how many there are."""
    try:
        envs.wait_until_connected()
    except rlay.ConnectTimeout:
        return len(envs._places._joined)
    return int(envs.num_envs)


def leave_in_the_first_step(directory: str) -> None:
    """Play a game that leaves instead of reporting what its first action did."""
    lane = Lane()
    with rlay.ClientBackend(
        name="game",
        observation_space=lane.observation_space,
        action_space=lane.action_space,
        directory=directory,
        connect_timeout=LIMIT_S,
    ) as backend:
        assert isinstance(backend.decide(), rlay.Reset)
        observation, _ = lane.reset()
        assert isinstance(backend.decide(observation), rlay.Action)


def test_game_behind_a_bridge_takes_the_place_of_one_that_left(joined: Machines):
    """It stood by on the other machine, and is a lane as soon as there is a place."""
    envs = rlay.ServerVectorEnv("game", 2, on_lane_lost="wait")
    actions = np.zeros(2, np.int64)
    with (
        playing(Lane, name="game"),
        background(lambda: leave_in_the_first_step(joined.far)),
    ):
        envs.reset()
        with playing(Lane, name="game", directory=joined.far):
            assert envs.step(actions)[4]["_rlay"].sum() == 1
            assert "rlay" not in envs.step(actions)[4]
            envs.close()
