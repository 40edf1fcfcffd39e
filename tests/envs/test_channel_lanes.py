"""Lanes that lose their environment, in one process: what becomes of all the others.

A backend that is closed says goodbye; the deaths by SIGKILL are in ``tests/faults``.
"""

from __future__ import annotations

import gc
import weakref
from contextlib import ExitStack, suppress
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlay
from tests.support.equality import assert_identical
from tests.support.threads import serving
from tests.support.vectors import MODES, Lane, drive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")


class Places:
    """Channels ``n.0``, ``n.1`` ... whose backends come and go."""

    def __init__(self, count: int, target: Any = Lane, **options: Any) -> None:
        self._open = ExitStack()
        self._served: dict[str, ExitStack] = {}
        self._target, self._options = target, options
        for number in range(count):
            self.serve(f"n.{number}")

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def serve(self, name: str, target: Any = None, **options: Any) -> None:
        """Serve a channel until it is lost, or the test ends."""
        served = self._open.enter_context(ExitStack())
        options = {**self._options, **options}
        target = self._target if target is None else target
        served.enter_context(serving(target, name=name, sessions=None, **options))
        self._served[name] = served

    def lose(self, *names: str) -> None:
        """Close backends."""
        for name in names:
            self._served.pop(name).close()

    def vector(self, count: int, **options: Any) -> Any:
        """Make a vector that is closed at the end."""
        envs = rlay.ClientVectorEnv("n", count, **options)
        self._open.callback(envs.close)
        return envs


STAY = np.zeros(2, np.int64)


def test_call_that_fails_in_one_lane_leaves_all_usable():
    """All answers are awaited; the next step is as if nobody had asked."""
    with Places(2) as places:
        envs = places.vector(2)
        envs.reset(seed=1)
        with pytest.raises(rlay.RemoteEnvError, match="allow") as caught:
            envs.get_attr("scale")
        assert caught.value.__notes__ == ["lane 0 of the vector, on channel 'n.0'"]
        envs.step(STAY)
        envs.reset(options={"reset_mask": np.array([True, False])})
        envs.step(STAY)


def test_call_of_a_lost_lane_is_none_where_losses_are_not_raised():
    """A recorder of frames does not end the run."""
    with Places(2, allow=["scale"], render_mode="rgb_array") as places:
        envs = places.vector(2, on_lane_lost="truncate")
        envs.reset(seed=1)
        places.lose("n.1")
        assert envs.get_attr("scale") == (1.0, None)
        frames = envs.render()
        assert (frames[0].shape, frames[1]) == ((2, 3, 3), None)
        assert envs.step(STAY)[3].tolist() == [False, True]


def test_all_that_are_lost_at_once_are_named_and_replaced_by_one_reset():
    """A machine that goes takes several lanes: one error, one reset."""
    with Places(4) as places:
        envs = places.vector(4)
        envs.reset(seed=1)
        places.lose("n.1", "n.2", "n.3")
        with pytest.raises(rlay.EnvLost) as caught:
            envs.step(np.zeros(4, np.int64))
        assert caught.value.lanes == (1, 2, 3)
        assert envs.channels == ("n.0", None, None, None)
        for name in ("n.1", "n.2", "n.3"):
            places.serve(name)
        envs.reset(seed=1)
        envs.step(np.zeros(4, np.int64))


def test_reset_that_finds_nobody_can_be_tried_again():
    """Nothing is held meanwhile, and a step says what is wrong."""
    with Places(2) as places:
        envs = places.vector(2, on_lane_lost="truncate", connect_timeout=0.2)
        envs.reset(seed=1)
        places.lose("n.0", "n.1")
        for _ in range(2):
            with pytest.raises(rlay.ConnectTimeout, match="in place of lane 0"):
                envs.reset(seed=1)
        places.serve("n.1")
        envs.reset(seed=1)
        assert envs.channels == (None, "n.1")


def test_channel_of_another_size_does_not_hide_one_that_fits():
    """Who will not do is passed over, also where it comes first in the order."""
    with Places(0) as places:
        for name in ("n.5", "n.6"):
            places.serve(name)
        envs = places.vector(2, on_lane_lost="truncate")
        envs.reset(seed=1)
        places.lose("n.6")
        places.serve("n.0", num_envs=4)
        envs.step(STAY)
        places.serve("n.6")
        wait_until(lambda: not envs.step(STAY)[3].any(), what="lane 1 is back")


@pytest.mark.parametrize("stranger", ["trainer", "other spaces", "other kind"])
def test_stranger_in_the_group_does_not_end_the_run(stranger, caplog):
    """It is said in the log, and waited on for somebody who fits."""
    with Places(2) as places:
        envs = places.vector(2, on_lane_lost="truncate")
        envs.reset(seed=1)
        places.lose("n.1")
        if stranger == "trainer":
            places._open.enter_context(rlay.ServerEnv("n.7"))
        elif stranger == "other spaces":
            places.serve("n.7", "CartPole-v1")
        else:
            places.serve("n.7", SyncVectorEnv([Lane]))
        envs.step(STAY)
        wait_until(
            lambda: envs.step(STAY)[3].any() and "not in the place" in caplog.text
        )
        places.serve("n.1")
        wait_until(lambda: not envs.step(STAY)[3].any(), what="lane 1 is back")


def test_ready_vectors_take_seeds_as_they_were_given():
    """Gymnasium's own vectorised CartPole refuses a list of seeds."""

    def ready() -> Any:
        return gymnasium.make_vec(
            "CartPole-v1", 2, vectorization_mode="vector_entry_point"
        )

    with serving(ready(), name="n.0"), serving(ready(), name="n.1"):
        envs = rlay.ClientVectorEnv("n", 4)
        envs.reset()
        observations, _ = envs.reset(seed=5)
        envs.close()
    for first in (0, 2):
        local = ready()
        expected, _ = local.reset(seed=5 + first)
        assert_identical(observations[first : first + 2], expected)


class DiesInReset(Lane):
    """Loses its second reset."""

    def reset(self, **arguments: Any) -> Any:
        if self.resets == 1:
            raise SystemExit(3)
        return super().reset(**arguments)


def test_lane_lost_after_its_episode_ended_keeps_the_end_that_was_told():
    """SAME_STEP: the final observation is the episode's own."""
    local = SyncVectorEnv([Lane], autoreset_mode=AutoresetMode.SAME_STEP)
    expected = drive(local, 10)
    with suppress(SystemExit), serving(DiesInReset, name="n"):
        envs = rlay.ClientVectorEnv(
            "n", 1, on_lane_lost="truncate", autoreset_mode="SameStep"
        )
        space = envs.action_space
        space.seed(11)
        assert_identical(envs.reset(seed=5), expected[0][1])
        for _, (_, rewards, terminations, truncations, infos) in expected[1:]:
            result = envs.step(space.sample())
            assert_identical(result[1:4], (rewards, terminations, truncations))
            if (terminations | truncations).any():
                assert_identical(result[4]["final_obs"], infos["final_obs"])
                assert result[4]["rlay"]["lost"][0]
                break
        envs.close()


def test_vector_with_a_lost_lane_goes_without_a_collector():
    """The reason of a loss holds nobody: the other channels are free at once."""
    with Places(2) as places:
        envs = rlay.ClientVectorEnv("n", 2, on_lane_lost="truncate")
        envs.reset(seed=1)
        places.lose("n.1")
        envs.step(STAY)
        gone = weakref.ref(envs)
        gc.disable()
        try:
            del envs
            assert gone() is None
        finally:
            gc.enable()
        rlay.ClientEnv("n.0").close()


def test_only_channel_that_is_lost_is_told_like_others():
    """A vector that is one batch: all lanes, and no channel."""
    with Places(0) as places:
        places.serve("n", num_envs=2)
        envs = places.vector(2)
        envs.reset(seed=1)
        places.lose("n")
        with pytest.raises(rlay.EnvLost) as caught:
            envs.step(STAY)
        assert caught.value.lanes == (0, 1)
        assert envs.channels == (None, None)
        places.serve("n", num_envs=2)
        with pytest.raises(ResetNeeded, match="reset_mask"):
            envs.reset(options={"reset_mask": np.array([True, False])})
        envs.reset(seed=1)
        envs.step(STAY)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("met", ["call", "mask"])
def test_loss_that_no_step_met_is_told_before_another_environment_steps(mode, met):
    """Nobody gets a new environment unawares, however soon it is there."""
    with Places(2, allow=["scale"]) as places:
        envs = places.vector(2, on_lane_lost="truncate", autoreset_mode=mode)
        envs.reset(seed=1)
        places.lose("n.1")
        if met == "call":
            envs.get_attr("scale")
        else:
            envs.reset(options={"reset_mask": np.array([True, False])})
        places.serve("n.1")
        *_, truncations, infos = envs.step(STAY)
        assert truncations.tolist() == [False, True]
        assert infos["rlay"]["lost"][1]


def test_mask_that_leaves_a_lost_lane_out_is_raised_where_losses_are():
    """A mask that names the lost lanes, or no mask, attaches to new environments."""
    with Places(3) as places:
        envs = places.vector(3)
        envs.reset(seed=1)
        places.lose("n.2")
        places.serve("n.2")
        with pytest.raises(rlay.EnvLost, match="leaves them out") as caught:
            envs.reset(options={"reset_mask": np.array([True, False, False])})
        assert caught.value.lanes == (2,)
        envs.reset(options={"reset_mask": np.array([False, False, True])})
        envs.step(np.zeros(3, np.int64))
