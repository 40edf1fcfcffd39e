"""Through two bridges every bit arrives as it does in-process, in the same user code.

The pairs are those of the local tests: only the backend's directory is another one, as
on another machine.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.testing.environments import EchoEnv
from tests.envs.test_spaces_exactness import NOTABLE_SPACES
from tests.support.bridge_child import BridgeChild
from tests.support.equality import assert_identical, assert_same_space
from tests.support.pairs import PAIRS, BackendProcess, backend_process
from tests.support.trajectories import difference, record, reference

# Gymnasium warns of old versions and wide bounds.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

STEPS = 300
ENVIRONMENTS = {
    "CartPole": None,
    "Acrobot": None,
    "MountainCarContinuous": None,
    "Pendulum": None,
    "Taxi": None,
    "FrozenLake": None,
    "Blackjack": None,
    "CliffWalking": None,
    "LunarLander": "Box2D",
    "HalfCheetah": "mujoco",
}
"""A few of each family, the newest of each, and the package that they need."""


@pytest.fixture
def far_process(
    children, channel_directory, tmp_path, monkeypatch
) -> Iterator[BackendProcess]:
    """A child for backends on another machine; this process is on the near one."""
    near, far = channel_directory / "near", channel_directory / "far"
    for directory in (near, far):
        directory.mkdir(mode=0o700)
    monkeypatch.setenv("RLAY_DIR", str(near))
    listening = BridgeChild(children, "--directory", near)
    dialing = children.start_command(
        [
            *(sys.executable, "-m", "rlay", "bridge", "--directory", far),
            *("--connect", f"127.0.0.1:{listening.port}"),
        ],
        forever=True,
    )
    with backend_process(children, {"RLAY_DIR": str(far)}) as process:
        yield process
    dialing.end_orderly()
    listening.end()
    for directory in (near, far):
        directory.rmdir()  # nothing is left in it


@pytest.mark.parametrize("paradigm", PAIRS)
def test_trajectories_are_those_in_process(paradigm, far_process):
    """Some hundred steps of each environment, with resets of every kind."""
    differ = {}
    for name, package in ENVIRONMENTS.items():
        if package is not None and importlib.util.find_spec(package) is None:
            continue
        actions, expected, itself = reference(name)
        assert itself is None, f"{name} differs from itself: {itself}"
        with PAIRS[paradigm](far_process, name) as (local, remote):
            assert_same_space(remote.observation_space, local.observation_space)
            assert_same_space(remote.action_space, local.action_space)
            calls = record(remote, actions[:STEPS])
            found = difference(calls, expected[: len(calls)])
            if found is not None:
                differ[name] = found
    assert differ == {}


@pytest.mark.parametrize("paradigm", PAIRS)
def test_spaces_of_every_kind_arrive_with_their_elements(paradigm, far_process):
    """All ten kinds, their odd forms too: samples, echoes and resets are identical."""
    differ = {}
    for name, space in NOTABLE_SPACES.items():
        target = functools.partial(EchoEnv, space)
        with PAIRS[paradigm](far_process, target) as (local, remote):
            try:
                assert_same_space(remote.observation_space, space)
                assert_identical(remote.reset(seed=1), local.reset(seed=1))
                space.seed(1)
                for action in (space.sample() for _ in range(5)):
                    assert_identical(remote.step(action), local.step(action))
            except AssertionError as error:
                differ[name] = str(error)
    assert differ == {}


class Picture(gymnasium.Env[Any, Any]):
    """Has a picture of what it was told last, and an info as large as it likes."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, (48, 64, 3), np.uint8)
        self.action_space = spaces.Discrete(1000)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
        self.render_mode = "rgb_array"
        self._told = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._told = 0
        return self.render(), {"text": "x" * 300_000}

    def step(self, action):
        self._told = int(action)
        info = {"array": np.arange(self._told * 1000), "told": self._told}
        return self.render(), self._told / 3, False, False, info

    def render(self):
        return np.random.default_rng(self._told).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.mark.parametrize("paradigm", PAIRS)
def test_pictures_and_large_infos_arrive_whole(paradigm, far_process):
    """What exceeds a slot comes in parts, and a render is a call in between."""
    with PAIRS[paradigm](far_process, Picture) as (local, remote):
        assert_identical(remote.reset(seed=1), local.reset(seed=1))
        for action in (0, 1, 7, 999, 3):
            assert_identical(remote.step(action), local.step(action))
            assert_identical(remote.render(), local.render())
        assert remote.metadata == local.metadata


def test_vector_on_one_channel_is_that_in_process(far_process):
    """Four environments in one message: the vector returns what a local one does."""
    name = far_process.next_name()
    far_process.order("ServerBackend", _cartpole, name=name, num_envs=4)
    local = gymnasium.vector.SyncVectorEnv([_cartpole] * 4)
    with far_process.running():
        remote = rlay.ClientVectorEnv(name, num_envs=4)
        assert_identical(remote.reset(seed=5), local.reset(seed=5))
        local.action_space.seed(5)
        for _ in range(200):
            actions = local.action_space.sample()
            assert_identical(remote.step(actions), local.step(actions))
        remote.close()
    local.close()


def _cartpole():
    return gymnasium.make("CartPole-v1")
