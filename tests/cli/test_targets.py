"""What a TARGET names, and what it may have meant."""

import sys

import gymnasium
import pytest

from rlay.cli.targets import UnknownTarget, find_target, suggestions

MODULE = """
import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

gymnasium.register("{prefix}Level-v0", entry_point=CartPoleEnv)

def make_env():
    return CartPoleEnv()

class Inner:
    make = make_env
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the current directory."""
    name = "levels_of_a_game"
    (tmp_path / f"{name}.py").write_text(MODULE.replace("{prefix}", "Demo"))
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield name
    sys.path[:] = path
    sys.modules.pop(name, None)
    gymnasium.registry.pop("DemoLevel-v0", None)


def test_target_is_an_id():
    """Gymnasium's own."""
    assert find_target("CartPole-v1") == "CartPole-v1"


def test_target_is_a_callable_of_a_module_here(module):
    """The current directory is importable."""
    target = find_target(f"{module}:make_env")
    assert callable(target)
    assert isinstance(target(), gymnasium.Env)


def test_target_is_an_attribute_of_a_class(module):
    """A path of names."""
    assert callable(find_target(f"{module}:Inner.make"))


def test_target_is_an_id_that_a_module_registers(module):
    """The module is imported for its effect."""
    assert find_target(f"{module}:DemoLevel-v0") == "DemoLevel-v0"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("CartPol-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("CartPole", "CartPole-v1"),
        ("CartPole-v7", "CartPole-v1"),
        ("MountainCart-v0", "MountainCar-v0"),
        ("FrozenLak-v1", "FrozenLake-v1"),
    ],
)
def test_misspelt_id_is_answered_with_the_right_one(text, meant):
    """Among the closest, or the first of them where it is obvious."""
    assert meant in suggestions(text)
    with pytest.raises(UnknownTarget, match=f"Did you mean .*{meant}") as caught:
        find_target(text)
    assert caught.value.exit_code == 2


def test_newest_version_comes_first():
    """Who leaves the version out wants that."""
    assert suggestions("CartPole")[0] == "CartPole-v1"


def test_id_that_is_like_nothing_has_no_suggestion():
    """A wrong guess would mislead."""
    assert suggestions("Xyzzyplugh-v9") == []
    with pytest.raises(UnknownTarget, match="Gymnasium knows no such id") as caught:
        find_target("Xyzzyplugh-v9")
    assert "Did you mean" not in caught.value.message


def test_missing_module_says_where_it_was_looked_for(module, tmp_path):
    """And which file there is spelt alike."""
    with pytest.raises(UnknownTarget) as caught:
        find_target("levels_of_a_gam:make_env")
    text = caught.value.message
    assert f"module 'levels_of_a_gam' cannot be imported from {tmp_path}" in text
    assert f"Did you mean {module}:make_env?" in text


def test_missing_callable_names_one_spelt_alike(module):
    """The module is there."""
    with pytest.raises(UnknownTarget, match=f"Did you mean {module}:make_env"):
        find_target(f"{module}:make_envs")


@pytest.mark.parametrize("suffix", ["", ".py"])
def test_file_instead_of_a_callable_names_what_it_defines(module, suffix):
    """Who forgets the colon learns what to put behind it."""
    with pytest.raises(UnknownTarget) as caught:
        find_target(f"{module}{suffix}")
    assert f"Did you mean {module}:make_env or {module}:Inner?" in caught.value.message


def test_module_that_needs_another_one_names_that(module, tmp_path):
    """The message is about what is really missing."""
    (tmp_path / "needy.py").write_text("import no_such_dependency")
    with pytest.raises(UnknownTarget, match="No module named 'no_such_dependency'"):
        find_target("needy:make")


def test_module_with_a_bug_raises_it(module, tmp_path):
    """A traceback is of use there."""
    (tmp_path / "buggy.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        find_target("buggy:make")
