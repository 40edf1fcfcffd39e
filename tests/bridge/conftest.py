"""What tests of the bridge need."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from tests.bridge.two_machines import Machines, joined_machines


@pytest.fixture(scope="session", autouse=True)
def _uvloop_has_run(_session_directory: object) -> None:
    """The first loop of uvloop makes a pipe that stays: no test is blamed for it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Run a coroutine on one loop or the other."""
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


@pytest.fixture
def joined(children, channel_directory, monkeypatch) -> Iterator[Machines]:
    """Two machines with bridges; the test is on the near one."""
    with joined_machines(children, channel_directory) as made:
        monkeypatch.setenv("RLAY_DIR", made.near)
        yield made
