"""Where a backend's environment comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlay
from rlay.envs.sources import EnvironmentSource, load_target
from rlay.testing.environments import ScriptedEnv
from tests.support.vectors import Lane


def test_id_is_made_with_its_arguments_and_the_clients_mode():
    """An id without a mode takes the client's; each making is a new environment."""
    source = EnvironmentSource("CartPole-v1", kwargs={"sutton_barto_reward": True})
    assert source.picks_mode
    assert not source.fixed
    first, second = source.make("rgb_array"), source.make()
    assert first is not second
    assert (first.render_mode, second.render_mode) == ("rgb_array", None)
    assert first.spec.kwargs["sutton_barto_reward"] is True


def test_id_with_a_mode_keeps_it():
    """A mode that was given is the backend's: the client's does not count."""
    source = EnvironmentSource("CartPole-v1", render_mode="rgb_array")
    assert not source.picks_mode
    assert source.make("human").render_mode == "rgb_array"


def test_factory_gets_its_arguments_and_its_mode():
    """A factory is called with what was given for it, and nothing else."""
    source = EnvironmentSource(Lane, render_mode="rgb_array")
    assert not source.picks_mode
    assert source.make("human").render_mode == "rgb_array"
    assert EnvironmentSource(Lane).make("human").render_mode is None


def test_ready_environment_is_the_one_and_only():
    """What is ready is served as it is."""
    env = ScriptedEnv()
    source = EnvironmentSource(env)
    assert source.fixed
    assert source.make("human") is env


def test_several_are_a_vector_environment_of_the_clients_mode():
    """num_envs of an id or factory make Gymnasium's own SyncVectorEnv."""
    envs = EnvironmentSource(Lane, num_envs=3).make(None, "SameStep")
    assert isinstance(envs, SyncVectorEnv)
    assert envs.num_envs == 3
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (ScriptedEnv(), {"num_envs": 2}, "needs an id or a factory"),
        (ScriptedEnv(), {"kwargs": {"a": 1}}, "are for an id or a factory"),
        (ScriptedEnv(), {"render_mode": "human"}, "are for an id or a factory"),
        (SyncVectorEnv([Lane] * 2), {"num_envs": 3}, "has 2"),
        (Lane, {"num_envs": 0}, "at least 1"),
    ],
)
def test_arguments_that_do_not_go_together_refused(target, options, message):
    """A contradiction is a ValueError that names both sides."""
    with pytest.raises(ValueError, match=message):
        EnvironmentSource(target, **options)


def test_factory_that_returns_no_environment_is_named():
    """A factory's mistake is told with what it returned."""
    source = EnvironmentSource(lambda: {"not": "an env"})
    with pytest.raises(TypeError, match=r"not a gymnasium\.Env"):
        source.make()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current directory, which is not on the path yet."""
    (tmp_path / "my_simulator.py").write_text(
        "import gymnasium\n"
        "from rlay.testing.environments import HashChainEnv\n"
        "gymnasium.register('MySim-v0', entry_point=HashChainEnv)\n"
        "class Nested:\n"
        "    make = staticmethod(HashChainEnv)\n"
        "number = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield "my_simulator"
    sys.modules.pop("my_simulator", None)
    gymnasium.registry.pop("MySim-v0", None)


def test_target_is_an_id():
    """An id of Gymnasium is itself."""
    assert load_target("CartPole-v1") == "CartPole-v1"


def test_target_is_an_id_of_a_module(module):
    """module:ID imports the module, which registers the id."""
    assert load_target(f"{module}:MySim-v0") == "MySim-v0"
    assert gymnasium.make("MySim-v0").unwrapped.observation_space.shape == (32,)


@pytest.mark.parametrize("path", ["HashChainEnv", "Nested.make"])
def test_target_is_a_callable_of_a_module(module, path):
    """module:callable returns it; dots lead to attributes."""
    target: Any = load_target(f"{module}:{path}")
    assert isinstance(target(), gymnasium.Env)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NoSuchEnv-v0", "Gymnasium knows no such id"),
        ("no_such_module:make", "cannot be imported from"),
        ("my_simulator:missing", "has no callable 'missing'"),
        ("my_simulator:number", "has no callable 'number'"),
        ("", "Name an id"),
    ],
)
def test_target_that_is_not_there_says_what_was_tried(module, text, message):
    """The message names what was looked for, where, and the three forms."""
    with pytest.raises(rlay.ChannelError, match=message):
        load_target(text)
