"""Ctrl-C in every wait: row A17.

KeyboardInterrupt comes within 0.2 s, once is enough, and ``reset()`` goes on from
there. The interrupted program is always a child: who runs the tests has a terminal too.
"""

import contextlib
import random
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

import rlay
from rlay.errors import ChannelClosed
from rlay.testing.environments import HashChainEnv
from rlay.transport.forks import close_in_child
from tests.faults.chains import say
from tests.faults.stage import (
    LIMIT_S,
    NAME,
    Player,
    Stage,
    Within,
    algorithm,
    count,
    holder,
    play,
)
from tests.support.children import Child
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

INTERRUPTED_S = 0.2
LONG_S = 1.0
"""A call of the environment that is interrupted; its result comes late."""


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Expect a KeyboardInterrupt, and say when it came."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted at {time.monotonic()}")
    else:
        raise AssertionError("no KeyboardInterrupt came")


def listen_to_interrupts() -> None:
    """Make sure that SIGINT interrupts; a parent in the background may ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(child: Child) -> float:
    """Send SIGINT, and return how long it took until the child noticed."""
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.wait_until_printed("interrupted at ")
    lines = child.stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("interrupted at "))
    return float(line.split()[-1]) - sent


# ------------------------------------------------------------------- the algorithm


def step_interrupted(paradigm: str) -> None:
    """Be interrupted in the third step, then reset and go on."""
    listen_to_interrupts()
    env = algorithm(paradigm)
    player = Player(env)
    player.play(seed=1, steps=2)
    with interrupted():
        player.step()
    with pytest.raises(ResetNeeded, match="interrupted"):
        env.step(0)
    player.play(seed=2, steps=20)
    env.close()


def test_a17_step_wait(stage: Stage, within: Within):
    """A17: Ctrl-C while step waits; the late transition is discarded by reset."""
    env = stage.environment([["step", 3, "sleep", LONG_S]])
    child = stage.children.start(step_interrupted, stage.paradigm)
    env.wait_until_printed("step 3 begins")
    within(INTERRUPTED_S, interrupt(child))
    child.wait()
    assert count(env, "step 3 begins") == count(env, "step 3 ends") == 1


def reset_interrupted(paradigm: str) -> None:
    """Be interrupted in the second reset, then reset and go on."""
    listen_to_interrupts()
    env = algorithm(paradigm)
    player = Player(env)
    player.play(seed=1, steps=2)
    with interrupted():
        player.reset(2)
    with pytest.raises(ResetNeeded):
        env.step(0)
    player.play(seed=3, steps=20)
    env.close()


def test_a17_reset_wait(stage: Stage, within: Within):
    """A17: Ctrl-C while reset waits; the late observation is discarded by reset."""
    env = stage.environment([["reset", 2, "sleep", LONG_S]])
    child = stage.children.start(reset_interrupted, stage.paradigm)
    env.wait_until_printed("reset 2 begins")
    within(INTERRUPTED_S, interrupt(child))
    child.wait()
    assert count(env, "reset 3 ends") == 1


def settling_interrupted(paradigm: str) -> None:
    """Be interrupted while reset waits for a late transition."""
    listen_to_interrupts()
    env = algorithm(paradigm, step_timeout=0.2)
    player = Player(env)
    player.play(seed=1, steps=2)
    with pytest.raises(rlay.StepTimeout):
        player.step()
    with interrupted():
        say("settling")
        player.reset(2)
    player.reset(3)
    env.close()


def test_a17_reset_that_waits_for_a_late_step(stage: Stage, within: Within):
    """A17: Ctrl-C while reset waits for a step that had timed out."""
    env = stage.environment([["step", 3, "sleep", 2 * LONG_S]])
    child = stage.children.start(settling_interrupted, stage.paradigm)
    child.wait_until_printed("settling")
    within(INTERRUPTED_S, interrupt(child))
    child.wait()
    assert count(env, "step 3 ends") == 1
    assert count(env, "reset 2 ends") == 1
    assert "reset 3 begins" not in env.stdout


def is_stopped(pid: int) -> bool:
    """Return whether SIGSTOP has reached a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def close_interrupted(paradigm: str, backend_pid: int) -> None:
    """Be interrupted while close waits for the answer of a stopped backend."""
    listen_to_interrupts()
    env = algorithm(paradigm, close_timeout=LIMIT_S)
    Player(env).play(seed=1, steps=2)
    say("played")
    wait_until(lambda: is_stopped(backend_pid), LIMIT_S)
    with interrupted():
        say("closing")
        env.close()
    env.close()


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a17_close_wait(stage: Stage, within: Within):
    """A17: Ctrl-C while close waits: this end is closed all the same."""
    env = stage.environment()
    child = stage.children.start(close_interrupted, stage.paradigm, env.pid)
    child.wait_until_printed("played")
    env.send_signal(signal.SIGSTOP)
    child.wait_until_printed("closing")
    elapsed = interrupt(child)
    child.wait()
    env.send_signal(signal.SIGCONT)
    within(INTERRUPTED_S, elapsed)
    Player(stage.algorithm()).play(seed=2, steps=2)


def connect_interrupted(paradigm: str) -> None:
    """Be interrupted while nobody is there, then connect and go on."""
    listen_to_interrupts()
    if paradigm == "ClientEnv":
        with interrupted():
            say("connecting")
            algorithm(paradigm)
        env = algorithm(paradigm)
    else:
        env = algorithm(paradigm)
        with interrupted():
            say("connecting")
            env.reset()
    Player(env).play(seed=1, steps=5)
    env.close()


def test_a17_connect_wait(stage: Stage, within: Within):
    """A17: Ctrl-C while nobody is at the other end; it can be tried again."""
    child = stage.children.start(connect_interrupted, stage.paradigm)
    child.wait_until_printed("connecting")
    within(INTERRUPTED_S, interrupt(child))
    stage.environment()
    child.wait()


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a17_greeting_wait(stage: Stage, within: Within):
    """A17: Ctrl-C while the backend is still making its environment."""
    stage.environment([["init", 1, "sleep", 2 * LONG_S]])
    child = stage.children.start(connect_interrupted, stage.paradigm)
    wait_until(lambda: holder("client") == child.pid, LIMIT_S)
    within(INTERRUPTED_S, interrupt(child))
    child.wait()


def worker_in_step(paradigm: str, closes: bool) -> None:
    """Be interrupted in the main thread while a worker thread is in step."""
    listen_to_interrupts()
    env = algorithm(paradigm)
    player = Player(env)
    player.play(seed=1, steps=2)
    failures: list[BaseException] = []
    done = threading.Event()  # to join a thread twice does not work in Python 3.11

    def work() -> None:
        try:
            player.step()
        except BaseException as error:
            failures.append(error)
        done.set()

    worker = threading.Thread(target=work)
    with interrupted():  # from here: the step may begin before start() returns
        worker.start()
        done.wait()
    if closes:
        began = time.monotonic()
        env.close()
        done.wait()
        say(f"closed in {time.monotonic() - began}")
        (failure,) = failures
        assert isinstance(failure, ChannelClosed)
        return
    with pytest.raises(rlay.LocalProtocolError, match="two threads"):
        env.reset()
    done.wait()
    assert not failures
    player.step()
    player.play(seed=2, steps=5)
    env.close()


def test_a17_worker_thread_in_step(stage: Stage, within: Within):
    """A17: Ctrl-C in the main thread leaves the worker's step alone."""
    env = stage.environment([["step", 3, "sleep", LONG_S]])
    child = stage.children.start(worker_in_step, stage.paradigm, False)
    env.wait_until_printed("step 3 begins")
    within(INTERRUPTED_S, interrupt(child))
    child.wait()


def test_a17_close_ends_a_worker_threads_step(stage: Stage, within: Within):
    """A17: who closes after the Ctrl-C ends the worker's wait at once."""
    env = stage.environment([["step", 3, "sleep", 3 * LONG_S]])
    child = stage.children.start(worker_in_step, stage.paradigm, True)
    env.wait_until_printed("step 3 begins")
    within(INTERRUPTED_S, interrupt(child))
    child.wait()
    (line,) = (x for x in child.stdout.splitlines() if x.startswith("closed in "))
    within(INTERRUPTED_S, float(line.split()[-1]))


# ------------------------------------------------------------- the environment's end


def backend_interrupted(paradigm: str, plan: Any, options: Any) -> None:
    """Run a backend until it is interrupted."""
    with interrupted():
        play(paradigm, plan, options)


def test_a17_backend_idle(stage: Stage, within: Within):
    """A17: Ctrl-C while a backend waits for somebody: it ends and leaves nothing."""
    child = stage.children.start(backend_interrupted, stage.paradigm, [], {})
    if stage.asks:
        child.wait_until_printed("asking")
    else:
        child.wait_until_printed("serving")
    within(INTERRUPTED_S, interrupt(child))
    child.wait()
    assert stage.entries() == []


@pytest.mark.parametrize("inside", [False, True], ids=["waiting", "in step"])
def test_a17_backend_in_a_session(stage: Stage, within: Within, inside: bool):
    """A17: Ctrl-C at the environment's end, idle in a session or in a step."""
    plan = [["step", 3, "sleep", LIMIT_S]] if inside else []
    child = stage.children.start(backend_interrupted, stage.paradigm, plan, {})
    player = Player(stage.algorithm())
    player.play(seed=1, steps=2)
    if inside:
        elapsed: list[float] = []

        def strike() -> None:
            child.wait_until_printed("step 3 begins")
            elapsed.append(interrupt(child))

        striker = threading.Thread(target=strike)
        striker.start()
        with pytest.raises(rlay.EnvLost, match="shuts down") as caught:
            player.step()
        striker.join()
        assert caught.value.executed is None
    else:
        elapsed = [interrupt(child)]
        with pytest.raises(rlay.EnvLost, match="shuts down") as caught:
            player.step()
        assert caught.value.executed is False
    within(INTERRUPTED_S, elapsed[0])
    child.wait()
    stage.environment()
    player.play(seed=2, steps=3)


def test_a17_both_ends_of_one_terminal(stage: Stage):
    """A17: Ctrl-C goes to both at once, as in a terminal: both end, nothing is left."""
    env = stage.children.start(
        backend_interrupted, stage.paradigm, [["step", 3, "sleep", LIMIT_S]], {}
    )
    child = stage.children.start(step_and_give_up, stage.paradigm)
    env.wait_until_printed("step 3 begins")
    child.send_signal(signal.SIGINT)
    env.send_signal(signal.SIGINT)
    env.wait()
    child.wait()
    assert stage.entries() == []


def step_and_give_up(paradigm: str) -> None:
    """Step until interrupted, then end, as most programs do."""
    listen_to_interrupts()
    env = algorithm(paradigm)
    player = Player(env)
    player.reset(1)
    try:
        while True:
            player.step()
    except (KeyboardInterrupt, rlay.EnvLost) as error:
        say(f"ended by {type(error).__name__}")
    env.close()


# ----------------------------------------------------------------------- any instant

ROUNDS = 2000


class SteadyChain(HashChainEnv):
    """A hash chain that has no info after a reset without a seed."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        return observation, {} if seed is None else info


def serve_plainly(paradigm: str) -> None:
    """Serve a hash chain that says nothing: as fast as it goes."""
    env = SteadyChain(None)
    if paradigm == "ClientEnv":
        rlay.ServerBackend(env, name=NAME).run()
    else:
        rlay.ClientBackend(env, name=NAME, connect_timeout=LIMIT_S).run()


def interrupted_anywhere(paradigm: str, seed: int, method: str) -> None:
    """Be interrupted at random instants, and reset each time."""

    def raise_interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, raise_interrupt)
    rng = random.Random(seed)
    env = algorithm(paradigm, reset_timeout=10.0, step_timeout=10.0)
    player = Player(env)
    player.reset(0)
    act: Callable[[], None] = {
        "step": player.step,
        "reset": lambda: player.reset(7),
        "steady reset": env.reset,
    }[method]
    for number in range(ROUNDS):
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(20e-6, 500e-6))
            while True:
                act()
        player.play(number, steps=3)
    say(f"survived {ROUNDS} interruptions")
    env.close()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("method", ["step", "reset", "steady reset"])
def test_a17_at_any_instant(stage: Stage, method: str, seed: int):
    """A17: wherever in a call the signal lands, reset() goes on, and all is right."""
    stage.children.start(serve_plainly, stage.paradigm, forever=True)
    child = stage.children.start(interrupted_anywhere, stage.paradigm, seed, method)
    child.wait(90)
    assert f"survived {ROUNDS} interruptions" in child.stdout


def test_a17_between_reading_and_taking(stage: Stage):
    """A17: a transition that came is taken, though the signal kept it from the caller.

    Otherwise the next answer may be taken together with it, unread.
    """
    env, child = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=2)
    channel = env._link.channel
    kept = [(buffer, buffer.steady) for buffer in channel.incoming]

    def interrupted_read() -> None:
        raise KeyboardInterrupt

    for buffer, _ in kept:
        buffer.steady = interrupted_read
    with pytest.raises(KeyboardInterrupt):
        env.step(0)
    for buffer, steady in kept:
        buffer.steady = steady
    assert not channel.receive_nowait()
    with pytest.raises(ResetNeeded):
        env.step(0)
    player.play(seed=2, steps=3)
    assert count(child, "step 3 ends") == 1


def test_a17_nothing_runs_where_an_interruption_would_be_lost():
    """A17: what goes runs no Python code, where Ctrl-C would be dropped."""

    class Thing:
        def abandon(self) -> None:
            """Never called."""

    thing = Thing()
    close_in_child(thing)
    callbacks = [reference.__callback__ for reference in weakref.getweakrefs(thing)]
    assert callbacks == [None]
