"""Fixtures of the fault catalogue's rows about bridges."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bridged import BridgedStage
from tests.support.children import Children
from tests.support.namespaces import Machines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests more time: each starts three processes, or more."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture
def stage(children: Children, channel_directory: Path) -> Iterator[BridgedStage]:
    """Two machines on loopback for a ClientEnv; nothing may be left of them."""
    made = BridgedStage("ClientEnv", children, channel_directory)
    yield made
    made.end()


@pytest.fixture(params=["ClientEnv", "ServerEnv"])
def stage_of_either(
    request: pytest.FixtureRequest, children: Children, channel_directory: Path
) -> Iterator[BridgedStage]:
    """The same for each of the two paradigms."""
    made = BridgedStage(request.param, children, channel_directory)
    yield made
    made.end()


@pytest.fixture
def wired(
    machines: Machines, children: Children, channel_directory: Path
) -> Iterator[BridgedStage]:
    """Two machines that are network namespaces, for a ClientEnv."""
    made = BridgedStage("ClientEnv", children, channel_directory, machines)
    yield made
    made.end()


@pytest.fixture
def within(request: pytest.FixtureRequest) -> Callable[[float, float], None]:
    """Assert a bound in seconds, and keep what was measured in the test's report.

    The bound may be exceeded three times over: other programs use the machine too.
    """

    def check(bound_s: float, measured_s: float) -> None:
        figures = [("bound_s", bound_s), ("measured_s", round(measured_s, 4))]
        request.node.user_properties.extend(figures)
        assert measured_s <= 3 * bound_s, f"{measured_s:.3f} s, bound {bound_s} s"

    return check
