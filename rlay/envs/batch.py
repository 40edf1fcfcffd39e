"""Several environments on one clock, behind one ``ClientBackend``."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from rlay.envs.decisions import Action, Reset


class EnvironmentBatch:
    """Environments that reset and step together, each with its own episodes.

    Attributes:
        envs: The environments.
        num_envs: How many there are.
    """

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        """Make the environments; where one cannot be made, close the others."""
        self.envs: list[gymnasium.Env[Any, Any]] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            for make in makers:
                self.envs.append(make())
            undo.pop_all()
        self.num_envs = len(self.envs)
        first = self.envs[0]
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(
            first.observation_space, self.num_envs
        )
        self.action_space = gymnasium.vector.utils.batch_space(
            first.action_space, self.num_envs
        )
        self.metadata = dict(first.metadata)
        self.render_mode = first.render_mode
        self.spec = None
        self._observations: list[Any] = [None] * self.num_envs

    def reset(self, decision: Reset) -> tuple[Any, list[dict[str, Any]]]:
        """Reset the environments in the mask.

        Returns:
            observations: Batched; those of the others are their last ones.
            infos: One dict per environment; empty for the others.
        """
        infos: list[dict[str, Any]] = [{} for _ in self.envs]
        seeds = decision.seed if isinstance(decision.seed, list) else None
        for index, env in enumerate(self.envs):
            if decision.mask is None or decision.mask[index]:
                seed = seeds[index] if seeds is not None else decision.seed
                self._observations[index], infos[index] = env.reset(
                    seed=seed, options=decision.options
                )
        return self._batched(), infos

    def step(self, decision: Action) -> tuple[Any, Any, Any, Any, list[dict[str, Any]]]:
        """Step the environments; those in the reset mask reset instead.

        Returns:
            observations, rewards, terminations, truncations: Batched.
            infos: One dict per environment.
        """
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        truncations = np.zeros(self.num_envs, dtype=np.bool_)
        infos: list[dict[str, Any]] = [{} for _ in self.envs]
        mask = decision.reset_mask
        actions = iterate(self.action_space, decision.action)
        for index, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if mask is not None and mask[index]:
                self._observations[index], infos[index] = env.reset()
                continue
            (
                self._observations[index],
                rewards[index],
                terminations[index],
                truncations[index],
                infos[index],
            ) = env.step(action)
        return self._batched(), rewards, terminations, truncations, infos

    def _batched(self) -> Any:
        space = self.single_observation_space
        out: Any = create_empty_array(space, n=self.num_envs, fn=np.zeros)
        return concatenate(space, self._observations, out)

    def render(self) -> tuple[Any, ...]:
        """Return a frame of each environment."""
        return tuple(env.render() for env in self.envs)

    def set_attr(self, name: str, value: Any) -> None:
        """Set an attribute: one value for all, or a list with one per environment.

        Raises:
            ValueError: The list is of another length. Nothing was set.
        """
        values = value if isinstance(value, (list, tuple)) else [value] * self.num_envs
        if len(values) != self.num_envs:
            raise ValueError(
                f"{len(values)} values were given for {self.num_envs} environments"
            )
        for env, item in zip(self.envs, values, strict=True):
            env.set_wrapper_attr(name, item)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return an attribute of each environment, or what its method returns."""
        found = [env.get_wrapper_attr(name) for env in self.envs]
        return tuple(f(*args, **kwargs) if callable(f) else f for f in found)

    def close(self) -> None:
        """Close the environments, all of them, whatever one of them raises."""
        with ExitStack() as closing:
            for env in self.envs:
                closing.callback(env.close)
