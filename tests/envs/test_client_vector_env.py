"""``ClientVectorEnv``: a batch that a ``ServerBackend`` holds, in all modes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlay
from tests.support.equality import assert_identical
from tests.support.threads import serving
from tests.support.vectors import MODES, Lane, drive

pytestmark = pytest.mark.usefixtures("channel_directory")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize(
    "target", [Lane, "CartPole-v1", "FrozenLake-v1"], ids=["lane", "box", "discrete"]
)
def test_modes_equal_sync_vector_env(mode, target):
    """The backend adopts the client's mode; all is bit-identical to SyncVectorEnv."""
    factory = target if callable(target) else lambda: gymnasium.make(target)
    local = SyncVectorEnv([factory] * 4, autoreset_mode=mode)
    expected = drive(local, 60, extra_reset_at=17)
    local.close()
    with serving(target, name="lanes", num_envs=4):
        remote = rlay.ClientVectorEnv("lanes", num_envs=4, autoreset_mode=mode)
        assert remote.metadata["autoreset_mode"] is mode
        actual = drive(remote, 60, extra_reset_at=17)
        remote.close()
    for (call, one), (_, other) in zip(actual, expected, strict=True):
        assert_identical(one, other, call)


def test_mode_of_a_ready_vector_environment_is_its_own():
    """Who serves a vector environment has chosen; the client is told the mode."""
    ready = SyncVectorEnv([Lane] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with serving(ready, name="lanes"):
        remote = rlay.ClientVectorEnv("lanes", autoreset_mode=AutoresetMode.DISABLED)
        assert remote.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        remote.close()


def test_mode_is_adopted_anew_by_each_client():
    """Two clients one after the other each get the mode that they ask for."""
    with serving(Lane, name="lanes", num_envs=2, sessions=3):
        for mode in MODES:
            remote = rlay.ClientVectorEnv("lanes", autoreset_mode=mode.value)
            assert remote.metadata["autoreset_mode"] is mode
            remote.close()


def test_environments_of_the_default_mode_are_made_once():
    """A client with the default mode uses the environments that are there."""
    made: list[Lane] = []

    def make() -> Lane:
        made.append(Lane())
        return made[-1]

    with serving(make, name="lanes", num_envs=3):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset()
        remote.close()
    assert len(made) == 3


def test_mode_that_does_not_exist_refused_before_anything_is_opened():
    """A misspelt mode is a ValueError of the constructor."""
    with pytest.raises(ValueError, match="Sometimes"):
        rlay.ClientVectorEnv("lanes", autoreset_mode="Sometimes")


# --------------------------------------------------------------------- what it wants


def test_num_envs_below_what_a_channel_carries_refused_with_both():
    """A channel is taken whole: who asks for less hears both numbers at once."""
    with (
        serving(Lane, name="lanes", num_envs=2, sessions=None),
        pytest.raises(rlay.SpaceMismatch, match=r"'lanes' carries 2 .*1 were asked"),
    ):
        rlay.ClientVectorEnv("lanes", num_envs=1)


def test_num_envs_that_do_not_come_are_waited_for_and_told():
    """There may be more yet; after connect_timeout it says what there is."""
    with serving(Lane, name="lanes", num_envs=2, sessions=None):
        with pytest.raises(rlay.ConnectTimeout, match=r"2 of 3 .* 0.1 s \('lanes'\)"):
            rlay.ClientVectorEnv("lanes", num_envs=3, connect_timeout=0.1)
        remote = rlay.ClientVectorEnv("lanes")
        assert remote.num_envs == 2
        remote.close()


def test_client_env_on_a_batch_refused_and_names_the_vector():
    """One environment is not a batch: the error names ClientVectorEnv."""
    with (
        serving(Lane, name="lanes", num_envs=2, sessions=None),
        pytest.raises(rlay.ChannelError, match=r"rlay\.ClientVectorEnv\('lanes'\)"),
    ):
        rlay.ClientEnv("lanes")


def test_client_env_on_a_vector_environment_of_one_refused_and_names_the_vector():
    """A vector environment of one is a batch all the same."""
    ready = SyncVectorEnv([Lane])
    with (
        serving(ready, name="lanes", sessions=None),
        pytest.raises(rlay.SpaceMismatch, match=r"rlay\.ClientVectorEnv\('lanes'\)"),
    ):
        rlay.ClientEnv("lanes")


def test_vector_environment_of_one_is_a_batch():
    """Its observations, rewards and flags have one row."""
    with serving(SyncVectorEnv([Lane]), name="lanes"):
        remote = rlay.ClientVectorEnv("lanes", num_envs=1)
        expected = drive(SyncVectorEnv([Lane]), 30)
        actual = drive(remote, 30)
        remote.close()
    for (call, one), (_, other) in zip(actual, expected, strict=True):
        assert_identical(one, other, call)


def test_channel_of_one_environment_is_a_vector_of_one():
    """Its backend need not know of vectors."""
    with serving("CartPole-v1", name="one"):
        remote = rlay.ClientVectorEnv("one")
        assert (remote.num_envs, remote.channels) == (1, ("one",))
        observations, _ = remote.reset(seed=1)
        assert remote.observation_space.contains(observations)
        remote.close()


# -------------------------------------------------------------------------- attributes


def test_attributes_and_frames_of_each_lane():
    """Calls reach every lane; a list sets each lane's own value."""
    with serving(
        Lane,
        name="lanes",
        num_envs=2,
        allow=["scale", "doubled"],
        render_mode="rgb_array",
    ):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset()
        assert remote.get_attr("scale") == (1.0, 1.0)
        remote.set_attr("scale", 3.0)
        assert remote.call("doubled", 2.0) == (12.0, 12.0)
        remote.set_attr("scale", [1.0, 2.0])
        assert remote.get_attr("scale") == (1.0, 2.0)
        frames = remote.render()
        assert remote.render_mode == "rgb_array"
        assert frames is not None
        assert [frame.shape for frame in frames] == [(2, 3, 3)] * 2
        remote.close()


def test_attribute_that_is_not_allowed_names_the_remedy():
    """Only allowed names are reachable; the error says allow=[...]."""
    with serving(Lane, name="lanes", num_envs=2):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset()
        with pytest.raises(rlay.RemoteEnvError, match=r"allow=\[") as caught:
            remote.get_attr("scale")
        assert caught.value.remote_type == "PermissionError"
        with pytest.raises(rlay.RemoteEnvError, match=r"allow=\["):
            remote.set_attr("scale", 1.0)
        remote.close()


# ---------------------------------------------------------------------------- manners


def test_step_before_reset_and_after_close_raise_gymnasiums_errors():
    """As for one environment: ResetNeeded, then ClosedEnvironmentError."""
    with serving(Lane, name="lanes", num_envs=2):
        remote = rlay.ClientVectorEnv("lanes")
        with pytest.raises(ResetNeeded):
            remote.step(np.array([0, 0]))
        remote.close()
        remote.close()
    for call in (remote.reset, remote.render, lambda: remote.step(np.array([0, 0]))):
        with pytest.raises(ClosedEnvironmentError):
            call()


def test_exception_in_a_lane_is_told_and_the_lanes_go_on():
    """One lane that raises is RemoteEnvError; a reset mends it."""

    class Fragile(Lane):
        def step(self, action: Any) -> Any:
            if action == 6:
                raise ZeroDivisionError("unlucky")
            return super().step(action)

    with serving(Fragile, name="lanes", num_envs=2):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset(seed=1)
        with pytest.raises(rlay.RemoteEnvError, match="unlucky"):
            remote.step(np.array([0, 6]))
        remote.reset(seed=1)
        remote.step(np.array([0, 0]))
        remote.close()


def test_action_that_cannot_travel_refused_and_nothing_sent():
    """An action is encoded before anything is sent; the lanes are as they were."""
    with serving(Lane, name="lanes", num_envs=2):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset(seed=1)
        with pytest.raises(InvalidAction, match=r"\$\[1\]"):
            remote.step([0, object()])
        infos = remote.step(np.array([1, 1]))[4]
        assert infos["count"].tolist() == [1, 1]
        remote.close()


def test_views_are_read_only_and_outlast_the_next_step():
    """With copy=False an observation stays as it is through one more step."""
    with serving("CartPole-v1", name="lanes", num_envs=2):
        remote = rlay.ClientVectorEnv("lanes", copy=False)
        remote.reset(seed=1)
        first = remote.step(np.array([0, 1]))[0]
        assert not first.flags.writeable
        kept = first.copy()
        remote.step(np.array([0, 1]))
        np.testing.assert_array_equal(first, kept)
        remote.close()


def test_backend_that_comes_back_is_adopted_by_reset():
    """After a lost backend step needs a reset, which finds the new one."""
    with serving(Lane, name="lanes", num_envs=2, sessions=None):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset(seed=1)
        space = remote.observation_space
    with pytest.raises(rlay.EnvLost):
        remote.step(np.array([0, 0]))
    for call in (lambda: remote.step(np.array([0, 0])), remote.render):
        with pytest.raises(ResetNeeded):
            call()
    with serving(Lane, name="lanes", num_envs=2):
        remote.reset(seed=1)
        assert remote.observation_space is space
        remote.step(np.array([0, 0]))
        remote.close()


def test_backend_with_other_spaces_is_not_adopted():
    """A backend of other spaces under the same name is a SpaceMismatch, and is left."""
    with serving(Lane, name="lanes", num_envs=2, sessions=None):
        remote = rlay.ClientVectorEnv("lanes")
        remote.reset(seed=1)
    with pytest.raises(rlay.EnvLost):
        remote.step(np.array([0, 0]))
    with serving("CartPole-v1", name="lanes", num_envs=2, sessions=1):
        with pytest.raises(rlay.SpaceMismatch, match="observation spaces differ"):
            remote.reset()
        other = rlay.ClientVectorEnv("lanes")
        other.close()
    remote.close()


def test_make_vec_returns_it_and_spec_makes_it_again():
    """gymnasium.make_vec through the registry makes it; so does its spec."""
    with serving(Lane, name="lanes", num_envs=2, sessions=2):
        remote = gymnasium.make_vec("rlay/ClientEnv-v0", num_envs=2, name="lanes")
        assert isinstance(remote.unwrapped, rlay.ClientVectorEnv)
        remote.close()
        direct = rlay.ClientVectorEnv("lanes")
        spec = direct.spec
        direct.close()
    assert spec is not None
    assert spec.kwargs == {"name": "lanes"}
    with serving(Lane, name="lanes", num_envs=2):
        again = gymnasium.make_vec(spec, num_envs=2)
        again.reset(seed=1)
        again.close()


def test_gymnasiums_vector_wrappers_work_over_it():
    """Statistics, reward and observation wrappers find what they need."""
    from gymnasium.wrappers import vector

    with serving("CartPole-v1", name="lanes", num_envs=3):
        remote: Any = rlay.ClientVectorEnv("lanes")
        wrapped = vector.RecordEpisodeStatistics(
            vector.NormalizeObservation(vector.ClipReward(remote, -1, 1))
        )
        wrapped.reset(seed=1)
        ended = 0
        for _ in range(60):
            *_, infos = wrapped.step(wrapped.action_space.sample())
            ended += int(infos.get("_episode", np.zeros(3)).sum())
        assert ended > 0
        wrapped.close()
