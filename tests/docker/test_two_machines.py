"""docker/two-machines: a simulator and a trainer, with a bridge beside each."""

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

FOLDER = "two-machines"


@pytest.mark.parametrize("bridge", ["sim-bridge", "trainer-bridge"])
def test_training_does_not_notice_a_bridge_that_was_killed(project, training, bridge):
    """Nothing is lost with it: the step in flight is answered by its successor."""
    before = training.losses
    project.kill(bridge)
    project.start(bridge)
    training.wait_for_steps()
    assert training.losses == before


def test_a_crashed_bridge_comes_back_by_itself(project, training):
    """The engine restarts it, and the training goes on without anybody's help."""
    before = training.losses
    project.crash("sim-bridge")
    training.wait_for_steps()
    assert training.losses == before


def test_training_outlives_a_simulator_that_was_killed(project, training):
    """It loses one episode, and goes on when the simulator is there again."""
    before = training.losses
    project.kill("sim")
    project.start("sim")
    training.wait_for_steps()
    assert training.losses == before + 1


def test_only_the_bridges_share_a_network(project):
    """The simulator's half and the trainer's half have one network in common."""
    here = {"sim": project.networks("sim"), "bridge": project.networks("sim-bridge")}
    there = {
        "trainer": project.networks("trainer"),
        "bridge": project.networks("trainer-bridge"),
    }
    shared = {
        (one, other): here[one] & there[other]
        for one in here
        for other in there
        if here[one] & there[other]
    }
    assert shared == {("bridge", "bridge"): {f"{project.name}_between"}}


def test_the_bridge_of_a_container_says_that_it_is_well(project, training):
    """``rlay health`` and ``rlay ls`` work there, where nothing can be written."""
    assert '"mirrored": 1' in project.execute("trainer-bridge", "rlay", "health")
    listed = project.execute("sim-bridge", "rlay", "ls")
    assert "trainer-bridge (bridge, TLS)" in listed
