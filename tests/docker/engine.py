"""The Docker engine of these tests: the one that runs here, or one of their own.

Their own engine keeps its data, its mounts and its socket in a temporary directory, and
sets no rule of the machine's firewall: with its end everything of it is gone.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.waiting import wait_until

_START_S = 60.0
_STOP_S = 90.0
_INSTALL_S = 300.0


class NoDocker(Exception):
    """Docker cannot be had here; the text says why."""


class Docker:
    """Runs the commands ``docker`` and Compose against one engine.

    Attributes:
        environment: Of the commands; says which engine.
        compose: The words of the command Compose, of either generation.
    """

    def __init__(self, environment: Mapping[str, str], compose: tuple[str, ...]):
        self.environment = dict(environment)
        self.compose = compose

    def __call__(self, *words: str, timeout: float = 60.0) -> str:
        """Run ``docker WORDS``; what it printed.

        Raises:
            AssertionError: It failed, or took longer than ``timeout`` seconds.
        """
        return run(["docker", *words], self.environment, timeout)

    def succeeds(self, *words: str, timeout: float = 60.0) -> bool:
        """Whether ``docker WORDS`` ends with 0."""
        return _succeeds(["docker", *words], self.environment, timeout)


def run(
    command: list[str],
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    cwd: Path | None = None,
) -> str:
    """Run a command to its end; what it printed on both of its outputs.

    Raises:
        AssertionError: It failed, or took longer than ``timeout`` seconds.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            timeout=timeout,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")
        raise AssertionError(f"not done within {timeout} s: {shown}\n{said}") from None
    if done.returncode != 0:
        raise AssertionError(f"ended with {done.returncode}: {shown}\n{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def docker_engine() -> Iterator[Docker]:
    """Find an engine, or start one that ends with the block.

    Raises:
        NoDocker: There is none, and none can be started; the text says why.
    """
    provide("docker", "docker.io")
    compose = _compose()
    here = Docker(os.environ, compose)
    if here.succeeds("info"):
        yield here
        return
    if os.geteuid() != 0:
        raise NoDocker("no Docker engine answers, and only root can start one")
    provide("dockerd", "docker.io")
    provide("iptables", "iptables")  # the engine asks for it, even without rules
    with (
        tempfile.TemporaryDirectory(prefix="rlay-docker-") as directory,
        _own_engine(Path(directory)) as socket,
    ):
        yield Docker({**os.environ, "DOCKER_HOST": f"unix://{socket}"}, compose)


@contextlib.contextmanager
def _own_engine(directory: Path) -> Iterator[Path]:
    socket, log = directory / "docker.sock", directory / "log"
    command = [
        *("unshare", "--mount"),  # its mounts end with it, and with its containers
        "dockerd",
        *("--data-root", str(directory / "data")),
        *("--exec-root", str(directory / "exec")),
        *("--pidfile", str(directory / "pid")),
        *("--host", f"unix://{socket}"),
        # Nothing of the machine's network is touched. The networks of the compose files
        # are bridges of their own; none needs a way to the outside.
        *("--bridge", "none", "--iptables=false", "--ip-forward=false"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def answers() -> bool:
        if process.poll() is not None:
            raise NoDocker(
                f"dockerd ended with {process.returncode}:\n"
                + "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            )
        environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
        return _succeeds(["docker", "info"], environment, 10.0)

    try:
        wait_until(answers, _START_S, "dockerd answers")
        yield socket
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)
            raise


def _compose() -> tuple[str, ...]:
    if _succeeds(["docker", "compose", "version"], None, 30.0):
        return ("docker", "compose")
    provide("docker-compose", "docker-compose")
    return ("docker-compose",)


def provide(program: str, package: str) -> None:
    """Install a program of Debian's where it is missing and we may.

    Raises:
        NoDocker: It is missing and could not be installed.
    """
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoDocker(f"there is no {program}, and it cannot be installed from here")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update"], environment, _INSTALL_S)
        run(install, environment, _INSTALL_S)
    except AssertionError as error:
        raise NoDocker(f"{program} could not be installed: {error}") from None
    if not shutil.which(program):
        raise NoDocker(f"Debian's package {package} brought no {program}")


def _succeeds(
    command: list[str], environment: Mapping[str, str] | None, timeout: float
) -> bool:
    try:
        run(command, environment, timeout)
    except (AssertionError, OSError):
        return False
    return True
