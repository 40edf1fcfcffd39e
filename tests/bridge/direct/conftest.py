"""Fixtures of the tests in which programs attach to a bridge directly."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.attached import DIRECT, AttachedStage
from tests.support.children import Children

PARADIGMS = ["ClientEnv", "ServerEnv"]


@pytest.fixture(params=DIRECT)
def direct(request: pytest.FixtureRequest) -> str:
    """Which ends attach directly."""
    which: str = request.param
    return which


@pytest.fixture(params=PARADIGMS)
def stage(
    request: pytest.FixtureRequest,
    direct: str,
    children: Children,
    channel_directory: Path,
) -> Iterator[AttachedStage]:
    """One bridge, for each paradigm and with either end attached, or both."""
    made = AttachedStage(request.param, direct, children, channel_directory)
    yield made
    made.end()


@pytest.fixture(params=PARADIGMS)
def attached(
    request: pytest.FixtureRequest, children: Children, channel_directory: Path
) -> Iterator[AttachedStage]:
    """The same with both ends attached."""
    made = AttachedStage(request.param, "both", children, channel_directory)
    yield made
    made.end()


@pytest.fixture
def stage_of_vectors(
    direct: str, children: Children, channel_directory: Path
) -> Iterator[AttachedStage]:
    """A bridge that listens, for ends of any kind that are made in this process."""
    made = AttachedStage("ClientEnv", direct, children, channel_directory)
    made.listen()
    yield made
    made.end()


@pytest.fixture
def within(request: pytest.FixtureRequest) -> Callable[[float, float], None]:
    """Assert a bound in seconds; as in the fault catalogue's rows."""

    def check(bound_s: float, measured_s: float) -> None:
        figures = [("bound_s", bound_s), ("measured_s", round(measured_s, 4))]
        request.node.user_properties.extend(figures)
        assert measured_s <= 3 * bound_s, f"{measured_s:.3f} s, bound {bound_s} s"

    return check
