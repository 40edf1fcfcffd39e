"""The environment comes back with other spaces: row B20.

The spaces of an environment object never change: who restarts with others is refused
at the next reset, and both spaces are shown.
"""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.testing.environments import EchoEnv, ScriptedEnv
from tests.faults.stage import LIMIT_S, NAME, Stage
from tests.support.children import Child
from tests.support.equality import assert_identical

pytestmark = pytest.mark.timeout(60)

SMALL = (2,)
LARGE = (300, 400)


def host(paradigm: str, shape: list[int], actions: int, action_shape: Any) -> None:
    """Serve an environment of the given shapes: the child's main function."""
    observation_space = spaces.Box(-1.0, 1.0, tuple(shape), np.float32)
    env: Any
    if action_shape is None:
        env = ScriptedEnv(
            observation_space=observation_space, action_space=spaces.Discrete(actions)
        )
    else:
        env = EchoEnv(observation_space)
    if paradigm == "ClientEnv":
        rlay.ServerBackend(env, name=NAME).run()
    else:
        rlay.ClientBackend(env, name=NAME, connect_timeout=LIMIT_S).run()


def start(stage: Stage, shape: Any, actions: int = 2, echo: bool = False) -> Child:
    """Start an environment; a game that is refused ends by itself."""
    return stage.children.start(
        host, stage.paradigm, shape, actions, True if echo else None, forever=True
    )


CHANGES = {
    "larger observation": (LARGE, 2, ["(300, 400)", "(2,)"]),
    "other action": (SMALL, 5, ["Discrete(5)", "Discrete(2)"]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_b20_backend_restarted_with_other_spaces(stage: Stage, change: str):
    """B20: SpaceMismatch at the next reset shows both; the right one is taken again."""
    shape, actions, shown = CHANGES[change]
    first = start(stage, SMALL)
    env = stage.algorithm()
    env.reset(seed=1)
    before = env.observation_space, env.action_space
    first.kill()
    other = start(stage, shape, actions)
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    for _ in range(2):
        with pytest.raises(rlay.SpaceMismatch) as caught:
            env.reset(seed=1)
        assert all(text in str(caught.value) for text in shown)
    assert (env.observation_space, env.action_space) == before
    other.kill()
    start(stage, SMALL)
    assert env.reset(seed=1)[0] in env.observation_space
    assert env.step(0)[0].shape == SMALL
    assert env.observation_space is before[0]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stage", ["ServerEnv"], indirect=True)
def test_b20_game_restarted_with_other_spaces(stage: Stage, change: str):
    """B20: the game gets SpaceMismatch, and the trainer says what it refused."""
    shape, actions, shown = CHANGES[change]
    first = start(stage, SMALL)
    env = stage.algorithm(connect_timeout=5.0)
    env.reset(seed=1)
    first.kill()
    other = start(stage, shape, actions)
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    with pytest.raises(rlay.ConnectTimeout, match="refused") as caught:
        env.reset(seed=1)
    assert all(text in str(caught.value) for text in shown)
    other.wait(exit_code=1)
    assert "SpaceMismatch" in other.stderr
    assert all(text in other.stderr for text in shown)
    start(stage, SMALL)
    assert env.reset(seed=1)[0] in env.observation_space
    assert env.step(0)[0].shape == SMALL


def test_b20_new_algorithm_gets_slots_of_the_new_size(stage: Stage):
    """B20: for who attaches anew, slots are as large as the new spaces ask for."""
    first = start(stage, SMALL)
    env = stage.algorithm()
    env.reset(seed=1)
    env.close()
    first.kill()
    start(stage, LARGE, echo=True)
    env = stage.algorithm()
    action, _ = env.reset(seed=1)
    assert action.shape == LARGE
    for _ in range(3):
        assert_identical(env.step(action)[0], action)
