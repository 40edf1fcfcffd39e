"""A bridge that is killed and restarted while direct peers are in a session."""

import random
import statistics
import time

import pytest

from tests.support.bridged import stepping, wait_for_progress
from tests.support.waiting import wait_until

INSTANTS = 3
POINTS = [
    "message.queued", "message.sent", "message.placed", "message.published",
    "message.rung",
]  # fmt: skip


@pytest.mark.timeout(180)
def test_steps_go_on(stage, within):
    """Within 3 s of the restart, none lost and none done twice."""
    stage.listen()
    environment = stage.environment()
    player = stage.player()
    player.reset(1)
    chance = random.Random(stage.direct)
    took = []
    with stepping(player) as progress:
        for _ in range(INSTANTS):
            wait_for_progress(progress)
            time.sleep(chance.uniform(0, 0.05))  # at any instant
            stage.near.kill()
            stage.near.start()
            begin = time.monotonic()
            wait_for_progress(progress)
            took.append(time.monotonic() - begin)
    within(3, statistics.median(took))
    assert environment.stdout.count("reset") == 2, "begins, ends"


@pytest.mark.timeout(180)
def test_killed_at_each_point_of_a_step(stage):
    """Whatever is half done there is neither lost nor done twice."""
    stage.listen()
    stage.environment()
    player = stage.player()
    player.reset(1)
    with stepping(player) as progress:
        for point in POINTS:
            stage.near.kill()
            stage.near.start(crash_at=f"{point}:3").wait(exit_code=-9)
            stage.near.start()
            wait_for_progress(progress)


def test_step_that_ends_while_there_is_no_bridge(stage):
    """Its result waits at the environment until a bridge is there to ask."""
    stage.listen()
    environment = stage.environment([["step", 3, "sleep", 0.5]])
    player = stage.player()
    player.play(1, 2)
    with stepping(player) as progress:
        wait_until(lambda: "step 3 begins" in environment.stdout)
        stage.near.kill()
        wait_until(lambda: "step 3 ends" in environment.stdout)
        assert progress() == 0
        stage.near.start()
        wait_for_progress(progress)


def test_restarted_second_bridge(stage):
    """Between two machines it does not matter which bridge was killed."""
    stage.connect_machines()
    stage.environment()
    player = stage.player()
    player.reset(1)
    with stepping(player) as progress:
        for bridge in (stage.near, stage.far):
            wait_for_progress(progress)
            bridge.kill()
            bridge.start()
            wait_for_progress(progress)
