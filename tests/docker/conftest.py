"""An engine, the image, and the compose files, for the tests marked ``docker``."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.base_image import base_image
from tests.docker.engine import Docker, NoDocker, docker_engine
from tests.docker.project import Project
from tests.support.children import ROOT

_BUILD_S = 600.0
_TRAIN_S = "600"  # longer than any test: each asks its trainer to end


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave the tests out unless they are asked for: ``-m docker``."""
    if "docker" in config.option.markexpr:
        return
    out = [item for item in items if item.get_closest_marker("docker")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """An engine. Without one: skipped, or failed where CI is set."""
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(docker_engine())
        except NoDocker as error:
            _do_without(error)
        yield engine


@pytest.fixture(scope="session")
def image(docker: Docker) -> str:
    """The image ``rlay``, built from this tree."""
    try:
        base = base_image(docker)
    except NoDocker as error:
        _do_without(error)
    docker(
        "build",
        # Where no bridge gives a way out, and where a proxy is on this machine.
        "--network=host",
        *("--build-arg", f"BASE_IMAGE={base}"),
        *("--tag", "rlay"),
        *("--file", str(ROOT / "docker" / "Dockerfile")),
        str(ROOT),
        timeout=_BUILD_S,
    )
    return "rlay"


@pytest.fixture
def start_project(
    docker: Docker, image: str, tmp_path: Path
) -> Iterator[Callable[[str], Project]]:
    """Bring up the compose file of a folder; brought down again at the end.

    Its logs are printed, for the report of a failed test.
    """
    started: list[Project] = []

    def start(folder: str) -> Project:
        environment = {"TRAIN_SECONDS": _TRAIN_S, "SECRETS": str(tmp_path)}
        name = f"rlay-test-{os.getpid()}-{folder}"
        project = Project(docker, folder, name, environment)
        started.append(project)
        project.up()
        return project

    yield start
    for project in started:
        print(project.logs())  # noqa: T201 - pytest keeps it for a failure
        project.down()
        assert project.left() == []


def _do_without(error: NoDocker) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs Docker: {error}", pytrace=False)
    pytest.skip(f"no Docker: {error}")
