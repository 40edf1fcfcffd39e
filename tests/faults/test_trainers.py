"""The trainer of a game goes away, in each state of the game's loop.

Losing it is ``Close(reason="lost")``, not an exception; saying goodbye is "closed" or
"draining". Either way the next trainer is served, which begins with a Reset.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.protocol.constants import CloseReason
from rlay.transport.inspection import clean
from tests.faults.chains import say
from tests.faults.stage import LIMIT_S, NAME, Within, holder, once
from tests.support.children import Child, Children
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

SEEN_S = 0.25
SPACES: dict[str, Any] = {
    "observation_space": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "action_space": spaces.Discrete(5),
}
HERE = np.zeros(2, np.float32)
LARGE_INFO = {"map": bytes(10_000_000)}
"""Two hundred times the slot: it is sent in parts, each awaited."""

STATES = ["idle", "resetting", "reset", "running", "stepped", "ended"]
"""What the game has done last: joined, got Reset, reported the first observation, got
Action, reported a transition, reported an end. With a decision in hand ("resetting",
"running") it notices nothing before its next report."""


def train_into(state: str) -> None:
    """Bring a game into a state, and stay there until killed."""
    env = rlay.ServerEnv(NAME, connect_timeout=LIMIT_S)
    env.wait_until_connected()
    if state != "idle":
        say("resetting")
        env.reset(seed=1)
    if state in ("running", "stepped", "ended"):
        say("running")
        env.step(3)
    say(state)
    time.sleep(LIMIT_S)


@pytest.fixture
def game(channel_directory) -> Iterator[rlay.ClientBackend]:
    """A game that has no trainer yet."""
    with rlay.ClientBackend(name=NAME, connect_timeout=0, **SPACES) as backend:
        yield backend


def lead_into(game: rlay.ClientBackend, state: str) -> bool:
    """Play until the game is in a state; return whether it has a decision in hand."""
    if state == "idle":
        wait_until(lambda: game.poll() or game.connected, LIMIT_S)
        return False
    assert game.decide() == rlay.Reset(1, None)
    if state == "resetting":
        return True
    if state == "reset":
        game.report(HERE)
        return False
    assert game.decide(HERE) == rlay.Action(3)
    if state == "running":
        return True
    game.report(HERE, 1.0, state == "ended")
    return False


def serve_the_next(game: rlay.ClientBackend) -> None:
    """Assert that another trainer is served from the beginning."""
    with rlay.ServerEnv(NAME, connect_timeout=LIMIT_S) as env:
        with once(lambda: True, lambda: env.reset(seed=9)) as answered:
            assert game.decide() == rlay.Reset(9, None)
            game.report(HERE)
            answered.result(LIMIT_S)
        env.close()
        assert game.poll(LIMIT_S) == rlay.Close("closed")


@pytest.mark.parametrize("state", STATES)
def test_trainer_killed(
    game: rlay.ClientBackend, children: Children, within: Within, state: str
):
    """Killed in any state: Close("lost") within 0.25 s, and the next one is served."""
    child = children.start(train_into, state)
    in_hand = lead_into(game, state)
    child.wait_until_printed(state)
    if in_hand:
        child.kill()
        game.report(HERE)
        killed = time.monotonic()
        decision = game.poll(LIMIT_S)
    else:
        with once(lambda: True, child.kill) as kill:
            decision = game.poll(LIMIT_S)
        killed = kill.result()
    within(SEEN_S, time.monotonic() - killed)
    assert decision == rlay.Close("lost")
    assert not game.connected
    serve_the_next(game)


@pytest.mark.parametrize("state", STATES)
def test_trainer_killed_seen_without_blocking(
    game: rlay.ClientBackend, children: Children, within: Within, state: str
):
    """The same for a game that only ever looks: poll() answers Close("lost")."""
    child = children.start(train_into, state)
    in_hand = lead_into(game, state)
    child.wait_until_printed(state)
    child.kill()
    killed = time.monotonic()
    if in_hand:
        game.report(HERE)
    assert wait_until(game.poll, LIMIT_S) == rlay.Close("lost")
    within(SEEN_S, time.monotonic() - killed)
    serve_the_next(game)


def test_trainer_killed_before_it_greets(game: rlay.ClientBackend, children: Children):
    """A trainer that never called reset() is forgotten, and the next one is found."""
    child = children.start(make_and_wait)
    child.wait_until_printed("made")
    wait_until(lambda: game.poll() or holder("client"), LIMIT_S)
    assert not game.connected
    child.kill()
    assert game.poll() is None
    serve_the_next(game)


def make_and_wait() -> None:
    """Make a ServerEnv, and never use it."""
    env = rlay.ServerEnv(NAME)
    say("made")
    time.sleep(LIMIT_S)
    env.close()


@pytest.mark.parametrize("state", ["resetting", "running"])
def test_trainer_killed_before_a_large_report(
    game: rlay.ClientBackend, children: Children, state: str
):
    """A report in many parts that nobody takes any more is Close("lost") as well."""
    child = children.start(train_into, state)
    lead_into(game, state)
    child.wait_until_printed(state)
    child.kill()
    assert game.decide(HERE, info=LARGE_INFO) == rlay.Close("lost")
    serve_the_next(game)


@pytest.mark.parametrize("state", ["resetting", "running"])
def test_trainer_killed_within_a_large_report(
    game: rlay.ClientBackend, children: Children, within: Within, state: str
):
    """Killed between two parts: the same, within 0.25 s."""
    child = children.start(train_into, state)
    lead_into(game, state)
    child.wait_until_printed(state)
    child.send_signal(signal.SIGSTOP)  # it takes the first part only when it goes on
    began = time.monotonic()

    def in_report() -> bool:
        return time.monotonic() - began > 0.3

    with once(in_report, child.kill) as killed:
        decision = game.decide(HERE, info=LARGE_INFO)
        seen = time.monotonic()
    assert decision == rlay.Close("lost")
    within(SEEN_S, seen - killed.result())
    serve_the_next(game)


class Alarm(BaseException):
    """What a signal handler raises: an interruption of the game."""


def test_game_interrupted_within_a_large_report(
    game: rlay.ClientBackend, children: Children
):
    """Half a report is out, nothing more can be said: Close("lost"), then the next."""
    child = children.start(train_into, "running")
    lead_into(game, "running")
    child.wait_until_printed("running")
    child.send_signal(signal.SIGSTOP)

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Alarm):
            game.report(HERE, info=LARGE_INFO)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert game.poll(LIMIT_S) == rlay.Close("lost")
    child.kill()
    serve_the_next(game)


# ---------------------------------------------------------------------- goodbyes


def say_closed(env: Any) -> None:
    env.close()


def say_draining(env: Any) -> None:
    """Close as a process does that shuts down."""
    env._host._server.close(CloseReason.DRAINING)
    env._link = None
    env.close()


def say_draining_by_message(env: Any) -> None:
    """Answer the game with a Close, where it waits for an answer."""
    link = env._link
    link._say(
        lambda buffer: link._writer.close(buffer, CloseReason.DRAINING),
        link._step_patience,
    )
    env.close()


GOODBYES: dict[str, tuple[Callable[[Any], None], str]] = {
    "closed": (say_closed, "closed"),
    "draining": (say_draining, "draining"),
    "draining by message": (say_draining_by_message, "draining"),
}


@pytest.mark.parametrize("goodbye", GOODBYES)
def test_trainer_says_goodbye(game: rlay.ClientBackend, goodbye: str):
    """Close has the reason that the trainer gave."""
    close, reason = GOODBYES[goodbye]
    env = rlay.ServerEnv(NAME, connect_timeout=LIMIT_S)
    with once(lambda: True, lambda: env.reset(seed=1)) as answered:
        assert game.decide() == rlay.Reset(1, None)
        game.report(HERE)
        answered.result(LIMIT_S)
    close(env)
    decision = game.poll(LIMIT_S)
    assert isinstance(decision, rlay.Close)
    assert decision.reason == reason
    assert not game.connected
    serve_the_next(game)


def test_trainer_says_goodbye_while_the_game_ticks(game: rlay.ClientBackend):
    """A game that has an Action in hand hears of the goodbye at its next report."""
    env = rlay.ServerEnv(NAME, connect_timeout=LIMIT_S, step_timeout=0.2)
    with once(lambda: True, lambda: env.reset(seed=1)) as answered:
        assert game.decide() == rlay.Reset(1, None)
        game.report(HERE)
        answered.result(LIMIT_S)
    with pytest.raises(rlay.StepTimeout):
        env.step(2)
    assert game.poll(LIMIT_S) == rlay.Action(2)
    env.close()
    assert game.decide(HERE, 1.0) == rlay.Close("closed")
    serve_the_next(game)


ENDS = {"return": 0, "raise": 1, "sys.exit": 3}


def train_and_end(how: str) -> None:
    """End a training program without close()."""
    env = rlay.ServerEnv(NAME, connect_timeout=LIMIT_S)
    env.reset(seed=1)
    env.step(3)
    say("stepped")
    if how == "raise":
        raise RuntimeError("a mistake in the training loop")
    if how == "sys.exit":
        sys.exit(3)


@pytest.mark.parametrize("how", ENDS)
def test_trainer_that_ends_without_close(
    game: rlay.ClientBackend, children: Children, how: str, channel_directory
):
    """The end of its process is a goodbye, and leaves no file."""
    child: Child = children.start(train_and_end, how)
    lead_into(game, "stepped")
    assert game.poll(LIMIT_S) == rlay.Close("closed")
    child.wait(exit_code=ENDS[how])
    assert list(channel_directory.iterdir()) == []
    assert clean() == []
    serve_the_next(game)
