"""Faults of the processes of one machine in any order, in both paradigms.

Hypothesis draws what happens: an environment that is killed, or stopped for a while, an
algorithm that forks, a second one that wants the channel, and steps and resets between
them. The hash chain says at each step whether it was run once, in the right episode, by
the environment that was reset.

Where a forked child was let in (``AlgorithmEnd.abandon`` left empty) this did not end.
"""

from __future__ import annotations

import os
import signal
import time

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
from tests.faults.stage import LIMIT_S, NAME, Player, Stage
from tests.support.children import Child
from tests.support.threads import raised_by

pytestmark = pytest.mark.timeout(300)

# No example is made shorter: the processes have gone on meanwhile, no two are alike.
LIMITS = settings(
    max_examples=8, stateful_step_count=20, phases=[Phase.explicit, Phase.generate]
)


class Faults(RuleBasedStateMachine):
    """One training, with whatever happens to it."""

    stage: Stage
    player: Player
    environment: Child

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self.seed = 0

    @initialize()
    def begin(self) -> None:
        """Each example goes on with the same processes, in a new episode."""
        self.reset()

    @rule()
    def step(self) -> None:
        if not self.lost:
            self.player.step()
            return
        raised_by(rlay.EnvLost, self.player.step)
        self.reset()

    @rule()
    def reset(self) -> None:
        self.seed += 1
        until = time.monotonic() + LIMIT_S
        while self.lost:
            try:
                self.player.reset(self.seed)
                self.lost = False
            except rlay.EnvLost:
                assert time.monotonic() < until, "still the dead one"
                continue
            return
        self.player.reset(self.seed)

    @precondition(lambda self: not self.lost)
    @rule()
    def kill(self) -> None:
        """The next step is told; a reset finds the next environment."""
        self.environment.kill()
        type(self).environment = self.stage.environment()
        self.lost = True

    @precondition(lambda self: not self.lost)
    @rule(seconds=st.sampled_from([0.01, 0.2]))
    def stop_for_a_while(self, seconds: float) -> None:
        """A stopped process holds its lock: nothing is noticed."""
        self.environment.send_signal(signal.SIGSTOP)
        time.sleep(seconds)  # this is the fault
        self.environment.send_signal(signal.SIGCONT)
        self.player.step()

    @precondition(lambda self: not self.lost)
    @rule()
    def second_algorithm(self) -> None:
        """It is turned away, and the first one goes on."""
        kind = rlay.ServerEnv if self.stage.asks else rlay.ClientEnv

        def come() -> None:
            with kind(NAME, connect_timeout=0.2) as env:
                env.reset()

        raised_by(rlay.ChannelBusy, come)
        self.player.step()

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
        """All goes on after everything."""
        self.reset()


def test_any_order_of_faults_on_one_machine(stage: Stage) -> None:
    """G1, G2, G5 and G15 together: the same trajectory, or ``EnvLost`` once."""
    env, environment = stage.pair()

    class Training(Faults):
        pass

    Training.stage, Training.player = stage, Player(env)
    Training.environment = environment
    run_state_machine_as_test(Training, settings=LIMITS)
