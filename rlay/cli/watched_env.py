"""Environments whose other end was started for them, and may end too early."""

from collections.abc import Callable, Sequence
from typing import Any

from rlay.envs.client_env import ClientEnv
from rlay.envs.client_vector_env import ClientVectorEnv

Look = Callable[[], None]


class WatchedEnv(ClientEnv):
    """A ``ClientEnv`` that gives up waiting when the other end cannot come any more."""

    def __init__(self, name: str, look: Look, **options: Any) -> None:
        """Attach to a channel.

        Args:
            name: Of the channel.
            look: Called now and then while there is no such channel; raises where it
                is of no use to wait any longer.
            options: Of ``ClientEnv``.
        """
        self._look = look
        super().__init__(name, **options)

    def _look_while_waiting(self) -> None:
        self._look()


class WatchedVectorEnv(ClientVectorEnv):
    """A ``ClientVectorEnv`` that does the same."""

    def __init__(self, names: Sequence[str], look: Look, **options: Any) -> None:
        """Attach to channels; arguments as :class:`WatchedEnv`."""
        self._look = look
        super().__init__(names, **options)

    def _look_while_waiting(self) -> None:
        self._look()
