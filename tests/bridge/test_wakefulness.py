"""How long the loop of a bridge stays awake."""

import asyncio
import os
import time

import pytest

from rlay.bridge.wakefulness import Wakefulness
from rlay.transport.spinning import WaitPolicy

LONG = WaitPolicy(10**10, long_yield_ns=10**12)


@pytest.fixture
def yields(monkeypatch):
    """Count how often the core is given away: once in each turn that is awake."""
    seen: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: seen.append(None))
    return seen


def turns_after(runner, yields, wakefulness_of, moves=1, turns=5):
    """Return how many of some turns of the loop are awake after each message."""

    async def scene():
        one = wakefulness_of(asyncio.get_running_loop())
        awake = []
        for _ in range(moves):
            one.received()
            before = len(yields)
            for _ in range(turns):
                await asyncio.sleep(0)
            awake.append(len(yields) - before)
        return awake

    return runner.run(scene())


def test_loop_stays_awake_after_a_message(runner, yields):
    """Every turn of the loop gives way and goes on."""
    (awake,) = turns_after(runner, yields, lambda loop: Wakefulness(loop, LONG))
    assert awake >= 4


def test_a_second_message_wakes_nobody_twice(runner, yields):
    """However many messages there are, one turn gives way once."""
    awake = turns_after(runner, yields, lambda loop: Wakefulness(loop, LONG), 3)
    assert max(awake) <= 6


def test_loop_sleeps_without_a_budget(runner, yields):
    """On a machine with one CPU others need it."""
    policy = WaitPolicy(0)
    (awake,) = turns_after(runner, yields, lambda loop: Wakefulness(loop, policy))
    assert awake == 0


def test_loop_falls_asleep_when_nothing_comes(runner, yields):
    """A bridge that has nothing to do uses no core."""

    async def scene():
        one = Wakefulness(
            asyncio.get_running_loop(), WaitPolicy(1_000_000, long_yield_ns=10**12)
        )
        one.received()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            before = len(yields)
            for _ in range(10):
                await asyncio.sleep(0)
            if len(yields) == before:
                return
        pytest.fail("the loop stays awake")

    runner.run(scene())


def test_loop_that_wakes_in_vain_stays_asleep(runner, yields):
    """Messages that are far apart are not waited for: a turn more, and no others."""
    policy = WaitPolicy(1, vain_looks=2, long_yield_ns=10**12)
    awake = turns_after(runner, yields, lambda loop: Wakefulness(loop, policy), 10)
    assert awake[:2] == [1, 1]
    assert awake[2:] == [0] * 8


def test_other_machine_that_is_far_away_does_not_spoil_this_one(runner, yields):
    """It is counted for what was sent and for what was received, each by itself."""

    async def scene():
        one = Wakefulness(
            asyncio.get_running_loop(),
            WaitPolicy(1, vain_looks=2, long_yield_ns=10**12),
        )
        awake = []
        for note in [one.sent] * 10 + [one.received]:
            note()
            before = len(yields)
            for _ in range(5):
                await asyncio.sleep(0)
            awake.append(len(yields) - before)
        return awake

    assert runner.run(scene()) == [1, 1] + [0] * 8 + [1]


def test_loop_sleeps_when_a_stranger_needs_the_core(runner, monkeypatch):
    """One long yield: the next messages find a loop that sleeps between them."""
    slept: list[None] = []

    def long_yield():
        slept.append(None)
        time.sleep(0.002)

    monkeypatch.setattr(os, "sched_yield", long_yield)
    awake = turns_after(
        runner, slept, lambda loop: Wakefulness(loop, WaitPolicy(10**10)), 10
    )
    assert awake == [1] + [0] * 9
