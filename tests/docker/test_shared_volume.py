"""docker/shared-volume: two containers of one machine that share memory."""

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

FOLDER = "shared-volume"


def test_b15_training_outlives_a_simulator_that_was_killed(project, training):
    """It loses one episode, and goes on when the simulator is there again."""
    before = training.losses
    project.kill("sim")
    project.start("sim")
    training.wait_for_steps()
    assert training.losses == before + 1


def test_b15_crashed_simulator_comes_back_by_itself(project, training):
    """The engine restarts it, and the training goes on without anybody's help."""
    before = training.losses
    project.crash("sim")
    training.wait_for_steps()
    assert training.losses == before + 1


def test_no_network_is_needed(project):
    """Neither container has an interface but its own loopback."""
    for service in ("sim", "trainer"):
        assert project.execute(service, "ls", "/sys/class/net").split() == ["lo"]
