"""The environment of the demo behind two bridges."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rlay.cli.machines import machines
from rlay.processes.served import ServeCommand

_CHANNEL: Final = "demo"


@contextmanager
def environment_behind_bridges(target: str) -> Iterator[Any]:
    """Serve an environment on one "machine", and give a ``ClientEnv`` on another.

    Nothing is left afterwards.

    Args:
        target: What to serve, as for ``rlay serve``.

    Raises:
        NotStarted: It does not work here; the message says why. Nothing is left.
        Failed: A program did not end as it should.
    """
    from rlay.cli.watched_env import WatchedEnv

    with machines("rlay-demo-") as played:
        played.start_bridges()
        played.serve("environment", ServeCommand(target, played.far), _CHANNEL)
        env = played.attach(
            lambda look, limit_s: WatchedEnv(
                _CHANNEL, look, directory=played.near, connect_timeout=limit_s
            )
        )
        try:
            yield env
        finally:
            env.close()
        played.end_in_order()
