"""Waiting for a word to change: short bursts of looking, then sleep.

The policy is measured, not guessed (docs/decisions/0003). Two processes that
each have a core answer within microseconds, so an end first looks in short bursts
with ``sched_yield`` between them: the yield hands the core over at once where
both ends share one. After ``spin_us`` it sleeps on a futex. Sleep is cut into
slices: between two slices the caller looks whether the peer is alive and whether
time is up, and Python runs its signal handlers.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

from rlay.protocol.constants import BellKind
from rlay.transport import futex
from rlay.transport.spinning import SpinGate, WaitPolicy, give_way_of

SLICE_S: Final = 0.05
"""Longest sleep between two looks: a dead peer is seen within twice this time."""
_BURST: Final = range(8)
_POLL_FIRST_S: Final = 50e-6
_POLL_LAST_S: Final = 1e-3


class Patience(Protocol):
    """How long a wait may last, and whether it is of any use."""

    def start(self) -> float:
        """Note that a sleep begins; return its first slice in seconds."""

    def check(self) -> float:
        """Return the next slice in seconds, or raise where waiting is of no use."""


def own_bell_kind() -> BellKind:
    """Return how this process wants to be woken."""
    return BellKind.FUTEX if futex.AVAILABLE else BellKind.POLL


def make_sleep(memory: memoryview, offset: int) -> Callable[[int, float], None]:
    """Return a function that sleeps while a word is ``expected``, or for less.

    Args:
        memory: Where the word is. The function keeps it alive.
        offset: The word's offset in bytes.

    Returns:
        A function of ``expected`` and of the longest sleep in seconds.
    """
    if futex.AVAILABLE:
        address = futex.address_of(memory, offset)

        def sleep(expected: int, limit_s: float, _memory: memoryview = memory) -> None:
            futex.wait(address, expected, limit_s)

        return sleep
    word = memory[offset : offset + 4].cast("I")

    def poll(expected: int, limit_s: float) -> None:
        pause = _POLL_FIRST_S
        until = time.monotonic() + limit_s
        while word[0] == expected and time.monotonic() < until:
            time.sleep(min(pause, limit_s))
            pause = min(2 * pause, _POLL_LAST_S)

    return poll


def make_wait(
    memory: memoryview,
    word_offset: int,
    bell_offset: int,
    fence: Callable[[], None],
    policy: WaitPolicy,
) -> Callable[[int, Patience], None]:
    """Return a function that waits until a word is no longer ``expected``.

    Args:
        memory: The slot.
        word_offset: Offset of the word, in bytes.
        bell_offset: Offset of the bell word, raised while we sleep.
        fence: A full fence.
        policy: How long to look before sleeping.

    Returns:
        A function of ``expected`` and of a :class:`Patience`. It returns once the
        word is different. What ``patience.check`` raises between two sleeps is
        passed on, unless the word changed meanwhile.
    """
    word = memory[word_offset : word_offset + 4].cast("I")
    bell = memory[bell_offset : bell_offset + 4].cast("I")
    sleep = make_sleep(memory, word_offset)
    gate, now_ns = SpinGate(policy), time.perf_counter_ns
    look = _make_look(word, policy, gate) if policy.spin_ns else None

    def wait(expected: int, patience: Patience) -> None:
        if look is not None and look(expected):
            return
        slice_s, began_ns = patience.start(), now_ns()
        try:
            while True:
                bell[0] = 1
                fence()
                if word[0] != expected:
                    return
                sleep(expected, slice_s)
                if word[0] != expected:
                    return
                slice_s = _check(patience, word, expected)
        finally:
            bell[0] = 0
            gate.slept(now_ns() - began_ns)

    return wait


def _make_look(
    word: memoryview, policy: WaitPolicy, gate: SpinGate
) -> Callable[[int], bool]:
    """Return a function that looks at ``word`` for as long as that pays.

    It says whether the word is no longer ``expected``.
    """
    long_yield_ns = policy.long_yield_ns
    burst, now_ns = _BURST, time.perf_counter_ns
    give_way = give_way_of(policy)

    def look(expected: int) -> bool:
        if gate.skips:
            gate.skips -= 1
            return False
        until = now_ns() + gate.budget_ns
        while True:
            for _ in burst:
                if word[0] != expected:
                    if gate.failures:
                        gate.paid()
                    return True
            before = now_ns()
            if before >= until:
                gate.failed()
                return False
            give_way()
            if now_ns() - before > long_yield_ns:
                gate.starved()
                return word[0] != expected

    return look


def _check(patience: Patience, word: memoryview, expected: int) -> float:
    try:
        return patience.check()
    except Exception:
        # The peer may have published, then died: its last message counts.
        if word[0] == expected:
            raise
        return 0.0
