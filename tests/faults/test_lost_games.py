"""Games that die in a vector they joined: the others go on, and another one joins."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import rlay
from tests.faults.fleet import (
    RAISED_S,
    VICTIM,
    Games,
    come_back_by_mask,
    come_back_by_themselves,
    killed_at,
    lose_the_victim,
)
from tests.faults.stage import Within
from tests.support.children import Children
from tests.support.threads import Background
from tests.support.vectors import MODES

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def games(children: Children, channel_directory: Any) -> Iterator[Games]:
    """Three games, not started yet; the vector is closed at the test's end."""
    made = Games(children, 3)
    yield made
    made.close()


def test_raise_names_the_lane_and_reset_takes_in_the_next_game(
    games: Games, within: Within
):
    """The step raises at once; reset() waits for a game, which needs no number."""
    lose_the_victim(games)
    with pytest.raises(rlay.EnvLost) as caught:
        games.step()
    within(RAISED_S, time.monotonic() - killed_at(games))
    assert caught.value.lanes == (VICTIM,)
    with pytest.raises(ResetNeeded):
        games.step()
    games.serve(VICTIM)
    games.play()
    assert games.envs.channels[VICTIM] == f"game.{VICTIM}"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_truncate_reports_the_lane_and_the_others_go_on(games: Games, mode: Any):
    """The others' results of that very step arrive, and later all games run."""
    lose_the_victim(games, on_lane_lost="truncate", autoreset_mode=mode)
    before = games.state(VICTIM)
    observations, rewards, terminations, truncations, infos = games.step(
        except_for=VICTIM
    )
    assert truncations.tolist() == [lane == VICTIM for lane in range(games.lanes)]
    assert not terminations.any()
    assert rewards[VICTIM] == 0.0
    assert observations[VICTIM].tobytes() == before
    assert "ended without a goodbye" in infos["rlay"]["lost"][VICTIM]
    games.serve(VICTIM)
    if mode is AutoresetMode.DISABLED:
        come_back_by_mask(games)
    else:
        come_back_by_themselves(games)
    for _ in range(5):
        assert not games.step()[3].any()


@pytest.mark.parametrize("mode", MODES[:2], ids=lambda mode: mode.name)
def test_wait_truncates_once_and_waits_for_another_game(games: Games, mode: Any):
    """No step is made up: the next one waits, and the lane begins an episode."""
    lose_the_victim(games, on_lane_lost="wait", autoreset_mode=mode)

    def start_again() -> None:
        games.striker.outcome()
        games.serve(VICTIM)

    starter = Background(start_again)
    _, _, _, truncations, _ = games.step(except_for=VICTIM)
    assert truncations.tolist() == [lane == VICTIM for lane in range(games.lanes)]
    _, _, _, truncations, infos = games.step(except_for=VICTIM)
    # In SAME_STEP an observation of a new episode comes with the end of one before.
    assert truncations[VICTIM] == (mode is AutoresetMode.SAME_STEP)
    assert "_rlay" not in infos
    starter.outcome()
    for _ in range(3):
        games.step()


def test_wait_gives_up_after_connect_timeout_and_can_be_tried_again(games: Games):
    """The message says which lane; nothing was sent to the others."""
    lose_the_victim(games, on_lane_lost="wait", connect_timeout=5.0)
    games.step(except_for=VICTIM)
    with pytest.raises(rlay.ConnectTimeout, match=f"lane {VICTIM} within 5.0 s"):
        games.step()
    games.serve(VICTIM)
    games.step(except_for=VICTIM)
    games.step()


def test_spare_game_takes_the_place_of_one_that_dies(games: Games):
    """It waited without a place; the vector has it without anybody's doing."""
    games.attach(on_lane_lost="wait")
    victim = games.children[VICTIM]
    games.serve(VICTIM)
    games.play()
    victim.kill()
    assert games.step(except_for=VICTIM)[3][VICTIM]
    assert not games.step(except_for=VICTIM)[3].any()
    games.step()


def test_all_games_lost_waits_for_one(games: Games):
    """With nobody left no transitions are made up: the step waits, with a bound."""
    games.attach(on_lane_lost="truncate", connect_timeout=5.0)
    games.play()
    for child in games.children.values():
        child.kill()
    assert games.envs.step(np.zeros(3, np.int64))[3].all()
    with pytest.raises(rlay.ConnectTimeout):
        games.envs.step(np.zeros(3, np.int64))
    games.serve(VICTIM)
    truncations = games.envs.step(np.zeros(3, np.int64))[3]
    assert truncations.sum() == 2
