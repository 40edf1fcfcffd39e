"""docker/three-simulators: one trainer, a hub, and three machines with simulators."""

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

FOLDER = "three-simulators"


def test_two_simulators_go_on_while_the_third_is_away(project, training):
    """A machine that is gone holds up nobody; when it is back it takes part again."""
    for service in ("sim2", "sim2-bridge"):
        project.kill(service)
    training.wait_for_steps(2000)
    for service in ("sim2", "sim2-bridge"):
        project.start(service)
    training.wait_for_line("sim2-cartpole: goes on")


def test_training_does_not_notice_a_hub_that_was_killed(project, training):
    """All three links are made anew, and nothing is lost."""
    before = training.losses
    project.kill("hub")
    project.start("hub")
    training.wait_for_steps(2000)
    assert training.losses == before
