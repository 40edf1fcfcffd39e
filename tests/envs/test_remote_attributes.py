"""Attributes and methods of the environment at the other end."""

from __future__ import annotations

import gymnasium
import pytest

import rlay
from rlay.testing.environments import ScriptedEnv

pytestmark = pytest.mark.usefixtures("channel_directory")


class Tool(ScriptedEnv):
    """An environment with things to reach."""

    def __init__(self) -> None:
        super().__init__()
        self.gravity = 9.81
        self.secret = "not allowed"

    def weigh(self, mass: float, *, factor: float = 1.0) -> float:
        return mass * self.gravity * factor

    def fail(self) -> None:
        raise LookupError("nothing there")


ALLOWED = ["gravity", "weigh", "fail"]


def test_attributes_hasattr_is_right_without_a_round_trip(remote):
    """Exactly the allowed names are there, and methods look like methods.

    Before the first reset a game cannot be asked: so no answer of these came from it.
    """
    with remote(Tool(), allow=ALLOWED) as env:
        assert hasattr(env, "weigh")
        assert callable(env.weigh)
        assert env.weigh.__name__ == "weigh"
        assert not hasattr(env, "secret")
        assert not hasattr(env, "nonsense")
        assert env.has_wrapper_attr("gravity")
        assert env.has_wrapper_attr("step")
        assert not env.has_wrapper_attr("secret")
        with pytest.raises(AttributeError, match=r"serve it with allow=\["):
            _ = env.secret
        env.reset()
        assert hasattr(env, "gravity")


def test_attributes_get_call_and_set(remote):
    """What is allowed is read, called and set at the other end."""
    with remote(Tool(), allow=ALLOWED) as env:
        env.reset()
        assert env.gravity == 9.81
        assert env.weigh(2.0, factor=10.0) == pytest.approx(196.2)
        env.gravity = 1.5
        assert env.gravity == 1.5
        assert env.weigh(2.0) == 3.0
        env.step(0)


@pytest.mark.parametrize("name", ["nonsense", "secret", "weigh"])
def test_attributes_setting_what_is_not_allowed_raises(remote, name):
    """A misspelt name is an error, not a local attribute that nobody reads."""
    with remote(Tool(), allow=ALLOWED) as env:
        env.reset()
        with pytest.raises(AttributeError, match=f"cannot set '{name}'"):
            setattr(env, name, 1)
        env.step(0)


def test_attributes_a_method_that_raises_is_a_remote_error(remote):
    """The exception crosses as text; the environment stays usable."""
    with remote(Tool(), allow=ALLOWED) as env:
        env.reset()
        with pytest.raises(rlay.RemoteEnvError, match="nothing there") as caught:
            env.fail()
        assert caught.value.remote_type == "LookupError"
        env.step(0)


def test_attributes_arguments_that_cannot_travel_are_refused_before_sending(remote):
    """LocalProtocolError names the method and the path; nothing was called."""
    with remote(Tool(), allow=ALLOWED) as env:
        env.reset()
        with pytest.raises(
            rlay.LocalProtocolError, match=r"of weigh .*at \$\[0\]\[1\]"
        ):
            env.weigh([1, object()])
        assert env.weigh(1.0) == 9.81
        env.step(0)


def test_attributes_through_gymnasiums_wrappers(remote):
    """get_wrapper_attr and set_wrapper_attr, on both sides, find their way."""
    with remote(gymnasium.wrappers.TimeLimit(Tool(), 5), allow=ALLOWED) as env:
        wrapped = gymnasium.wrappers.OrderEnforcing(env)
        wrapped.reset()
        assert wrapped.get_wrapper_attr("gravity") == 9.81
        assert wrapped.has_wrapper_attr("weigh")
        assert not wrapped.has_wrapper_attr("secret")
        wrapped.set_wrapper_attr("gravity", 2.0)
        assert env.gravity == 2.0


def test_attributes_that_do_not_exist_cannot_be_allowed():
    """A misspelt name in allow=[...] is an error of the backend, told to clients."""
    with pytest.raises(AttributeError, match="gravitation"):
        rlay.ClientBackend(Tool(), name="x", allow=["gravitation"])
