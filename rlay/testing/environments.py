"""Environments that make faults of delivery visible.

Three environments to test a channel, a bridge, a wrapper or a client with. None of
them is registered with Gymnasium; they are made directly, or by
``rlay serve rlay.testing.environments:HashChainEnv``.

- :class:`HashChainEnv` is the oracle for the order of steps. Its state depends on
  every action since the reset, so that a step that was lost, run twice or run out of
  turn changes every observation, reward and hash that follows.
- :class:`EchoEnv` is the oracle for values. It returns each action as the observation,
  for any space, and each reset's seed and options as the info.
- :class:`ScriptedEnv` is made of functions, for everything that an environment should
  not do.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["EchoEnv", "HashChainEnv", "ScriptedEnv", "chain_hash", "chain_start"]

HASH_BYTES = 32
"""Length of a state of the chain: SHA-256."""

_REWARD_SCALE = 2.0**-64
"""Maps the first eight bytes of a state into [0, 1]."""

Transition = tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]
Beginning = tuple[Any, dict[str, Any]]


def chain_start(seed: int) -> bytes:
    """Return the state in which an episode seeded with ``seed`` begins.

    It is the SHA-256 of the seed's decimal digits in ASCII, so that a program in any
    language can compute it.

    Args:
        seed: A non-negative integer of any size.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(str(seed).encode("ascii")).digest()


def chain_hash(state: bytes, actions: Iterable[bytes]) -> bytes:
    """Return the state that is reached from ``state`` by ``actions``, in order.

    Args:
        state: 32 bytes, as :func:`chain_start` returns them.
        actions: The bytes of each action, as :meth:`HashChainEnv.action_bytes` returns
            them.

    Returns:
        32 bytes: for each action the SHA-256 of the state followed by the action.
    """
    for action in actions:
        state = hashlib.sha256(state + action).digest()
    return state


class HashChainEnv(gymnasium.Env[NDArray[np.uint8], Any]):
    """An environment whose state is the hash of everything that was done to it.

    A reset with a seed begins at :func:`chain_start`; one without a seed begins at the
    SHA-256 of the previous episode's beginning, so that a lost or doubled reset shows
    as well. A step replaces the state by ``SHA-256(state || action)``. The observation
    is the state, the reward a number made of it. Compare two runs, or compare one with
    :func:`chain_hash`, which needs no environment.

    Info has the same keys after a reset and after a step: ``hash`` (the state in
    hexadecimal) and ``steps`` (since the reset).

    A step after the end of an episode is a step like any other; ``terminated`` stays
    True.

    Attributes:
        observation_space: ``Box(0, 255, (32,), uint8)``.
        action_space: The space that was given.
        state: The state, 32 bytes; empty before the first reset.
        resets: How often it was reset.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (as Gymnasium's)

    def __init__(
        self,
        episode_length: int | None = 100,
        action_space: spaces.Space[Any] | None = None,
    ) -> None:
        """Make the environment.

        Args:
            episode_length: ``terminated`` becomes True at this step, at least 1; None
                never ends an episode.
            action_space: A Discrete, MultiDiscrete, MultiBinary or Box; None is
                ``Discrete(256)``.

        Raises:
            ValueError: ``episode_length`` is below 1.
            TypeError: The action space is of another kind, whose elements have no
                bytes of their own. :class:`EchoEnv` takes any space.
        """
        if episode_length is not None and episode_length < 1:
            raise ValueError(f"episode_length is at least 1, got {episode_length}")
        if action_space is None:
            action_space = spaces.Discrete(256)
        if action_space.dtype is None or action_space.dtype.kind not in "biuf":
            raise TypeError(
                f"HashChainEnv hashes the bytes of an array or a number; an element "
                f"of {action_space} is neither. EchoEnv takes any space."
            )
        self.observation_space = spaces.Box(0, 255, (HASH_BYTES,), np.uint8)
        self.action_space = action_space
        self.episode_length = episode_length
        self.state = b""
        self._start = b""
        self.resets = 0
        self._steps = 0

    def action_bytes(self, action: Any) -> bytes:
        """Return the bytes by which ``action`` enters the chain.

        Args:
            action: An element of the action space; anything that ``contains`` accepts.

        Returns:
            Its value in the space's dtype, C order, little-endian: 8 bytes for an
            element of ``Discrete(256)``.

        Raises:
            ValueError: ``action`` is not an element of the action space.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not an element of {self.action_space}")
        dtype = np.dtype(self.action_space.dtype).newbyteorder("<")
        return np.asarray(action).astype(dtype).tobytes()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Where the chain begins; None continues the chain of beginnings.
            options: Not used.

        Returns:
            observation: The state, shape (32,), uint8.
            info: ``hash`` and ``steps`` (0).
        """
        super().reset(seed=seed)
        if seed is not None:
            self._start = chain_start(seed)
        elif self._start:
            self._start = hashlib.sha256(self._start).digest()
        else:
            self._start = hashlib.sha256(self.np_random.bytes(HASH_BYTES)).digest()
        self.state = self._start
        self._steps = 0
        self.resets += 1
        return self._observation(), self._info()

    def step(
        self, action: Any
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hash ``action`` into the state.

        Args:
            action: An element of the action space.

        Returns:
            observation: The new state, shape (32,), uint8.
            reward: The first 8 bytes of the state, little-endian, over 2**64: a float
                in [0, 1].
            terminated: Whether ``episode_length`` is reached.
            truncated: False.
            info: ``hash`` and ``steps``.

        Raises:
            gymnasium.error.ResetNeeded: There was no reset yet. Nothing changed.
            ValueError: ``action`` is not in the action space. Nothing changed.
        """
        if not self.resets:
            raise gymnasium.error.ResetNeeded("reset() comes before the first step()")
        self.state = chain_hash(self.state, (self.action_bytes(action),))
        self._steps += 1
        reward = int.from_bytes(self.state[:8], "little") * _REWARD_SCALE
        ended = self.episode_length is not None and self._steps >= self.episode_length
        return self._observation(), reward, ended, False, self._info()

    def _observation(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.state, np.uint8).copy()

    def _info(self) -> dict[str, Any]:
        return {"hash": self.state.hex(), "steps": self._steps}


class EchoEnv(gymnasium.Env[Any, Any]):
    """An environment that returns what it was given.

    The observation of a step is the action itself, whether or not it is an element of
    the space; the info of a reset holds its seed and its options. So whatever differs
    between what went in and what came out, the way there and back did it.

    Attributes:
        observation_space: The space that was given.
        action_space: A copy of it.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (as Gymnasium's)

    def __init__(
        self, space: spaces.Space[Any], *, step_info: dict[str, Any] | None = None
    ) -> None:
        """Make the environment.

        Args:
            space: The space of its observations and actions.
            step_info: A copy of it, whose values are the same objects, is returned
                as the info of every step; None is an empty dict.
        """
        self.observation_space = space
        self.action_space = copy.deepcopy(space)
        self.step_info: dict[str, Any] = {} if step_info is None else step_info
        # Sampled instead of the public space, whose generator stays as it was given.
        self._source = copy.deepcopy(space)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Beginning:
        """Begin an episode.

        Args:
            seed: Seeds the sample that is returned.
            options: Returned in the info.

        Returns:
            observation: A sample of the observation space.
            info: ``seed``, the ``repr`` of the seed, which may be larger than an
                integer that info can carry; and ``options``, the same object.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._source.seed(seed)
        self._steps = 0
        return self._source.sample(), {"seed": repr(seed), "options": options}

    def step(self, action: Any) -> Transition:
        """Return ``action`` as the observation.

        Args:
            action: Anything.

        Returns:
            observation: ``action``, the same object.
            reward: The number of steps since the reset, a float.
            terminated: False.
            truncated: False.
            info: A copy of ``step_info``.
        """
        self._steps += 1
        return action, float(self._steps), False, False, dict(self.step_info)


ResetFunction = Callable[["ScriptedEnv", int | None, dict[str, Any] | None], Beginning]
StepFunction = Callable[["ScriptedEnv", Any], Transition]
RenderFunction = Callable[["ScriptedEnv"], Any]
CloseFunction = Callable[["ScriptedEnv"], None]


class ScriptedEnv(gymnasium.Env[Any, Any]):
    """An environment made of functions.

    For faults: a step that raises, exits, hangs or returns what it should not. Each
    function gets the environment as its first argument and may keep what it likes in
    :attr:`memory`. What is not given behaves well: reset and step return samples of the
    observation space (seeded by the reset's seed), a reward of 0.0, no end and an empty
    info.

    Attributes:
        memory: A dict for the functions' own use.
        resets: How often ``reset`` was called.
        steps: How often ``step`` was called since the last reset.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (as Gymnasium's)

    def __init__(
        self,
        *,
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
        reset_fn: ResetFunction | None = None,
        step_fn: StepFunction | None = None,
        render_fn: RenderFunction | None = None,
        close_fn: CloseFunction | None = None,
        metadata: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Make the environment.

        Args:
            observation_space: None is ``Box(-1, 1, (2,), float32)``.
            action_space: None is ``Discrete(2)``.
            reset_fn: Called as ``reset_fn(env, seed, options)``, after the counters and
                ``np_random`` are set.
            step_fn: Called as ``step_fn(env, action)``, after ``steps`` was raised.
            render_fn: Called as ``render_fn(env)``; None is Gymnasium's own, which
                raises NotImplementedError.
            close_fn: Called as ``close_fn(env)``, at each close.
            metadata: As Gymnasium's; None is no render modes.
            render_mode: As Gymnasium's; not checked against ``metadata``.
        """
        if observation_space is None:
            observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        if metadata is not None:
            self.metadata = metadata
        self.render_mode = render_mode
        self.memory: dict[str, Any] = {}
        self.resets = 0
        self.steps = 0
        self._reset_fn = reset_fn
        self._step_fn = step_fn
        self._render_fn = render_fn
        self._close_fn = close_fn
        self._source = copy.deepcopy(observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Beginning:
        """Count the reset and return what ``reset_fn`` returns.

        Args:
            seed: Seeds ``np_random`` and the default observations.
            options: Passed on.

        Returns:
            observation: As ``reset_fn`` says; else a sample.
            info: As ``reset_fn`` says; else an empty dict.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._source.seed(seed)
        self.resets += 1
        self.steps = 0
        if self._reset_fn is not None:
            return self._reset_fn(self, seed, options)
        return self._source.sample(), {}

    def step(self, action: Any) -> Transition:
        """Count the step and return what ``step_fn`` returns.

        Args:
            action: Passed on.

        Returns:
            What ``step_fn`` says, checked by nobody; else a sample, 0.0, False, False
            and an empty dict.
        """
        self.steps += 1
        if self._step_fn is not None:
            return self._step_fn(self, action)
        return self._source.sample(), 0.0, False, False, {}

    def render(self) -> Any:
        """Return what ``render_fn`` returns.

        Raises:
            NotImplementedError: No ``render_fn`` was given.
        """
        if self._render_fn is not None:
            return self._render_fn(self)
        return super().render()

    def close(self) -> None:
        """Call ``close_fn``, if there is one."""
        if self._close_fn is not None:
            self._close_fn(self)
