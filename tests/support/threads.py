"""Both ends of a channel in the test's own process: one of them in a thread.

Fast, and enough wherever nothing dies. A failure in the thread fails the test::

    with serving(make_env, name="echo"):
        with rlay.ClientEnv("echo") as env:
            ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import rlay

LIMIT_S = 30.0
"""A limit for a hang, in seconds."""


class Background:
    """A function that runs in a thread of its own.

    Attributes:
        joined: Set by :func:`playing` once the game is in a session.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.joined = threading.Event()
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        """Whether it has neither returned nor raised."""
        return self._thread.is_alive()

    def outcome(self) -> Any:
        """Wait for its end; return what it returned, or raise what it raised."""
        self._thread.join(LIMIT_S)
        assert not self.running, f"{self._function} still runs after {LIMIT_S} s"
        if self._error is not None:
            raise self._error
        return self._result


@contextmanager
def background(function: Callable[[], Any]) -> Iterator[Background]:
    """Run ``function`` beside the body; it must have ended well after it."""
    thread = Background(function)
    try:
        yield thread
    except BaseException:
        thread._thread.join(1.0)  # the body's failure is the news
        raise
    thread.outcome()


def raised_by(
    kind: type[BaseException], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> BaseException:
    """Call ``function``, assert that it raises ``kind``, and return the exception."""
    try:
        value = function(*args, **kwargs)
    except kind as error:
        return error.with_traceback(None)  # its frames hold the channel's memory
    raise AssertionError(f"{function} returned {value!r}, it was to raise {kind}")


@contextmanager
def serving(
    target: Any, *, name: str, sessions: int | None = 1, **options: Any
) -> Iterator[rlay.ServerBackend]:
    """Serve ``target`` in a thread, opened before the body starts.

    Args:
        target: As for ``ServerBackend``.
        name: Of the channel.
        sessions: It must have served so many clients when the body ends; None closes
            it then, however many there were.
        options: As for ``ServerBackend``.
    """
    backend = rlay.ServerBackend(target, name=name, **options).open()
    thread = Background(lambda: backend.run(sessions))
    try:
        yield backend
        if sessions is not None:
            thread.outcome()
    finally:
        backend.close()
        with suppress(rlay.RLayError):  # closed by another thread, while it waited
            thread.outcome()


@contextmanager
def playing(
    env: Any, *, name: str, sessions: int | None = 1, **options: Any
) -> Iterator[Background]:
    """Let ``env`` ask for decisions in a thread, by ``ClientBackend.run``.

    A trainer that closes before ``joined`` is set may have been missed by the game,
    which then waits for another one.
    """
    made: list[Background] = []
    started = threading.Event()

    def play() -> None:
        options.setdefault("connect_timeout", LIMIT_S)
        with rlay.ClientBackend(env, name=name, **options) as backend:
            started.wait(LIMIT_S)
            made[0].joined.set()
            backend.run(sessions)

    with background(play) as thread:
        made.append(thread)
        started.set()
        yield thread


@contextmanager
def client_env(target: Any, *, ours: Any = None, **options: Any) -> Iterator[Any]:
    """Give a ``ClientEnv`` over ``target``, on the channel ``x``.

    Args:
        target: As for ``ServerBackend``.
        ours: Keyword arguments of the environment.
        options: Of the backend.
    """
    with serving(target, name="x", **options):
        env = rlay.ClientEnv("x", **(ours or {}))
        try:
            yield env
        finally:
            env.close()


@contextmanager
def server_env(target: Any, *, ours: Any = None, **options: Any) -> Iterator[Any]:
    """Give a connected ``ServerEnv`` whose game is ``target``, as above."""
    env = rlay.ServerEnv("x", **(ours or {}))
    try:
        with playing(target, name="x", **options) as game:
            try:
                env.wait_until_connected()
                assert game.joined.wait(LIMIT_S)
                yield env
            finally:
                env.close()
    finally:
        env.close()


class Trainer:
    """A ``ServerEnv`` whose calls run in a thread, in order.

    ``trainer.reset(seed=1)`` returns a future at once, so that the test itself can be
    the game; ``trainer.submit(function)`` does so with any function. ``trainer.env`` is
    the environment.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self._pool = ThreadPoolExecutor(1)
        self._futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``function`` after what was submitted before; return its future."""
        self._futures.append(self._pool.submit(function, *args, **kwargs))
        return self._futures[-1]

    def __getattr__(self, name: str) -> Callable[..., Future[Any]]:
        method = getattr(self.env, name)
        return lambda *args, **kwargs: self.submit(method, *args, **kwargs)

    def end(self) -> None:
        """Close the environment in the test's thread, and end the other."""
        self.env.close()
        self._pool.shutdown(cancel_futures=True)
        for future in self._futures:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                error.__traceback__ = None  # its frames hold the channel's memory


@contextmanager
def trainer(name: str, **options: Any) -> Iterator[Trainer]:
    """Make a ``ServerEnv`` that is closed at the end."""
    made = Trainer(rlay.ServerEnv(name, **options))
    try:
        yield made
    finally:
        made.end()


def result(future: Future[Any]) -> Any:
    """Wait for a trainer's call; return what it returned, or raise what it raised."""
    return future.result(LIMIT_S)
