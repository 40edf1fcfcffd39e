"""Requests and replies: each once, in order, in time."""

import time
from typing import Any, Final

import numpy as np
from gymnasium import spaces

import rlay
from clients.conformance import sequences
from clients.conformance.cases.registering import case
from clients.conformance.scripts import Script
from clients.conformance.stage import Stage

SPACE: Final = spaces.Discrete(1000)
_FIRST: Final = 2**32 - 5
_STEPS: Final = 300
_SLOW_MS: Final = 1200


def counting(**settings: Any) -> Script:
    """Return a script whose infos count, so that no step is lost or done twice."""
    return Script(
        SPACE,
        resets=[{"observation": [np.int64(0)], "echo": ["resets"]}],
        steps=[{"echo": ["step"]}],
        settings=settings,
    )


def run_steps(env: Any, first: int, count: int) -> None:
    """Step from step ``first`` on, and assert that each was one step."""
    for number in range(first, first + count):
        observation, _, _, _, info = env.step(np.int64(number % 1000))
        assert (int(observation), info) == (number % 1000, {"step": number}), (
            f"step {number} answered {observation} and {info}"
        )


@case("many steps")
def _many(stage: Stage) -> None:
    """Each action is answered once, in order, in many episodes."""
    program = stage.start(counting())
    with stage.attached(program) as env:
        for episode in (1, 2, 3):
            assert env.reset()[1] == {"resets": episode}
            run_steps(env, 1, _STEPS)
    program.wait(10)


@case("loop that does not block", environment="answers when it is asked")
def _polling(stage: Stage) -> None:
    """The twin that does not block gives the same episode."""
    program = stage.start(counting(loop="polling"))
    with stage.attached(program) as env:
        env.reset()
        run_steps(env, 1, _STEPS)
    program.wait(10)


@case("sequence wrap-around")
def _wrap(stage: Stage) -> None:
    """After 2**32 - 1 comes 1, and nothing happens."""
    with sequences.starting_at(_FIRST):
        program = stage.start(counting(first_sequence=_FIRST))
        with stage.attached(program) as env:
            env.reset()
            run_steps(env, 1, 20)
            env.reset()
            run_steps(env, 1, 5)
        program.wait(10)


@case("reset in the middle of an episode")
def _abandon(stage: Stage) -> None:
    """A reset abandons the episode; reset after reset is allowed."""
    program = stage.start(counting())
    with stage.attached(program) as env:
        for episode, steps in enumerate((0, 0, 3, 0, 1), 1):
            assert env.reset()[1] == {"resets": episode}
            run_steps(env, 1, steps)
    program.wait(10)


@case("time-out of a step")
def _late(stage: Stage) -> None:
    """After a StepTimeout a reset works: the late answer is discarded."""
    script = Script(
        SPACE,
        resets=[{"observation": [np.int64(0)], "echo": ["resets"]}],
        steps=[{"echo": ["step"]}, {"wait_ms": _SLOW_MS, "echo": ["step"]}],
    )
    program = stage.start(script)
    with stage.attached(program, step_timeout=0.3) as env:
        env.reset()
        run_steps(env, 1, 1)
        began = time.monotonic()
        try:
            env.step(np.int64(5))
        except rlay.StepTimeout:
            waited = time.monotonic() - began
        else:
            raise AssertionError("a step of 1.2 s came within a step_timeout of 0.3 s")
        assert waited < 1.0, f"StepTimeout after {waited:.2f} s"
        assert env.reset()[1] == {"resets": 2}
        run_steps(env, 1, 1)
    program.wait(10)


@case("algorithm that thinks for long")
def _thinking(stage: Stage) -> None:
    """A backend has no time-out: a silent algorithm is not gone."""
    program = stage.start(counting())
    with stage.attached(program) as env:
        env.reset()
        run_steps(env, 1, 1)
        time.sleep(3)  # what is tested: nothing happens meanwhile
        run_steps(env, 2, 3)
    program.wait(10)
