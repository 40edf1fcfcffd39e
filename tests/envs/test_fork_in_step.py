"""An environment that forks in a step: only the parent answers."""

import os
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

import rlay
from rlay.testing.environments import ScriptedEnv

PARENT, CHILD = 1.0, 7.0
FORKED_EXIT = 33
"""How the child says that it was refused."""


def forking_step(
    env: ScriptedEnv, action: Any
) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """Return PARENT; with action 1 a forked child comes back too, with CHILD."""
    value, code = PARENT, None
    if action == 1:
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
        else:
            value = CHILD
    observation = np.full(2, value, dtype=np.float32)
    return observation, value, False, False, {"code": code} if code is not None else {}


def make_env() -> gymnasium.Env[Any, Any]:
    return ScriptedEnv(step_fn=forking_step)


def _run(backend: Any) -> None:
    parent = os.getpid()
    try:
        backend.run(sessions=1)
    except rlay.ForkedError:
        os._exit(FORKED_EXIT if os.getpid() != parent else 1)


def serve() -> None:
    _run(rlay.ServerBackend(make_env, name="x"))


def play() -> None:
    _run(rlay.ClientBackend(make_env, name="x"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason=f"no fork on {sys.platform}")
@pytest.mark.parametrize(("kind", "other"), [("ClientEnv", serve), ("ServerEnv", play)])
def test_a_child_forked_in_a_step_never_answers(children, kind, other):
    """The parent's transition arrives; the child is refused where it would speak."""
    if kind == "ServerEnv":
        env: Any = rlay.ServerEnv("x")
        child = children.start(other)
    else:
        child = children.start(other)
        env = rlay.ClientEnv("x")
    with env:
        env.reset(seed=0)
        observation, reward, *_, info = env.step(1)
        assert (reward, observation[0]) == (PARENT, PARENT)
        assert info == {"code": FORKED_EXIT}
        assert env.step(0)[1] == PARENT
    child.wait()
