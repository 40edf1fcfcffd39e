"""A process dies: rows A1 to A6 and A15 of the catalogue of faults.

The bound for seeing a death is 0.25 s, 1 s for an environment of several GB.
"""

import os
import signal
import time
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

import rlay
from rlay.transport import inspection
from tests.faults.chains import say
from tests.faults.stage import (
    LIMIT_S,
    NAME,
    Player,
    Stage,
    Within,
    algorithm,
    count,
    holder,
    once,
    once_printed,
    play,
)
from tests.support.children import Child
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

SEEN_S = 0.25
"""Within this time a death is seen."""
SEEN_LARGE_S = 1.0
"""The same where the kernel has to give back several GB first."""
LARGE_BYTES = 2 << 30
"""Enough to see that its end takes longer; 4 GB take ten seconds only to be filled."""


def lose(player: Player) -> tuple[rlay.EnvLost, float]:
    """Take a step that must end in EnvLost; return it, and when it was raised."""
    with pytest.raises(rlay.EnvLost) as caught:
        player.step()
    return caught.value, time.monotonic()


def go_on(player: Player, stage: Stage) -> Child:
    """Start a new environment and play on: only after a reset."""
    with pytest.raises(ResetNeeded):
        player.env.step(0)
    child = stage.environment()
    player.play(seed=99, steps=5)
    assert stage.entries() == [NAME]  # the dead one's files are gone
    return child


# ---------------------------------------------------------------- the environment's


def test_a1_env_killed_between_steps(stage: Stage, within: Within):
    """A1: kill -9 between steps: the next step raises EnvLost(executed=False)."""
    env, child = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    child.kill()
    began = time.monotonic()
    error, seen = lose(player)
    within(SEEN_S, seen - began)
    assert error.executed is False
    assert count(child, "step 4 begins") == 0
    go_on(player, stage)


def test_a1_env_killed_then_reset(stage: Stage):
    """A1: reset, not step, after the kill: EnvLost is raised once at most."""
    env, child = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    child.kill()
    stage.environment()
    if not stage.asks:  # a ServerEnv adopts the next game without a word
        with pytest.raises(rlay.EnvLost) as caught:
            player.reset(5)
        assert caught.value.executed is False
    player.play(seed=5, steps=2)


def test_a2_env_killed_inside_step(stage: Stage, within: Within):
    """A2: kill -9 inside a step: EnvLost(executed=None), it may have run in part."""
    env, child = stage.pair([["step", 3, "sleep", LIMIT_S]])
    player = Player(env)
    player.play(seed=1, steps=2)
    with once_printed(child, "step 3 begins", child.kill) as killed:
        error, seen = lose(player)
    within(SEEN_S, seen - killed.result())
    assert error.executed is None
    go_on(player, stage)


def test_a2_env_killed_inside_reset(stage: Stage, within: Within):
    """A2: kill -9 inside a reset: EnvLost as well, and the next reset attaches anew."""
    env, child = stage.pair([["reset", 2, "sleep", LIMIT_S]])
    player = Player(env)
    player.play(seed=1, steps=2)
    with (
        once_printed(child, "reset 2 begins", child.kill) as killed,
        pytest.raises(rlay.EnvLost) as caught,
    ):
        player.reset(2)
    within(SEEN_S, time.monotonic() - killed.result())
    assert caught.value.executed is None
    go_on(player, stage)


@pytest.mark.parametrize("inside", [False, True], ids=["between", "inside"])
def test_a3_large_env_killed(stage: Stage, within: Within, inside: bool):
    """A3: an environment of 2 GB is killed, between steps or inside one: within 1 s."""
    plan = [["init", 1, "fill memory", LARGE_BYTES], ["step", 3, "sleep", LIMIT_S]]
    env, child = stage.pair(plan if inside else plan[:1], connect_timeout=60.0)
    player = Player(env)
    player.play(seed=1, steps=2)
    text = "step 3 begins" if inside else "step 2 ends"
    with once_printed(child, text, lambda: child.send_signal(signal.SIGKILL)) as killed:
        if not inside:
            killed.result(LIMIT_S)
        error, seen = lose(player)
    child.wait(exit_code=-signal.SIGKILL)
    within(SEEN_LARGE_S, seen - killed.result())
    # Between steps, a process that is still being taken apart holds its lock: the
    # request was published, and nobody took it.
    assert error.executed is (None if inside else False)
    go_on(player, stage)


def supervise(paradigm: str, lives: int, pause: bool) -> None:
    """Fork environments, the next one as soon as the last one has died."""
    plan = [["step", 3, "sleep", LIMIT_S]] if pause else []
    for life in range(lives):
        pid = os.fork()
        if pid == 0:
            say(f"life {life} {os.getpid()} at {time.monotonic()}")
            play(paradigm, plan if life == 0 else [], {})
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(f"death {life} at {time.monotonic()}")
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def pid_of(supervisor: Child, life: int) -> int:
    """Return the process id of one of the lives, once it is there."""
    supervisor.wait_until_printed(f"life {life} ")
    line = next(
        line for line in supervisor.stdout.splitlines() if f"life {life} " in line
    )
    return int(line.split()[2])


@pytest.mark.parametrize("inside", [False, True], ids=["between", "inside"])
def test_a4_env_dies_and_is_restarted_at_once(
    stage: Stage, within: Within, inside: bool
):
    """A4: a new life within milliseconds is no silent swap: still EnvLost."""
    supervisor = stage.children.start(supervise, stage.paradigm, 2, inside)
    env = stage.algorithm()
    player = Player(env)
    player.play(seed=1, steps=2)
    first = pid_of(supervisor, 0)

    def kill() -> None:
        os.kill(first, signal.SIGKILL)

    if inside:
        with once_printed(supervisor, "step 3 begins", kill) as killed:
            error, seen = lose(player)
        within(SEEN_S, seen - killed.result())
        assert error.executed is None
    else:
        kill()
        second = pid_of(supervisor, 1)
        wait_until(lambda: holder(stage.environment_end) == second, LIMIT_S)
        error, _ = lose(player)
        assert error.executed is False
        assert count(supervisor, "step 3 begins") == 0
    second = pid_of(supervisor, 1)
    with pytest.raises(ResetNeeded):
        env.step(0)
    player.play(seed=7, steps=5)
    os.kill(second, signal.SIGKILL)
    supervisor.wait()
    env.close()
    inspection.clean()


# ------------------------------------------------------------------- the algorithm's


def train(paradigm: str, steps: int) -> None:
    """Take some steps, and say what came of them; the child's main function."""
    env = algorithm(paradigm)
    player = Player(env)
    player.reset(1)
    for number in range(1, steps + 1):
        player.step()
        say(f"took step {number}")
    env.close()


def test_a5_client_killed_mid_step(stage: Stage, within: Within):
    """A5: the step is finished once, its reply dropped, and a reset comes first."""
    child = stage.environment([["step", 3, "sleep", 1.0]])
    victim = stage.children.start(train, stage.paradigm, 10)
    child.wait_until_printed("step 3 begins")
    victim.kill()
    killed = time.monotonic()
    if not stage.asks:  # a channel of a killed trainer is taken over as a whole
        wait_until(lambda: not holder("client"))
        within(SEEN_S, time.monotonic() - killed)
    env = stage.algorithm()
    with pytest.raises(ResetNeeded):
        env.step(0)
    player = Player(env)
    player.play(seed=2, steps=5)
    lines = child.stdout.splitlines()
    assert lines.count("step 3 begins") == lines.count("step 3 ends") == 1
    assert lines.index("step 3 ends") < lines.index("reset 2 begins")
    assert count(victim, "took step 3") == 0
    assert lines.count("step 8 ends") == 1
    assert "step 9 begins" not in lines


def test_a6_both_killed_next_start_takes_over(stage: Stage):
    """A6: what both left is replaced by the next start under this name."""
    kill_both(stage)
    assert stage.entries() == [NAME]
    env, _ = stage.pair()
    Player(env).play(seed=3, steps=3)
    assert stage.entries() == [NAME]


def test_a6_both_killed_clean_reports_one_channel(stage: Stage):
    """A6: clean() reports the one dead channel, removes it, and then finds nothing."""
    kill_both(stage)
    assert [removal.name for removal in inspection.clean(dry_run=True)] == [NAME]
    assert stage.entries() == [NAME]
    (removal,) = inspection.clean()
    assert (removal.name, removal.reason) == (NAME, "both its locks are free")
    assert stage.entries() == []
    assert inspection.clean() == []


def kill_both(stage: Stage) -> None:
    """Kill the environment and the algorithm in the middle of a step."""
    child = stage.environment([["step", 3, "sleep", LIMIT_S]])
    victim = stage.children.start(train, stage.paradigm, 10)
    child.wait_until_printed("step 3 begins")
    victim.send_signal(signal.SIGKILL)
    child.send_signal(signal.SIGKILL)
    victim.wait(exit_code=-signal.SIGKILL)
    child.wait(exit_code=-signal.SIGKILL)


# --------------------------------------------------------- the environment ends itself

ENDS: dict[str, tuple[list[Any], int]] = {
    "sys.exit": (["sys.exit", 3], 3),
    "sys.exit without a code": (["sys.exit"], 0),
    "os._exit": (["os._exit", 4], 4),
    "segfault": (["segfault"], -signal.SIGSEGV),
    "abort": (["abort"], -signal.SIGABRT),
    "kill": (["kill"], -signal.SIGKILL),
    "KeyboardInterrupt": (["interrupt"], -signal.SIGINT),
}


@pytest.mark.parametrize("method", ["step", "reset"])
@pytest.mark.parametrize("end", ENDS)
def test_a15_env_ends_its_process(stage: Stage, within: Within, end: str, method: str):
    """A15: however the process ends: EnvLost(executed=None), never a hang."""
    fault, exit_code = ENDS[end]
    child = stage.environment([[method, 2, *fault]], forever=False)
    env = stage.algorithm()
    player = Player(env)
    player.play(seed=1, steps=1)
    began = time.monotonic()
    with pytest.raises(rlay.EnvLost) as caught:
        player.step() if method == "step" else player.reset(2)
    within(SEEN_S, time.monotonic() - began)
    assert caught.value.executed is None
    child.wait(exit_code=exit_code)
    if end.startswith("sys.exit"):
        assert "the environment ended its process" in str(caught.value)
        if not stage.asks:
            assert stage.entries() == []  # an end in order leaves no files
    go_on(player, stage)


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a15_backend_killed_before_it_greets(stage: Stage):
    """A15: a client that waits to be greeted takes the next backend of this name."""
    child = stage.environment([["init", 1, "sleep", LIMIT_S]])
    child.wait_until_printed("init 1 begins")

    def replace() -> None:
        child.kill()
        stage.environment()

    with once(lambda: holder("client"), replace):
        env = stage.algorithm()
    Player(env).play(seed=1, steps=3)
    assert stage.entries() == [NAME]


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a15_backend_killed_before_it_greets_and_none_comes(
    stage: Stage, within: Within
):
    """A15: where no other backend comes, that is a ConnectTimeout, in time."""
    child = stage.environment([["init", 1, "sleep", LIMIT_S]])
    child.wait_until_printed("init 1 begins")
    limit = 2.0
    began = time.monotonic()
    with (
        once(lambda: holder("client"), child.kill),
        pytest.raises(rlay.ConnectTimeout, match="no channel 'fault'"),
    ):
        stage.algorithm(connect_timeout=limit)
    elapsed = time.monotonic() - began
    assert elapsed >= limit
    within(SEEN_S, elapsed - limit)
    (removal,) = inspection.clean()
    assert removal.name == NAME
