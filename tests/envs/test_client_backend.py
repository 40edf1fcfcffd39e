"""``ClientBackend``: what it is given, and how its life ends.

What it is told, and when, is shown in ``test_game_loop.py``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

import rlay
from rlay.protocol.constants import CloseReason
from rlay.testing.environments import HashChainEnv, ScriptedEnv
from tests.support.threads import LIMIT_S, background, playing, trainer
from tests.support.vectors import Lane

pytestmark = pytest.mark.usefixtures("channel_directory")

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
SPACES: dict[str, Any] = {
    "observation_space": BOX,
    "action_space": spaces.Discrete(3),
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "observation_space and action_space are needed"),
        ({"observation_space": BOX}, "observation_space and action_space are needed"),
        ({"env": ScriptedEnv(), **SPACES}, "spaces are for a loop of your own"),
        ({"env": ScriptedEnv(), "num_envs": 2}, "needs an id or a factory"),
        ({"env": SyncVectorEnv([Lane] * 2)}, "a vector environment steps all at once"),
        ({"env": Lane, "num_envs": 0}, "at least 1"),
        ({**SPACES, "num_envs": 0}, "at least 1"),
        ({**SPACES, "on_unsendable_info": "ignore"}, "on_unsendable_info='ignore'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_that_do_not_go_together_refused(arguments, message):
    """A contradiction is a ValueError of the constructor; no channel is looked for."""
    with pytest.raises(ValueError, match=message):
        rlay.ClientBackend(name="x", connect_timeout=None, **arguments)


def test_environment_is_closed_when_it_cannot_be_described():
    """An environment that the backend made is not left open behind an error."""
    closed: list[Any] = []
    with pytest.raises(AttributeError, match="scael"):
        rlay.ClientBackend(
            lambda: ScriptedEnv(close_fn=closed.append), name="x", allow=["scael"]
        )
    assert len(closed) == 1


def test_environment_is_closed_when_there_is_no_trainer():
    """The same after ConnectTimeout."""
    closed: list[Any] = []
    with pytest.raises(rlay.ConnectTimeout):
        rlay.ClientBackend(
            lambda: ScriptedEnv(close_fn=closed.append), name="x", connect_timeout=0.01
        )
    assert len(closed) == 1


def test_run_is_for_environments_only():
    """A loop of one's own calls decide(); run() says so."""
    with (
        rlay.ClientBackend(name="x", connect_timeout=0, **SPACES) as backend,
        pytest.raises(ValueError, match="calls decide"),
    ):
        backend.run()


def test_use_after_close_refused():
    """Whatever is asked of a closed backend, it says that it was closed."""
    backend = rlay.ClientBackend(name="x", connect_timeout=0, **SPACES)
    backend.close()
    backend.close()
    for call in (backend.decide, backend.report, backend.poll):
        with pytest.raises(rlay.RLayError, match="'x' was closed"):
            call()
    assert not backend.connected
    assert repr(backend) == "<ClientBackend 'x' closed>"


def test_repr_says_where_it_is():
    """The phase of the loop is in the repr, which never waits."""
    with trainer("x") as algorithm:
        backend = rlay.ClientBackend(name="x", connect_timeout=0, **SPACES)
        with backend:
            assert repr(backend) == "<ClientBackend 'x' unconnected>"
            algorithm.reset()
            backend.decide()
            assert repr(backend) == "<ClientBackend 'x' resetting>"
            algorithm.submit(lambda: algorithm.env.step(1))
            backend.decide(np.zeros(2, np.float32))
            assert repr(backend) == "<ClientBackend 'x' running>"
            backend.report(np.zeros(2, np.float32))


def test_draining_trainer_is_a_close_that_says_so():
    """A trainer whose process shuts down says so in its goodbye."""
    with trainer("x") as algorithm:
        waiting = algorithm.wait_until_connected()
        with rlay.ClientBackend(name="x", connect_timeout=LIMIT_S, **SPACES) as game:
            waiting.result(LIMIT_S)
            game.report()
            algorithm.env._host._server.close(CloseReason.DRAINING)
            assert game.poll(LIMIT_S) == rlay.Close("draining")


def test_game_that_ends_by_sys_exit_is_lost_to_the_trainer():
    """SystemExit in the environment ends run(); the trainer's step says so."""

    def step(env: ScriptedEnv, action: Any) -> Any:
        raise SystemExit(3)

    with rlay.ServerEnv("x") as env:

        def play() -> None:
            backend = rlay.ClientBackend(
                ScriptedEnv(step_fn=step), name="x", connect_timeout=LIMIT_S
            )
            with pytest.raises(SystemExit):
                backend.run()

        with background(play):
            env.reset()
            with pytest.raises(rlay.EnvLost, match="ended its process") as caught:
                env.step(0)
    assert caught.value.executed is None


def test_calls_of_the_trainer_that_the_game_does_not_offer_are_refused():
    """Only what was passed as calls={...} can be called; attributes there are none."""
    with rlay.ServerEnv("x") as env:

        def play() -> None:
            with rlay.ClientBackend(
                name="x", calls={"add": sum}, connect_timeout=LIMIT_S, **SPACES
            ) as game:
                game.decide()
                game.decide(np.zeros(2, np.float32))

        with background(play):
            env.reset()
            assert env.add([1, 2]) == 3
            assert not hasattr(env, "subtract")
            with pytest.raises(AttributeError):
                env.add = None
            env.close()


def test_id_with_arguments_and_a_mode():
    """Kwargs and render_mode are for the id; the trainer sees what was made."""
    options: dict[str, Any] = {"kwargs": {"sutton_barto_reward": True}}
    with (
        rlay.ServerEnv("x") as env,
        playing("CartPole-v1", name="x", render_mode="rgb_array", **options),
    ):
        env.reset(seed=1)
        assert env.render_mode == "rgb_array"
        assert env.remote_spec is not None
        assert env.remote_spec.kwargs["sutton_barto_reward"] is True
        env.close()


def test_remote_environment_can_itself_be_a_game():
    """A ClientEnv is an environment like any other: RLay over RLay."""
    backend = rlay.ServerBackend(HashChainEnv, name="inner").open()
    with background(lambda: backend.run(1)), rlay.ServerEnv("outer") as env:
        inner = gymnasium.make("rlay/ClientEnv-v0", name="inner")
        with playing(inner, name="outer"):
            env.reset(seed=1)
            local = HashChainEnv()
            local.reset(seed=1)
            for action in range(20):
                assert env.step(action)[4] == local.step(action)[4]
            env.close()
