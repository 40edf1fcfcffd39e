"""How long the loop of a bridge stays awake after it has moved something."""

import time
from asyncio import AbstractEventLoop

from rlay.transport.spinning import (
    SpinGate,
    WaitPolicy,
    give_way_of,
)


class Wakefulness:
    """Keeps the loop from sleeping while the next message may come at any moment.

    To sleep and to be woken costs more than all that a bridge does with a small
    message. So its loop looks again and again for a while, and gives way in between, as
    the ends of a channel do. What was received is soon answered by this machine; what
    was sent is answered by another one, which may be far away. So whether it pays is
    counted for each of the two.
    """

    def __init__(self, loop: AbstractEventLoop, policy: WaitPolicy) -> None:
        """Watch over a loop that is asleep."""
        self._loop = loop
        self._spin_ns = policy.spin_ns
        self._long_yield_ns = policy.long_yield_ns
        self._give_way = give_way_of(policy)
        self._after_sending = SpinGate(policy)
        self._after_receiving = SpinGate(policy)
        self._moved: SpinGate | None = None  # in this turn of the loop
        self._awaits: SpinGate | None = None  # since an earlier turn
        self._awake = False
        self._until = 0

    def sent(self) -> None:
        """Take note that something was sent: an answer may follow soon."""
        self._note(self._after_sending)

    def received(self) -> None:
        """Take note that something came: more, or an answer, may follow soon."""
        self._note(self._after_receiving)

    def _note(self, gate: SpinGate) -> None:
        self._moved = gate
        if not self._awake and self._spin_ns:
            self._awake = True
            self._loop.call_soon(self._stay_awake)

    def _stay_awake(self) -> None:
        now_ns = time.perf_counter_ns
        before = now_ns()
        awaits, moved = self._awaits, self._moved
        if moved is not None:
            if awaits is not None:
                awaits.paid()
            self._awaits, self._moved = moved, None
            self._until = before + self._spin_ns
            if moved.skips:
                moved.skips -= 1
                self._fall_asleep()
                return
        elif before >= self._until:
            if awaits is not None:
                awaits.failed()
            self._fall_asleep()
            return
        self._give_way()
        if now_ns() - before > self._long_yield_ns:
            self._after_sending.starved()
            self._after_receiving.starved()
            self._fall_asleep()
            return
        self._loop.call_soon(self._stay_awake)

    def _fall_asleep(self) -> None:
        self._awake = False
        self._awaits = self._moved = None
