"""One of the compose files, running: its containers, their logs and their ends."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.docker.engine import Docker, run
from tests.support.children import ROOT
from tests.support.waiting import wait_until

# Limits for a hang, in seconds: two cores carry the engine, the containers and pytest.
_UP_S = 180.0
_DOWN_S = 120.0
_GOES_ON_S = 90.0


class Project:
    """The containers of ``docker/FOLDER/compose.yaml``.

    Attributes:
        name: Of the project; each of its containers, networks and volumes has it.
        folder: Where the compose file is.
    """

    def __init__(
        self, docker: Docker, folder: str, name: str, environment: Mapping[str, str]
    ) -> None:
        """Name it; nothing is started.

        Args:
            docker: The engine.
            folder: In ``docker/``.
            name: Unlike that of any other project of the engine.
            environment: For the variables of the compose file.
        """
        self.name = name
        self.folder = ROOT / "docker" / folder
        self._docker = docker
        self._environment = {**docker.environment, **environment}
        self._containers: dict[str, str] = {}

    def up(self) -> None:
        """Start all services, each once those that it depends on are healthy."""
        self.compose("up", "--detach", "--no-build", timeout=_UP_S)

    def down(self) -> None:
        """Remove the containers, networks and volumes."""
        self.compose("down", "--volumes", timeout=_DOWN_S)

    def left(self) -> list[str]:
        """What the engine still has of this project."""
        mine = f"label=com.docker.compose.project={self.name}"
        queries = {
            "container": ("ps", "--all"),
            "network": ("network", "ls"),
            "volume": ("volume", "ls"),
        }
        return [
            f"{kind} {found}"
            for kind, query in queries.items()
            for found in self._docker(*query, "--quiet", "--filter", mine).split()
        ]

    def compose(self, *words: str, timeout: float = 60.0) -> str:
        """Run a command of Compose; what it printed."""
        command = [*self._docker.compose, "--project-name", self.name, *words]
        return run(command, self._environment, timeout, cwd=self.folder)

    def logs(self) -> str:
        """What all services have written."""
        return self.compose("logs", "--no-color", "--timestamps")

    def log(self, service: str) -> str:
        """What one service has written, in all lives of its container."""
        return self._docker("logs", self._container(service))

    def state(self, service: str) -> dict[str, Any]:
        """Docker's record of how the container of a service does."""
        state: dict[str, Any] = self._inspect(service)["State"]
        return state

    def restarts(self, service: str) -> int:
        """How often the engine has started the service's container again by itself."""
        count: int = self._inspect(service)["RestartCount"]
        return count

    def networks(self, service: str) -> set[str]:
        """The networks that the container of a service is in."""
        return set(self._inspect(service)["NetworkSettings"]["Networks"])

    def kill(self, service: str) -> None:
        """End a container at once, as an operator does. It is not started again."""
        self._docker("kill", self._container(service))

    def crash(self, service: str) -> None:
        """End a service's program at once, from within. The engine restarts it."""
        before = self.restarts(service)
        # Nobody waits for the killer: it may be killed with the container first.
        killer = ["python", "-c", _KILL_PROGRAM]
        self._docker("exec", "--detach", self._container(service), *killer)

        def is_back() -> bool:
            started = self.restarts(service) > before
            return started and bool(self.state(service)["Running"])

        wait_until(is_back, _UP_S, f"{service} is restarted")

    def start(self, service: str) -> None:
        """Start a container that was killed."""
        self._docker("start", self._container(service))

    def stop(self, service: str) -> None:
        """Ask a container to end, and wait for that."""
        self._docker("stop", self._container(service), timeout=_DOWN_S)

    def execute(self, service: str, *words: str) -> str:
        """Run a program in the container of a service; what it printed."""
        return self._docker("exec", self._container(service), *words)

    def _container(self, service: str) -> str:
        if service not in self._containers:
            found = self.compose("ps", "--all", "--quiet", service).split()
            assert len(found) == 1, f"{service} has the containers {found}"
            self._containers[service] = found[0]
        return self._containers[service]

    def _inspect(self, service: str) -> dict[str, Any]:
        record: dict[str, Any]
        (record,) = json.loads(self._docker("inspect", self._container(service)))
        return record


# Process 1 is the engine's init, which is not to be killed from within its namespace.
# The program is its oldest child.
_KILL_PROGRAM = """
import os, signal
os.kill(min(int(n) for n in os.listdir("/proc") if n.isdigit() and n != "1"),
        signal.SIGKILL)
"""


class Training:
    """What the service ``trainer`` of a project says about itself."""

    def __init__(self, project: Project) -> None:
        """Read the log of this project's trainer."""
        self._project = project

    @property
    def steps(self) -> int:
        """The steps that it counted last."""
        found = re.findall(r"^steps (\d+)", self._project.log("trainer"), re.MULTILINE)
        return int(found[-1]) if found else 0

    @property
    def losses(self) -> int:
        """How often an environment was lost to it."""
        return self._project.log("trainer").count(": lost: ")

    def wait_for_steps(self, more: int = 500) -> None:
        """Wait until it has made ``more`` steps than now."""
        wanted = self.steps + more
        self._wait_until(lambda: self.steps >= wanted, f"has made {wanted} steps")

    def wait_for_line(self, line: str, count: int = 1) -> None:
        """Wait until it has printed a line so many times."""
        self._wait_until(
            lambda: self._project.log("trainer").splitlines().count(line) >= count,
            f"has printed {line!r} {count} times",
        )

    def finish(self) -> None:
        """Ask it to end. It must end with 0, and say that it is done."""
        self._project.stop("trainer")
        state = self._project.state("trainer")
        assert state["ExitCode"] == 0, state
        last = self._project.log("trainer").splitlines()[-1]
        assert re.fullmatch(r"done: \d+ steps, best return \d+, \d+ lost", last), last

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            running = self._project.state("trainer")["Running"]
            if condition():
                return True
            assert running, f"the trainer ended: {self._project.log('trainer')}"
            return False

        wait_until(holds, _GOES_ON_S, f"the trainer {what}")
