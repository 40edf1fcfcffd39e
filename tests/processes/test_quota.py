"""How often a program that crashes is started again."""

import pytest

from rlay.processes.quota import DEFAULT_LIMIT, DEFAULT_WINDOW_S, RestartQuota


def test_quota_is_ten_restarts_in_ten_minutes():
    """The defaults are the documented ones."""
    assert (DEFAULT_LIMIT, DEFAULT_WINDOW_S) == (10, 600.0)
    assert str(RestartQuota()) == "10 restarts within 600 s"


def test_a24_quota_trips_after_ten_crashes_in_a_row():
    """Ten crashes are followed by a restart, the eleventh is not."""
    quota = RestartQuota()
    delays = [quota.delay_after_crash(float(n)) for n in range(12)]
    assert all(delay is not None for delay in delays[:10])
    assert delays[10:] == [None, None]
    assert quota.used == 10


def test_quota_pauses_grow_and_are_bounded():
    """Each pause is twice the last one, up to 2 s: all ten take 15.1 s."""
    quota = RestartQuota()
    delays = [quota.delay_after_crash(0.0) for _ in range(10)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2, 2, 2])


def test_quota_forgets_restarts_older_than_its_window():
    """What crashes once in a while is started for ever, at once."""
    quota = RestartQuota(limit=2, window_s=10.0)
    for crash in range(100):
        assert quota.delay_after_crash(crash * 10.0) == pytest.approx(0.1)


def test_quota_window_slides():
    """A restart becomes free when the oldest one leaves the window, not before."""
    quota = RestartQuota(limit=2, window_s=10.0)
    assert quota.delay_after_crash(0.0) is not None
    assert quota.delay_after_crash(6.0) is not None
    assert quota.delay_after_crash(9.9) is None
    assert quota.delay_after_crash(10.0) is not None
    assert quota.delay_after_crash(15.9) is None


def test_quota_of_zero_never_restarts():
    """It trips at the first crash."""
    assert RestartQuota(limit=0).delay_after_crash(0.0) is None


@pytest.mark.parametrize(("limit", "window_s"), [(-1, 1.0), (1, 0.0), (1, -1.0)])
def test_quota_with_impossible_numbers_is_refused(limit, window_s):
    """The message has both numbers."""
    with pytest.raises(ValueError, match=f"{limit} restarts in {window_s} s"):
        RestartQuota(limit, window_s)
