"""``ServerVectorEnv``: a game with several lanes on one clock, in all modes."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlay
from tests.support.equality import assert_identical
from tests.support.threads import LIMIT_S, background, playing, trainer
from tests.support.vectors import MODES, Lane, drive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize(
    "target", [Lane, "CartPole-v1", "FrozenLake-v1"], ids=["lane", "box", "discrete"]
)
def test_modes_equal_sync_vector_env(mode, target):
    """Observations, rewards, flags and infos with their masks are Gymnasium's own."""
    factory = target if callable(target) else lambda: gymnasium.make(target)
    local = SyncVectorEnv([factory] * 4, autoreset_mode=mode)
    expected = drive(local, 60, extra_reset_at=17)
    local.close()
    with playing(target, name="game", num_envs=4):
        remote = rlay.ServerVectorEnv("game", num_envs=4, autoreset_mode=mode)
        try:
            actual = drive(remote, 60, extra_reset_at=17)
        finally:
            remote.close()
    for (call, one), (_, other) in zip(actual, expected, strict=True):
        assert_identical(one, in_the_spaces_own_types(remote, other), call)


def in_the_spaces_own_types(envs: Any, result: Any) -> Any:
    """Put the final observations of Gymnasium into the types and order of the space.

    They are what an environment returned. A game reports batches, of which RLay cuts
    them: a Dict's keys are in the space's order, an element of a Discrete is a
    numpy.int64.
    """
    infos = result[-1]
    if "final_obs" in infos:
        final = infos["final_obs"]
        if final.dtype != object:
            return result
        space = envs.single_observation_space
        for lane, observation in enumerate(final):
            if observation is not None:
                final[lane] = canonical(space, observation)
    return result


def canonical(space: spaces.Space[Any], value: Any) -> Any:
    """Return ``value`` as it comes out of a batch of ``space``."""
    if isinstance(space, spaces.Dict):
        return {key: canonical(item, value[key]) for key, item in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(canonical, space, value))
    return np.int64(value) if isinstance(space, spaces.Discrete) else value


def test_disabled_step_with_an_ended_lane_refused_as_by_gymnasium():
    """Who forgets the mask gets the AssertionError that SyncVectorEnv raises."""
    with playing(Lane, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game", autoreset_mode=AutoresetMode.DISABLED)
        envs.reset(seed=0)
        ended = np.zeros(2, np.bool_)
        while not ended.any():
            _, _, terminated, truncated, _ = envs.step(np.array([1, 1]))
            ended = terminated | truncated
        with pytest.raises(AssertionError, match="reset_mask"):
            envs.step(np.array([1, 1]))
        envs.reset(options={"reset_mask": ended})
        envs.step(np.array([1, 1]))
        envs.close()


class Lanes:
    """A game with two lanes on one clock, written as an engine would write it.

    It knows nothing of autoreset modes: it does what the decisions say.
    """

    def __init__(self, lengths: tuple[int, int]) -> None:
        self.lengths = np.array(lengths)
        self.counts = np.zeros(2, np.int64)
        self.ticks = 0
        self.told: list[Any] = []

    def observe(self) -> Any:
        return self.counts.astype(np.float64)[:, None]

    def restart(self, lanes: Any) -> None:
        self.counts[lanes] = 0

    def play(self) -> None:
        """Ask for decisions until the trainer leaves."""
        with rlay.ClientBackend(
            name="game",
            num_envs=2,
            observation_space=spaces.Box(0, 100, (1,), np.float64),
            action_space=spaces.Discrete(5),
            connect_timeout=LIMIT_S,
        ) as backend:
            decision = backend.decide()
            while not isinstance(decision, rlay.Close):
                if isinstance(decision, rlay.Reset):
                    self.told.append(("reset", decision.mask, decision.seed))
                    mask = np.ones(2, bool) if decision.mask is None else decision.mask
                    self.restart(mask)
                    decision = backend.decide(self.observe(), info=[{}, {}])
                    continue
                self.told.append(("act", decision.reset_mask, None))
                self.ticks += 1
                self.counts += 1
                if decision.reset_mask is not None:
                    self.restart(decision.reset_mask)
                over = self.counts >= self.lengths
                decision = backend.decide(
                    self.observe(),
                    self.counts.astype(np.float64),
                    over,
                    np.zeros(2, bool),
                    [{"n": int(count)} for count in self.counts],
                )


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_game_code_is_the_same_in_all_modes(mode):
    """Lane 1 ends at its second step; what the trainer sees then is the mode's."""
    game = Lanes((100, 2))
    with background(game.play):
        envs = rlay.ServerVectorEnv("game", autoreset_mode=mode)
        observations, _ = envs.reset(seed=[7, None])
        assert observations.tolist() == [[0], [0]]
        envs.step(np.array([0, 0]))
        second = envs.step(np.array([0, 0]))
        assert second[2].tolist() == [False, True]
        if mode is AutoresetMode.DISABLED:
            first, _ = envs.reset(options={"reset_mask": second[2]})
            assert first.tolist() == [[2], [0]]
        third = envs.step(np.array([0, 0]))
        envs.close()
    name, mask, seeds = game.told[0]
    assert (name, mask, seeds) == ("reset", None, [7, None])
    assert game.ticks == 3  # a Reset runs no tick for any lane
    if mode is AutoresetMode.NEXT_STEP:
        assert second[0].tolist() == [[2], [2]]
        assert third[0].tolist() == [[3], [0]]
        assert game.told[3][1].tolist() == [False, True]
        return
    resets = [mask.tolist() for name, mask, _ in game.told[1:] if name == "reset"]
    assert resets == [[False, True]]
    assert third[0].tolist() == [[3], [1]]
    if mode is AutoresetMode.SAME_STEP:
        assert second[0].tolist() == [[2], [0]]
        assert second[4]["final_obs"][1].tolist() == [2]
        assert second[4]["final_info"]["n"].tolist() == [0, 2]
        assert second[4]["_final_obs"].tolist() == [False, True]


def test_reset_report_of_a_batch_with_reward_or_flag_refused():
    """After Reset no tick has run in any lane; nothing is sent."""
    refused: list[str] = []

    def play() -> None:
        with rlay.ClientBackend(
            name="game",
            num_envs=2,
            observation_space=spaces.Box(0, 1, (1,), np.float64),
            action_space=spaces.Discrete(5),
            connect_timeout=LIMIT_S,
        ) as backend:
            first = np.zeros((2, 1))
            assert isinstance(backend.decide(), rlay.Reset)
            zeros, one = np.zeros(2), np.array([0.0, 1.0])
            no, yes = np.zeros(2, bool), np.array([False, True])
            for report in ((one, no, no), (zeros, yes, no), (zeros, no, yes)):
                try:
                    backend.decide(first, *report)
                except rlay.LocalProtocolError as error:
                    refused.append(str(error))
            assert isinstance(backend.decide(first, zeros, no, no), rlay.Close)

    with background(play):
        envs = rlay.ServerVectorEnv("game")
        assert envs.reset()[0].tolist() == [[0], [0]]
        envs.close()
    assert len(refused) == 3
    assert all("no reward and no flags" in text for text in refused)


# ------------------------------------------------------------------- seeds and masks


def test_seed_list_reaches_its_lanes():
    """One seed gives seed + lane; a list gives each lane its own."""
    with playing(Lane, name="game", num_envs=3):
        envs = rlay.ServerVectorEnv("game")
        one, _ = envs.reset(seed=5)
        many, _ = envs.reset(seed=[5, 6, 7])
        other, _ = envs.reset(seed=[9, 6, None])
        envs.close()
    assert_identical(one, many)
    assert_identical(other["place"][1], one["place"][1])
    assert other["place"][0].tolist() != one["place"][0].tolist()


@pytest.mark.parametrize(
    ("seed", "options", "error", "message"),
    [
        ([1], None, ValueError, "1 seeds"),
        (None, {"reset_mask": np.array([True])}, ValueError, r"shape \(1,\)"),
        (None, {"reset_mask": np.array([1, 0])}, TypeError, "reset_mask is int64"),
        (None, {"reset_mask": [True, False]}, TypeError, "reset_mask is list"),
        (None, {"reset_mask": np.zeros(2, bool)}, ValueError, "names no environment"),
    ],
)
def test_seeds_or_mask_that_do_not_fit_refused_and_nothing_sent(
    seed, options, error, message
):
    """What does not fit is refused as Gymnasium does; the next reset works."""
    with playing(Lane, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game")
        with pytest.raises(error, match=message):
            envs.reset(seed=seed, options=options)
        envs.reset(seed=1)
        envs.close()


def test_reset_mask_needs_environments_whose_state_is_known():
    """First all are reset; so it is after a step that has no result."""
    go = threading.Event()

    class Slow(Lane):
        def step(self, action: Any) -> Any:
            if action == 6:
                go.wait(LIMIT_S)
            return super().step(action)

    options = {"reset_mask": np.array([True, False])}
    with playing(Slow, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game", step_timeout=0.1)
        with pytest.raises(ResetNeeded, match="reset_mask"):
            envs.reset(options=options)
        envs.reset(seed=1)
        envs.reset(options=options)
        with pytest.raises(rlay.StepTimeout):
            envs.step(np.array([0, 6]))
        go.set()
        with pytest.raises(ResetNeeded, match="reset_mask"):
            envs.reset(options=options)
        envs.reset(seed=1)
        envs.reset(options=options)
        envs.step(np.array([0, 0]))
        envs.close()


def test_reset_mask_leaves_the_callers_options_alone():
    """The dict that was passed still has its mask afterwards."""
    options = {"reset_mask": np.array([True, False]), "level": 2}
    with playing(Lane, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game")
        envs.reset()
        _, infos = envs.reset(options=options)
        envs.close()
    assert list(options) == ["reset_mask", "level"]
    assert infos["options"][0] == "{'level': 2}"
    assert infos["_options"].tolist() == [True, False]


# ---------------------------------------------------------------------------- manners


def test_step_before_reset_and_after_close_raise_gymnasiums_errors():
    """As for one environment: ResetNeeded, then ClosedEnvironmentError."""
    with playing(Lane, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game")
        with pytest.raises(ResetNeeded):
            envs.step(np.array([0, 0]))
        envs.reset()
        envs.close()
        envs.close()
    with pytest.raises(ClosedEnvironmentError):
        envs.step(np.array([0, 0]))
    with pytest.raises(ClosedEnvironmentError):
        envs.reset()


def test_attributes_and_frames_of_each_lane():
    """Calls reach every lane; a list sets each lane's own value."""
    with playing(
        Lane,
        name="game",
        num_envs=2,
        allow=["scale", "doubled"],
        render_mode="rgb_array",
    ):
        envs = rlay.ServerVectorEnv("game")
        envs.reset()
        assert envs.get_attr("scale") == (1.0, 1.0)
        envs.set_attr("scale", 3.0)
        assert envs.call("doubled", 2.0) == (12.0, 12.0)
        envs.set_attr("scale", [1.0, 2.0])
        assert envs.get_attr("scale") == (1.0, 2.0)
        frames = envs.render()
        assert envs.render_mode == "rgb_array"
        assert frames is not None
        assert [frame.shape for frame in frames] == [(2, 3, 3)] * 2
        envs.close()


def test_exception_in_a_lane_is_told_and_the_lanes_go_on():
    """One lane that raises is the trainer's RemoteEnvError; a reset mends it."""

    class Fragile(Lane):
        def step(self, action: Any) -> Any:
            if action == 6:
                raise ZeroDivisionError("unlucky")
            return super().step(action)

    with playing(Fragile, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game")
        envs.reset(seed=1)
        with pytest.raises(rlay.RemoteEnvError, match="unlucky"):
            envs.step(np.array([0, 6]))
        envs.reset(seed=1)
        envs.step(np.array([0, 0]))
        envs.close()


def test_action_that_cannot_travel_refused_and_nothing_sent():
    """An action is encoded before anything is sent; the lanes are as they were."""
    with playing(Lane, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv("game")
        envs.reset(seed=1)
        with pytest.raises(gymnasium.error.InvalidAction, match=r"\$\[1\]"):
            envs.step([0, object()])
        assert envs.step(np.array([1, 1]))[4]["count"].tolist() == [1, 1]
        envs.close()


BOX: dict[str, Any] = {
    "observation_space": spaces.Box(0, 1, (1,), np.float64),
    "action_space": spaces.Discrete(5),
    "connect_timeout": LIMIT_S,
}


def test_second_game_adopted_after_the_first_left():
    """A game that leaves is EnvLost; reset() waits for the next one, spaces stay."""

    def train() -> Any:
        envs = rlay.ServerVectorEnv("game")
        space = envs.observation_space
        envs.reset(seed=1)
        with pytest.raises(rlay.EnvLost):
            envs.step(np.array([0, 0]))
        with pytest.raises(ResetNeeded):
            envs.step(np.array([0, 0]))
        observations, _ = envs.reset(seed=2)
        envs.close()
        return observations, envs.observation_space is space

    with background(train) as training:
        with rlay.ClientBackend(name="game", num_envs=2, **BOX) as first:
            assert first.decide() == rlay.Reset([1, 2])
            assert isinstance(first.decide(np.zeros((2, 1))), rlay.Action)
        with rlay.ClientBackend(name="game", num_envs=2, **BOX) as second:
            assert second.decide() == rlay.Reset([2, 3])
            assert second.decide(np.ones((2, 1))) == rlay.Close("closed")
        observations, same = training.outcome()
    assert observations.tolist() == [[1], [1]]
    assert same


def test_second_game_adopted_where_nobody_noticed_that_the_first_left():
    """A game that went away between two calls is no error of the next reset()."""
    with rlay.ClientBackend(
        name="game", num_envs=2, **{**BOX, "connect_timeout": 0}
    ) as first:
        envs = rlay.ServerVectorEnv("game")
        with background(envs.wait_until_connected):
            assert wait_until(lambda: first.poll() or first.connected, LIMIT_S)
        assert envs.remote_spec is None
    with (
        background(envs.reset) as resetting,
        rlay.ClientBackend(name="game", num_envs=2, **BOX) as second,
    ):
        assert isinstance(second.decide(), rlay.Reset)
        second.report(np.ones((2, 1)))
        assert resetting.outcome()[0].tolist() == [[1], [1]]
        envs.close()


def test_no_game_leaves_no_channel(channel_directory):
    """A reset waits for a game; without one closing leaves nothing behind."""
    envs = rlay.ServerVectorEnv("game", 2, connect_timeout=0.05)
    with pytest.raises(rlay.ConnectTimeout, match="no game joined"):
        envs.reset()
    envs.close()
    assert list(channel_directory.iterdir()) == []


def test_second_game_with_other_spaces_refused():
    """A trainer keeps the spaces of its first game; another game is told so."""

    def train() -> None:
        envs = rlay.ServerVectorEnv("game")
        with pytest.raises(rlay.EnvLost):
            envs.reset()
        envs.reset()
        envs.close()

    with background(train):
        with rlay.ClientBackend(name="game", num_envs=2, **BOX) as first:
            assert isinstance(first.decide(), rlay.Reset)
        other = {**BOX, "action_space": spaces.Discrete(6)}
        with pytest.raises(rlay.SpaceMismatch, match="action spaces differ"):
            rlay.ClientBackend(name="game", num_envs=2, **other)
        with rlay.ClientBackend(name="game", num_envs=2, **BOX) as right:
            assert isinstance(right.decide(), rlay.Reset)
            assert right.decide(np.zeros((2, 1))) == rlay.Close("closed")


def test_game_with_other_spaces_or_number_refused_and_told_so():
    """A game that does not meet the demands gets SpaceMismatch; the next one joins."""
    demanded = BOX["observation_space"]

    def train() -> Any:
        envs = rlay.ServerVectorEnv("game", 2, observation_space=demanded)
        envs.wait_until_connected()
        return envs

    with background(train) as training:
        with pytest.raises(rlay.SpaceMismatch, match="observation_spaces differ"):
            rlay.ClientBackend(Lane, name="game", num_envs=2, connect_timeout=LIMIT_S)
        with pytest.raises(rlay.SpaceMismatch, match=r"with 2 .*, this one has 3"):
            rlay.ClientBackend(name="game", num_envs=3, **BOX)
        with rlay.ClientBackend(name="game", num_envs=2, **BOX) as right:
            envs = training.outcome()
            assert envs.num_envs == 2
            envs.close()
            assert right.decide() == rlay.Close("closed")


def test_server_env_refuses_a_game_with_lanes_and_names_the_vector():
    """A ServerEnv takes one environment; the game is told which class takes more."""
    with trainer("game") as algorithm:
        algorithm.reset(seed=4)
        with pytest.raises(rlay.SpaceMismatch, match=r"ServerVectorEnv\('game'\)"):
            rlay.ClientBackend(name="game", num_envs=2, **BOX)
        with rlay.ClientBackend(name="game", **BOX) as right:
            assert right.decide() == rlay.Reset(4, None)


def test_views_outlast_the_next_step_also_where_a_step_takes_two_messages():
    """With copy=False and SAME_STEP an observation is valid through the next step."""
    with playing(Lane, name="game", num_envs=2):
        envs = rlay.ServerVectorEnv(
            "game", autoreset_mode=AutoresetMode.SAME_STEP, copy=False
        )
        seen, _ = envs.reset(seed=3)
        kept = deepcopy(seen)
        for _ in range(30):
            observations, *_, infos = envs.step(np.array([1, 2]))
            assert_identical(seen, kept)
            seen, kept = observations, deepcopy(observations)
            finals = infos.get("final_obs")
            if finals is not None:
                seen, kept = (seen, finals), (kept, deepcopy(finals))
        envs.close()


def test_make_vec_returns_it():
    """gymnasium.make_vec through the registry makes a ServerVectorEnv."""
    with playing(Lane, name="game", num_envs=2):
        envs = gymnasium.make_vec("rlay/ServerEnv-v0", num_envs=2, name="game")
        assert isinstance(envs.unwrapped, rlay.ServerVectorEnv)
        envs.reset(seed=1)
        assert envs.spec is not None
        assert envs.spec.id == "rlay/ServerEnv-v0"
        envs.close()
