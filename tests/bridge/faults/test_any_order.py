"""Faults of the link, of bridges and of the environment in any order.

Hypothesis draws what happens: cuts, damaged, doubled, late and repeated frames, a
network that carries nothing for a while, killed bridges, a killed environment, a fork,
and steps and resets between them. The hash chain says at each step whether it was run
once, in the right episode, by the environment that was reset. Only a killed environment
may be noticed, and must be.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import rlay
from tests.faults.stage import LIMIT_S, Player
from tests.support.bridged import FAST, BridgedStage, later
from tests.support.children import Child

pytestmark = pytest.mark.timeout(300)

# No example is made shorter: the processes have gone on meanwhile, no two are alike.
LIMITS = settings(
    max_examples=6, stateful_step_count=14, phases=[Phase.explicit, Phase.generate]
)
SILENCE_S = 0.4
"""Less than the FAST bridges take to find a link dead, so both is met."""

DIRECTIONS = st.sampled_from(["to_listener", "to_dialer"])
BRIDGES = st.sampled_from(["near", "far"])


class Faults(RuleBasedStateMachine):
    """One training through two bridges, with whatever happens to it."""

    stage: BridgedStage
    player: Player
    environment: Child

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self.told_until = 0.0
        self.seed = 0

    @initialize()
    def begin(self) -> None:
        """Each example goes on with the same processes, in a new episode."""
        self.reset()

    # ------------------------------------------------------------------- the training

    @rule()
    def step(self) -> None:
        if not self.lost:
            self.player.step()
            return
        with pytest.raises(rlay.EnvLost):
            self.player.step()
        self.reset()

    @rule()
    def reset(self) -> None:
        self.seed += 1
        while self.lost:
            # The far bridge may not know yet that the last one is dead: who attaches
            # to that one is told again.
            try:
                self.player.reset(self.seed)
                self.lost = False
            except rlay.EnvLost:
                assert time.monotonic() < self.told_until, "still the dead one"
                continue
            return
        self.player.reset(self.seed)

    # --------------------------------------------------------------------- the network

    @rule(position=st.integers(0, 200), direction=DIRECTIONS)
    def cut(self, position: int, direction: str) -> None:
        self.stage.proxy.cut_after(position, direction)

    @rule(direction=DIRECTIONS)
    def half_close(self, direction: str) -> None:
        self.stage.proxy.half_close(direction)

    @rule(position=st.integers(0, 200), direction=DIRECTIONS)
    def damage(self, position: int, direction: str) -> None:
        self.stage.proxy.corrupt(position, direction)

    @rule(direction=DIRECTIONS)
    def double(self, direction: str) -> None:
        self.stage.proxy.duplicate_frame(None, direction)

    @rule(direction=DIRECTIONS, behind=st.integers(1, 2))
    def delay(self, direction: str, behind: int) -> None:
        self.stage.proxy.delay_frame(None, direction, behind)

    @rule(direction=DIRECTIONS, behind=st.integers(1, 2))
    def repeat(self, direction: str, behind: int) -> None:
        self.stage.proxy.replay_frame(None, direction, behind)

    @rule(direction=st.sampled_from(["to_listener", "to_dialer", "both"]))
    def silence(self, direction: str) -> None:
        self.stage.proxy.blackhole(direction)
        with later(SILENCE_S, self.stage.proxy.heal):
            self.step()

    # ------------------------------------------------------------------- the processes

    @rule(side=BRIDGES)
    def kill_bridge(self, side: str) -> None:
        bridge = {"near": self.stage.near, "far": self.stage.far}[side]
        bridge.kill()
        bridge.start()

    @precondition(lambda self: not self.lost)
    @rule()
    def kill_environment(self) -> None:
        self.environment.kill()
        self.stage.processes.remove(self.environment)
        type(self).environment = self.stage.environment()
        self.lost = True
        self.told_until = time.monotonic() + LIMIT_S

    @rule()
    def fork(self) -> None:
        """A child may not step its parent's environment, and does it no harm."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self.player.env.step(0)
            except rlay.ForkedError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def teardown(self) -> None:
        """Leave a sound network to the next example, and see that all goes on."""
        self.stage.proxy.heal()
        self.reset()


def test_any_order_of_faults_through_two_bridges(stage: BridgedStage) -> None:
    """G1, G2, G3 and G7 together: the same trajectory, or ``EnvLost`` once."""
    options: dict[str, Any] = dict(FAST)
    player, environment = stage.playing(**options)

    class Training(Faults):
        pass

    Training.stage, Training.player = stage, player
    Training.environment = environment
    run_state_machine_as_test(Training, settings=LIMITS)
