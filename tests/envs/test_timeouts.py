"""Time-outs: what may be given, and what is possible after one."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

import rlay
from rlay.testing.environments import ScriptedEnv
from tests.support.threads import (
    LIMIT_S,
    serving,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


@pytest.mark.parametrize("phase", ["connect", "reset", "step", "close"])
@pytest.mark.parametrize("value", [-1, -0.001, math.nan])
def test_timeout_that_is_no_number_of_seconds_refused(phase, value):
    """A negative or undefined time-out is a ValueError that names it."""
    with pytest.raises(ValueError, match=f"{phase}_timeout"):
        rlay.ServerEnv("x", **{f"{phase}_timeout": value})
    with pytest.raises(ValueError, match=f"{phase}_timeout"):
        rlay.ClientEnv("x", **{f"{phase}_timeout": value})


def blocked(event: threading.Event) -> ScriptedEnv:
    """Return an environment whose action 2 waits for ``event``."""

    def step(env: ScriptedEnv, action: Any) -> Any:
        if action == 2:
            event.wait(LIMIT_S)
        return np.full(2, env.steps / 8, np.float32), 0.0, False, False, {}

    return ScriptedEnv(
        observation_space=OBSERVATIONS, action_space=ACTIONS, step_fn=step
    )


def test_timeout_of_a_step_then_reset_is_clean(remote):
    """The late transition is discarded: the new episode begins at its beginning."""
    go = threading.Event()
    with remote(blocked(go), ours={"step_timeout": 0.1}) as env:
        env.reset()
        env.step(0)
        with pytest.raises(rlay.StepTimeout, match="step_timeout"):
            env.step(2)
        with pytest.raises(ResetNeeded, match="timed out"):
            env.step(0)
        go.set()
        env.reset()
        assert env.step(0)[0][0] == 1 / 8


def test_timeout_of_the_reset_after_it_can_be_repeated(remote):
    """While the environment is still busy reset times out too; later it works."""
    go = threading.Event()
    limits = {"step_timeout": 0.05, "reset_timeout": 0.1}
    with remote(blocked(go), ours=limits) as env:
        env.reset()
        with pytest.raises(rlay.StepTimeout):
            env.step(2)
        with pytest.raises(rlay.ResetTimeout, match="reset_timeout"):
            env.reset()
        with pytest.raises(ResetNeeded):
            env.step(0)
        go.set()
        wait_until(lambda: resets(env))
        assert env.step(0)[0][0] == 1 / 8


def resets(env: Any) -> bool:
    """Reset; return whether that was in time."""
    try:
        env.reset()
    except rlay.ResetTimeout:
        return False
    return True


def test_timeout_of_close_leaves_this_end_closed():
    """An environment that does not close in time is left; CloseTimeout says so."""
    go = threading.Event()
    entered = threading.Event()

    def weigh() -> None:
        entered.set()
        go.wait(LIMIT_S)

    env = ScriptedEnv()
    env.weigh = weigh  # type: ignore[attr-defined]
    with serving(env, name="x", allow=["weigh"], sessions=1):
        client = rlay.ClientEnv("x", close_timeout=0.1, step_timeout=0.05)
        client.reset()
        with pytest.raises(rlay.StepTimeout):
            client.weigh()
        entered.wait(LIMIT_S)
        client.close()  # its answer could never come: it does not wait for it
        with pytest.raises(ClosedEnvironmentError):
            client.reset()
        go.set()
