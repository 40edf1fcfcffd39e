"""Vectors over several channels, side by side with ``SyncVectorEnv``."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import (
    AlreadyPendingCallError,
    InvalidAction,
    NoAsyncCallError,
    ResetNeeded,
)
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlay
from tests.support.equality import assert_identical
from tests.support.threads import LIMIT_S, serving
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


def test_names_of_a_list_are_taken_in_its_order():
    """Exactly those, as lanes in the order of the list."""
    with channels(Lane, [1, 2, 1]):
        remote = rlay.ClientVectorEnv(["n.2", "n.0", "n.1"], num_envs=4)
        assert remote.channels == ("n.2", "n.0", "n.1", "n.1")
        remote.close()


def test_list_of_names_is_waited_for_and_the_missing_are_named():
    """None of a list may be missing."""
    with serving(Lane, name="n.0", sessions=None):
        with pytest.raises(rlay.ConnectTimeout, match=r"missing: n\.1"):
            rlay.ClientVectorEnv(["n.0", "n.1"], connect_timeout=0.1)
        rlay.ClientVectorEnv(["n.0"]).close()


@pytest.mark.parametrize(
    ("names", "message"), [(["a", "a"], "named twice"), ([], "list of names is empty")]
)
def test_list_of_names_that_makes_no_sense_refused(names, message):
    """Said before anything is opened."""
    with pytest.raises(rlay.ChannelError, match=message):
        rlay.ClientVectorEnv(names)


def test_without_num_envs_what_is_there_is_taken_and_logged(caplog):
    """The channel of the very name comes first, then those with numbers, in order."""
    caplog.set_level("INFO", "rlay")
    with (
        serving(Lane, name="n.10"),
        serving(Lane, name="n"),
        serving(Lane, name="n.9", num_envs=2),
        serving(Lane, name="other", sessions=None),
    ):
        remote = rlay.ClientVectorEnv("n")
        assert remote.channels == ("n", "n.9", "n.9", "n.10")
        assert "4 environments are there" in caplog.text
        remote.close()


def test_channels_that_carry_too_many_together_refused():
    """Channels are taken whole; the message has what each carries."""
    with (
        channels(Lane, [2, 2], sessions=None),
        pytest.raises(rlay.SpaceMismatch, match=r"4 .*n\.0: 2, n\.1: 2.* 3 were asked"),
    ):
        rlay.ClientVectorEnv("n", num_envs=3)


def test_channels_of_different_spaces_refused():
    """A vector is of one kind of environment; the message names the odd channel."""
    with (
        serving(Lane, name="n.0", sessions=None),
        serving("CartPole-v1", name="n.1", sessions=None),
        pytest.raises(rlay.SpaceMismatch, match=r"'n\.1' is unlike the others"),
    ):
        rlay.ClientVectorEnv("n", num_envs=2)


def test_channels_of_different_modes_refused():
    """Two ready vectors that autoreset in different ways are no vector."""

    class OtherLane(Lane):  # Gymnasium 1.1 writes the mode into the class's metadata
        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium

    same = SyncVectorEnv([Lane], autoreset_mode=AutoresetMode.SAME_STEP)
    disabled = SyncVectorEnv([OtherLane], autoreset_mode=AutoresetMode.DISABLED)
    with (
        serving(same, name="n.0", sessions=None),
        serving(disabled, name="n.1", sessions=None),
        pytest.raises(rlay.ChannelError, match="different autoreset modes"),
    ):
        rlay.ClientVectorEnv("n", num_envs=2)


def test_mode_of_ready_vectors_is_taken_by_single_environments():
    """Where all ready ones agree, the lanes that can be of any mode follow."""
    ready = SyncVectorEnv([Lane] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    local = SyncVectorEnv([Lane] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    with serving(ready, name="n.0"), serving(Lane, name="n.1"):
        remote = rlay.ClientVectorEnv("n", num_envs=3)
        assert remote.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        assert_same_calls(drive(remote), drive(local))
        remote.close()
    local.close()


def test_channel_of_a_trainer_refused():
    """A ServerEnv's channel waits for a game."""
    with (
        rlay.ServerEnv("n.0"),
        pytest.raises(rlay.ChannelError, match="made by a ServerEnv"),
    ):
        rlay.ClientVectorEnv("n", num_envs=1)


def test_how_to_lose_a_lane_is_one_of_three():
    """A misspelt word is a ValueError of the constructor."""
    with pytest.raises(ValueError, match="ignore"):
        rlay.ClientVectorEnv("n", on_lane_lost="ignore")


# ------------------------------------------------------------------------------- step


@contextmanager
def lanes(counts: list[int], target: Any = Lane, **options: Any) -> Any:
    """Serve lanes, and give a vector over them."""
    serve = {
        key: options.pop(key) for key in ("allow", "render_mode") if key in options
    }
    with channels(target, counts, **serve):
        remote = rlay.ClientVectorEnv("n", sum(counts), **options)
        try:
            yield remote
        finally:
            remote.close()


def test_action_that_cannot_be_sent_leaves_all_lanes_where_they_are():
    """Nothing was sent to anybody: the next step is the one that would have been."""
    local = SyncVectorEnv([Lane] * 3)
    with lanes([1, 1, 1]) as remote:
        local.reset(seed=1)
        remote.reset(seed=1)
        with pytest.raises(InvalidAction, match="cannot be sent") as caught:
            remote.step([1, 2, object()])
        assert caught.value.__notes__ == ["lane 2 of the vector, on channel 'n.2'"]
        with pytest.raises(ValueError, match="2 actions were given for 3"):
            remote.step([1, 2])
        assert_identical(remote.step([1, 2, 3]), local.step([1, 2, 3]))
    local.close()


class Fragile(Lane):
    """Cannot bear the action 6."""

    def step(self, action: Any) -> Any:
        if action == 6:
            raise ZeroDivisionError("unlucky")
        return super().step(action)


def test_exception_in_a_lane_names_it_and_needs_a_reset():
    """The others' results are not known then: reset() comes first, and mends all."""
    with lanes([1, 2, 1], Fragile) as remote:
        remote.reset(seed=1)
        with pytest.raises(rlay.RemoteEnvError, match="unlucky") as caught:
            remote.step(np.array([0, 0, 6, 0]))
        note = "lanes 1 to 2 of the vector, on channel 'n.1'"
        assert caught.value.__notes__ == [note]
        with pytest.raises(ResetNeeded):
            remote.step(np.array([0, 0, 0, 0]))
        with pytest.raises(ResetNeeded, match="reset_mask"):
            remote.reset(options={"reset_mask": np.array([True, False, False, False])})
        remote.reset(seed=1)
        remote.step(np.array([0, 0, 0, 0]))


def test_step_of_an_ended_lane_in_disabled_mode_is_gymnasiums_error():
    """As in SyncVectorEnv; nothing is sent, and a mask mends it."""
    with lanes([1, 1], autoreset_mode="Disabled") as remote:
        remote.reset(seed=1)
        ended = np.zeros(2, dtype=np.bool_)
        while not ended.any():
            _, _, terminations, truncations, _ = remote.step(np.array([0, 0]))
            ended = np.logical_or(terminations, truncations)
        with pytest.raises(AssertionError, match="have ended: reset them"):
            remote.step(np.array([0, 0]))
        remote.reset(options={"reset_mask": ended})
        remote.step(np.array([0, 0]))


def test_copies_are_kept_and_views_are_overwritten():
    """Without copy=True an observation is that of the last step."""
    for copies in (True, False):
        with lanes([1, 1], "CartPole-v1", copy=copies) as remote:
            first, _ = remote.reset(seed=1)
            before = first.copy()
            remote.step(np.array([0, 1]))
            assert (first == before).all() == copies


def test_all_lanes_are_asked_before_one_is_awaited():
    """Each environment waits for the other: one after the other they never meet."""
    meeting = threading.Barrier(2)

    class Meeting(Lane):
        def reset(self, **arguments: Any) -> Any:
            meeting.wait(LIMIT_S)
            return super().reset(**arguments)

        def step(self, action: Any) -> Any:
            meeting.wait(LIMIT_S)
            return super().step(action)

        def doubled(self, number: float) -> float:
            meeting.wait(LIMIT_S)
            return super().doubled(number)

    with lanes([1, 1], Meeting, allow=["doubled"], step_timeout=LIMIT_S) as remote:
        remote.reset(seed=1)
        remote.step(np.array([0, 0]))
        remote.reset(options={"reset_mask": np.array([True, True])})
        assert remote.call("doubled", 1.0) == (2.0, 2.0)


def test_step_timeout_of_a_lane_bounds_the_whole_and_a_reset_mends_it():
    """Late transitions of all lanes are discarded, each in its own session."""
    go = threading.Event()

    class Slow(Lane):
        def step(self, action: Any) -> Any:
            if action == 6:
                go.wait(LIMIT_S)
            return super().step(action)

    with lanes([1, 1, 1], Slow, step_timeout=0.2) as remote:
        first, _ = remote.reset(seed=1)
        began = time.monotonic()
        with pytest.raises(rlay.StepTimeout) as caught:
            remote.step(np.array([0, 6, 6]))
        assert time.monotonic() - began < LIMIT_S / 2
        assert caught.value.__notes__ == ["lane 1 of the vector, on channel 'n.1'"]
        with pytest.raises(ResetNeeded, match="timed out"):
            remote.step(np.array([0, 0, 0]))
        go.set()
        again, _ = remote.reset(seed=1)
        assert_identical(again, first)
        remote.step(np.array([0, 0, 0]))


class LiveInfo(Lane):
    """Its infos show an array that the next call writes into, as simulators do."""

    def reset(self, **arguments: Any) -> Any:
        observation, info = super().reset(**arguments)
        self.live = np.zeros(2)
        return observation, info

    def step(self, action: Any) -> Any:
        *transition, info = super().step(action)
        self.live += 1
        return (*transition, {**info, "live": self.live})


class RewritingInfo(LiveInfo):
    """A reset writes into the array of the episode before."""

    def reset(self, **arguments: Any) -> Any:
        before = getattr(self, "live", None)
        result = super().reset(**arguments)
        if before is not None:
            before[:] = -1
        return result


def test_last_info_of_an_episode_is_what_it_was_when_it_ended():
    """In SAME_STEP the reset follows before anything is sent."""
    mode = AutoresetMode.SAME_STEP
    local = SyncVectorEnv([RewritingInfo] * 3, autoreset_mode=mode)
    expected = drive(local, 30)
    with channels(RewritingInfo, [1, 2]):
        remote = rlay.ClientVectorEnv("n", 3, autoreset_mode=mode)
        assert_same_calls(drive(remote, 30), expected)
        remote.close()


class LiveObservation(gymnasium.Env[Any, Any]):
    """Returns one array, and counts the steps of an episode of three in it."""

    observation_space: Any = spaces.Box(0, 3, (1,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self) -> None:
        self._live = np.zeros(1, np.float32)

    def reset(self, **_: Any) -> Any:
        self._live[:] = 0
        return self._live, {}

    def step(self, action: Any) -> Any:
        self._live += 1
        return self._live, 0.0, bool(self._live[0] == 3), False, {}


@pytest.mark.parametrize("counts", [[1], [2], [1, 2]], ids=str)
def test_last_observation_of_an_episode_is_what_it_was_when_it_ended(counts):
    """In SAME_STEP; ``SyncVectorEnv`` itself returns what the reset made of it."""
    with channels(LiveObservation, counts):
        count = sum(counts)
        remote = rlay.ClientVectorEnv("n", count, autoreset_mode="SameStep")
        remote.reset()
        for _ in range(3):
            infos = remote.step(np.zeros(count, np.int64))[4]
        assert [each.tolist() for each in infos["final_obs"]] == [[3.0]] * count
        remote.close()


# ---------------------------------------------------------------------------- halves


def test_step_in_halves_is_the_step():
    """Between the halves nobody waits; the results are those of step()."""
    for counts in ([1, 2], [3]):
        local = SyncVectorEnv([Lane] * 3)
        with lanes(counts) as remote:
            local.reset(seed=4)
            remote.reset(seed=4)
            for action in range(7):
                actions = np.array([action, 0, action])
                remote.step_async(actions)
                assert_identical(remote.step_wait(), local.step(actions))


def test_halves_out_of_order_are_gymnasiums_errors():
    """As in AsyncVectorEnv; what was begun can still be finished."""
    with lanes([1, 1]) as remote:
        with pytest.raises(ResetNeeded):
            remote.step_async(np.array([0, 0]))
        remote.reset(seed=1)
        with pytest.raises(NoAsyncCallError):
            remote.step_wait()
        remote.step_async(np.array([0, 0]))
        for call in (
            lambda: remote.step_async(np.array([0, 0])),
            lambda: remote.step(np.array([0, 0])),
            remote.reset,
            remote.render,
        ):
            with pytest.raises(AlreadyPendingCallError):
                call()
        remote.step_wait()
        remote.step(np.array([0, 0]))


# ------------------------------------------------------------------------ attributes


def test_attributes_and_frames_of_each_lane():
    """Calls reach every lane; a list is shared out."""
    options = {"allow": ["scale", "doubled"], "render_mode": "rgb_array"}
    with lanes([1, 2], **options) as remote:
        remote.reset(seed=1)
        assert remote.get_attr("scale") == (1.0, 1.0, 1.0)
        remote.set_attr("scale", [1.0, 2.0, 3.0])
        assert remote.get_attr("scale") == (1.0, 2.0, 3.0)
        assert remote.call("doubled", 2.0) == (4.0, 8.0, 12.0)
        remote.set_attr("scale", 5.0)
        assert remote.get_attr("scale") == (5.0, 5.0, 5.0)
        with pytest.raises(ValueError, match="2 values were given for 3"):
            remote.set_attr("scale", [1.0, 2.0])
        frames = remote.render()
        assert [frame.shape for frame in frames] == [(2, 3, 3)] * 3
        assert remote.render_mode == "rgb_array"


def test_vector_is_made_again_from_its_spec():
    """gymnasium.make_vec takes what ``spec`` says, names and all."""
    with channels(Lane, [1, 2], sessions=2):
        made: Any = gymnasium.make_vec(
            "rlay/ClientEnv-v0", name=["n.0", "n.1"], num_envs=3
        )
        spec = made.unwrapped.spec
        made.close()
        again: Any = gymnasium.make_vec(spec)
        assert again.unwrapped.channels == ("n.0", "n.1", "n.1")
        again.close()
