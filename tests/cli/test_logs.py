"""RLay's log on stderr."""

import logging
import re

import pytest

from rlay.cli import logs


@pytest.fixture(autouse=True)
def _restored():
    """Give other tests the logger as it was."""
    logger = logging.getLogger("rlay")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def write() -> None:
    logger = logging.getLogger("rlay.envs.somewhere")
    logger.debug("a detail")
    logger.info("a change")
    logger.warning("a warning")


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, ["INFO a change", "WARNING a warning"]),
        ({"quiet": True}, ["WARNING a warning"]),
        (
            {"verbose": True},
            [
                "DEBUG rlay.envs.somewhere a detail",
                "INFO rlay.envs.somewhere a change",
                "WARNING rlay.envs.somewhere a warning",
            ],
        ),
    ],
    ids=["default", "quiet", "verbose"],
)
def test_log_has_one_line_for_each_record(capsys, options, texts):
    """With date and time, in the zone that it names."""
    assert logs.configure(**options) is None
    write()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[2] for line in lines] == texts
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"
    assert all(re.fullmatch(time, line.partition(" ")[0]) for line in lines)


def test_log_configured_twice_is_written_once(capsys):
    """Each call replaces what the last one set up."""
    logs.configure()
    logs.configure()
    write()
    assert capsys.readouterr().err.count("a change") == 1


def test_log_leaves_other_libraries_alone(capsys):
    """Their records go where they went before."""
    handlers = logging.getLogger().handlers[:]
    logs.configure(verbose=True)
    assert logging.getLogger().handlers == handlers
