"""Algorithms that attach directly, and are killed in the middle of a step."""

import time

import pytest

from tests.support.waiting import wait_until


@pytest.fixture(params=["algorithm", "both"])
def direct(request):
    """It is the algorithm that attaches directly, and is killed."""
    return request.param


def kill_in_step(stage, environment, child, number):
    """Kill the algorithm while the environment is in a step of its; return when."""
    wait_until(lambda: f"step {number} begins" in environment.stdout)
    child.kill()
    return time.monotonic()


def test_backend_of_a_killed_algorithm_gets_to_know(stage, within):
    """It has served its one session, and ends, within a second."""
    stage.listen()
    environment = stage.environment([["step", 5, "sleep", 0.5]], sessions=1)
    killed = kill_in_step(stage, environment, stage.algorithm_in_child(), 5)
    environment.wait()
    within(1 + 0.5, time.monotonic() - killed)


def test_channel_of_a_killed_algorithm_is_free_for_the_next(stage, within):
    """It attaches within a second, and its episode begins anew."""
    stage.listen()
    environment = stage.environment([["step", 5, "sleep", 0.5]])
    killed = kill_in_step(stage, environment, stage.algorithm_in_child(), 5)
    player = stage.player()
    player.reset(7)
    within(1 + 0.5, time.monotonic() - killed)
    player.play(7, 5)
