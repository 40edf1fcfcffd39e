"""An environment in this process beside the same one behind RLay in a child process.

One child runs one backend after another, so that a test of many environments pays for
one start::

    with backend_process(children) as process:
        for name in ("CartPole-v1", "Taxi-v4"):
            with client_env_pair(process, name) as (local, remote):
                ...

Orders and outcomes travel as pickles over a socket of the test's own, not over RLay.
"""

from __future__ import annotations

import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import gymnasium

from tests.support.children import Child, Children

# How long the child may take to start, or a backend to return after its client left.
_LIMIT_S = 120.0

Target = str | Callable[[], gymnasium.Env[Any, Any]]


@dataclass(frozen=True)
class Order:
    """What the child runs next.

    Attributes:
        backend: "ServerBackend" or "ClientBackend", or "call" to run ``target()``.
        target: An id, or a zero-argument function that can be pickled.
        options: Keyword arguments of the backend.
    """

    backend: str
    target: Any
    options: dict[str, Any] = field(default_factory=dict)


class BackendProcess:
    """A child process that runs one backend after another, as it is told.

    Attributes:
        child: The child.
    """

    def __init__(self, child: Child, connection: Connection) -> None:
        self.child = child
        self._connection = connection
        self._names = 0

    def next_name(self) -> str:
        """Return a channel name that was not used before."""
        self._names += 1
        return f"pair-{self._names}"

    def order(self, backend: str, target: Any, **options: Any) -> None:
        """Make the child run a backend; return at once.

        A ServerBackend makes its environment from an id by itself; for a ClientBackend
        it is made first.
        """
        self._connection.send(Order(backend, target, options))

    def outcome(self) -> Any:
        """Wait until the backend has returned; return what it returned.

        Raises:
            AssertionError: It raised, or the child has ended.
        """
        if not self._connection.poll(_LIMIT_S):
            raise AssertionError(f"the backend did not return within {_LIMIT_S} s")
        try:
            returned, value = self._connection.recv()
        except EOFError:
            code = self.child.exit_code
            raise AssertionError(f"the child ended, exit code {code}") from None
        assert returned, f"the backend raised in the child:\n{value}"
        return value

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wait at the end for the outcome of the last order.

        Where the body raised, the outcome is taken too, so that it is not mistaken for
        that of a later order. What was raised is the news; a failure in the child may
        be its reason, and is noted.
        """
        try:
            yield
        except Exception as error:
            try:
                self.outcome()
            except AssertionError as reason:
                error.add_note(str(reason))
            raise
        self.outcome()

    def end(self) -> None:
        """Tell the child to end, and assert that its exit code is 0."""
        self._connection.close()
        self.child.wait(_LIMIT_S, exit_code=0)


@contextmanager
def backend_process(
    children: Children, env: dict[str, str] | None = None
) -> Iterator[BackendProcess]:
    """Start a child for orders; at the end it must end with exit code 0.

    Args:
        children: Starts it.
        env: More variables of its environment, such as another ``RLAY_DIR``.
    """
    with tempfile.TemporaryDirectory() as directory:
        address = str(Path(directory) / "orders")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(1)
            listener.settimeout(_LIMIT_S)
            child = children.start(run_orders, address, env=env or {})
            accepted, _ = listener.accept()
        with accepted, Connection(accepted.detach()) as connection:
            process = BackendProcess(child, connection)
            try:
                yield process
            except BaseException:
                child.kill()  # the test failed: that is the news, not the child's end
                raise
            process.end()


@contextmanager
def client_env_pair(
    process: BackendProcess, target: Target, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """Give the environment made here, and a ClientEnv whose backend is in the child.

    Args:
        process: Where the backend runs.
        target: An id, or a zero-argument function that can be pickled.
        options: Keyword arguments of the ServerBackend.
    """
    import rlay

    name = process.next_name()
    process.order("ServerBackend", target, name=name, **options)
    with (
        process.running(),
        _closing(make(target)) as local,
        _closing(rlay.ClientEnv(name)) as remote,
    ):
        yield local, remote


@contextmanager
def server_env_pair(
    process: BackendProcess, target: Target, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """Give the environment made here, and a ServerEnv whose game is in the child.

    Args:
        process: Where the game, ``ClientBackend(env).run()``, runs.
        target: An id, or a zero-argument function that can be pickled.
        options: Keyword arguments of the ClientBackend.
    """
    import rlay

    name = process.next_name()
    process.order("ClientBackend", target, name=name, **options)
    with (
        process.running(),
        _closing(make(target)) as local,
        _closing(rlay.ServerEnv(name)) as remote,
    ):
        yield local, remote


PAIRS = {"ClientEnv": client_env_pair, "ServerEnv": server_env_pair}
"""Both paradigms, for parametrised tests."""


def make(target: Target) -> gymnasium.Env[Any, Any]:
    """Return the environment of an id, or what the function makes."""
    return gymnasium.make(target) if isinstance(target, str) else target()


def run_orders(address: str) -> None:
    """Run orders until the other end closes; this is the child's main function."""
    with Client(address, family="AF_UNIX") as connection:
        while True:
            try:
                order = connection.recv()
            except EOFError:
                return
            try:
                answer = (True, _run(order))
            except Exception:  # whatever a backend raises is the test's to judge
                answer = (False, traceback.format_exc())
            connection.send(answer)


def _run(order: Order) -> Any:
    import rlay

    if order.backend == "call":
        return order.target(**order.options)
    if order.backend == "ServerBackend":
        with rlay.ServerBackend(order.target, **order.options) as server:
            return server.run(sessions=1)
    env = make(order.target)
    try:
        with rlay.ClientBackend(env, **order.options) as client:
            return client.run(sessions=1)
    finally:
        env.close()


@contextmanager
def _closing(env: Any) -> Iterator[Any]:
    try:
        yield env
    finally:
        env.close()
