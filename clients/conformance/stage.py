"""Where a case plays: the algorithm's end here, the client's program there."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import rlay
from clients.conformance.programs import Program
from clients.conformance.registry import Client
from clients.conformance.scripts import Script
from rlay.processes.own_bridge import OwnBridge
from rlay.testing.chaos.proxy import ChaosProxy

CHANNEL: Final = "conformance"
STEP_LIMIT_S: Final = 10.0
END_LIMIT_S: Final = 10.0


class Place:
    """How one client attaches: its directory, and a bridge where that is needed.

    It serves all cases of a column, one after another.

    Attributes:
        client: Whose column it is.
        kind: ``mapped``, ``tcp`` or ``ws``.
        directory: Where channels live.
    """

    def __init__(self, client: Client, kind: str) -> None:
        """Make the directory, and start the bridge."""
        self.client = client
        self.kind = kind
        memory = Path("/dev/shm")
        self.root = Path(
            tempfile.mkdtemp(
                prefix="rlay-conformance-", dir=memory if memory.is_dir() else None
            )
        )
        self.directory = self.root / "channels"
        self.directory.mkdir(mode=0o700)
        self.bridge: OwnBridge | None = None
        self._exits = contextlib.ExitStack()
        if kind != "mapped":
            self.bridge = OwnBridge("127.0.0.1:0", CHANNEL, self.directory)
            self._exits.enter_context(self.bridge.starting())

    def address(self, channel: str, endpoint: str | None = None) -> str:
        """Return what a program is given as the name of a channel."""
        if self.bridge is None:
            return channel
        return f"{self.kind}://{endpoint or self.bridge.listening[0]}/{channel}"

    def close(self) -> None:
        """End the bridge and remove the directory."""
        self._exits.close()
        if self.bridge is not None:
            self.bridge.end()
        shutil.rmtree(self.root, ignore_errors=True)


class Stage:
    """One case of one client in one role.

    Attributes:
        place: How the client attaches.
        role: ``environment`` or ``game``.
        channel: The channel's name, of this case alone.
        script: What the program plays; set by :meth:`start`.
    """

    def __init__(self, place: Place, role: str, case: str, number: int) -> None:
        """Take note of what is to be played; nothing is started yet."""
        self.place = place
        self.role = role
        self.case = case
        self.channel = f"{CHANNEL}-{number}"
        self.files = place.root / str(number)
        self.files.mkdir()
        self._programs: list[Program] = []
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for program in self._programs:
            program.kill()
        self._exits.close()

    @property
    def is_game(self) -> bool:
        """Whether the program asks for decisions."""
        return self.role == "game"

    @property
    def start_s(self) -> float:
        """How long a program may take until it attaches."""
        return self.place.client.start_s

    def start(self, script: Script, *, endpoint: str | None = None) -> Program:
        """Start the client's program.

        Args:
            script: What it plays.
            endpoint: HOST:PORT that it dials in place of the bridge's own.
        """
        files = self.files / str(len(self._programs))
        files.mkdir()
        case = files / "case.msgpack"
        case.write_bytes(script.encode(self.case))
        program = Program(
            self.place.client,
            [self.role, str(case)],
            files,
            {
                "RLAY_CHANNEL": self.place.address(self.channel, endpoint),
                "RLAY_DIR": str(self.place.directory),
            },
        )
        self._programs.append(program)
        return program

    def proxy(self) -> ChaosProxy:
        """Return a proxy in front of the bridge, which can cut."""
        assert self.place.bridge is not None
        host, _, port = self.place.bridge.listening[0].rpartition(":")
        return self._exits.enter_context(ChaosProxy((host, int(port))))

    @contextlib.contextmanager
    def attached(self, program: Program, **settings: Any) -> Iterator[Any]:
        """Attach the algorithm's end, for the body.

        Yields:
            The environment: a ``ClientEnv`` or a ``ServerEnv``.

        Raises:
            Unsupported: The program says so.
            AssertionError: The program ended instead.
        """
        env = self._make(program, settings)
        try:
            yield env
        except rlay.RLayError:
            program.check()  # its own words, where it has ended, say more
            raise
        finally:
            env.close()

    def _make(self, program: Program, settings: dict[str, Any]) -> Any:
        settings = {
            "connect_timeout": self.start_s,
            "step_timeout": STEP_LIMIT_S,
            "reset_timeout": STEP_LIMIT_S,
            "directory": self.place.directory,
            **settings,
        }
        if self.is_game:
            env: Any = rlay.ServerEnv(self.channel, **settings)
            try:
                env.wait_until_connected()
            except BaseException:
                env.close()
                program.check()
                raise
            return env
        try:
            return rlay.ClientEnv(self.channel, **settings)
        except rlay.RLayError:
            program.check()
            raise
