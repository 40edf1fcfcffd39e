"""How long the loop of a bridge stays awake after it has moved something."""

import time
from asyncio import AbstractEventLoop

from rlay.transport.spinning import (
    LONG_YIELD_NS,
    SpinGate,
    WaitPolicy,
    give_way_of,
)


class Wakefulness:
    """Keeps the loop from sleeping while the next message may come at any moment.

    To sleep and to be woken costs more than all that a bridge does with a small
    message. So its loop looks again and again for a while, and gives way in between, as
    the ends of a channel do.
    """

    def __init__(self, loop: AbstractEventLoop, policy: WaitPolicy) -> None:
        """Watch over a loop that is asleep."""
        self._loop = loop
        self._spin_ns = policy.spin_ns
        self._gate = SpinGate(policy)
        self._give_way = give_way_of(policy)
        self._awake = self._moved = False
        self._until = 0

    def moved(self) -> None:
        """Take note that a message, or a piece, was moved: more may follow soon."""
        self._moved = True
        if self._awake or not self._spin_ns:
            return
        gate = self._gate
        if gate.skips:
            gate.skips -= 1
            return
        self._awake = True
        self._loop.call_soon(self._stay_awake)

    def _stay_awake(self) -> None:
        now_ns = time.perf_counter_ns
        before = now_ns()
        if self._moved:
            self._moved = False
            if self._until:
                self._gate.paid()
            self._until = before + self._spin_ns
        elif before >= self._until:
            self._fall_asleep()
            self._gate.failed()
            return
        self._give_way()
        if now_ns() - before > LONG_YIELD_NS:
            self._fall_asleep()
            self._gate.starved()
            return
        self._loop.call_soon(self._stay_awake)

    def _fall_asleep(self) -> None:
        self._awake = self._moved = False
        self._until = 0
