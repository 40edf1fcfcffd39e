"""Where a backend's environment comes from: an id, a factory, or an environment."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from rlay.envs.lane_vector_env import LaneVectorEnv
from rlay.errors import ChannelError

Target = str | gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any] | Callable[..., Any]


class EnvironmentSource:
    """Makes the environment, as often as it takes.

    Attributes:
        fixed: Whether there is one ready environment and no way to make another.
    """

    def __init__(
        self,
        target: Target,
        *,
        num_envs: int = 1,
        kwargs: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Take note of what to make.

        Args:
            target: An id, a factory, or an environment.
            num_envs: How many at once.
            kwargs: For the id or the factory.
            render_mode: For the id or the factory; None leaves it to the algorithm
                where there is an id.

        Raises:
            ValueError: The arguments do not go together.
        """
        self.fixed = isinstance(target, (gymnasium.Env, VectorEnv))
        if self.fixed and (kwargs or render_mode):
            raise ValueError("kwargs and render_mode are for an id or a factory")
        if isinstance(target, gymnasium.Env) and num_envs != 1:
            raise ValueError(
                f"num_envs={num_envs} needs an id or a factory, not one environment"
            )
        if isinstance(target, VectorEnv):
            if num_envs not in (1, target.num_envs):
                raise ValueError(
                    f"num_envs={num_envs}, but the vector environment has "
                    f"{target.num_envs}"
                )
            num_envs = target.num_envs
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs}: at least 1")
        self._target = target
        self.num_envs = num_envs
        self._kwargs = kwargs or {}
        self._render_mode = render_mode

    @property
    def vector(self) -> bool:
        """Whether a vector environment is made."""
        return self.num_envs > 1 or isinstance(self._target, VectorEnv)

    @property
    def picks_mode(self) -> bool:
        """Whether the algorithm may pick the render mode."""
        return isinstance(self._target, str) and self._render_mode is None

    def make(
        self, render_mode: str | None = None, autoreset_mode: str | None = None
    ) -> Any:
        """Return the environment, or a vector environment over ``num_envs`` of them.

        Args:
            render_mode: The algorithm's, where it may pick one.
            autoreset_mode: The algorithm's, for a batch.
        """
        if self.fixed:
            return self._target
        mode = self._render_mode
        if mode is None and self.picks_mode:
            mode = render_mode
        if not self.vector:
            return self._make_one(mode)
        return LaneVectorEnv(
            [lambda: self._make_one(mode)] * self.num_envs,
            autoreset_mode=AutoresetMode(autoreset_mode or AutoresetMode.NEXT_STEP),
        )

    def _make_one(self, render_mode: str | None) -> Any:
        kwargs = dict(self._kwargs)
        if render_mode is not None:
            kwargs["render_mode"] = render_mode
        if isinstance(self._target, str):
            return gymnasium.make(self._target, **kwargs)
        made = self._target(**kwargs)  # type: ignore[operator]
        if not isinstance(made, gymnasium.Env):
            raise TypeError(f"the factory returned {made!r}, not a gymnasium.Env")
        return made

    def __repr__(self) -> str:
        """Show what is made."""
        return f"{self._target!r}"


def load_target(text: str) -> Target:
    """Return what a target on a command line names.

    Args:
        text: A Gymnasium id, ``module:ID``, or ``module:callable`` (which returns an
            environment). The current directory is importable.

    Raises:
        ChannelError: There is nothing of that name; the message says what was tried.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module_name, colon, rest = text.partition(":")
    if not colon:
        _check_id(text)
        return text
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ChannelError(
            f"{text!r}: module {module_name!r} cannot be imported from {here}: {error}"
        ) from error
    found: Any = module
    for part in rest.split("."):
        found = getattr(found, part, None)
    if callable(found) or isinstance(found, (gymnasium.Env, VectorEnv)):
        return found  # type: ignore[no-any-return]
    _check_id(rest, f"module {module_name!r} has no callable {rest!r}, and ")
    return rest


def _check_id(text: str, prefix: str = "") -> None:
    try:
        gymnasium.spec(text)
    except (gymnasium.error.Error, ValueError) as error:
        raise ChannelError(
            f"{text!r}: {prefix}Gymnasium knows no such id ({error}). Name an id, "
            "module:ID of a module that registers it, or module:callable"
        ) from error
