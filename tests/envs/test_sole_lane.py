"""A vector of one lane, whose channel carries a single environment."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given

import rlay
from rlay.testing.environments import EchoEnv
from rlay.testing.strategies import spaces_of_any_kind
from tests.envs.test_spaces_exactness import NOTABLE_SPACES
from tests.envs.test_vector_exactness import ENOUGH, is_iterable
from tests.support.equality import assert_identical
from tests.support.threads import serving
from tests.support.vectors import MODES, Lane

pytestmark = pytest.mark.usefixtures("channel_directory")

ONE = np.array([True])
ACTIONS = np.array([1])


@contextmanager
def one_lane(target: Any = Lane, **options: Any) -> Iterator[rlay.ClientVectorEnv]:
    """Serve an environment, and give a vector over it."""
    allow = options.pop("allow", None)
    with serving(target, name="one", allow=allow or []):
        remote = rlay.ClientVectorEnv("one", 1, **options)
        try:
            yield remote
        finally:
            remote.close()


def until_ended(remote: Any) -> Any:
    """Step until the episode ends; return the transition that ended it."""
    for _ in range(20):
        transition = remote.step(ACTIONS)
        if transition[2][0] or transition[3][0]:
            return transition
    raise AssertionError("no episode ended in 20 steps")


# ----------------------------------------------------------------------- exactness


def assert_echoes(space: Any) -> None:
    """Compare a reset and some steps with those of Gymnasium."""

    def make() -> EchoEnv:
        return EchoEnv(copy.deepcopy(space))

    local = SyncVectorEnv([make])
    with one_lane(make) as remote:
        assert_identical(remote.reset(seed=3), local.reset(seed=3), "reset")
        actions = copy.deepcopy(local.action_space)
        actions.seed(7)
        for _ in range(3):
            action = actions.sample()
            if is_iterable(local.action_space, action, 1):
                assert_identical(remote.step(action), local.step(action), "step")
    local.close()


@pytest.mark.parametrize("name", NOTABLE_SPACES)
def test_notable_spaces_are_batched_as_gymnasium_batches_them(name):
    """All ten kinds and their odd forms."""
    assert_echoes(NOTABLE_SPACES[name])


@ENOUGH
@given(space=spaces_of_any_kind())
def test_any_space_is_batched_as_gymnasium_batches_it(space):
    """Observations, actions and infos of generated spaces."""
    assert_echoes(space)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_mask_and_seeds_are_those_of_sync_vector_env(mode):
    """A mask of one lane names it; a list of seeds has one."""
    local = SyncVectorEnv([Lane], autoreset_mode=mode)
    with one_lane(autoreset_mode=mode) as remote:
        for options in (None, {"reset_mask": ONE, "level": 3}):
            seeds: list[Any] = [None, 4, [5], [None]]
            for seed in seeds:
                if options is None and seed is None:
                    continue  # unseeded at first: no two runs are alike
                again = None if options is None else dict(options)
                assert_identical(
                    remote.reset(seed=seed, options=options),
                    local.reset(seed=seed, options=again),
                    f"{seed} {options}",
                )
                for _ in range(2):
                    assert_identical(remote.step(ACTIONS), local.step(ACTIONS))
                assert_identical(
                    remote.reset(seed=9), local.reset(seed=9), "so that all is known"
                )


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_step_in_halves_is_the_step(mode):
    """Over the ends of episodes too."""
    local = SyncVectorEnv([Lane], autoreset_mode=mode)
    with one_lane(autoreset_mode=mode) as remote:
        assert_identical(remote.reset(seed=4), local.reset(seed=4))
        for _ in range(20):
            remote.step_async(ACTIONS)
            transition = remote.step_wait()
            assert_identical(transition, local.step(ACTIONS))
            if mode is AutoresetMode.DISABLED and transition[3][0]:
                options = {"reset_mask": ONE}
                assert_identical(
                    remote.reset(options=options), local.reset(options=dict(options))
                )


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("halves", [False, True], ids=["step", "step_async"])
def test_step_of_an_ended_lane_in_disabled_mode_is_gymnasiums_error(halves):
    """As in SyncVectorEnv; nothing is sent, and a mask mends it."""
    with one_lane(autoreset_mode="Disabled") as remote:
        remote.reset(seed=1)
        until_ended(remote)
        step = remote.step_async if halves else remote.step
        with pytest.raises(AssertionError, match="have ended: reset them"):
            step(ACTIONS)
        remote.reset(options={"reset_mask": ONE})
        remote.step(ACTIONS)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"seed": [1, 2]}, ValueError),
        ({"options": {"reset_mask": np.array([False])}}, ValueError),
        ({"options": {"reset_mask": np.array([True, True])}}, ValueError),
        ({"options": {"reset_mask": [True]}}, TypeError),
    ],
)
def test_reset_that_does_not_fit_is_refused(arguments, error):
    """With the words that a vector of more lanes has."""
    with one_lane() as remote:
        with pytest.raises(error):
            remote.reset(**arguments)
        remote.reset(seed=1)


@pytest.mark.parametrize("actions", [np.array([0, 0]), np.array([], np.int64)])
def test_actions_of_another_number_are_refused_and_nothing_is_sent(actions):
    """The next step is the one that would have been."""
    with one_lane() as remote:
        remote.reset(seed=1)
        with pytest.raises(ValueError, match="actions were given for 1 environments"):
            remote.step(actions)
        assert remote.step(ACTIONS)[4]["count"].tolist() == [1]


def test_action_that_cannot_travel_is_refused_and_nothing_is_sent():
    """An action is encoded before anything is sent."""
    with one_lane() as remote:
        remote.reset(seed=1)
        with pytest.raises(InvalidAction):
            remote.step([object()])
        assert remote.step(ACTIONS)[4]["count"].tolist() == [1]


def test_exception_in_the_environment_is_told_and_the_lane_goes_on():
    """As for ``ClientEnv``."""

    class Fragile(Lane):
        def step(self, action: Any) -> Any:
            if action == 6:
                raise ZeroDivisionError("unlucky")
            return super().step(action)

    with one_lane(Fragile) as remote:
        remote.reset(seed=1)
        with pytest.raises(rlay.RemoteEnvError, match="unlucky"):
            remote.step(np.array([6]))
        assert remote.step(ACTIONS)[4]["count"].tolist() == [1]


# ----------------------------------------------------------------------- the others


def test_attributes_and_frames_are_tuples_of_one():
    """A list sets the lane's own value; its length must be one."""
    with one_lane(allow=["scale", "doubled"]) as remote:
        remote.reset(seed=1)
        remote.set_attr("scale", [3.0])
        assert remote.get_attr("scale") == (3.0,)
        assert remote.call("doubled", 2.0) == (12.0,)
        remote.set_attr("scale", 2.0)
        assert remote.get_attr("scale") == (2.0,)
        with pytest.raises(ValueError, match="2 values were given for 1 environment"):
            remote.set_attr("scale", [1.0, 2.0])


def test_copies_are_kept_and_views_are_overwritten():
    """Without copy=True an observation is that of the last step."""
    for copies in (True, False):
        with one_lane("CartPole-v1", copy=copies) as remote:
            first, _ = remote.reset(seed=1)
            before = first.copy()
            remote.step(ACTIONS)
            assert (first == before).all() == copies


def test_last_observation_of_an_episode_is_kept_through_the_reset():
    """In SAME_STEP it lay in a slot that the messages after it overwrite."""
    with one_lane("CartPole-v1", autoreset_mode="SameStep") as remote:
        remote.reset(seed=1)
        infos = until_ended(remote)[4]
        kept = infos["final_obs"][0].copy()
        remote.step(ACTIONS)
        remote.step(ACTIONS)
        assert_identical(infos["final_obs"][0], kept)


def mapped(directory: Path) -> int:
    """Return how many files of channels are mapped here."""
    return Path("/proc/self/maps").read_text().count(str(directory))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="it counts in /proc")
def test_memory_goes_with_close_without_a_collector(channel_directory):
    """No cycle of references holds the mapped slots."""

    def round_trip() -> int:
        remote = rlay.ClientVectorEnv("one", 1)
        remote.reset(seed=1)
        remote.step(ACTIONS)
        remote.close()
        return mapped(channel_directory)

    gc.collect()
    gc.disable()
    try:
        # The backend is in this process: it keeps the slots of its last client.
        with serving(Lane, name="one", sessions=None):
            after_one = round_trip()
            round_trip()
            assert round_trip() <= after_one
    finally:
        gc.enable()


def test_lost_backend_is_told_with_its_lane_and_replaced_by_reset():
    """After EnvLost a step needs a reset, which finds the new backend."""
    with serving(Lane, name="one", sessions=None):
        remote = rlay.ClientVectorEnv("one", 1)
        first, _ = remote.reset(seed=1)
    with pytest.raises(rlay.EnvLost) as caught:
        remote.step(ACTIONS)
    assert caught.value.lanes == (0,)
    assert remote.channels == (None,)
    with pytest.raises(ResetNeeded):
        remote.step(ACTIONS)
    with serving(Lane, name="one"):
        again, _ = remote.reset(seed=1)
        assert_identical(again, first)
        remote.step(ACTIONS)
        remote.close()
