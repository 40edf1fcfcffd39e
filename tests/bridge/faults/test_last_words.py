"""Rows A1, A2 over a link: what a process took is told with its death."""

import pytest

import rlay
from tests.faults.stage import LIMIT_S, once_printed


def go_on(stage, env):
    """Play with a new environment of the name, which only a reset attaches."""
    stage.environment()
    env.reset(seed=2)
    env.step(0)


def test_a2_killed_inside_a_step_behind_two_bridges(stage_of_either):
    """A2: the step was taken, so it may have run: never executed=False."""
    chain = stage_of_either.environment([["step", 3, "sleep", LIMIT_S]])
    stage_of_either.connect()
    env = stage_of_either.algorithm()
    env.reset(seed=1)
    for _ in range(2):
        env.step(0)
    with (
        once_printed(chain, "step 3 begins", chain.kill),
        pytest.raises(rlay.EnvLost) as caught,
    ):
        env.step(0)
    assert caught.value.executed is None
    go_on(stage_of_either, env)


def test_a1_killed_between_steps_behind_two_bridges(stage):
    """A1: the next step was never taken, and that is known."""
    player, chain = stage.playing()
    chain.kill()
    stage.far.wait_until_logged("channel 'fault' is gone")
    with pytest.raises(rlay.EnvLost) as caught:
        player.env.step(0)
    assert caught.value.executed is False
    go_on(stage, player.env)
