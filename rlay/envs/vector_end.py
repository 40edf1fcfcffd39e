"""What ``ClientVectorEnv`` and ``ServerVectorEnv`` have in common."""

import contextlib
from typing import Any, Protocol

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlay.envs.algorithm_end import (
    AlgorithmEnd,
    Session,
    closed_error,
    refuse_closed,
)
from rlay.envs.facts import RemoteSpec
from rlay.envs.faults import reset_needed
from rlay.envs.spaces import build
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.decisions import Operation
from rlay.protocol.greeting import EnvironmentFacts


def autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the mode that a name or a member stands for.

    Raises:
        ValueError: There is no such mode.
    """
    return mode if isinstance(mode, AutoresetMode) else AutoresetMode(mode)


class VectorSession(Session, Protocol):
    """What a vector has of the other end, or of several."""

    def call(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Ask every environment, and return what each said."""


class RemoteVectorEnv(AlgorithmEnd[VectorSession], VectorEnv[Any, Any, Any]):
    """Environments at the other end of a channel, or of several, stepped as one."""

    def __init__(self, name: str, spec: EnvSpec, bridge: OwnBridge) -> None:
        """Set everything up short of a connection."""
        self._set_up(name, bridge)
        self.spec = spec
        self._facts: EnvironmentFacts | None = None

    def _take_facts(self, facts: EnvironmentFacts) -> None:
        """Take over the facts of the first session: spaces stay the same objects."""
        if "observation_space" not in self.__dict__:
            self._set_spaces(
                build(facts.observation_space),
                build(facts.action_space),
                facts.num_envs,
            )
        self._facts = facts
        self.render_mode = facts.render_mode

    def _set_spaces(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)

    @property
    def remote_spec(self) -> RemoteSpec | None:
        """The spec of the environments at the other end, as a plain record."""
        return RemoteSpec.of(None if self._facts is None else self._facts.spec)

    # ------------------------------------------------------------------ stepping

    @contextlib.contextmanager
    def _exclusively(self) -> Any:
        """Let one thread in, and take note of what a failure means."""
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            self._check_open()
            yield
        except BaseException as error:
            self._after_failure(error)
            raise
        finally:
            in_use[0] = False

    def _check_open(self) -> None:
        if self.closed:
            raise closed_error(self.name)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all environments; all are asked before one is awaited.

        Args:
            actions: An element of :attr:`action_space`; any other encodable value
                travels as it is.

        Returns:
            observations: An element of :attr:`observation_space`.
            rewards: float64 of shape (num_envs,).
            terminations: bool of shape (num_envs,).
            truncations: bool of shape (num_envs,).
            infos: Gymnasium's vector infos: arrays, and ``_key`` masks.

        Raises:
            The errors of ``ClientEnv.step``.
        """
        # As _exclusively(), written out: of a step over mapped slots that is a tenth.
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            return self._step(actions)  # type: ignore[no-any-return]
        except BaseException as error:
            self._after_failure(error)
            raise
        finally:
            in_use[0] = False

    def _ask(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        with self._exclusively():
            if self._link is None or self._link.over:
                raise reset_needed(f"{name} needs living environments")
            return self._link.call(operation, name, args, kwargs)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return an allowed attribute of each environment, or its method's result.

        Raises:
            RemoteEnvError: The name is not in the backend's ``allow``, or the method
                raised.
        """
        return tuple(self._ask(Operation.CALL, name, args, kwargs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an allowed attribute of each environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an allowed attribute: one value for all, or a list of ``num_envs``."""
        self._ask(Operation.SET, name, (values,))

    def render(self) -> tuple[Any, ...] | None:
        """Return a frame of each environment."""
        frames = self._ask(Operation.RENDER, "render")
        return None if frames is None else tuple(frames)

    # ---------------------------------------------------------------- the others

    def __repr__(self) -> str:
        """Show channel and number of environments."""
        count = self.__dict__.get("num_envs", "?")  # a look that waits for nobody
        return f"<{type(self).__name__} {self.name!r} num_envs={count}>"

    def __del__(self) -> None:
        """Let go of the channel without waiting for anybody."""
        with contextlib.suppress(Exception):  # the constructor may have failed early
            if not self.closed and not self._forked:
                self._launch.let_go()
                self._let_go()

    def _forget(self) -> None:
        """Give up the session, and with it the mapped memory."""
        self._link = None
        self._step = refuse_closed(self.name)

    def _let_go(self) -> None:
        raise NotImplementedError


def vector_spec(entry_id: str, function: str, arguments: dict[str, Any]) -> EnvSpec:
    """Return how to make this vector environment again."""
    return EnvSpec(
        id=entry_id,
        vector_entry_point=f"rlay.envs.registration:{function}",
        disable_env_checker=True,
        kwargs=dict(arguments),
    )


def describe_mode(facts: EnvironmentFacts) -> AutoresetMode:
    """Return the autoreset mode that a backend announced."""
    return AutoresetMode(facts.autoreset_mode or AutoresetMode.NEXT_STEP)
