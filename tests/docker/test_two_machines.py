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
    """The simulator finds its own bridge, and nothing of the trainer's half."""
    look = "import socket, sys; socket.gethostbyname(sys.argv[1])"
    project.execute("sim", "python", "-c", look, "sim-bridge")
    for stranger in ("trainer", "trainer-bridge"):
        with pytest.raises(AssertionError, match="gaierror"):
            project.execute("sim", "python", "-c", look, stranger)
