"""What a bridge counts, without a bridge."""

import pytest

from rlay.bridge.metrics import STEP_BOUNDS_S, LinkCounts, StepTimes


@pytest.mark.parametrize(
    ("took_s", "place"), [(0.0, 0), (0.0001, 0), (0.0002, 1), (60.0, -2), (61.0, -1)]
)
def test_time_is_counted_below_its_bound(took_s, place):
    """A bound belongs to what is below it; above all there is one more."""
    times = StepTimes()
    times.add(took_s)
    assert times.counts[place] == sum(times.counts) == 1
    assert times.total_s == took_s
    assert len(times.counts) == len(STEP_BOUNDS_S) + 1


def test_bounds_grow():
    """Else the search would not find them."""
    assert list(STEP_BOUNDS_S) == sorted(set(STEP_BOUNDS_S))


def test_round_trips_are_the_last_ones():
    """None before the first; then by rank."""
    counts = LinkCounts()
    assert counts.round_trip_s(0.5) is None
    counts.round_trips_s.extend(range(1000))
    assert counts.round_trip_s(0.0) == 1000 - 256
    assert counts.round_trip_s(1.0) == 999
