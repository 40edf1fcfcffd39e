"""A stage for faults: the environment in a child process, the algorithm here.

Both paradigms are played the same way::

    stage.environment([["step", 3, "sleep", 1.0]])   # starts the child
    env = stage.algorithm(step_timeout=0.2)          # a ClientEnv or a ServerEnv
    player = Player(env)                             # steps it, and knows what is right
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium

import rlay
from rlay.errors import ChannelNotFound
from rlay.testing.environments import HashChainEnv, chain_hash, chain_start
from rlay.transport.inspection import inspect_channel
from tests.faults.chains import FaultyChain, Plan, leave_no_core, say
from tests.support.children import Child, Children
from tests.support.waiting import wait_until

NAME = "fault"
LIMIT_S = 30.0
"""A limit for hangs; what is claimed to be fast is measured."""

Within = Callable[[float, float], None]
"""Asserts that a bound in seconds, three times over, holds for what was measured."""


class Stage:
    """One channel of one paradigm, its environment's end in child processes.

    Attributes:
        paradigm: "ClientEnv" or "ServerEnv".
        children: Starts the children.
        directory: Where the channel lives.
    """

    def __init__(self, paradigm: str, children: Children, directory: Path) -> None:
        self.paradigm = paradigm
        self.children = children
        self.directory = directory
        self._open = contextlib.ExitStack()

    @property
    def asks(self) -> bool:
        """Whether the environment's end asks: the paradigm of ServerEnv."""
        return self.paradigm == "ServerEnv"

    @property
    def environment_end(self) -> str:
        """Which end of the channel the environment holds."""
        return "client" if self.asks else "server"

    def environment(
        self, plan: Plan | None = None, *, forever: bool = True, **options: Any
    ) -> Child:
        """Start a child that plays the environment; return at once.

        Args:
            plan: Its faults; see :mod:`tests.faults.chains`.
            forever: It runs until the test's end.
            options: Of the backend; ``sessions`` is for its ``run``.
        """
        return self.children.start(
            play, self.paradigm, plan or [], options, forever=forever
        )

    def algorithm(self, **options: Any) -> Any:
        """Return the algorithm's environment, closed at the test's end."""
        env = algorithm(self.paradigm, **options)
        self._open.callback(env.close)
        return env

    def pair(self, plan: Plan | None = None, **options: Any) -> tuple[Any, Child]:
        """Start the environment and return the algorithm's end and the child."""
        child = self.environment(plan)
        return self.algorithm(**options), child

    def entries(self) -> list[str]:
        """Return what is in the channel directory."""
        return sorted(os.listdir(self.directory))

    def close(self) -> None:
        """Close what :meth:`algorithm` returned."""
        self._open.close()


def algorithm(paradigm: str, **options: Any) -> Any:
    """Return a ClientEnv or a ServerEnv on the stage's channel."""
    kind = {"ClientEnv": rlay.ClientEnv, "ServerEnv": rlay.ServerEnv}[paradigm]
    return kind(NAME, **{"connect_timeout": LIMIT_S, **options})


def play(paradigm: str, plan: Plan, options: dict[str, Any]) -> None:
    """Run a backend over a FaultyChain: the child's main function."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    leave_no_core()
    sessions = options.pop("sessions", None)
    options = {"name": NAME, **options}
    if paradigm == "ClientEnv":
        with rlay.ServerBackend(lambda: FaultyChain(plan), **options) as server:
            say("serving")
            server.run(sessions)
    else:
        env = FaultyChain(plan)
        say("asking")
        rlay.ClientBackend(env, connect_timeout=LIMIT_S, **options).run(sessions)


class Player:
    """Steps an environment, and asserts that each result is the hash chain's.

    So a step that was lost, doubled, swapped or run by another life of the environment
    is seen by the very next assertion.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env = env
        self._space = HashChainEnv()
        self._state = b""
        self._steps = 0

    def reset(self, seed: int) -> None:
        """Reset, and assert that the episode begins where ``seed`` says."""
        observation, info = self.env.reset(seed=seed)
        self._state, self._steps = chain_start(seed), 0
        self._check(observation, info)

    def step(self) -> None:
        """Take the next action, and assert that it led where it should."""
        action = (37 * self._steps + 11) % 256
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._state = chain_hash(self._state, [self._space.action_bytes(action)])
        self._steps += 1
        self._check(observation, info)
        assert reward == int.from_bytes(self._state[:8], "little") * 2.0**-64
        assert (terminated, truncated) == (False, False)

    def play(self, seed: int, steps: int) -> None:
        """Reset and take some steps."""
        self.reset(seed)
        for _ in range(steps):
            self.step()

    def _check(self, observation: Any, info: Any) -> None:
        assert observation.tobytes() == self._state
        assert info == {"hash": self._state.hex(), "steps": self._steps}


@contextlib.contextmanager
def once(
    condition: Callable[[], object], act: Callable[[], object]
) -> Iterator[Future[float]]:
    """Do something in another thread as soon as a condition is true.

    Gives:
        A future of the time at which that began, as ``time.monotonic``.
    """

    def strike() -> float:
        wait_until(condition, LIMIT_S)
        now = time.monotonic()
        act()
        return now

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(strike)
        yield future
        future.result(LIMIT_S)


def once_printed(
    child: Child, text: str, act: Callable[[], object]
) -> contextlib.AbstractContextManager[Future[float]]:
    """Do something as soon as a child has printed ``text``; as :func:`once`."""
    return once(lambda: text in child.stdout, act)


def count(child: Child, line: str) -> int:
    """Return how often a child has printed a line."""
    return child.stdout.splitlines().count(line)


def holder(end: str) -> int:
    """Return who holds an end of the stage's channel: a process id, or 0 for nobody.

    Args:
        end: "server" or "client".
    """
    try:
        line = getattr(inspect_channel(NAME), end)
    except ChannelNotFound:
        return 0
    return line.pid if line is not None and line.held else 0
