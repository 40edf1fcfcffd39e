"""Waiting for a word: policy, sleep, bell, and what ends a wait."""

import mmap
import os
import threading

import pytest

from rlay.errors import StepTimeout
from rlay.protocol.constants import BellKind
from rlay.transport import futex, spinning
from rlay.transport.spinning import WaitPolicy
from rlay.transport.waiting import make_sleep, make_wait, own_bell_kind

WORD, BELL = 0, 64


@pytest.fixture
def memory():
    return memoryview(mmap.mmap(-1, 4096))


@pytest.fixture(params=["futex", "poll"])
def sleep_kind(request, monkeypatch):
    if request.param == "poll":
        monkeypatch.setattr(futex, "AVAILABLE", False)
    elif not futex.AVAILABLE:
        pytest.skip("this system has no futexes")
    return request.param


class Patience:
    """Raises at the look of a given number; may do something at each."""

    def __init__(self, limit=1000, error=None, at_look=lambda number: None):
        self.looks, self.starts = 0, 0
        self._limit, self._error = limit, error or StepTimeout("time is up")
        self._at_look = at_look

    def start(self):
        self.starts += 1
        return 0.001

    def check(self):
        self.looks += 1
        self._at_look(self.looks)
        if self.looks >= self._limit:
            raise self._error
        return 0.001


def _wait_for(memory, policy=WaitPolicy(0)):  # noqa: B008 - it is frozen
    return make_wait(memory, WORD, BELL, lambda: None, policy)


def test_bell_is_what_this_system_can_hear(sleep_kind):
    """Who has futexes wants to be woken by one; who has not looks by itself."""
    kind = BellKind.FUTEX if sleep_kind == "futex" else BellKind.POLL
    assert own_bell_kind() is kind


# ------------------------------------------------------------------------- sleep


def test_sleep_ends_when_the_word_differs(memory, sleep_kind):
    """A sleep on a word that is different already is none."""
    memory.cast("I")[0] = 5
    make_sleep(memory, WORD)(4, 60.0)


def test_sleep_ends_at_its_limit(memory, sleep_kind):
    """A sleep on a word that never changes ends."""
    make_sleep(memory, WORD)(0, 0.01)
    make_sleep(memory, WORD)(0, 0.0)


def test_sleep_sees_a_change(memory, sleep_kind):
    """A sleeper sees the word change, woken or not."""
    sleep, word = make_sleep(memory, WORD), memory[:4].cast("I")

    def sleep_long():
        while word[0] == 0:
            sleep(0, 0.05)

    thread = threading.Thread(target=sleep_long)
    thread.start()
    word[0] = 1
    thread.join(20)
    assert not thread.is_alive()


# -------------------------------------------------------------------------- wait


@pytest.mark.parametrize("policy", [WaitPolicy(0), WaitPolicy(10**6)])
def test_wait_for_a_word_that_differs_takes_no_patience(memory, sleep_kind, policy):
    """What is there already is not waited for, and no peer is looked at."""
    memory.cast("I")[0] = 5
    patience = Patience()
    _wait_for(memory, policy)(4, patience)
    assert patience.looks == 0


def test_wait_ends_when_patience_does(memory, sleep_kind):
    """The error of the patience comes out, and the bell is down again."""
    with pytest.raises(StepTimeout, match="time is up"):
        _wait_for(memory)(0, Patience(3))
    assert memory[BELL : BELL + 4].tobytes() == bytes(4)


@pytest.mark.parametrize("policy", [WaitPolicy(0), WaitPolicy(10**6, yields=False)])
def test_bell_is_up_while_sleeping(memory, sleep_kind, policy):
    """Who sleeps has said so before; who is awake has not."""
    seen = []
    word, bell = memory[:4].cast("I"), memory[BELL : BELL + 4].cast("I")

    def look(number):
        seen.append(bell[0])
        word[0] = 1

    _wait_for(memory, policy)(0, Patience(at_look=look))
    assert seen == [1]
    assert bell[0] == 0


def test_a17_interrupted_wait_puts_the_bell_down(memory, sleep_kind):
    """A17: Ctrl-C in a wait leaves no bell up, and the next wait works."""
    wait = _wait_for(memory)
    with pytest.raises(KeyboardInterrupt):
        wait(0, Patience(1, KeyboardInterrupt()))
    assert memory[BELL] == 0
    memory.cast("I")[0] = 1
    wait(0, Patience())


def test_word_that_changes_in_the_last_look_counts(memory, sleep_kind):
    """A message that came before its sender died is received, not PeerLost."""
    word = memory[:4].cast("I")

    def look(number):
        word[0] = 1

    patience = Patience(1, at_look=look)
    _wait_for(memory)(0, patience)
    assert patience.looks == 1


def test_change_between_bell_and_sleep_is_seen(memory):
    """The word is looked at once more after the bell is up: no wake-up is lost."""
    word = memory[:4].cast("I")

    def fence():
        word[0] = 1  # the peer publishes just now, and saw no bell

    patience = Patience(1)
    make_wait(memory, WORD, BELL, fence, WaitPolicy(0))(0, patience)
    assert patience.looks == 0


def test_spin_ends_after_its_budget(memory):
    """A spin without success goes over to sleep."""
    patience = Patience(2)
    with pytest.raises(StepTimeout):
        _wait_for(memory, WaitPolicy(1000))(0, patience)
    assert patience.starts == 1


def test_spin_without_sched_yield_works(memory, monkeypatch):
    """Where a system has no sched_yield, the spin stays on its core."""
    monkeypatch.delattr(os, "sched_yield", raising=False)
    with pytest.raises(StepTimeout):
        _wait_for(memory, WaitPolicy(100_000))(0, Patience(1))


def test_wait_that_was_short_again_and_again_is_a_look(memory, monkeypatch):
    """After a few of them the peer is not made to wake us."""
    monkeypatch.setattr(os, "sched_yield", lambda: None)
    policy = WaitPolicy(1, long_yield_ns=10**12, short_wait_ns=10**11)
    word, wait = memory[:4].cast("I"), _wait_for(memory, policy)
    for number in range(spinning._SHORT_WAITS):
        patience = Patience(at_look=lambda _: word.__setitem__(0, word[0] + 1))
        wait(number, patience)
        assert patience.starts == 1
    changer = threading.Timer(0.05, lambda: word.__setitem__(0, 99))
    changer.start()
    patience = Patience()
    wait(spinning._SHORT_WAITS, patience)
    changer.join(20)
    assert patience.starts == 0
