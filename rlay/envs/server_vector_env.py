"""``ServerVectorEnv``: one game with several environments on one clock asks."""

import contextlib
import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate

from rlay.envs.algorithm_end import refuse
from rlay.envs.faults import reset_needed
from rlay.envs.remote_env import channel_name, given_arguments
from rlay.envs.server_env import GameHost, demanded, demands_met
from rlay.envs.server_link import ServerLink
from rlay.envs.spaces import mismatch
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
from rlay.envs.vector_end import RemoteVectorEnv, vector_spec
from rlay.envs.vector_end import autoreset_mode as mode_of
from rlay.envs.vector_resets import seeds_for, split_options
from rlay.errors import RLayError
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.greeting import EnvironmentFacts, Wishes


class ServerVectorEnv(RemoteVectorEnv):
    """A ``gymnasium.vector.VectorEnv`` whose game drives itself.

    The game reports all its environments at once and is told, per environment, to
    act or to reset. The three autoreset modes are RLay's business: the game's code is
    the same in all of them.

    Example::

        envs = rlay.ServerVectorEnv("game", num_envs=4)   # ClientBackend(num_envs=4)
        observations, infos = envs.reset(seed=0)          # waits for the game
    """

    def __init__(
        self,
        name: str | None = None,
        num_envs: int | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        observation_space: gymnasium.Space[Any] | None = None,
        action_space: gymnasium.Space[Any] | None = None,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        reset_timeout: float | None = DEFAULT_RESET_S,
        step_timeout: float | None = DEFAULT_STEP_S,
        close_timeout: float | None = DEFAULT_CLOSE_S,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        copy: bool = True,
    ) -> None:
        """Make the channel and, as a batch needs its spaces, wait for the game.

        Args:
            name: Of the channel, or its address at a bridge, ``tcp://host:port/name``;
                None for ``$RLAY_CHANNEL``.
            num_envs: How many environments the game must have; None for what it has.
            autoreset_mode: When ended environments start again.
            observation_space: Demanded, of one environment, or None.
            action_space: Demanded, of one environment, or None.
            connect_timeout: Seconds to wait for the game.
            reset_timeout: Seconds to wait for first observations.
            step_timeout: Seconds to wait for the game's next decision point.
            close_timeout: Unused: closing does not wait for the game.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            copy: Whether observations are copies, or views as in ``ClientEnv``; in
                SAME_STEP mode they are always copies.

        Raises:
            ConnectTimeout: The game did not join in time.
            ChannelBusy: Another trainer has the name.
            ChannelError: The bridge of ``listen`` did not start; AuthError: others
                could reach it, and there is no token or TLS.
        """
        arguments = given_arguments(locals(), ServerVectorEnv)
        name = channel_name(name)
        super().__init__(
            name,
            vector_spec("rlay/ServerEnv-v0", "make_server_vector_env", arguments),
            OwnBridge(listen, name, directory),
        )
        self._mode = mode_of(autoreset_mode)
        # A step of two messages would overwrite the view of the step before it.
        copy = copy or self._mode is AutoresetMode.SAME_STEP
        timeouts = Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout)
        self._wishes = Wishes(
            vector=True,
            num_envs=num_envs,
            observation_space=demanded(observation_space),
            action_space=demanded(action_space),
        )
        self._ended: Any = None
        self._host: GameHost | None = None
        with self._bridge.starting():
            self._host = GameHost(name, directory, self._wishes, timeouts, copy=copy)
            try:
                self._connect()
            except BaseException:
                self._let_go()
                raise

    def _connect(self) -> None:
        assert self._host is not None  # noqa: S101 - only closed environments have none
        link = self._host.welcome(self._judge)
        self._take_facts(link.facts)
        self.metadata = {**link.facts.metadata, "autoreset_mode": self._mode}
        self._link = link
        self._step = refuse("reset() was not called in this session")

    def _judge(self, facts: EnvironmentFacts) -> RLayError | None:
        error = demands_met(self._wishes, facts)
        if error is None and self._facts is not None:
            before = self._facts
            error = mismatch(
                before.observation_space, facts.observation_space, "observation spaces"
            ) or mismatch(before.action_space, facts.action_space, "action spaces")
        return error

    # -------------------------------------------------------------------- reset

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those in ``options["reset_mask"]``.

        Args:
            seed: One for all (then seed, seed + 1, ...), or one per environment.
            options: For the game; ``reset_mask`` is a bool array of shape (num_envs,).

        Returns:
            observations: An element of :attr:`observation_space`.
            infos: Gymnasium's vector infos.

        Raises:
            ValueError: Seeds or mask do not fit the number of environments.
            TypeError: The mask is no array of bool.
            gymnasium.error.ResetNeeded: There is a mask, but all must be reset: it is
                the first reset, or the last step has no result.
            The errors of ``ServerEnv.reset``.
        """
        with self._exclusively():
            link = self._living_link()
            seeds = seeds_for(seed, self.num_envs)
            options, mask = split_options(options, self.num_envs)
            if mask is not None and self._step != self._advance:
                raise reset_needed(
                    "reset_mask names some of the environments, and the others have "
                    "no known state"
                )
            observations, infos = link.reset(seeds, options, mask)
            if mask is None:
                self._ended = np.zeros(self.num_envs, dtype=np.bool_)
            else:
                self._ended = self._ended & ~mask
            self._step = self._advance
            return observations, self._vector_infos(infos, mask)

    def _living_link(self) -> ServerLink:
        link = self._link
        if isinstance(link, ServerLink) and not link.over:
            try:
                link.channel.watch.check()
            except RLayError:
                self._link = None
        if self._link is None or self._link.over:
            self._connect()
        assert isinstance(self._link, ServerLink)  # noqa: S101 - connected above
        return self._link

    # --------------------------------------------------------------------- step

    def _advance(self, actions: Any) -> Any:
        assert isinstance(self._link, ServerLink)  # noqa: S101 - reset() set it
        ended = self._ended
        if self._mode is AutoresetMode.DISABLED and ended.any():
            raise AssertionError(
                f"environments {np.flatnonzero(ended).tolist()} have ended: reset them "
                "with options={'reset_mask': ...} (autoreset_mode is DISABLED)"
            )
        mask = ended if self._mode is AutoresetMode.NEXT_STEP and ended.any() else None
        self._link.step_send(actions, mask)
        transition = self._link.step_wait()
        observations, rewards, terminations, truncations, infos = transition
        self._ended = np.logical_or(terminations, truncations)
        if self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            observations, vector_infos = self._join(observations, infos)
        else:
            vector_infos = self._vector_infos(infos, None)
        return observations, rewards, terminations, truncations, vector_infos

    def _join(self, observations: Any, infos: Any) -> tuple[Any, dict[str, Any]]:
        """Reset what ended, and put both reports together as Gymnasium does."""
        assert isinstance(self._link, ServerLink)  # noqa: S101 - the caller has it
        mask = self._ended
        first, reset_infos = self._link.reset([None] * self.num_envs, None, mask)
        finals = list(iterate(self.observation_space, observations))
        joined: dict[str, Any] = {}
        for index in range(self.num_envs):
            info = _lane(infos, index)
            if mask[index]:
                final = {"final_obs": finals[index], "final_info": info}
                joined = self._add_info(joined, final, index)
                info = _lane(reset_infos, index)
            joined = self._add_info(joined, info, index)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        return first, joined

    def _vector_infos(self, infos: Any, mask: Any) -> dict[str, Any]:
        """Return Gymnasium's form of one info per environment."""
        joined: dict[str, Any] = {}
        for index in range(self.num_envs):
            if mask is None or mask[index]:
                joined = self._add_info(joined, _lane(infos, index), index)
        return joined

    # ------------------------------------------------------------------- the end

    def close_extras(self, **kwargs: Any) -> None:
        """Tell the game, and remove the channel."""
        if self._forked:
            return
        link = self._link
        try:
            if isinstance(link, ServerLink) and not link.over:
                with contextlib.suppress(RLayError):  # it may have gone by itself
                    link.close()
        finally:
            self._forget()
            self._let_go()
            self._bridge.end()  # last: it carries the goodbye

    def _let_go(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            host.close()


def _lane(infos: Any, index: int) -> dict[str, Any]:
    """Return the info of one environment: infos are a list, or nothing."""
    if isinstance(infos, (list, tuple)) and index < len(infos):
        return infos[index] or {}
    return {}
