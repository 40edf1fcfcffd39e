"""A message in many parts is broken off in the middle: rows A1, A2, A5, A13, A17.

Half a request was not run. Half a reply is never taken for a whole one. Whoever lives
goes on with the next session.
"""

import os
import signal
import threading
import time
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

import rlay
from tests.faults.chains import say
from tests.faults.payloads import echo
from tests.faults.stage import Stage, Within, algorithm, holder, once
from tests.faults.test_interrupts import interrupt, interrupted, listen_to_interrupts
from tests.support.children import Child
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

SEEN_S = 0.25
INTERRUPTED_S = 0.2
STEP_TIMEOUT_S = 0.5
LARGE = "ab" * 4_000_000
"""An action of 8 MB, in more than a hundred parts."""


def start(stage: Stage) -> Child:
    """Start an echo of texts."""
    return stage.children.start(echo, stage.paradigm, "text", {}, forever=True)


def stopped_pair(stage: Stage, **options: Any) -> tuple[Any, Child]:
    """Return an environment that was reset, and its child, which is stopped."""
    child = start(stage)
    env = stage.algorithm(**options)
    env.reset(seed=1)
    child.send_signal(signal.SIGSTOP)
    return env, child


def assert_works(env: Any) -> None:
    """Assert that large and small steps are right after a reset."""
    env.reset(seed=2)
    assert env.step("ab")[0] == "ab"
    assert env.step(LARGE)[0] == LARGE
    assert env.step("ba")[0] == "ba"


def some_time_later() -> Any:
    """Return a condition that is true when somebody surely is in a wait."""
    began = time.monotonic()
    return lambda: time.monotonic() - began > 0.3


def test_a2_env_killed_while_an_action_is_sent(stage: Stage, within: Within):
    """A2: half an action was not run: EnvLost(executed=False)."""
    env, child = stopped_pair(stage)
    with once(some_time_later(), child.kill) as killed:
        with pytest.raises(rlay.EnvLost) as caught:
            env.step(LARGE)
        seen = time.monotonic()
    within(SEEN_S, seen - killed.result())
    assert caught.value.executed is False
    assert "step" not in child.stdout.splitlines()
    start(stage)
    assert_works(env)


def test_a13_timeout_while_an_action_is_sent(stage: Stage):
    """A13: a stopped environment that takes no parts: StepTimeout, then reset()."""
    env, child = stopped_pair(stage, step_timeout=STEP_TIMEOUT_S)
    with pytest.raises(rlay.StepTimeout):
        env.step(LARGE)
    with pytest.raises(ResetNeeded):
        env.step("ab")
    child.send_signal(signal.SIGCONT)
    env.reset(seed=3)
    assert env.step("ab")[0] == "ab"
    assert child.stdout.splitlines().count("step") == 1  # half an action is none


def send_interrupted(paradigm: str) -> None:
    """Be interrupted while a large action is sent, then go on."""
    listen_to_interrupts()
    env = algorithm(paradigm)
    env.reset(seed=1)
    os.kill(holder("client" if paradigm == "ServerEnv" else "server"), signal.SIGSTOP)
    with interrupted():
        say("sending")
        env.step(LARGE)
    with pytest.raises(ResetNeeded):
        env.step("ab")
    assert_works(env)
    env.close()


def test_a17_interrupted_while_an_action_is_sent(stage: Stage, within: Within):
    """A17: Ctrl-C between two parts; reset() goes on, in a session of its own."""
    env = start(stage)
    child = stage.children.start(send_interrupted, stage.paradigm)
    child.wait_until_printed("sending")
    wait_until(some_time_later())
    within(INTERRUPTED_S, interrupt(child))
    env.send_signal(signal.SIGCONT)
    child.wait()
    assert env.stdout.splitlines().count("step") == 3


def ask_and_be_stopped(paradigm: str) -> None:
    """Ask for a large transition, and be stopped before its parts are taken."""
    env = algorithm(paradigm)
    env.reset(options={"step_bytes": 8_000_000})
    say("asking")
    env.step("ab")
    say("answered")


def test_a5_client_killed_while_a_reply_is_sent(stage: Stage):
    """A5: the environment's end gives up a reply that nobody takes any more."""
    env = start(stage)
    child = stage.children.start(ask_and_be_stopped, stage.paradigm)
    # Stopped as soon as the step is known to have begun, with most parts to come.
    env.wait_until_printed("step\n")
    child.send_signal(signal.SIGSTOP)
    env.wait_until_printed("stepped")
    wait_until(some_time_later())
    child.kill()
    assert_works(stage.algorithm())


def test_a13_timeout_while_a_transition_comes(stage: Stage):
    """A13: a transition that stops half-way is discarded, both halves of it."""
    child = start(stage)
    env = stage.algorithm(step_timeout=STEP_TIMEOUT_S)
    env.reset(options={"step_bytes": 300_000_000})

    def stop() -> None:
        child.send_signal(signal.SIGSTOP)

    with once(lambda: "stepped" in child.stdout, stop), pytest.raises(rlay.StepTimeout):
        env.step("ab")
    continued = threading.Timer(0.3, lambda: child.send_signal(signal.SIGCONT))
    continued.start()
    env.reset(seed=2)
    continued.join()
    assert env.step("ba")[0] == "ba"
    assert child.stdout.splitlines().count("step") == 2
