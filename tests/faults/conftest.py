"""Fixtures of the tests of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage, Within
from tests.support.children import Children


@pytest.fixture(params=["ClientEnv", "ServerEnv"])
def stage(
    request: pytest.FixtureRequest, children: Children, channel_directory: Path
) -> Iterator[Stage]:
    """A channel of either paradigm; its algorithm's end is closed at the test's end."""
    made = Stage(request.param, children, channel_directory)
    yield made
    made.close()


@pytest.fixture
def within(request: pytest.FixtureRequest) -> Within:
    """Assert a bound in seconds, and keep what was measured in the test's report.

    The bound may be exceeded three times over: other programs use the machine too.
    """

    def check(bound_s: float, measured_s: float) -> None:
        figures = [("bound_s", bound_s), ("measured_s", round(measured_s, 4))]
        request.node.user_properties.extend(figures)
        assert measured_s <= 3 * bound_s, f"{measured_s:.3f} s, bound {bound_s} s"

    return check
