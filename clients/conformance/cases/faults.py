"""What an environment does wrong, and what its process does."""

import threading
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from gymnasium import spaces

import rlay
from clients.conformance.cases.delivery import counting, run_steps
from clients.conformance.cases.registering import case
from clients.conformance.programs import wait_until
from clients.conformance.scripts import Script
from clients.conformance.stage import Stage

_SPACE: Final = spaces.Discrete(10)
_WITHIN_S: Final = 3.0
_LOOP: Final = "in a loop of its own nobody catches what it raises"


@case("exception in a step", game=_LOOP)
def _raising_step(stage: Stage) -> None:
    """It arrives with its message; the environment goes on after a reset."""
    script = Script(
        _SPACE,
        resets=[{"observation": [np.int64(0)]}],
        steps=[{"echo": ["step"]}, {"raise": "the door is jammed"}],
    )
    program = stage.start(script)
    with stage.attached(program) as env:
        for _ in range(2):
            env.reset()
            run_steps(env, 1, 1)
            _expect_failure(lambda: env.step(np.int64(1)), "the door is jammed")
        env.reset()
        run_steps(env, 1, 1)
    program.wait(10)


@case("exception in a reset", game=_LOOP)
def _raising_reset(stage: Stage) -> None:
    """It arrives with its message; the next reset works."""
    script = Script(
        _SPACE,
        resets=[{"raise": "no such level"}, {"observation": [np.int64(3)]}],
        steps=[{"echo": ["step"]}],
    )
    program = stage.start(script)
    with stage.attached(program) as env:
        _expect_failure(env.reset, "no such level")
        assert int(env.reset()[0]) == 3
        run_steps(env, 1, 2)
    program.wait(10)


@case("observation outside of its space", game=_LOOP)
def _odd_observation(stage: Stage) -> None:
    """An observation of another shape is refused with its path, and a reset works."""
    space = spaces.Dict(pose=spaces.Box(-1, 1, (2,), np.float32))
    good = {"pose": np.zeros(2, np.float32)}
    bad = {"pose": np.zeros(3, np.float32)}
    script = Script(
        space,
        resets=[{"observation": [good]}],
        steps=[{"observation": [bad]}],
    )
    program = stage.start(script)
    with stage.attached(program) as env:
        env.reset()
        try:
            env.step(good)
        except rlay.RLayError as error:
            said = str(error)
        else:
            raise AssertionError("an observation of another shape was let through")
        assert "pose" in said, f"no path in: {said}"
        env.reset()
    program.wait(10)


def _expect_failure(call: Callable[[], object], text: str) -> None:
    try:
        call()
    except rlay.RemoteEnvError as error:
        said = str(error)
    else:
        raise AssertionError(f"no RemoteEnvError with {text!r}")
    assert text in said, f"{text!r} is not in: {said}"


@case("program killed in a step")
def _killed(stage: Stage) -> None:
    """``step`` raises EnvLost soon, and says what is gone."""
    script = Script(
        _SPACE,
        resets=[{"observation": [np.int64(0)]}],
        steps=[{"echo": ["step"]}, {"wait_ms": 20_000}],
    )
    program = stage.start(script)
    with stage.attached(program, step_timeout=15) as env:
        env.reset()
        run_steps(env, 1, 1)
        # The kill comes while the step waits: from another thread of ours.
        killer = _later(0.4, program.kill)
        began = time.monotonic()
        try:
            env.step(np.int64(1))
        except rlay.EnvLost:
            waited = time.monotonic() - began
        else:
            raise AssertionError("a step of a killed program was answered")
        finally:
            killer.join()
        assert waited < 0.4 + _WITHIN_S, f"EnvLost after {waited:.2f} s"


def _later(delay_s: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(delay_s, act)
    timer.start()
    return timer


@case("program started again after a kill")
def _restarted(stage: Stage) -> None:
    """A new program under the same name is another environment, and works."""
    program = stage.start(counting())
    with stage.attached(program) as env:
        env.reset()
        run_steps(env, 1, 2)
        program.kill()
        try:
            env.step(np.int64(1))
        except rlay.EnvLost:
            pass
        else:
            raise AssertionError("a step of a killed program was answered")
    again = stage.start(counting())
    with stage.attached(again) as env:
        assert env.reset()[1] == {"resets": 1}
        run_steps(env, 1, 5)
    again.wait(10)


@case("program leaves in a step")
def _leaving(stage: Stage) -> None:
    """A goodbye in place of an answer is EnvLost soon, and the program ends with 0."""
    script = Script(
        _SPACE,
        resets=[{"observation": [np.int64(0)]}],
        steps=[{"echo": ["step"]}, {"leave": True}],
    )
    program = stage.start(script)
    with stage.attached(program) as env:
        env.reset()
        run_steps(env, 1, 1)
        began = time.monotonic()
        try:
            env.step(np.int64(1))
        except rlay.EnvLost:
            waited = time.monotonic() - began
        else:
            raise AssertionError("a step of a program that left was answered")
        assert waited < _WITHIN_S, f"EnvLost after {waited:.2f} s"
    wait_until(lambda: program.exit_code is not None, 10, "the program ends")
    program.wait(10)
