"""Who starts, restarts or comes second, in any order: row A25, and B11, B12 from above.

A program waits for its other end up to ``connect_timeout``, and then says what is
missing. A name has one holder at each end.
"""

import itertools
import time

import pytest

import rlay
from rlay.errors import ChannelBusy
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
)
from tests.support.children import Child
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

REFUSED_S = 0.1
CONNECT_TIMEOUT_S = 0.5
LATE_S = 0.2


def train_twice(paradigm: str) -> None:
    """Play an episode, and say so; the child's main function."""
    say("training")
    env = algorithm(paradigm)
    Player(env).play(seed=1, steps=3)
    say("played")
    env.close()


def ready(stage: Stage, end: str, child: Child) -> None:
    """Wait until a program that was started first does all that it can do alone."""
    if end == "algorithm":
        child.wait_until_printed("training")
        if stage.asks:
            wait_until(lambda: holder("server") == child.pid, LIMIT_S)
    else:
        child.wait_until_printed("asking" if stage.asks else "serving")


def launch(stage: Stage, end: str) -> Child:
    """Start one of the two programs."""
    if end == "algorithm":
        return stage.children.start(train_twice, stage.paradigm)
    return stage.environment()


@pytest.mark.parametrize("first", ["environment", "algorithm", "neither"])
def test_a25_start_order(stage: Stage, first: str):
    """A25: the environment first, the algorithm first, or both at once."""
    order = ["environment", "algorithm"]
    if first == "algorithm":
        order.reverse()
    programs = {}
    for end in order:
        programs[end] = launch(stage, end)
        if first != "neither":
            ready(stage, end, programs[end])
    programs["algorithm"].wait()
    assert count(programs["environment"], "step 3 ends") == 1


RESTARTS = list(itertools.permutations(["environment", "algorithm", "environment"], 3))


@pytest.mark.parametrize("order", sorted(set(RESTARTS)), ids="-".join)
def test_a25_restarts(stage: Stage, order: tuple[str, ...]):
    """A25: whatever is killed and started anew in whatever order, they meet again."""
    programs = {end: launch(stage, end) for end in ("environment", "algorithm")}
    programs["algorithm"].wait_until_printed("played")
    for end in order:
        programs[end].kill()
        programs[end] = launch(stage, end)
    programs["algorithm"].wait()
    assert "played" in programs["algorithm"].stdout


@pytest.mark.parametrize("last", ["environment", "algorithm"])
def test_a25_both_restarted(stage: Stage, last: str):
    """A25: both are killed; then one after the other is started again."""
    programs = {end: launch(stage, end) for end in ("environment", "algorithm")}
    programs["algorithm"].wait_until_printed("played")
    for program in programs.values():
        program.kill()
    order = ["environment", "algorithm"]
    if last == "environment":
        order.reverse()
    for end in order:
        programs[end] = launch(stage, end)
        if end != last:
            ready(stage, end, programs[end])
    programs["algorithm"].wait()


def test_a25_environment_restarted_under_a_living_algorithm(stage: Stage):
    """A25: time and again, reset() finds the environment that is there now."""
    env, child = stage.pair()
    player = Player(env)
    for life in range(4):
        player.play(seed=life, steps=3)
        child.kill()
        with pytest.raises(rlay.EnvLost):
            player.step()
        child = stage.environment()
    player.play(seed=9, steps=3)
    assert stage.entries() == [NAME]


def test_a25_environment_ends_in_order_under_a_living_algorithm(stage: Stage):
    """A25: one that says goodbye is lost all the same, until the next reset."""
    env, child = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    assert child.end() is None  # SIGTERM
    with pytest.raises(rlay.EnvLost) as caught:
        player.step()
    assert caught.value.executed is False
    stage.environment()
    player.play(seed=2, steps=3)


def test_a25_nobody_comes(stage: Stage, within: Within):
    """A25: ConnectTimeout, in time, says what is missing and how to start it."""
    began = time.monotonic()
    with pytest.raises(rlay.ConnectTimeout) as caught:
        stage.algorithm(connect_timeout=CONNECT_TIMEOUT_S).reset()
    elapsed = time.monotonic() - began
    assert elapsed >= CONNECT_TIMEOUT_S
    within(LATE_S, elapsed - CONNECT_TIMEOUT_S)
    text = str(caught.value)
    assert repr(NAME) in text
    assert f"{CONNECT_TIMEOUT_S} s" in text
    if stage.asks:
        assert f"ClientBackend(name={NAME!r})" in text
    else:
        assert f"rlay serve ENV-ID --name {NAME}" in text
        assert str(stage.directory) in text


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a25_only_the_stale_one_is_there(stage: Stage):
    """A25: a channel whose backend was killed is as good as none."""
    child = stage.environment()
    child.wait_until_printed("serving")
    child.kill()
    assert stage.entries() == [NAME]
    with pytest.raises(rlay.ConnectTimeout, match="no channel 'fault'"):
        stage.algorithm(connect_timeout=CONNECT_TIMEOUT_S)
    stage.environment()
    Player(stage.algorithm()).play(seed=1, steps=2)


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a25_waiting_client_is_not_bothered_by_a_stale_channel(stage: Stage):
    """A25: a client that waits takes the new backend, not the dead one's channel."""
    dead = stage.environment()
    dead.wait_until_printed("serving")
    dead.kill()
    child = stage.children.start(train_twice, stage.paradigm)
    child.wait_until_printed("training")
    stage.environment()
    child.wait()


# ------------------------------------------------------------------ who comes second


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_b12_second_client(stage: Stage, within: Within):
    """B12: a second client is refused at once and told who the first is."""
    env, _ = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    began = time.monotonic()
    with pytest.raises(ChannelBusy) as caught:
        rlay.ClientEnv(NAME)
    within(REFUSED_S, time.monotonic() - began)
    assert "this very process" in str(caught.value)
    other = stage.children.start(refused, stage.paradigm)
    other.wait()
    (line,) = (x for x in other.stdout.splitlines() if x.startswith("refused in "))
    seconds, _, text = line.removeprefix("refused in ").partition(": ")
    within(REFUSED_S, float(seconds))
    assert f"process {holder('client')} " in text
    player.step()  # the first is unhurt
    env.close()
    Player(stage.algorithm()).play(seed=2, steps=2)


def refused(paradigm: str) -> None:
    """Come second, and say how that was told."""
    rlay.ClientEnv, rlay.ServerEnv  # noqa: B018 - imported before the clock starts
    began = time.monotonic()
    try:
        algorithm(paradigm)
    except ChannelBusy as error:
        say(f"refused in {time.monotonic() - began}: {error}")


@pytest.mark.parametrize("stage", ["ServerEnv"], indirect=True)
def test_b11_second_trainer(stage: Stage, within: Within):
    """B11: a second trainer is refused at once and told who the first is."""
    env, _ = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    other = stage.children.start(refused, stage.paradigm)
    other.wait()
    (line,) = (x for x in other.stdout.splitlines() if x.startswith("refused in "))
    seconds, _, text = line.removeprefix("refused in ").partition(": ")
    within(REFUSED_S, float(seconds))
    assert f"process {holder('server')} " in text
    player.step()


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_b11_second_backend(stage: Stage):
    """B11: a second backend of one name ends by itself; the first goes on."""
    env, child = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    second = stage.environment(forever=False)
    second.wait(exit_code=1)
    assert "ChannelBusy" in second.stderr
    assert f"process {child.pid} " in second.stderr
    for _ in range(3):
        player.step()


@pytest.mark.parametrize("stage", ["ServerEnv"], indirect=True)
def test_b12_second_game_waits_for_its_turn(stage: Stage):
    """B12: a second game waits, and is taken when the first has gone."""
    env, first = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=3)
    second = stage.environment()
    second.wait_until_printed("asking")
    for _ in range(3):
        player.step()
    first.kill()
    with pytest.raises(rlay.EnvLost):
        player.step()
    player.play(seed=2, steps=3)
    assert count(second, "step 3 ends") == 1
