"""Looking before sleeping: the policy, and when a look does not pay."""

import os
import time

import pytest

from rlay.errors import ChannelError, PeerLost
from rlay.transport import spinning, waiting
from rlay.transport.spinning import Spin, SpinGate, WaitPolicy

BUDGET_NS = 100_000
NEVER_NS = 10**12
"""However busy the machine is."""
VAIN = WaitPolicy(BUDGET_NS, vain_looks=3, long_yield_ns=NEVER_NS)


# ------------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("cpus", "spin_ns", "short_ns"),
    [(None, 0, 0), (1, 0, 0), (2, 50_000, 400_000), (64, 50_000, 400_000)],
)
def test_policy_spins_only_on_a_machine_of_several_cpus(
    monkeypatch, cpus, spin_ns, short_ns
):
    """With one CPU a spin keeps the peer from running; some systems know no number."""
    monkeypatch.delenv("RLAY_SPIN_US", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert WaitPolicy.default() == WaitPolicy(spin_ns, short_wait_ns=short_ns)
    assert WaitPolicy.bridged().spin_ns == 8 * spin_ns


def test_policy_of_a_pinned_process_spins_too(monkeypatch):
    """The other end may be pinned as well, to a CPU of its own."""
    monkeypatch.delenv("RLAY_SPIN_US", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert WaitPolicy.default().spin_ns == 50_000


@pytest.mark.parametrize(("text", "spin_ns"), [("0", 0), ("7.5", 7500), ("-3", 0)])
def test_policy_is_overridden_by_the_environment(monkeypatch, text, spin_ns):
    """RLAY_SPIN_US is in microseconds."""
    monkeypatch.setenv("RLAY_SPIN_US", text)
    assert WaitPolicy.default() == WaitPolicy(spin_ns)
    assert WaitPolicy.bridged().spin_ns == spin_ns


@pytest.mark.parametrize("text", ["fast", "nan", "inf"])
def test_policy_that_is_no_number_is_an_error(monkeypatch, text):
    """A mistake in RLAY_SPIN_US is told with its name and value."""
    monkeypatch.setenv("RLAY_SPIN_US", text)
    with pytest.raises(ChannelError, match=f"RLAY_SPIN_US.*{text}"):
        WaitPolicy.default()


def test_a_yield_that_takes_long_makes_the_next_waits_sleep_at_once(monkeypatch):
    """A stranger had the core for a slice: waits go without looking for a while."""
    yields: list[None] = []

    def long_yield() -> None:
        yields.append(None)
        until = time.perf_counter_ns() + 2 * WaitPolicy(0).long_yield_ns
        while time.perf_counter_ns() < until:
            pass

    monkeypatch.setattr(os, "sched_yield", long_yield)
    word = memoryview(bytearray(4)).cast("I")
    policy = WaitPolicy(50_000)
    look = waiting._make_look(word, policy, SpinGate(policy))
    assert not look(0)
    assert len(yields) == 1
    for _ in range(spinning._FIRST_PENALTY):
        assert not look(0)
    assert len(yields) == 1
    assert not look(0)
    assert len(yields) == 2
    for _ in range(2 * spinning._FIRST_PENALTY):
        assert not look(0)
    assert len(yields) == 2


# ------------------------------------------------------------------ looks that pay


def _looks_in(gate, waits):
    """Return how many of so many waits, all in vain, begin with a look."""
    looks = 0
    for _ in range(waits):
        if gate.skips:
            gate.skips -= 1
        else:
            looks += 1
            gate.failed()
    return looks


def test_gate_without_a_limit_forgives_every_vain_look():
    """The peer of a local channel may be slow now and quick at the next step."""
    assert _looks_in(SpinGate(WaitPolicy(BUDGET_NS)), 1000) == 1000


def test_gate_closes_after_vain_looks_in_a_row():
    """A peer that is far away is looked for no more than once in a while."""
    gate = SpinGate(VAIN)
    assert _looks_in(gate, 3) == 3
    assert _looks_in(gate, spinning._FIRST_PENALTY) == 0
    assert _looks_in(gate, 1000) <= 1000 // spinning._LAST_VAIN_PENALTY + 2


def test_gate_never_stays_closed():
    """A peer may become quick after any number of vain looks."""
    gate = SpinGate(VAIN)
    _looks_in(gate, 100_000)
    assert _looks_in(gate, spinning._LAST_VAIN_PENALTY + 1) == 1


def test_gate_opens_when_a_look_pays():
    """One answer that came in time, and vain ones are forgiven as at first."""
    gate = SpinGate(VAIN)
    _looks_in(gate, 1000)
    gate.skips = 0
    gate.paid()
    assert _looks_in(gate, 3) == 3


# -------------------------------------------------------------------- short waits


SHORT = WaitPolicy(BUDGET_NS, short_wait_ns=4 * BUDGET_NS)
SHORT_SLEEPS = (BUDGET_NS,) * spinning._SHORT_WAITS


def _gate_after(*sleeps_ns, policy=SHORT):
    """Return a gate after waits of which each began with a look in vain."""
    gate = SpinGate(policy)
    for sleep_ns in sleeps_ns:
        gate.failed()
        gate.slept(sleep_ns)
    return gate


def test_gate_looks_longer_where_waits_are_short_again_and_again():
    """To be woken costs more than such a sleep saves."""
    assert _gate_after(*SHORT_SLEEPS).budget_ns == SHORT.short_wait_ns


def test_gate_looks_no_longer_for_a_few_short_waits():
    """One quick answer says nothing about the next."""
    assert _gate_after(*SHORT_SLEEPS[1:]).budget_ns == BUDGET_NS


def test_gate_counts_short_waits_in_a_row():
    """A learner that computes now and then is not looked for each time."""
    gate = _gate_after(*SHORT_SLEEPS[1:], 10**9, *SHORT_SLEEPS[1:])
    assert gate.budget_ns == BUDGET_NS


def test_gate_counts_the_look_as_a_part_of_the_wait():
    """A wait that is longer than the longer look would make that one vain."""
    sleeps = (SHORT.short_wait_ns - BUDGET_NS,) * spinning._SHORT_WAITS
    assert _gate_after(*sleeps).budget_ns == BUDGET_NS


def test_gate_looks_as_before_after_two_longer_looks_in_vain():
    """The peer does something else now; once it may have been late."""
    gate = _gate_after(*SHORT_SLEEPS)
    gate.failed()
    assert gate.budget_ns == SHORT.short_wait_ns
    gate.failed()
    assert gate.budget_ns == BUDGET_NS


def test_gate_looks_as_before_after_one_long_yield():
    """A stranger has the CPU."""
    gate = _gate_after(*SHORT_SLEEPS)
    gate.starved()
    assert gate.budget_ns == BUDGET_NS


def test_gate_counts_short_waits_without_a_look():
    """A wait that was to go without one is a wait."""
    gate = SpinGate(SHORT)
    for sleep_ns in SHORT_SLEEPS:
        gate.slept(sleep_ns)
    assert gate.budget_ns == SHORT.short_wait_ns


def test_gate_does_not_take_the_sleep_after_a_longer_look_for_a_short_wait():
    """A peer that takes a little longer each time is not looked for each time."""
    gate = _gate_after(*SHORT_SLEEPS)
    long_looks = 0
    for _ in range(100):
        long_looks += gate.budget_ns > BUDGET_NS
        gate.failed()
        gate.slept(SHORT.short_wait_ns + BUDGET_NS - gate.budget_ns)
    assert long_looks == 2


def test_gate_forgives_a_long_yield_though_short_sleeps_followed():
    """A look that pays is what ends the penalty, whatever came between."""
    gate = SpinGate(SHORT)
    for _ in range(5):
        gate.starved()
        assert gate.skips == spinning._FIRST_PENALTY
        gate.skips = 0
        for sleep_ns in SHORT_SLEEPS:
            gate.slept(sleep_ns)
        assert gate.failures  # or waiting.py does not say that a look paid
        gate.paid()


def test_gate_of_a_policy_without_short_waits_keeps_its_budget():
    """RLAY_SPIN_US says how long, and nothing else does."""
    gate = _gate_after(0, *SHORT_SLEEPS, policy=WaitPolicy(BUDGET_NS))
    assert gate.budget_ns == BUDGET_NS


def test_gate_does_not_look_longer_while_cpus_are_scarce():
    """A stranger wants the core: what is short is the time until he has it."""
    gate = SpinGate(SHORT)
    gate.starved()
    for sleep_ns in SHORT_SLEEPS:
        gate.slept(sleep_ns)
    assert gate.budget_ns == BUDGET_NS


# ------------------------------------------------------------------------- attempts


class Attempts:
    """All in vain, and counted."""

    count = 0

    def __call__(self):
        self.count += 1
        return False


def test_spin_tries_until_it_succeeds():
    """What is there at the third attempt is found at the third."""
    attempts = iter((False, False, True))
    assert Spin(WaitPolicy(10**10, long_yield_ns=NEVER_NS)).until(
        lambda: next(attempts)
    )


def test_spin_ends_with_its_budget():
    """What never comes is not looked for for long, and it is said."""
    assert not Spin(WaitPolicy(BUDGET_NS)).until(lambda: False)


def test_spin_that_is_in_vain_again_and_again_is_left_out():
    """The attempts themselves cost something: those are saved too."""
    attempts, spin = Attempts(), Spin(VAIN)
    for _ in range(3):
        spin.until(attempts)
    tried = attempts.count
    assert tried > 0
    assert not spin.until(attempts)
    assert attempts.count == tried


def test_spin_gives_up_when_a_stranger_has_the_core(monkeypatch):
    """One long yield: the spin is over, and the next ones are left out."""
    monkeypatch.setattr(os, "sched_yield", lambda: time.sleep(0.002))
    attempts, spin = Attempts(), Spin(WaitPolicy(10**10))
    for _ in range(1 + spinning._FIRST_PENALTY):
        assert not spin.until(attempts)
    assert attempts.count == 1


def test_spin_passes_on_what_an_attempt_raises():
    """A peer that is gone is not looked for any longer."""

    def attempt():
        raise PeerLost("gone")

    with pytest.raises(PeerLost):
        Spin(WaitPolicy(10**10)).until(attempt)
