"""``ServerBackend``: its life, and what it tells clients."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import rlay
from rlay.testing.environments import HashChainEnv, ScriptedEnv
from tests.support.threads import background, raised_by, serving
from tests.support.vectors import Lane

pytestmark = pytest.mark.usefixtures("channel_directory")


def test_environment_is_made_when_the_channel_is_opened():
    """A factory is called by open(), once, in the process that serves it."""
    made: list[Any] = []

    def make() -> ScriptedEnv:
        made.append(ScriptedEnv())
        return made[-1]  # type: ignore[no-any-return]

    backend = rlay.ServerBackend(make, name="x")
    assert made == []
    with backend:
        backend.open()
        assert len(made) == 1


def test_second_backend_of_a_name_refused_before_it_makes_anything():
    """ChannelBusy names the holder; the second environment was never made."""
    with rlay.ServerBackend(ScriptedEnv, name="x"):
        second = rlay.ServerBackend(
            lambda: pytest.fail("it was made"),
            name="x",
        )
        with pytest.raises(rlay.ChannelBusy, match="this very process"):
            second.run()


def test_run_after_close_by_another_thread_raises(channel_directory):
    """A backend that was closed while it waited says so, and leaves nothing."""
    backend = rlay.ServerBackend(ScriptedEnv, name="x").open()
    with background(lambda: raised_by(rlay.RLayError, backend.run)) as thread:
        backend.close()
        assert "closed" in str(thread.outcome())
    assert list(channel_directory.iterdir()) == []


def test_close_while_a_client_is_welcomed_ends_run_with_the_same_error():
    """What is at hand then is gone: no error of the inside comes out."""
    made: list[Lane] = []

    def make() -> Lane:
        made.append(Lane())
        if len(made) > 2:  # for a client that wants another mode than the first two
            backend.close()
        return made[-1]

    backend = rlay.ServerBackend(make, name="x", num_envs=2).open()
    with background(lambda: raised_by(rlay.RLayError, backend.run)) as thread:
        with pytest.raises(rlay.RLayError):
            rlay.ClientVectorEnv(
                "x", autoreset_mode="SameStep", connect_timeout=1.0
            ).reset()
        assert str(thread.outcome()) == "the backend of 'x' was closed"


def test_mode_is_made_anew_for_a_client_that_wants_another():
    """An id serves each client in its own render mode; the same mode is not remade."""
    made: list[str | None] = []

    def entry(render_mode: str | None = None) -> ScriptedEnv:
        made.append(render_mode)
        metadata = {"render_modes": ["a", "b"]}
        return ScriptedEnv(render_mode=render_mode, metadata=metadata)

    gymnasium.register("Modes-v0", entry_point=entry)  # type: ignore[arg-type]
    try:
        with serving("Modes-v0", name="x", sessions=4):
            for mode in ("a", "a", "b", None):
                with rlay.ClientEnv("x", render_mode=mode) as env:
                    assert env.render_mode == mode
                    env.reset()
    finally:
        gymnasium.registry.pop("Modes-v0")
    assert made == [None, "a", "b", None]


def test_mode_in_which_it_cannot_be_made_is_told_to_that_client_only():
    """An exception of the making is that client's error; the next one is served."""

    def entry(render_mode: str | None = None) -> ScriptedEnv:
        if render_mode == "hologram":
            raise NotImplementedError("no such projector")
        return ScriptedEnv(render_mode=render_mode)

    gymnasium.register("Picky-v0", entry_point=entry)  # type: ignore[arg-type]
    try:
        with serving("Picky-v0", name="x"):
            with pytest.raises(rlay.RemoteEnvError, match="no such projector"):
                rlay.ClientEnv("x", render_mode="hologram")
            with rlay.ClientEnv("x") as env:
                env.reset()
    finally:
        gymnasium.registry.pop("Picky-v0")


def test_sys_exit_in_the_environment_ends_the_backend_and_is_told(channel_directory):
    """SystemExit goes through run(); the client's step is EnvLost that says why."""

    def step(env: ScriptedEnv, action: Any) -> Any:
        raise SystemExit(3)

    backend = rlay.ServerBackend(ScriptedEnv(step_fn=step), name="x").open()
    with background(lambda: raised_by(SystemExit, backend.run)):
        env = rlay.ClientEnv("x")
        env.reset()
        with pytest.raises(rlay.EnvLost, match="ended its process") as caught:
            env.step(0)
        env.close()
    assert caught.value.executed is None
    assert list(channel_directory.iterdir()) == []


def test_steps_counts_the_requests_of_all_sessions():
    """What was run is counted over the clients."""
    with serving(HashChainEnv, name="x", sessions=2) as backend:
        for _ in range(2):
            with rlay.ClientEnv("x") as env:
                env.reset()
                env.step(1)
    assert backend.steps == 6  # reset, step, close; twice


def test_vector_environment_that_is_ready_is_served_and_closed():
    """What is ready is served as it is, and closed with the backend."""
    envs = gymnasium.vector.SyncVectorEnv([Lane] * 2)
    with serving(envs, name="x"):
        remote = rlay.ClientVectorEnv("x")
        remote.reset(seed=1)
        remote.step(np.array([0, 0]))
        remote.close()
    assert envs.closed


def test_factory_that_makes_no_environment_is_told():
    """The factory's mistake reaches the client that waits, and the operator."""
    backend = rlay.ServerBackend(lambda: 5, name="x")
    with (
        background(
            lambda: raised_by(rlay.RemoteEnvError, rlay.ClientEnv, "x")
        ) as client,
        pytest.raises(TypeError, match="returned 5"),
    ):
        backend.run()
    assert "returned 5" in str(client.outcome())
