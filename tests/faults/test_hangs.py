"""The environment is slow, stopped, or hangs: rows A11 and A13.

A process that is silent is alive as long as it holds its lock; what bounds the wait is
``step_timeout``, and after it only ``reset`` and ``close`` are allowed.
"""

import signal
import time

import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

import rlay
from tests.faults.stage import (
    LIMIT_S,
    NAME,
    Player,
    Stage,
    Within,
    count,
    holder,
    once,
    once_printed,
)

pytestmark = pytest.mark.timeout(90)

STOPPED_S = 1.5
"""Longer than any slice of a wait; death would be seen within 0.1 s."""
HANG_S = 1.5
STEP_TIMEOUT_S = 0.5
RESET_TIMEOUT_S = 1.0
LATE_S = 0.2
"""How late a time-out may be."""

HANGS = ["sleep", "hold the interpreter"]


@pytest.mark.parametrize("method", ["step", "reset"])
def test_a11_env_stopped_and_continued(stage: Stage, method: str):
    """A11: a stopped process holds its lock: the call takes longer, and is right."""
    env, child = stage.pair([[method, 2, "sleep", 0.2]])
    player = Player(env)
    player.play(seed=1, steps=1)

    def stop() -> None:
        child.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)  # this is the fault
        child.send_signal(signal.SIGCONT)

    with once_printed(child, f"{method} 2 begins", stop) as stopped:
        player.step() if method == "step" else player.reset(2)
        assert time.monotonic() - stopped.result() >= STOPPED_S
    for _ in range(5):
        player.step()
    assert count(child, f"{method} 2 begins") == 1


def test_a11_env_stopped_between_steps(stage: Stage):
    """A11: a step taken while the process is stopped waits for it, and is run once."""
    env, child = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=1)
    child.send_signal(signal.SIGSTOP)
    began = time.monotonic()

    def stopped_long_enough() -> bool:
        return time.monotonic() - began >= STOPPED_S

    with once(stopped_long_enough, lambda: child.send_signal(signal.SIGCONT)):
        player.step()
    assert time.monotonic() - began >= STOPPED_S
    player.step()
    assert count(child, "step 2 begins") == 1


@pytest.mark.parametrize("hang", HANGS)
def test_a13_step_hangs(stage: Stage, within: Within, hang: str):
    """A13: StepTimeout at step_timeout; reset() discards the late transition."""
    env, child = stage.pair([["step", 3, hang, HANG_S]], step_timeout=STEP_TIMEOUT_S)
    player = Player(env)
    player.play(seed=1, steps=2)
    began = time.monotonic()
    with pytest.raises(rlay.StepTimeout, match="step_timeout") as caught:
        player.step()
    elapsed = time.monotonic() - began
    assert elapsed >= STEP_TIMEOUT_S
    within(LATE_S, elapsed - STEP_TIMEOUT_S)
    assert f"within {STEP_TIMEOUT_S} s" in str(caught.value)
    for _ in range(2):
        with pytest.raises(ResetNeeded, match="timed out"):
            env.step(0)
    player.play(seed=2, steps=20)
    lines = child.stdout.splitlines()
    assert lines.count("step 3 begins") == lines.count("step 3 ends") == 1
    assert lines.index("step 3 ends") < lines.index("reset 2 begins")


@pytest.mark.parametrize("hang", HANGS)
def test_a13_reset_hangs(stage: Stage, within: Within, hang: str):
    """A13: ResetTimeout at reset_timeout, each time; late answers are discarded."""
    env, child = stage.pair(
        [["reset", 2, hang, 2 * HANG_S]], reset_timeout=RESET_TIMEOUT_S
    )
    player = Player(env)
    player.play(seed=1, steps=2)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(rlay.ResetTimeout, match="reset_timeout"):
            env.reset(seed=2)
        elapsed = time.monotonic() - began
        assert elapsed >= RESET_TIMEOUT_S
        within(LATE_S, elapsed - RESET_TIMEOUT_S)
        with pytest.raises(ResetNeeded):
            env.step(0)
    child.wait_until_printed("reset 2 ends")
    player.play(seed=3, steps=5)
    assert count(child, "reset 3 ends") == 1
    assert "reset 4 begins" not in child.stdout


@pytest.mark.parametrize("hang", HANGS)
def test_a13_close_after_a_timeout(stage: Stage, within: Within, hang: str):
    """A13: close() does not wait for a step that hangs; the environment goes on."""
    env, child = stage.pair([["step", 3, hang, HANG_S]], step_timeout=STEP_TIMEOUT_S)
    player = Player(env)
    player.play(seed=1, steps=2)
    with pytest.raises(rlay.StepTimeout):
        player.step()
    began = time.monotonic()
    env.close()
    within(LATE_S, time.monotonic() - began)
    with pytest.raises(ClosedEnvironmentError):
        env.step(0)
    with pytest.raises(ClosedEnvironmentError):
        env.reset()
    Player(stage.algorithm()).play(seed=2, steps=5)
    lines = child.stdout.splitlines()
    assert lines.count("step 3 begins") == lines.count("step 3 ends") == 1


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a13_close_waits_for_a_backend_that_does_not_answer(
    stage: Stage, within: Within
):
    """A13: a stopped backend makes close() raise CloseTimeout; this end is closed."""
    env, child = stage.pair(close_timeout=STEP_TIMEOUT_S)
    Player(env).play(seed=1, steps=2)
    child.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(rlay.CloseTimeout):
        env.close()
    within(LATE_S, time.monotonic() - began - STEP_TIMEOUT_S)
    child.send_signal(signal.SIGCONT)
    env.close()
    Player(stage.algorithm()).play(seed=2, steps=2)


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a13_backend_that_does_not_greet(stage: Stage, within: Within):
    """A13: an environment that takes long to be made: ConnectTimeout says who it is."""
    child = stage.environment([["init", 1, "sleep", LIMIT_S]])
    child.wait_until_printed("init 1 begins")
    began = time.monotonic()
    with pytest.raises(rlay.ConnectTimeout, match="did not answer") as caught:
        stage.algorithm(connect_timeout=STEP_TIMEOUT_S)
    within(LATE_S, time.monotonic() - began - STEP_TIMEOUT_S)
    assert f"process {child.pid} " in str(caught.value)
    assert not holder("client")
    child.kill()
    stage.environment()
    Player(stage.algorithm()).play(seed=1, steps=2)


def test_a13_timeout_then_death(stage: Stage):
    """A13: a step that timed out is not known to have run when its process dies."""
    env, child = stage.pair(
        [["step", 3, "sleep", LIMIT_S]], step_timeout=STEP_TIMEOUT_S
    )
    player = Player(env)
    player.play(seed=1, steps=2)
    with pytest.raises(rlay.StepTimeout):
        player.step()
    child.kill()
    stage.environment()
    if not stage.asks:  # a ServerEnv adopts the next game without a word
        with pytest.raises(rlay.EnvLost) as caught:
            player.reset(2)
        assert caught.value.executed is None
    player.play(seed=2, steps=2)
    assert stage.entries() == [NAME]


def test_a13_timeout_none_must_be_asked_for(stage: Stage):
    """A13: without a limit a long step is waited for; a death is seen all the same."""
    env, child = stage.pair(
        [["step", 2, "sleep", HANG_S], ["step", 3, "sleep", LIMIT_S]],
        step_timeout=None,
    )
    player = Player(env)
    player.play(seed=1, steps=2)
    with once_printed(child, "step 3 begins", child.kill), pytest.raises(rlay.EnvLost):
        player.step()
    stage.environment()
    player.play(seed=2, steps=2)
