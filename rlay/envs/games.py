"""What a ``ClientBackend`` plays: an environment, or a loop of the user's own."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from gymnasium.vector.utils import batch_space

from rlay.envs.batch import EnvironmentBatch
from rlay.envs.environment_end import AllowedNames
from rlay.envs.facts import facts_of, sendable_part
from rlay.envs.sources import EnvironmentSource, Target
from rlay.envs.spaces import describe
from rlay.protocol.decisions import CallFields, Operation
from rlay.protocol.greeting import EnvironmentFacts


class EnvironmentGame:
    """An environment, or a batch of them, that ``run()`` steps.

    Attributes:
        env: The environment or the batch.
        num_envs: How many there are.
        facts: What the greeting says of it.
        contains: Whether an observation is in the space.
    """

    def __init__(
        self,
        env: Target,
        num_envs: int,
        *,
        kwargs: dict[str, Any] | None,
        render_mode: str | None,
        allow: tuple[str, ...],
    ) -> None:
        """Make the environment.

        Raises:
            ValueError: The arguments do not go together.
        """
        source = EnvironmentSource(env, kwargs=kwargs, render_mode=render_mode)
        if source.vector:
            raise ValueError(
                "a vector environment steps all at once; pass a factory of one "
                "environment and num_envs"
            )
        if num_envs > 1 and source.fixed:
            raise ValueError(
                f"num_envs={num_envs} needs an id or a factory, not one environment"
            )
        batched = num_envs > 1
        self.num_envs = num_envs
        self.env: Any = (
            EnvironmentBatch([source.make] * num_envs) if batched else source.make()
        )
        try:
            self.facts = facts_of(
                self.env, num_envs=num_envs, vector=batched, allow=allow
            )
        except BaseException:
            self.env.close()
            raise
        self.contains: Callable[[Any], bool] = self.env.observation_space.contains
        self._names = AllowedNames(self.env, self.facts.allow, vector=batched)

    def answer(self, call: CallFields) -> Any:
        """Answer a call of the trainer."""
        return self._names.answer(call)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


class LoopGame:
    """A loop of the user's own: spaces, and functions that the trainer may call.

    Attributes:
        env: None.
        num_envs: Environments on one clock.
        facts: What the greeting says of it.
        contains: Whether an observation is in the space.
    """

    env: Any = None

    def __init__(
        self,
        observation_space: gymnasium.Space[Any] | None,
        action_space: gymnasium.Space[Any] | None,
        num_envs: int,
        *,
        metadata: dict[str, Any] | None,
        render_mode: str | None,
        render: Callable[[], Any] | None,
        calls: Mapping[str, Callable[..., Any]] | None,
    ) -> None:
        """Take note of what the game is.

        Raises:
            ValueError: A space is missing.
            SpaceMismatch: A space cannot travel.
        """
        if observation_space is None or action_space is None:
            raise ValueError(
                "without an env, observation_space and action_space are needed"
            )
        self.num_envs = num_envs
        self._render = render
        self._calls = dict(calls or {})
        self.facts = EnvironmentFacts(
            describe(observation_space),
            describe(action_space),
            num_envs,
            sendable_part({"render_modes": [], **(metadata or {})}, "metadata"),
            render_mode,
            None,
            dict.fromkeys(self._calls, True),
            None,
            num_envs > 1,
        )
        if num_envs > 1:
            observation_space = batch_space(observation_space, num_envs)
        self.contains: Callable[[Any], bool] = observation_space.contains

    def answer(self, call: CallFields) -> Any:
        """Answer a call of the trainer.

        Raises:
            PermissionError: The game does not offer it.
        """
        if call.operation is Operation.RENDER:
            if self._render is None:
                raise PermissionError("the game passed no render=... function")
            return self._render()
        if call.operation is not Operation.CALL or call.name not in self._calls:
            raise PermissionError(
                f"{call.name!r} is not allowed: the game offers "
                f"{sorted(self._calls) or 'nothing'}"
            )
        return self._calls[call.name](*call.args, **call.kwargs)

    def close(self) -> None:
        """Do nothing: the game closes itself."""


Game = EnvironmentGame | LoopGame
