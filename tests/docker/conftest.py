"""An engine, the image, and the compose files, for the tests marked ``docker``."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.base_image import base_image
from tests.docker.engine import Docker, NoDocker, docker_engine
from tests.docker.project import Project, Training
from tests.support.children import ROOT

_IMAGE = "rlay-test"  # not "rlay", which may be the user's
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
def image(docker: Docker) -> Iterator[str]:
    """The image, built from this tree; removed at the end."""
    try:
        base = base_image(docker)
    except NoDocker as error:
        _do_without(error)
    docker(
        "build",
        # Where no bridge gives a way out, and where a proxy is on this machine.
        "--network=host",
        *("--build-arg", f"BASE_IMAGE={base}"),
        *("--tag", _IMAGE),
        *("--file", str(ROOT / "docker" / "Dockerfile")),
        str(ROOT),
        timeout=_BUILD_S,
    )
    yield _IMAGE
    docker("rmi", _IMAGE)


@pytest.fixture(scope="module")
def project(
    request: pytest.FixtureRequest,
    docker: Docker,
    image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    """The compose file of the folder that the test module names ``FOLDER``, running.

    It is up for all tests of the module. At its end the trainer is asked to end, which
    must go well, everything is brought down, and nothing may be left.
    """
    folder = request.module.FOLDER
    name = f"rlay-test-{os.getpid()}-{folder}"
    secrets = tmp_path_factory.mktemp("secrets")
    _make_secrets(docker, image, secrets)
    settings = {
        "IMAGE": image,
        "TRAIN_SECONDS": _TRAIN_S,
        "SECRETS": str(secrets),
        "PUBLISH": "127.0.0.1:",  # any port: others may have taken the usual one
    }
    running = Project(docker, folder, name, settings)
    try:
        running.up()
        yield running
        Training(running).finish()
    finally:
        print(running.logs())  # noqa: T201 - pytest shows it with a failure
        running.down()
    assert running.left() == []


@pytest.fixture
def training(project: Project) -> Training:
    """The project's trainer, which is training."""
    training = Training(project)
    training.wait_for_steps()
    return training


def _make_secrets(docker: Docker, image: str, directory: Path) -> None:
    """Make token, certificate and key as docs/guide/docker.md says."""
    directory.chmod(0o777)  # for the image's user, whoever runs the tests
    make = ("run", "--rm", "--network=none", "--volume", f"{directory}:/secrets", image)
    docker(*make, "token", "new", "/secrets/rlay.token")
    hosts = ("--host", "sim-bridge", "--host", "hub")
    docker(*make, "cert", "new", "--dir", "/secrets", *hosts)


def _do_without(error: NoDocker) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs Docker: {error}", pytrace=False)
    pytest.skip(f"no Docker: {error}")
