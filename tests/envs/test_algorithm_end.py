"""What all environments at the algorithm's end share: one user, and a next step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import rlay
from rlay.envs.algorithm_end import AlgorithmEnd
from rlay.processes.own_bridge import OwnBridge
from rlay.testing.environments import ScriptedEnv
from tests.support.threads import serving
from tests.support.vectors import Lane

pytestmark = pytest.mark.usefixtures("channel_directory")


class Raising(AlgorithmEnd[Any]):
    """An end whose steps fail as they are told."""

    def __init__(self) -> None:
        self._set_up("x", OwnBridge(None, "x", None))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (rlay.EnvLost("the process is gone"), "life .* is over .*process is gone"),
        (rlay.StepTimeout("too late"), "timed out"),
        (rlay.ResetTimeout("too late"), "timed out"),
        (KeyboardInterrupt(), "interrupted"),
        (rlay.RemoteProtocolError("sequence"), "session is over"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_step_after_a_failure_says_why_reset_comes_first(error, said):
    """Each failure after which nothing is known has its own reason."""
    end = Raising()
    end._after_failure(error)
    with pytest.raises(ResetNeeded, match=said):
        end._step(0)


def test_step_after_an_exception_of_the_environment_is_still_possible():
    """What the environment raised is its own business, as in the same process."""
    end = Raising()
    before = end._step
    end._after_failure(rlay.RemoteEnvError("ValueError", "x"))
    end._after_failure(rlay.SpaceMismatch("x"))
    assert end._step is before


def test_forked_child_is_refused_and_may_close(remote):
    """In a child everything but close() is ForkedError; close() does nothing."""
    with remote(ScriptedEnv(), allow=["steps"]) as env:
        env.reset()
        env.abandon()  # what the fork handler calls in the child
        calls: list[Any] = [lambda: env.step(0), env.reset, env.render]
        for call in [*calls, lambda: env.steps]:
            with pytest.raises(rlay.ForkedError, match="parent process"):
                call()
        env._forked = False  # back in the parent
        forget_fork(env)
        env.step(0)


def forget_fork(env: Any) -> None:
    """Undo ``abandon``, so that the test can end the session."""
    env._in_use[0] = False


def test_forked_child_of_a_vector_is_refused_too():
    """The same holds for a batch."""
    with serving(Lane, name="x", num_envs=2):
        envs = rlay.ClientVectorEnv("x")
        envs.reset()
        envs.abandon()
        with pytest.raises(rlay.ForkedError):
            envs.step(np.array([0, 0]))
        envs._forked = False
        forget_fork(envs)
        envs.close()
