"""``ServerVectorEnv`` over games that join by themselves, each with its lanes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlay
from tests.envs.test_server_vector_env import in_the_spaces_own_types
from tests.support.equality import assert_identical
from tests.support.threads import LIMIT_S, background, playing
from tests.support.vectors import MODES, Lane, drive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")

ARRANGEMENTS = [[1], [1, 1, 1], [2, 2], [1, 3, 1]]
BOX: dict[str, Any] = {
    "observation_space": spaces.Box(0, 1, (1,), np.float64),
    "action_space": spaces.Discrete(5),
    "connect_timeout": LIMIT_S,
}
NOTHING = np.zeros(1)


@contextmanager
def games(target: Any, counts: list[int], name: str = "game") -> Iterator[None]:
    """Let games of ``target`` play, with so many environments each."""
    with ExitStack() as stack:
        for count in counts:
            stack.enter_context(playing(target, name=name, num_envs=count))
        yield


@contextmanager
def vector(num_envs: int | None, **options: Any) -> Iterator[Any]:
    """Make a ``ServerVectorEnv`` that is closed at the end."""
    envs = rlay.ServerVectorEnv("game", num_envs, **options)
    try:
        yield envs
    finally:
        envs.close()


def game(**options: Any) -> Any:
    """Return a game of the test's own thread, which has not found a trainer yet."""
    return rlay.ClientBackend(name="game", **{**BOX, "connect_timeout": 0, **options})


def channels(directory: Any) -> list[str]:
    """Return the names of the channels that are there."""
    return sorted(each.name for each in directory.iterdir())


# ---------------------------------------------------------------- as SyncVectorEnv


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("counts", ARRANGEMENTS, ids=str)
@pytest.mark.parametrize(
    "target", [Lane, "CartPole-v1", "FrozenLake-v1"], ids=["lane", "box", "discrete"]
)
def test_all_is_equal_to_sync_vector_env(target, counts, mode):
    """Step by step, in each mode, with seeds, masks, options and infos."""
    factory = target if callable(target) else lambda: gymnasium.make(target)
    local = SyncVectorEnv([factory] * sum(counts), autoreset_mode=mode)
    extra = 17 if sum(counts) > 2 else None
    expected = drive(local, 60, extra_reset_at=extra)
    local.close()
    with (
        games(target, counts),
        vector(sum(counts), autoreset_mode=mode) as remote,
    ):
        assert remote.metadata["autoreset_mode"] is mode
        actual = drive(remote, 60, extra_reset_at=extra)
    assert len(actual) == len(expected)
    for (call, one), (_, other) in zip(actual, expected, strict=True):
        one, other = (in_the_spaces_own_types(remote, each) for each in (one, other))
        assert_identical(one, other, call)


# ------------------------------------------------------------------------- joining


def test_games_are_lanes_whether_they_start_before_or_after_the_trainer():
    """None has a number; the reset waits for the last of them."""
    with (
        playing(Lane, name="game"),
        playing(Lane, name="game"),
        vector(4) as envs,
        background(lambda: envs.reset(seed=3)) as resetting,
    ):
        wait_until(lambda: len(joined(envs)) == 2)
        with playing(Lane, name="game"):
            wait_until(lambda: len(joined(envs)) == 3)
            assert resetting.running
            with playing(Lane, name="game"):
                observations, _ = resetting.outcome()
                assert observations["count"].shape == (4,)
                envs.close()


def joined(envs: Any) -> Any:
    """Return the games that have joined so far."""
    return dict(envs._places._joined)


def test_constructor_and_looks_do_not_wait_for_games():
    """``repr``, ``metadata``, ``channels`` and what was given are there at once."""
    space = BOX["observation_space"]
    with vector(
        2, observation_space=space, action_space=BOX["action_space"], connect_timeout=60
    ) as envs:
        assert envs.num_envs == 2
        assert envs.single_observation_space is space
        assert envs.action_space == spaces.MultiDiscrete([5, 5])
        assert envs.channels == (None, None)
        assert not envs.connected
        assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        assert repr(envs) == "<ServerVectorEnv 'game' num_envs=2>"
    with vector(None) as envs:
        assert repr(envs) == "<ServerVectorEnv 'game' num_envs=?>"


def test_spaces_and_number_wait_for_the_games():
    """What only the games can tell is waited for, as in ``ServerEnv``."""
    with vector(None) as envs, playing(Lane, name="game", num_envs=2):
        assert envs.num_envs == 2
        assert envs.connected
        assert envs.single_action_space == spaces.Discrete(7)
        envs.reset()
        envs.close()


def test_attribute_that_does_not_exist_does_not_wait():
    """Only what the games bring is waited for."""
    with vector(2, connect_timeout=60) as envs:
        assert not hasattr(envs, "reward_range")


@pytest.mark.parametrize(
    ("counts", "left"),
    [([4], ["game"]), ([2, 2], ["game", "game.0"]), ([1, 1], ["game", "game.0"])],
    ids=str,
)
def test_places_that_are_left_over_are_removed(channel_directory, counts, left):
    """One game on one clock, or several: only the channels they took stay."""
    with vector(sum(counts)) as envs, games(Lane, counts):
        assert len(channels(channel_directory)) == sum(counts) + 1
        envs.reset()
        assert channels(channel_directory) == left
        assert set(envs.channels) == set(left)
        envs.close()


def test_group_names_the_numbered_places_alone():
    """A client that knows of groups, and not of this, joins by ``game.*``."""
    with vector(2) as envs, games(Lane, [1, 1], name="game.*"):
        envs.reset()
        assert envs.channels == ("game.0", "game.1")
        envs.close()


def test_game_may_name_its_place():
    """An exact name is that place, so that a game always has the same lane."""
    with (
        vector(2) as envs,
        playing(Lane, name="game.1"),
        playing(Lane, name="game.0"),
    ):
        envs.reset()
        assert envs.channels == ("game.0", "game.1")
        envs.close()


def test_game_too_many_is_told_who_has_the_places():
    """It finds no place, and says why; the games that are there do not notice."""
    with vector(2) as envs, games(Lane, [1, 1]):
        envs.wait_until_connected()
        with pytest.raises(rlay.ConnectTimeout, match=r"is taken|has a client|held by"):
            game(connect_timeout=0.3)
        envs.reset()
        envs.step(np.array([0, 0]))
        envs.close()


def test_game_with_more_environments_than_are_missing_is_refused():
    """The message says how many there are, and how many were wanted."""
    with (
        vector(3) as envs,
        background(envs.reset) as resetting,
        playing(Still, name="game", num_envs=2),
    ):
        wait_until(lambda: len(joined(envs)) == 1)
        with pytest.raises(rlay.SpaceMismatch, match=r"3 .*has 2, this one has 2"):
            rlay.ClientBackend(name="game", num_envs=2, **BOX)
        with playing(Still, name="game"):
            resetting.outcome()
            assert envs.num_envs == 3
            envs.close()


class Still(gymnasium.Env[Any, Any]):
    """Nothing happens, and no episode ends."""

    observation_space = BOX["observation_space"]
    action_space = BOX["action_space"]

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return NOTHING, {}

    def step(self, action: Any) -> Any:
        return NOTHING, 1.0, False, False, {}


def test_game_unlike_the_others_is_refused():
    """All lanes have the spaces of the first game; the other one is told so."""
    with (
        vector(2) as envs,
        background(envs.reset) as resetting,
        playing(Still, name="game"),
    ):
        wait_until(lambda: len(joined(envs)) == 1)
        with pytest.raises(rlay.SpaceMismatch, match="action spaces differ"):
            rlay.ClientBackend(
                name="game", **{**BOX, "action_space": spaces.Discrete(6)}
            )
        with playing(Still, name="game"):
            resetting.outcome()
            envs.close()


def test_game_that_leaves_before_all_are_there_frees_its_place():
    """It is missed, not counted; another one completes the vector."""
    with vector(2) as envs, background(envs.reset) as waiting:
        with game() as first:
            wait_until(lambda: first.poll() or first.connected)
            wait_until(lambda: len(joined(envs)) == 1)
        wait_until(lambda: not joined(envs))
        with playing(Still, name="game"):
            wait_until(lambda: len(joined(envs)) == 1)
            assert waiting.running
            with playing(Still, name="game"):
                waiting.outcome()
                envs.close()


def test_games_missing_are_counted_in_the_message():
    """It names who is there, and how to start the others; they stay for the next."""
    with vector(3, connect_timeout=0.3) as envs, games(Lane, [1, 1]):
        wait_until(lambda: _tried(envs) == 2)
        with pytest.raises(rlay.ConnectTimeout, match=r"2 of 3 .*game.*ClientBackend"):
            envs.reset()
        with games(Lane, [1]):
            wait_until(lambda: _tried(envs) == 3)
            envs.reset()
            envs.close()


def _tried(envs: Any) -> int:
    """Wait for games, in vain or not; return how many there are."""
    with suppress(rlay.ConnectTimeout):
        envs.wait_until_connected()
    return len(joined(envs))


def test_place_that_somebody_has_leaves_no_other_behind(channel_directory):
    """Two trainers of one name: the second is told, and takes back what it made."""
    with vector(2) as first:
        with pytest.raises(rlay.ChannelBusy, match="game"):
            rlay.ServerVectorEnv("game", 2)
        assert len(channels(channel_directory)) == 3
        with pytest.raises(rlay.ChannelBusy, match=r"game\.1"):
            rlay.ServerVectorEnv("game.1", 2)
        assert len(channels(channel_directory)) == 3
        assert not first.connected
    assert channels(channel_directory) == []


def test_number_below_one_is_refused():
    """Before anything is made."""
    with pytest.raises(ValueError, match="at least 1"):
        rlay.ServerVectorEnv("game", 0)


def test_close_in_another_thread_ends_the_wait():
    """Nobody waits for games of a trainer that was closed."""
    with vector(2, connect_timeout=None) as envs:
        entered = threading.Event()

        def wait() -> str:
            entered.set()
            with pytest.raises(rlay.ChannelClosed) as caught:
                envs.wait_until_connected()
            return str(caught.value)

        with background(wait) as waiting:
            entered.wait(LIMIT_S)
            wait_until(lambda: envs._in_use[0])
            envs.close()
            assert "closed here" in waiting.outcome()


# -------------------------------------------------------------------- lost and found


class Hand:
    """A game in a thread that plays until it is told to leave."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.left = threading.Event()

    def play(self) -> None:
        with rlay.ClientBackend(name="game", **BOX) as backend:
            while not self.leave.is_set():
                match backend.poll(0.02):
                    case rlay.Reset():
                        backend.report(NOTHING)
                    case rlay.Action():
                        backend.report(NOTHING, 1.0)
                    case rlay.Close(reason="closed"):
                        break
        self.left.set()


@contextmanager
def hands(count: int) -> Iterator[list[Hand]]:
    """Let so many games play; they leave at the end."""
    with ExitStack() as stack:
        made = [Hand() for _ in range(count)]
        for hand in made:
            stack.enter_context(background(hand.play))
        yield made
        for hand in made:
            hand.leave.set()


def one_leaves(playing_: list[Hand]) -> None:
    """Let the first game leave, and wait until it has."""
    playing_[0].leave.set()
    assert playing_[0].left.wait(LIMIT_S)


ACTIONS = np.zeros(3, np.int64)


def test_game_that_leaves_raises_and_reset_takes_in_the_next():
    """With ``raise`` the vector says which lane, and is usable after reset()."""
    with vector(3) as envs, hands(3) as players:
        envs.reset()
        envs.step(ACTIONS)
        one_leaves(players)
        with pytest.raises(rlay.EnvLost) as caught:
            envs.step(ACTIONS)
        assert len(caught.value.lanes) == 1
        with pytest.raises(ResetNeeded):
            envs.step(ACTIONS)
        with hands(1):
            envs.reset()
            assert envs.step(ACTIONS)[1].tolist() == [1, 1, 1]


def test_game_that_leaves_is_truncated_until_another_is_there():
    """With ``truncate`` the others go on, and the next game is a lane by itself."""
    with vector(3, on_lane_lost="truncate") as envs, hands(3) as players:
        envs.reset()
        one_leaves(players)
        for _ in range(3):
            _, rewards, _, truncations, infos = envs.step(ACTIONS)
            assert truncations.sum() == 1
            assert rewards[~truncations].tolist() == [1, 1]
            assert infos["_rlay"].tolist() == truncations.tolist()
        with hands(1):
            wait_until(lambda: not envs.step(ACTIONS)[3].any())
            assert envs.step(ACTIONS)[1].tolist() == [1, 1, 1]


def test_game_that_leaves_is_waited_for():
    """With ``wait`` it is truncated once; the next step waits for another game."""
    with vector(3, on_lane_lost="wait") as envs, hands(3) as players:
        envs.reset()
        one_leaves(players)
        assert envs.step(ACTIONS)[3].sum() == 1
        with background(lambda: envs.step(ACTIONS)) as stepping, hands(1):
            assert not stepping.outcome()[3].any()
            assert envs.step(ACTIONS)[1].tolist() == [1, 1, 1]


def test_game_that_waits_for_a_place_takes_that_of_one_that_leaves():
    """A reserve may stand by: it is there as soon as a place is free."""
    with (
        vector(3, on_lane_lost="wait") as envs,
        hands(3) as players,
    ):
        envs.reset()
        with hands(1):
            one_leaves(players)
            envs.step(ACTIONS)
            assert not envs.step(ACTIONS)[3].any()


def test_game_that_left_unnoticed_is_no_error_of_reset():
    """Whoever comes next is a new one, which reset() takes in."""
    with vector(3) as envs, hands(3) as players:
        envs.reset()
        one_leaves(players)
        with hands(1):
            envs.reset()
            assert envs.step(ACTIONS)[1].tolist() == [1, 1, 1]


def test_place_is_for_a_game_of_the_same_number():
    """Who comes with more environments than were lost is refused."""
    with vector(3, on_lane_lost="truncate") as envs, hands(3) as players:
        envs.reset()
        one_leaves(players)
        with background(lambda: _refused(num_envs=2)) as refused:
            wait_until(lambda: envs.step(ACTIONS) and not refused.running)
            assert "place of a game with 1" in refused.outcome()


def _refused(**options: Any) -> str:
    with pytest.raises(rlay.SpaceMismatch) as caught:
        rlay.ClientBackend(name="game", **BOX, **options)
    return str(caught.value)


def test_all_actions_are_sent_before_a_report_is_awaited():
    """Each game reports only when all have their actions: none is waited for first."""
    meeting = threading.Barrier(3)

    class Meeting(Still):
        def step(self, action: Any) -> Any:
            meeting.wait(LIMIT_S)
            return super().step(action)

    with vector(3) as envs, games(Meeting, [1, 1, 1]):
        envs.reset()
        for _ in range(5):
            assert envs.step(ACTIONS)[1].tolist() == [1, 1, 1]
        envs.close()


def test_calls_reach_each_game():
    """``call`` asks all; a list sets each lane's own value."""

    def allow(target: Any, count: int) -> Any:
        return playing(target, name="game", num_envs=count, allow=["scale"])

    with vector(3) as envs, allow(Lane, 1), allow(Lane, 2):
        envs.reset()
        envs.set_attr("scale", [1.0, 2.0, 3.0])
        assert envs.get_attr("scale") == (1.0, 2.0, 3.0)
        envs.close()
