"""``rlay::Env``: an algorithm in C++ steps an environment in Python."""

import sys
import time

import gymnasium
import numpy as np
import pytest

import rlay
from tests.clients.cpp.programs import HERE, SANITIZED, compiled

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
STEPS = 300


@pytest.fixture(scope="session")
def stepper():
    """The program, with sanitizers."""
    return compiled(HERE / "tests" / "stepper.cpp", *SANITIZED)


def hash_in_process(steps):
    """Return what the program prints, from an environment in this process."""
    value = 1469598103934665603

    def add(data):
        nonlocal value
        for byte in data:
            value = ((value ^ byte) * 1099511628211) % 2**64

    env = gymnasium.make("CartPole-v1")
    add(env.reset(seed=5)[0].tobytes())
    for index in range(steps):
        observation, reward, terminated, truncated, _ = env.step(np.int64(index % 2))
        add(observation.tobytes())
        add(np.float64(reward).tobytes())
        if terminated or truncated:
            add(env.reset()[0].tobytes())
    return f"{value:016x}"


def serve_cartpole():
    """Serve one client."""
    rlay.ServerBackend("CartPole-v1", name="pole").run(sessions=1)


def test_trajectory_is_that_of_the_same_process(stepper, children):
    """Observations and rewards are equal bit by bit, over several episodes."""
    backend = children.start(serve_cartpole)
    child = children.start_command([stepper, "pole", str(STEPS)])
    child.wait(60)
    backend.wait(60)
    assert child.stdout.split() == [hash_in_process(STEPS)]


def serve_slowly():
    """Serve an environment whose third step takes longer than is waited for."""

    class Slow(gymnasium.Wrapper):
        steps = 0

        def step(self, action):
            self.steps += 1
            time.sleep(0.5 if self.steps == 3 else 0)
            return self.env.step(action)

    rlay.ServerBackend(Slow(gymnasium.make("CartPole-v1")), name="pole").run(1)


def test_timeout_asks_for_a_reset_and_drops_the_late_reply(stepper, children):
    """After a time-out steps are refused until a reset, which goes on in step."""
    backend = children.start(serve_slowly)
    child = children.start_command([stepper, "pole", "6", "0.2"])
    child.wait(60)
    backend.wait(60)
    assert child.stdout.split()[0] == "timeout"
    assert len(child.stdout.split()) == 2


def serve_watched():
    """Serve an environment that says when it was stepped."""

    class Watched(gymnasium.Wrapper):
        said = False

        def step(self, action):
            if not self.said:
                self.said = True
                sys.stdout.write("stepped\n")
                sys.stdout.flush()
            return self.env.step(action)

    env = gymnasium.make("CartPole-v1")
    rlay.ServerBackend(Watched(env), name="pole").run(1)


@pytest.mark.leaves_files
def test_killed_backend_is_a_loss(stepper, children):
    """The step in flight, or the next, tells of the loss; nothing hangs."""
    backend = children.start(serve_watched)
    child = children.start_command([stepper, "pole", "100000000"])
    backend.wait_until_printed("stepped")
    backend.kill()
    child.wait(30, exit_code=1)
    assert "ended without a goodbye" in child.stderr
