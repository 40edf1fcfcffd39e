"""Direct peers that are killed in the middle of a step."""

import time

import pytest

import rlay
from tests.faults.stage import once_printed

STEP_S = 30.0
"""Of a step in the middle of which somebody is killed."""


def killed_in_step(stage, number):
    """Start an environment that will be in its step of a number when it is killed."""
    return stage.environment([["step", number, "sleep", STEP_S]])


@pytest.fixture(params=["environment", "both"])
def direct(request):
    """It is the environment that attaches directly, and is killed."""
    return request.param


def test_environment_killed_in_a_step(stage, within):
    """EnvLost within 1 s, which does not know whether the step ran."""
    stage.listen()
    child = killed_in_step(stage, 3)
    player = stage.player()
    player.play(1, 2)
    with (
        once_printed(child, "step 3 begins", child.kill) as struck,
        pytest.raises(rlay.EnvLost) as caught,
    ):
        player.step()
    within(1, time.monotonic() - struck.result())
    assert caught.value.executed is not False


def test_channel_of_a_killed_environment_is_of_use_again(stage):
    """The same algorithm plays on with the environment's next life."""
    stage.listen()
    child = killed_in_step(stage, 3)
    player = stage.player()
    player.play(1, 2)
    with once_printed(child, "step 3 begins", child.kill), pytest.raises(rlay.EnvLost):
        player.step()
    stage.environment()
    player.play(2, 5)


def test_environment_killed_between_steps(stage, within):
    """The next step raises, within 1 s of the death."""
    stage.listen()
    child = stage.environment()
    player = stage.player()
    player.play(1, 2)
    child.kill()
    begin = time.monotonic()
    with pytest.raises(rlay.EnvLost):
        player.step()
    within(1, time.monotonic() - begin)
