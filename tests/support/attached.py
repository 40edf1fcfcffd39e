"""A stage whose ends attach to a bridge directly, and a hash chain between them.

As :class:`tests.support.bridged.BridgedStage`, but there is a bridge on the ``near``
machine alone, unless :meth:`AttachedStage.connect_machines` adds the other one::

    stage.listen()                     # the bridge; proxied=True for a ChaosProxy
    chain = stage.environment()        # in a child process
    player = stage.player()
    player.play(seed=1, steps=10)

Which end attaches directly is an argument; the other one maps the channel.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import rlay
from rlay.testing import ChaosProxy
from tests.faults.chains import Plan, say
from tests.faults.stage import LIMIT_S, NAME, Player
from tests.support.bridged import LOOPBACK, Bridge, BridgedStage
from tests.support.children import Child, Children

DIRECT = ["algorithm", "environment", "both"]
"""Which ends attach directly."""


class AttachedStage(BridgedStage):
    """One machine with a bridge, or two of them.

    Attributes:
        direct: Which ends attach directly, of :data:`DIRECT`.
        scheme: Of addresses.
        host: In addresses.
    """

    def __init__(
        self, paradigm: str, direct: str, children: Children, directory: Path
    ) -> None:
        super().__init__(paradigm, children, directory)
        self.direct = direct
        self.scheme = "tcp"
        self.host = LOOPBACK
        self._bridge_of = {"algorithm": self.near, "environment": self.near}
        self._port_of: dict[str, int] = {}

    def listen(self, *, proxied: bool = False, **options: Any) -> None:
        """Start the bridge, and wait until it listens.

        Args:
            proxied: Whether direct peers dial a ChaosProxy. They are then no peers of
                the bridge's own machine, whose sessions it keeps for a second only.
            options: Of ``rlay bridge``.
        """
        if proxied:
            self.near.oddity = "set:registry:LOCAL_WINDOW_S:300"
        port = self._listen_at(self.near, options)
        if proxied:
            proxy = self._open.enter_context(ChaosProxy((LOOPBACK, port)))
            self._proxies.append(proxy)
            port = proxy.address[1]
        self._port_of = dict.fromkeys(self._bridge_of, port)

    def connect_machines(self, **options: Any) -> None:
        """Start both bridges: the environment is at the far one."""
        self._bridge_of["environment"] = self.far
        far = self._listen_at(self.far, options)
        near = self._listen_at(self.near, {**options, "connect": [f"{LOOPBACK}:{far}"]})
        self._port_of = {"algorithm": near, "environment": far}
        self.near.wait_until_logged("is up")

    def _listen_at(self, bridge: Bridge, options: dict[str, Any]) -> int:
        """Start a bridge; its successors listen at the same port."""
        bridge.start(listen=[f"{LOOPBACK}:0"], **options)
        port = bridge.port()
        bridge.options["listen"] = [f"{LOOPBACK}:{port}"]
        return port

    def place(self, end: str, name: str = NAME) -> str:
        """Return how an end names a channel."""
        if self.direct in (end, "both"):
            return f"{self.scheme}://{self.host}:{self._port_of[end]}/{name}"
        return name

    def environment(self, plan: Plan | None = None, **options: Any) -> Child:
        """Start a child that plays the environment, where it belongs."""
        env = {"RLAY_DIR": str(self._bridge_of["environment"].directory)}
        options = {"name": self.place("environment"), **options}
        return super().environment(plan, env=env, **options)

    def algorithm(self, name: str = NAME, **options: Any) -> Any:
        """Return the algorithm's environment, closed at the test's end."""
        return super().algorithm(self.place("algorithm", name), **options)

    def algorithm_in_child(self, steps: int = 0) -> Child:
        """Start a child that steps the environment, without end where steps is 0."""
        child = self.children.start(
            step_on,
            self.paradigm,
            self.place("algorithm"),
            steps,
            forever=True,
            env={"RLAY_DIR": str(self.near.directory)},
        )
        self.processes.append(child)
        return child


def step_on(paradigm: str, name: str, steps: int) -> None:
    """Step an environment again and again; the main function of a child."""
    kind = {"ClientEnv": rlay.ClientEnv, "ServerEnv": rlay.ServerEnv}[paradigm]
    with contextlib.closing(kind(name, connect_timeout=LIMIT_S)) as env:
        player = Player(env)
        player.reset(1)
        say("stepping")
        while True:
            player.step()
            steps -= 1
            if not steps:
                say("done")
                break
