"""Looking before sleeping: for how long, and only while that pays (decision 0003)."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rlay.errors import ChannelError

DEFAULT_SPIN_US: Final = 50
"""Longer gains nothing, and takes a core from whoever needs it (decision 0003)."""
SHORT_WAIT_US: Final = 400
"""Who slept, and waited for less, had better looked all the while (decision 0012)."""
BRIDGED_SPIN_US: Final = 400
"""An answer comes over up to five processes, which may all be asleep at first."""
_LONG_YIELD_NS: Final = 500_000
"""A time slice is milliseconds; a peer that works so long may as well be slept for."""
_LONG_BRIDGED_YIELD_NS: Final = 150_000
"""Others in the chain take up to 60 us. Where it is more, CPUs are scarce (0009)."""
_VAIN_LOOKS: Final = 8
_SHORT_WAITS: Final = 4
_VAIN_LONG_LOOKS: Final = 2
_FIRST_PENALTY: Final = 16
_LAST_PENALTY: Final = 4096
_LAST_VAIN_PENALTY: Final = 64
"""Of a look in 64 that is in vain nobody notices anything; and soon after answers come
quickly again they are looked for again."""


@dataclass(frozen=True, slots=True)
class WaitPolicy:
    """How an end waits.

    Attributes:
        spin_ns: How long to look before sleeping.
        yields: Whether to call ``sched_yield`` between bursts of looking.
        vain_looks: How many looks in a row may be in vain before most waits go
            without; None where they may all be.
        long_yield_ns: Who gives way and comes back later than that is in the way.
        short_wait_ns: Where waits end in sleep and are shorter than this again and
            again, it is looked for that long instead; 0 for never.
    """

    spin_ns: int
    yields: bool = True
    vain_looks: int | None = None
    long_yield_ns: int = _LONG_YIELD_NS
    short_wait_ns: int = 0

    @classmethod
    def default(cls) -> "WaitPolicy":
        """Return the policy for this machine: no spin where it has one CPU.

        ``RLAY_SPIN_US`` overrides the budget, in microseconds.

        Raises:
            ChannelError: ``RLAY_SPIN_US`` is no number.
        """
        spin_ns = cls._spin_ns(DEFAULT_SPIN_US)
        named = bool(os.environ.get("RLAY_SPIN_US"))
        longer_ns = SHORT_WAIT_US * 1000 if spin_ns and not named else 0
        return cls(spin_ns, short_wait_ns=longer_ns)

    @classmethod
    def bridged(cls) -> "WaitPolicy":
        """Return the policy for an end whose peer is behind a bridge.

        Its answer takes longer; and it may be far away, where no look ever pays.

        Raises:
            ChannelError: As :meth:`default`.
        """
        return cls(
            cls._spin_ns(BRIDGED_SPIN_US),
            vain_looks=_VAIN_LOOKS,
            long_yield_ns=_LONG_BRIDGED_YIELD_NS,
        )

    @staticmethod
    def _spin_ns(otherwise_us: int) -> int:
        named = os.environ.get("RLAY_SPIN_US")
        if named:
            try:
                return max(0, int(float(named) * 1000))
            except (ValueError, OverflowError):
                raise ChannelError(
                    f"RLAY_SPIN_US is a number of microseconds, not {named!r}"
                ) from None
        # Not the CPUs that this process may use: each end may be pinned to one of its
        # own, and neither knows to which the other one is (docs/decisions/0003).
        return otherwise_us * 1000 if (os.cpu_count() or 1) > 1 else 0


class SpinGate:
    """Counts the looks of one place that pay, and those that do not.

    A yield that takes long gave the core to a stranger for a whole time slice, where a
    sleeper would have been woken at once. A look that sees nothing was in vain. After
    either the next waits go without a look, twice as many each time that it happens
    again.

    Attributes:
        skips: How many waits are to go without a look. Who skips one counts it down.
        failures: How many looks in a row did not pay.
        budget_ns: How long to look.
    """

    __slots__ = (
        "_looked_ns",
        "_penalty",
        "_policy",
        "_short_waits",
        "_vain_long_looks",
        "_vain_looks",
        "budget_ns",
        "failures",
        "skips",
    )

    def __init__(self, policy: WaitPolicy) -> None:
        """Start with a look."""
        self.skips = 0
        self.failures = 0
        self.budget_ns = policy.spin_ns
        self._penalty = _FIRST_PENALTY
        self._policy = policy
        self._short_waits = self._vain_long_looks = 0
        self._looked_ns = 0  # in vain, and not yet counted to a wait
        self._vain_looks = policy.vain_looks

    def slept(self, duration_ns: int) -> None:
        """Note how long the sleep was that followed a look, or the want of one."""
        waited_ns, self._looked_ns = self._looked_ns + duration_ns, 0
        if waited_ns >= self._policy.short_wait_ns:
            self._short_waits = 0
            return
        self._short_waits += 1
        if self._short_waits >= _SHORT_WAITS and not self.skips:
            self.budget_ns = self._policy.short_wait_ns

    def _look_shortly(self) -> None:
        self._short_waits = self._vain_long_looks = 0
        self.budget_ns = self._policy.spin_ns

    def paid(self) -> None:
        """Note that what was looked for came."""
        self.failures = self._vain_long_looks = 0
        self._penalty = _FIRST_PENALTY

    def failed(self) -> None:
        """Note that it did not come in time."""
        self.failures += 1
        self._looked_ns = self.budget_ns
        if self.budget_ns > self._policy.spin_ns:
            self._vain_long_looks += 1
            if self._vain_long_looks >= _VAIN_LONG_LOOKS:
                self._look_shortly()
        if self._vain_looks is not None and self.failures >= self._vain_looks:
            self.skips = min(self._penalty, _LAST_VAIN_PENALTY)
            self._penalty = min(2 * self._penalty, _LAST_VAIN_PENALTY)

    def starved(self) -> None:
        """Note that a yield took long."""
        self.failures += 1
        self._look_shortly()
        self.skips = self._penalty
        self._penalty = min(2 * self._penalty, _LAST_PENALTY)


class Spin:
    """Tries something again and again for a while, and gives way in between."""

    def __init__(self, policy: WaitPolicy) -> None:
        """Try for as long as a policy says."""
        self._spin_ns = policy.spin_ns
        self._long_yield_ns = policy.long_yield_ns
        self._gate = SpinGate(policy)
        self._give_way = give_way_of(policy)

    def until(self, attempt: Callable[[], bool]) -> bool:
        """Try until ``attempt`` succeeds; return whether it did.

        What it raises is passed on.
        """
        gate, now_ns, give_way = self._gate, time.perf_counter_ns, self._give_way
        if gate.skips:
            gate.skips -= 1
            return False
        before = now_ns()
        until = before + self._spin_ns
        while before < until:
            if attempt():
                gate.paid()
                return True
            give_way()
            after = now_ns()
            if after - before > self._long_yield_ns:
                gate.starved()
                return False
            before = after
        gate.failed()
        return False


def give_way_of(policy: WaitPolicy) -> Callable[[], None]:
    """Return a function that hands the core to whoever wants it."""
    return os.sched_yield if policy.yields and hasattr(os, "sched_yield") else _stay


def _stay() -> None:
    """Stand in where a system has no sched_yield."""
