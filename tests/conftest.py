"""Fixtures of every test, and what no test may leave behind."""

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path

import hypothesis
import pytest

from tests.support.children import Children, child_environment
from tests.support.fault_rows import rows_of
from tests.support.leftovers import Holdings
from tests.support.namespaces import Machines, two_machines, why_not

# No property is about speed; a busy machine must not fail one. Two runs of the same
# code try the same examples, so that a change is not blamed for an old fault; other
# examples are looked for with HYPOTHESIS_PROFILE=explore.
hypothesis.settings.register_profile(
    "repeat", deadline=None, derandomize=True, database=None
)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

_call_report = pytest.StashKey[pytest.TestReport]()
_children = pytest.StashKey[Children]()
_directories = pytest.StashKey[list[Path]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are named after a fault."""
    for item in items:
        if rows_of(item.name):
            item.add_marker(pytest.mark.fault)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the outcome for the fixtures, and show what the children wrote."""
    report = yield
    if report.when == "call":
        item.stash[_call_report] = report
    if report.failed and _children in item.stash:
        report.sections.extend(item.stash[_children].output())
    return report


def _passed(request: pytest.FixtureRequest) -> bool:
    report = request.node.stash.get(_call_report, None)
    return report is not None and report.passed


@pytest.fixture(scope="session", autouse=True)
def _session_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep tests that name no directory out of the user's own channels."""
    # It starts with the first shared memory of multiprocessing and then stays: before
    # the first test, so that no test is blamed for its pipe.
    resource_tracker.ensure_running()
    directory = tmp_path_factory.mktemp("channels")
    directory.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLAY_DIR", str(directory))
        patch.delenv("RLAY_CHANNEL", raising=False)
        yield directory


@pytest.fixture(autouse=True)
def _nothing_left_behind(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _session_directory: Path,
) -> Iterator[None]:
    """Fail a test that leaves child processes, descriptors or mapped files.

    A child that is left is ended. A test that failed already is not accused: its
    traceback keeps objects alive.
    """
    directories = [tmp_path_factory.getbasetemp()]
    request.node.stash[_directories] = directories
    before = Holdings.now(directories)
    yield
    added = before.added(directories)
    for pid in added.children:
        _end(pid)
    if _passed(request) and not request.node.get_closest_marker("leaves_processes"):
        _fail_for("the test left behind", added.lines())


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # somebody waited for it meanwhile


def _fail_for(what: str, lines: Sequence[object]) -> None:
    if lines:
        listed = "\n  ".join(str(line) for line in lines)
        pytest.fail(f"{what}:\n  {listed}", pytrace=False)


@pytest.fixture
def channel_directory(
    request: pytest.FixtureRequest,
    _nothing_left_behind: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A private directory for this test's channels, in memory where there is one.

    It is also ``$RLAY_DIR``, here and in child processes. It must be empty again at the
    test's end, unless the test is marked ``leaves_files``.
    """
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else tmp_path
    directory = Path(tempfile.mkdtemp(prefix="rlay-test-", dir=parent))
    request.node.stash[_directories].append(directory)
    monkeypatch.setenv("RLAY_DIR", str(directory))
    yield directory
    left: list[Path] = []
    if directory.is_dir():  # the test itself may have removed it, or its mode
        directory.chmod(0o700)
        left = sorted(directory.iterdir())
        shutil.rmtree(directory)
    if _passed(request) and not request.node.get_closest_marker("leaves_files"):
        _fail_for("the test left files behind", left)


@pytest.fixture
def children(
    request: pytest.FixtureRequest, channel_directory: Path, tmp_path: Path
) -> Iterator[Children]:
    """Start child processes whose output, exit codes and end are taken care of.

    They have ended before the channel directory is looked at. See
    ``tests/support/children.py``.
    """
    started = Children(tmp_path / "children", child_environment)
    request.node.stash[_children] = started
    yield started
    problems = started.end_all()
    if _passed(request):
        _fail_for("child processes", problems)


@pytest.fixture
def machines(_nothing_left_behind: None) -> Iterator[Machines]:
    """Two network namespaces with a wire; see ``tests/support/namespaces.py``.

    A program that still runs there keeps its namespace until it ends. Skipped, with the
    reason, where the system allows no namespaces.
    """
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with two_machines() as made:
        yield made
