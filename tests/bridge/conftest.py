"""What tests of the bridge need."""

import asyncio

import pytest
import uvloop


@pytest.fixture(scope="session", autouse=True)
def _uvloop_has_run(_session_directory: object) -> None:
    """The first loop of uvloop makes a pipe that stays: no test is blamed for it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))
