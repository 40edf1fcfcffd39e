"""docker/shared-volume: two containers of one machine that share memory."""

import pytest

from tests.docker.project import Training

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


def test_training_outlives_its_simulator(start_project):
    """It goes on after the simulator was killed, and after it crashed by itself."""
    project = start_project("shared-volume")
    training = Training(project)
    training.wait_for_steps()
    project.kill("sim")
    project.start("sim")
    training.wait_for_steps()
    project.crash("sim")
    training.wait_for_steps()
    assert training.finish().endswith(" 2 losses")


def test_no_network_is_needed(start_project):
    """Neither container has an interface but its own loopback."""
    project = start_project("shared-volume")
    for service in ("sim", "trainer"):
        interfaces = project.execute(service, "ls", "/sys/class/net").split()
        assert interfaces == ["lo"]
