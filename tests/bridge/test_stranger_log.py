"""Who is turned away again and again is told once, then counted."""

import logging

import pytest

from rlay.bridge.stranger_log import SUMMARY_S, StrangerLog

WHY = "it does not know the token"


@pytest.fixture
def clock():
    """A clock that the test moves."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def log(clock):
    """A log of strangers, by that clock."""
    return StrangerLog(clock)


@pytest.fixture
def told(caplog):
    """Give what was told since it was asked last."""
    caplog.set_level(logging.INFO, "rlay.bridge")

    def texts():
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return texts


def come(log, port, why=WHY, host="192.0.2.7"):
    """Be turned away."""
    log.refused(f"{host}:{port}", why, "AuthError")


def test_dialer_that_is_refused_every_second_is_a_line_a_minute(log, clock, told):
    """At once, then how often; each time it has another port."""
    lines = []
    for second in range(181):
        clock.now = 1000.0 + second
        come(log, 40_000 + second)
        log.tell()
        lines += told()
    again = f"refused 192.0.2.7 again, 60 times in 60 s: {WHY}"
    assert lines == [f"refused 192.0.2.7:40000: {WHY}", again, again, again]


def test_another_reason_and_another_host_are_news(log, told):
    """One line each: what is folded is the same thing only."""
    come(log, 1)
    come(log, 2, "the TLS handshake failed")
    come(log, 3, host="[2001:db8::1]")
    come(log, 4)
    assert len(told()) == 3


def test_who_was_let_in_and_is_refused_again_is_news(log, clock, told):
    """What was not told yet is told then, and the next time at once."""
    come(log, 1)
    come(log, 2)
    come(log, 2, host="192.0.2.8")
    told()
    clock.now += 5
    log.let_in("192.0.2.7:3")
    assert told() == [f"refused 192.0.2.7 again, 1 times in 5 s: {WHY}"]
    come(log, 4)
    come(log, 4, host="192.0.2.8")
    assert told() == [f"refused 192.0.2.7:4: {WHY}"]


def test_who_stays_away_for_a_minute_is_forgotten(log, clock, told):
    """No summary of nothing; and the next time is a line again."""
    come(log, 1)
    told()
    clock.now += SUMMARY_S
    log.tell()
    assert told() == []
    come(log, 2)
    assert told() == [f"refused 192.0.2.7:2: {WHY}"]


def test_end_tells_what_was_not_told(log, told):
    """A bridge that ends has counted for nothing otherwise."""
    for port in range(3):
        come(log, port)
    told()
    log.tell(at_end=True)
    assert told() == [f"refused 192.0.2.7 again, 2 times in 0 s: {WHY}"]


def test_many_hosts_fill_no_memory(log):
    """Those beyond some hundreds are told, and not kept."""
    for number in range(2000):
        come(log, 1, host=f"198.51.{number // 250}.{number % 250}")
    assert len(log._repeats) < 1000
