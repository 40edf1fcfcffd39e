"""The faults of an environment in a batch: rows A1, A2, A13, A14, A17, A21, B21.

Several environments on one channel live and die together. What holds for one holds for
the batch: a step is run at most once, and nobody waits for the dead.
"""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import rlay
from rlay.testing.environments import HashChainEnv, chain_hash, chain_start
from tests.faults.chains import FaultyChain, Plan, leave_no_core, say
from tests.faults.stage import LIMIT_S, NAME, Within, count, once_printed
from tests.support.children import Child, Children

pytestmark = pytest.mark.timeout(90)

LANES = 3
SEEN_S = 0.25
STEP_TIMEOUT_S = 0.5
LATE_S = 0.2
ROUNDS = 1000


def play_batch(kind: str, plan: Plan, options: dict[str, Any]) -> None:
    """Run a backend over a batch of FaultyChains: the child's main function."""
    leave_no_core()

    def make() -> FaultyChain:
        return FaultyChain(plan)

    serve_batch(kind, make, options)


def play_batch_plainly(kind: str) -> None:
    """Run a backend over a batch of hash chains that say nothing."""
    serve_batch(kind, lambda: HashChainEnv(None), {})


def serve_batch(kind: str, make: Any, options: dict[str, Any]) -> None:
    """Run a backend over a batch."""
    options = {"name": NAME, "num_envs": LANES, **options}
    if kind == "ClientVectorEnv":
        rlay.ServerBackend(make, **options).run()
    else:
        rlay.ClientBackend(make, connect_timeout=LIMIT_S, **options).run()


class BatchPlayer:
    """Steps a batch, and asserts that each lane's observation is its hash chain's."""

    def __init__(self, kind: str, **options: Any) -> None:
        makers = {
            "ClientVectorEnv": rlay.ClientVectorEnv,
            "ServerVectorEnv": rlay.ServerVectorEnv,
        }
        self.envs: Any = makers[kind](NAME, LANES, connect_timeout=LIMIT_S, **options)
        self._chain = HashChainEnv()
        self._states: list[bytes] = []
        self._steps = 0

    def reset(self, seed: int) -> None:
        """Reset all lanes, and assert where they begin."""
        observations, _ = self.envs.reset(seed=seed)
        self._states = [chain_start(seed + lane) for lane in range(LANES)]
        self._steps = 0
        self._check(observations)

    def step(self) -> None:
        """Take the next actions, and assert where they led."""
        self._steps += 1
        actions = np.array([(self._steps * 7 + lane) % 256 for lane in range(LANES)])
        observations, *_ = self.envs.step(actions)
        self._states = [
            chain_hash(state, [self._chain.action_bytes(action)])
            for state, action in zip(self._states, actions, strict=True)
        ]
        self._check(observations)

    def play(self, seed: int, steps: int) -> None:
        """Reset and take some steps."""
        self.reset(seed)
        for _ in range(steps):
            self.step()

    def _check(self, observations: Any) -> None:
        assert [row.tobytes() for row in observations] == self._states


class BatchStage:
    """A channel with a batch, its environment's end in child processes."""

    def __init__(self, kind: str, children: Children) -> None:
        self.kind = kind
        self.children = children
        self.open = contextlib.ExitStack()

    def environments(self, plan: Plan | None = None, **options: Any) -> Child:
        """Start the child that plays the batch."""
        return self.children.start(
            play_batch, self.kind, plan or [], options, forever=True
        )

    def pair(
        self, plan: Plan | None = None, **options: Any
    ) -> tuple[BatchPlayer, Child]:
        """Start the batch, and return its player and the child."""
        child = self.environments(plan)
        return self.player(**options), child

    def player(self, **options: Any) -> BatchPlayer:
        """Return a player, closed at the test's end."""
        player = BatchPlayer(self.kind, **options)
        self.open.callback(player.envs.close)
        return player


@pytest.fixture(params=["ClientVectorEnv", "ServerVectorEnv"])
def batch(
    request: pytest.FixtureRequest, children: Children, channel_directory: Path
) -> Iterator[BatchStage]:
    """A channel with a batch, of either paradigm."""
    made = BatchStage(request.param, children)
    with made.open:
        yield made


def in_batch(step: int, lane: int) -> int:
    """Return which call of the process a lane's step is, counted over all lanes."""
    return (step - 1) * LANES + lane + 1


def test_a1_batch_killed_between_steps(batch: BatchStage, within: Within):
    """A1: the next step is EnvLost(executed=False), and reset attaches anew."""
    player, child = batch.pair()
    player.play(seed=1, steps=3)
    child.kill()
    began = time.monotonic()
    with pytest.raises(rlay.EnvLost) as caught:
        player.step()
    within(SEEN_S, time.monotonic() - began)
    assert caught.value.executed is False
    with pytest.raises(ResetNeeded):
        player.envs.step([0] * LANES)
    batch.environments()
    player.play(seed=2, steps=3)


@pytest.mark.parametrize("lane", [0, LANES - 1])
def test_a2_batch_killed_inside_step(batch: BatchStage, within: Within, lane: int):
    """A2: killed in a lane's step: EnvLost(executed=None) for all of them."""
    number = in_batch(3, lane)
    player, child = batch.pair([["step", number, "sleep", LIMIT_S]])
    player.play(seed=1, steps=2)
    with once_printed(child, f"step {number} begins", child.kill) as killed:
        with pytest.raises(rlay.EnvLost) as caught:
            player.step()
        seen = time.monotonic()
    within(SEEN_S, seen - killed.result())
    assert caught.value.executed is None
    batch.environments()
    player.play(seed=2, steps=3)


def test_a13_batch_hangs(batch: BatchStage, within: Within):
    """A13: one lane that hangs is a StepTimeout of the batch; late is discarded."""
    number = in_batch(3, 1)
    player, child = batch.pair(
        [["step", number, "sleep", 1.5]], step_timeout=STEP_TIMEOUT_S
    )
    player.play(seed=1, steps=2)
    began = time.monotonic()
    with pytest.raises(rlay.StepTimeout):
        player.step()
    within(LATE_S, time.monotonic() - began - STEP_TIMEOUT_S)
    with pytest.raises(ResetNeeded):
        player.envs.step([0] * LANES)
    player.play(seed=2, steps=5)
    assert count(child, f"step {number} ends") == 1
    assert count(child, f"step {in_batch(3, LANES - 1)} ends") == 1


@pytest.mark.parametrize("method", ["step", "reset"])
def test_a14_batch_exception(batch: BatchStage, method: str):
    """A14: what one lane raises is the batch's RemoteEnvError; usable after reset."""
    number = in_batch(2, 1)
    player, _ = batch.pair([[method, number, "raise", "ValueError", "unlucky"]])
    player.play(seed=1, steps=1)
    with pytest.raises(rlay.RemoteEnvError) as caught:
        player.step() if method == "step" else player.reset(2)
    assert caught.value.remote_type == "ValueError"
    assert "unlucky" in caught.value.remote_message
    player.play(seed=3, steps=5)


@pytest.mark.parametrize("end", ["sys.exit", "segfault"])
def test_a15_batch_ends_its_process(batch: BatchStage, within: Within, end: str):
    """A15: one lane takes all down: EnvLost(executed=None)."""
    faults: dict[str, list[Any]] = {"sys.exit": [3], "segfault": []}
    player, child = batch.pair([["step", in_batch(2, 1), end, *faults[end]]])
    player.play(seed=1, steps=1)
    began = time.monotonic()
    with pytest.raises(rlay.EnvLost) as caught:
        player.step()
    within(SEEN_S, time.monotonic() - began)
    assert caught.value.executed is None
    child.wait(exit_code=3 if end == "sys.exit" else -signal.SIGSEGV)
    batch.environments()
    player.play(seed=2, steps=3)


def interrupted_in_batch(kind: str, seed: int) -> None:
    """Be interrupted at random instants, and reset each time."""

    def raise_interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, raise_interrupt)
    rng = random.Random(seed)
    player = BatchPlayer(kind, step_timeout=10.0, reset_timeout=10.0)
    player.reset(0)
    for number in range(ROUNDS):
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(20e-6, 1e-3))
            while True:
                player.step()
        player.play(number, steps=2)
    say(f"survived {ROUNDS} interruptions")
    player.envs.close()


def test_a17_batch_interrupted_at_any_instant(batch: BatchStage):
    """A17: wherever in a step of a batch the signal lands, reset() goes on."""
    batch.children.start(play_batch_plainly, batch.kind, forever=True)
    child = batch.children.start(interrupted_in_batch, batch.kind, 3)
    child.wait(80)
    assert "survived" in child.stdout


def fork_in_batch(kind: str) -> None:
    """Fork in the middle of an episode of a batch."""
    player = BatchPlayer(kind)
    player.play(seed=1, steps=2)
    pid = os.fork()
    if pid == 0:
        for call in (lambda: player.envs.step([0] * LANES), player.envs.reset):
            with pytest.raises(rlay.ForkedError):
                call()
        player.envs.close()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for _ in range(5):
        player.step()
    player.envs.close()


def test_a21_batch_forked(batch: BatchStage):
    """A21: a forked child may do nothing with a batch; the parent is unhurt."""
    child = batch.environments()
    batch.children.start(fork_in_batch, batch.kind).wait()
    assert count(child, f"step {in_batch(7, LANES - 1)} ends") == 1
    assert f"step {in_batch(8, 0)} begins" not in child.stdout


def test_b21_batch_over_the_limit(batch: BatchStage):
    """B21: a failure too large for the limit is told; the batch goes on."""
    limit = 72_000
    batch.environments(
        [["step", in_batch(2, 0), "raise", "huge"]], max_message_bytes=limit
    )
    player = batch.player()
    player.play(seed=1, steps=1)
    with pytest.raises(rlay.MessageTooLarge) as caught:
        player.step()
    assert caught.value.limit_bytes == limit
    player.play(seed=2, steps=3)
