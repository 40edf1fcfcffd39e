"""What an environment of RLay's is like to live with: names, ends, wrappers."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

import rlay
from rlay.envs.attachments import attach_client
from rlay.envs.timeouts import Timeouts
from rlay.protocol.greeting import Wishes
from rlay.testing.environments import EchoEnv, HashChainEnv, ScriptedEnv
from rlay.transport.mem_server import MemServer
from tests.support.channels import vanish
from tests.support.equality import assert_identical
from tests.support.threads import (
    LIMIT_S,
    background,
    client_env,
    playing,
    raised_by,
    serving,
)

pytestmark = pytest.mark.usefixtures("channel_directory")

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


def make_hash_chain() -> HashChainEnv:
    return HashChainEnv(episode_length=5)


# ------------------------------------------------------------------ one after another


def test_sessions_two_clients_one_after_the_other():
    """A backend that its client left waits for the next one; reset comes first."""
    with serving(make_hash_chain, name="x", sessions=2):
        for seed in (1, 2):
            with rlay.ClientEnv("x") as env:
                with pytest.raises(ResetNeeded):
                    env.step(0)
                assert_identical(
                    env.reset(seed=seed)[0], make_hash_chain().reset(seed=seed)[0]
                )
                env.step(1)


def test_sessions_a_greeting_alone_is_one():
    """run(sessions=1) returns also after a client that never reset."""
    with serving(make_hash_chain, name="x", sessions=1):
        rlay.ClientEnv("x").close()


def test_sessions_a_client_that_asked_nothing_is_none():
    """It was welcomed and left without a request, not even Close: the next one counts.

    So it is where the Welcome comes later than the client's ``connect_timeout``.
    """
    with serving(make_hash_chain, name="x", sessions=1):
        attach_client("x", None, Timeouts(), Wishes(), copy=True).let_go()
        with rlay.ClientEnv("x") as env:
            env.reset(seed=1)


def test_sessions_a_client_that_left_before_its_welcome_is_none():
    """Its ``connect_timeout`` was over before the backend looked."""
    with rlay.ServerBackend(make_hash_chain, name="x") as backend:
        with pytest.raises(rlay.ConnectTimeout):
            rlay.ClientEnv("x", connect_timeout=0.05)
        with background(lambda: backend.run(sessions=1)), rlay.ClientEnv("x") as env:
            env.reset(seed=1)


def test_sessions_a_trainer_that_was_lost_before_it_decided_is_none():
    """A game that joined it in vain plays for the next one."""
    first = rlay.ServerEnv("game")
    with playing(make_hash_chain(), name="game", sessions=1):
        first.wait_until_connected()
        server = first._host and first._host._server
        assert isinstance(server, MemServer)
        vanish(server)
        with rlay.ServerEnv("game") as second:
            second.reset(seed=1)
    first.close()


def test_sessions_backend_closes_its_environment_once():
    """A backend that returns has closed the environment and removed its channel."""
    closed: list[int] = []
    env = ScriptedEnv(close_fn=lambda env: closed.append(1))
    with serving(env, name="x"):
        rlay.ClientEnv("x").close()
    assert closed == [1]


# ------------------------------------------------------------------------------ names


def test_name_defaults_to_rlay_channel(monkeypatch):
    """RLAY_CHANNEL is the name of whatever is given none, on both ends."""
    monkeypatch.setenv("RLAY_CHANNEL", "from-environment")
    backend = rlay.ServerBackend(HashChainEnv).open()
    try:
        assert backend.name == "from-environment"
        with (
            background(lambda: backend.run(sessions=1)),
            gymnasium.make("rlay:rlay/ClientEnv-v0") as env,
        ):
            env.reset(seed=1)
    finally:
        backend.close()
    with rlay.ServerEnv() as server:
        assert server.name == "from-environment"
        with (
            background(lambda: server.reset(seed=2)) as resetting,
            rlay.ClientBackend(**SPACES) as game,
        ):
            assert game.decide() == rlay.Reset(2, None)
            game.report(np.zeros(2, np.float32))
            resetting.outcome()


@pytest.mark.parametrize(
    "make",
    [
        rlay.ClientEnv,
        rlay.ServerEnv,
        rlay.ClientVectorEnv,
        rlay.ServerVectorEnv,
        lambda name=None: rlay.ServerBackend(HashChainEnv, name=name),
        lambda name=None: rlay.ClientBackend(name=name, **SPACES),
    ],
    ids=["client", "server", "vector", "server-vector", "backend", "game"],
)
def test_name_missing_or_not_allowed_refused_at_once(make):
    """No name, a path, half an address: refused before anything is opened."""
    with pytest.raises(rlay.ChannelError, match="RLAY_CHANNEL"):
        make()
    for name in ("../x", "a/b", "", ".hidden", "x" * 65, "a\n"):
        with pytest.raises(rlay.ChannelError):
            make(name)
    for address in (
        "tcp://localhost:7450/../x",
        "tcp://localhost:99999/x",
        "http://x/y",
    ):
        with pytest.raises(rlay.ChannelError):
            make(address)


def test_directory_holds_the_channel(channel_directory: Path):
    """directory=... is where the channel lives, whatever RLAY_DIR says."""
    other = channel_directory / "other"
    with (
        serving(HashChainEnv, name="x", directory=other),
        rlay.ClientEnv("x", directory=other) as env,
    ):
        assert (other / "x").is_dir()
        env.reset()
    other.rmdir()


# ------------------------------------------------------------------------------- ends


def test_close_is_idempotent_everywhere():
    """close() twice, in any order of the ends, on every class."""
    backend = rlay.ServerBackend(HashChainEnv, name="x").open()
    with background(lambda: raised_by(rlay.RLayError, backend.run)):
        env = rlay.ClientEnv("x")
        env.reset()
        backend.close()
        backend.close()
    env.close()
    env.close()
    server = rlay.ServerEnv("y")
    with background(lambda: raised_by(rlay.RLayError, server.reset)):
        game = rlay.ClientBackend(name="y", **SPACES)
        game.close()
        game.close()
        server.close()
        server.close()


def test_close_then_everything_raises_gymnasiums_error(remote):
    """After close() each call is ClosedEnvironmentError; what needs no peer works."""
    with remote(ScriptedEnv(), allow=["steps", "step"]) as env:
        env.reset()
        space = env.action_space
        env.close()
        for call in (
            lambda: env.step(0),
            env.reset,
            env.render,
            lambda: env.steps,
        ):
            with pytest.raises(ClosedEnvironmentError, match="make a new one"):
                call()
        assert env.action_space is space
        assert "closed" in repr(env)


def test_context_manager_closes(remote):
    """The with statement closes, also after an exception in its body."""
    with remote(ScriptedEnv()) as env:
        with pytest.raises(ZeroDivisionError), env:
            raise ZeroDivisionError
        with pytest.raises(ClosedEnvironmentError):
            env.reset()


def test_close_gives_memory_back_without_the_collector(channel_directory, remote):
    """Closed environments hold no mapping, though somebody keeps the object."""
    gc.collect()
    gc.disable()
    try:
        with remote(ScriptedEnv()) as env:
            env.reset()
            env.step(0)
        maps = Path("/proc/self/maps").read_text()
        assert str(channel_directory) not in maps, env
    finally:
        gc.enable()


def test_step_before_reset_needs_reset(remote):
    """Before the first reset step raises Gymnasium's ResetNeeded."""
    with remote(ScriptedEnv()) as env, pytest.raises(ResetNeeded, match=r"reset\(\)"):
        env.step(0)


def test_step_after_the_end_goes_to_the_environment():
    """As in the same process: what then happens is the environment's business."""
    local = make_hash_chain()
    with client_env(make_hash_chain()) as env:
        env.reset(seed=1)
        local.reset(seed=1)
        for _ in range(8):  # the episode ends at step 5
            assert_identical(env.step(3), local.step(3))


def test_environment_that_raises_stays_usable(remote):
    """An exception in step is RemoteEnvError with type, text and traceback."""

    def step(env: ScriptedEnv, action: Any) -> Any:
        if action == 1:
            raise ArithmeticError("cannot add up")
        return np.zeros(2, np.float32), float(env.steps), False, False, {}

    with remote(ScriptedEnv(step_fn=step)) as env:
        env.reset()
        with pytest.raises(rlay.RemoteEnvError, match="cannot add up") as caught:
            env.step(1)
        assert caught.value.remote_type == "ArithmeticError"
        assert "test_manners.py" in caught.value.remote_traceback
        assert env.step(0)[1] == 2.0
        env.reset()
        assert env.step(0)[1] == 1.0


def test_environment_that_cannot_be_made_is_told_to_who_waits():
    """A factory that raises: the backend raises it, and the client hears it."""

    def make() -> gymnasium.Env[Any, Any]:
        raise FileNotFoundError("no such level")

    with background(
        lambda: raised_by(
            rlay.RemoteEnvError, rlay.ClientEnv, "x", connect_timeout=LIMIT_S
        )
    ) as client:
        with pytest.raises(FileNotFoundError):
            rlay.ServerBackend(make, name="x").run()
        assert "no such level" in str(client.outcome())


# --------------------------------------------------------------- Gymnasium's wrappers


def test_wrappers_of_gymnasium_work_over_it(remote):
    """TimeLimit, statistics, stacked frames and normalising do what they do locally."""

    def wrap(env: Any) -> Any:
        env = gymnasium.wrappers.TimeLimit(env, 12)
        env = gymnasium.wrappers.RecordEpisodeStatistics(env)
        env = gymnasium.wrappers.NormalizeObservation(env)
        return gymnasium.wrappers.FrameStackObservation(env, 3)

    def run(env: Any) -> list[Any]:
        results = [env.reset(seed=4)]
        for step in range(40):
            transition = env.step(step % 2)
            for timing in ("t", "episode"):
                if "episode" in transition[4]:
                    transition[4]["episode"].pop(timing, None)
            results.append(transition)
            if transition[2] or transition[3]:
                results.append(env.reset())
        return copy.deepcopy(results)

    expected = run(wrap(gymnasium.make("CartPole-v1")))
    with remote(gymnasium.make("CartPole-v1")) as env:
        actual = run(wrap(env))
    assert_identical(actual, expected)
    assert any(len(result) == 5 and "episode" in result[4] for result in actual)


def test_echo_of_a_custom_space_arrives_as_it_is(remote):
    """A space class that only the environment knows is opaque here, not refused."""

    class Odd(spaces.Space[Any]):
        def sample(self, mask: Any = None, probability: Any = None) -> Any:
            return {"odd": 1}

        def contains(self, x: Any) -> bool:
            return True

    with remote(EchoEnv(Odd())) as env:
        assert "Odd" in repr(env.observation_space)
        with pytest.raises(NotImplementedError, match="Odd"):
            env.action_space.sample()
        env.reset()
        assert env.step([1, {"a": (2,)}])[0] == [1, {"a": (2,)}]
