"""Forks, other programs, and lock files: rows A21, A22 and A23.

A child shares its parent's mapped slots. It may use none of them, it must not hurt the
parent by ending, and it must not keep the parent's locks when that dies.
"""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import rlay
from rlay.transport.inspection import clean
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
)
from tests.support.children import Child
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

SEEN_S = 0.25


# ------------------------------------------------------------- the algorithm forks


def use_in_child(env: Any) -> None:
    """Try everything that a forked child must not do; each says ForkedError."""
    calls = {
        "step": lambda: env.step(0),
        "reset": lambda: env.reset(seed=1),
        "render": env.render,
    }
    for name, call in calls.items():
        try:
            call()
        except rlay.ForkedError as error:
            say(f"{name}: forked" if "parent" in str(error) else f"{name}: {error}")
        else:
            say(f"{name}: was allowed")
    env.close()  # of the copy: the parent's stays open


def forked(how: str, function: Any, *arguments: Any) -> int:
    """Call a function in a forked child, and return its exit code."""
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(
            target=function, args=arguments
        )
        process.start()
        process.join(LIMIT_S)
        assert process.exitcode is not None
        return process.exitcode
    pid = os.fork()
    if pid == 0:
        function(*arguments)
        if how == "os._exit":
            os._exit(0)
        sys.exit(0)  # through finalizers, garbage collection and all
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_go_on(paradigm: str, how: str) -> None:
    """Fork in the middle of an episode, and go on in the parent."""
    env = algorithm(paradigm)
    player = Player(env)
    player.play(seed=1, steps=3)
    parent = os.getpid()
    code = forked(how, use_in_child, env)
    assert os.getpid() == parent
    say(f"child ended with {code}")
    for _ in range(20):
        player.step()
    player.play(seed=2, steps=3)
    env.close()


@pytest.mark.parametrize("how", ["os._exit", "sys.exit", "multiprocessing"])
def test_a21_forked_child_may_do_nothing(stage: Stage, how: str):
    """A21: each use in the child is ForkedError; its end does not hurt the parent."""
    env = stage.environment()
    child = stage.children.start(fork_and_go_on, stage.paradigm, how)
    child.wait()
    lines = child.stdout.splitlines()
    assert lines.count("child ended with 0") == 1
    for name in ("step", "reset", "render"):
        assert lines.count(f"{name}: forked") == 1
    assert count(env, "step 26 ends") == 1
    assert "step 27 begins" not in env.stdout
    assert "reset 3 begins" not in env.stdout


def make_own(paradigm: str) -> None:
    """Use a channel of the child's own, after a fork."""
    assert paradigm == "ClientEnv"
    env = rlay.ClientEnv("other", connect_timeout=LIMIT_S)
    Player(env).play(seed=5, steps=5)
    env.close()


def fork_and_use_another(paradigm: str) -> None:
    """Let a forked child have an environment of its own."""
    env = algorithm(paradigm)
    player = Player(env)
    player.play(seed=1, steps=3)
    assert forked("multiprocessing", make_own, paradigm) == 0
    player.step()
    env.close()


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a21_forked_child_makes_its_own(stage: Stage):
    """A21: what the child may do is to attach to a channel of its own."""
    stage.environment()
    stage.environment(name="other")
    stage.children.start(fork_and_use_another, stage.paradigm).wait()


def fork_and_wait(paradigm: str) -> None:
    """Leave a forked child that lives on, and wait to be killed."""
    env = algorithm(paradigm)
    Player(env).play(seed=1, steps=2)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    say(f"forked {pid}")
    time.sleep(60)


def stray(child: Child, word: str) -> int:
    """Return the id of a process that a child has started, once it has said so."""
    child.wait_until_printed(f"{word} ")
    line = next(
        line for line in child.stdout.splitlines() if line.startswith(f"{word} ")
    )
    return int(line.split()[1])


def test_a21_parent_dies_and_its_child_lives_on(stage: Stage, within: Within):
    """A21: a lock is the parent's alone: killed, it is free although a child lives."""
    stage.environment()
    child = stage.children.start(fork_and_wait, stage.paradigm)
    pid = stray(child, "forked")
    end = "server" if stage.asks else "client"
    assert holder(end) == child.pid
    child.kill()
    killed = time.monotonic()
    wait_until(lambda: not holder(end))
    within(SEEN_S, time.monotonic() - killed)
    env = stage.algorithm()
    Player(env).play(seed=2, steps=3)
    os.kill(pid, signal.SIGKILL)  # it lived until here


# ----------------------------------------------------------- the environment forks


@pytest.mark.parametrize("how", ["os._exit", "sys.exit", "raise", "return"])
def test_a21_env_forks_in_step(stage: Stage, how: str):
    """A21: however a child forked by step ends, it does not speak for its parent."""
    env, child = stage.pair([["step", 3, "fork", how]])
    player = Player(env)
    player.play(seed=1, steps=10)
    player.play(seed=2, steps=3)
    assert child.exit_code is None
    assert stage.entries() == [NAME]
    assert count(child, "step 3 ends") == (2 if how == "return" else 1)
    assert count(child, "step 4 begins") == 1  # the parent's
    assert "close 1 begins" not in child.stdout


@pytest.mark.parametrize("seed", [None, 3])
def test_a21_env_forks_in_reset(stage: Stage, seed: int | None):
    """A21: a child that comes back from reset does not speak for its parent."""
    env, child = stage.pair([["reset", 2, "fork", "return"]])
    player = Player(env)
    player.play(seed=1, steps=3)
    env.reset(seed=seed)
    player.play(seed=2, steps=3)
    assert child.exit_code is None
    assert count(child, "reset 2 ends") == 2
    assert count(child, "reset 3 begins") == 1  # the parent's


def test_a21_env_dies_and_its_forked_child_lives_on(stage: Stage, within: Within):
    """A21: an environment's lock is free although a child that it forked lives."""
    env, child = stage.pair([["step", 2, "fork", "stay"]])
    player = Player(env)
    player.play(seed=1, steps=3)
    pid = stray(child, "started")
    child.kill()
    began = time.monotonic()
    with pytest.raises(rlay.EnvLost):
        player.step()
    within(SEEN_S, time.monotonic() - began)
    stage.environment()
    player.play(seed=2, steps=3)
    os.kill(pid, signal.SIGKILL)


def test_a22_env_starts_a_program_that_outlives_it(stage: Stage, within: Within):
    """A22: a program started by the environment inherits no lock (O_CLOEXEC)."""
    program = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    env, child = stage.pair([["step", 2, "start program", program]])
    player = Player(env)
    player.play(seed=1, steps=3)
    pid = stray(child, "started")
    inherited = {
        os.readlink(link)
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink()
    }
    assert not [path for path in inherited if NAME in path]
    child.kill()
    began = time.monotonic()
    with pytest.raises(rlay.EnvLost):
        player.step()
    within(SEEN_S, time.monotonic() - began)
    stage.environment()
    player.play(seed=2, steps=3)
    os.kill(pid, signal.SIGKILL)


def test_a23_env_opens_and_closes_the_lock_files(stage: Stage):
    """A23: flock, unlike a POSIX lock, survives that; nothing was lost."""
    directory = os.environ["RLAY_DIR"]
    env, child = stage.pair([["step", 2, "touch lock files", directory]])
    player = Player(env)
    player.play(seed=1, steps=10)
    assert holder(stage.environment_end) == child.pid
    assert clean() == []
    player.play(seed=2, steps=3)


def test_a23_algorithm_opens_and_closes_the_lock_files(stage: Stage):
    """A23: the same at the algorithm's end."""
    env, _ = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    for path in Path(os.environ["RLAY_DIR"]).rglob("*"):
        if path.is_file():
            path.read_bytes()
    assert holder("client")
    assert holder("server")
    for _ in range(5):
        player.step()
