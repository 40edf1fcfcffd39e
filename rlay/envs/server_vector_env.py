"""``ServerVectorEnv``: games that own their loops join, each with its lanes."""

import os
from typing import Any, Final

import gymnasium
from gymnasium.vector import AutoresetMode

from rlay.envs.game_host import demanded, error_of
from rlay.envs.game_lanes import GameLanes
from rlay.envs.game_places import GamePlaces
from rlay.envs.lanes import Lanes
from rlay.envs.remote_env import channel_name, given_arguments
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
from rlay.envs.vector_end import RemoteVectorEnv, vector_spec
from rlay.envs.vector_end import autoreset_mode as mode_of
from rlay.envs.vector_manner import Manner, OnLaneLost
from rlay.errors import RLayError
from rlay.processes.launch import LaunchWish
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.greeting import Wishes

_WAITED_FOR: Final = frozenset(
    {
        "num_envs",
        "single_observation_space",
        "single_action_space",
        "observation_space",
        "action_space",
    }
)


class ServerVectorEnv(RemoteVectorEnv):
    """A ``gymnasium.vector.VectorEnv`` whose games drive themselves.

    Its lanes are games that join by themselves: each with one environment, or with
    several on one clock, whose reports come together. All actions are sent before the
    first report is awaited. The three autoreset modes are RLay's business: the game's
    code is the same in all of them.

    Returns from its constructor as soon as its channels exist; games join when they
    start, in any order. Only :meth:`reset`, the spaces (and ``num_envs`` where it was
    not given) and :meth:`wait_until_connected` wait for them.

    Example::

        envs = rlay.ServerVectorEnv("game", num_envs=4)   # then start four games, each
        observations, infos = envs.reset(seed=0)          # with ClientBackend("game")
    """

    def __init__(
        self,
        name: str | None = None,
        num_envs: int | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        on_lane_lost: str = "raise",
        observation_space: gymnasium.Space[Any] | None = None,
        action_space: gymnasium.Space[Any] | None = None,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        reset_timeout: float | None = DEFAULT_RESET_S,
        step_timeout: float | None = DEFAULT_STEP_S,
        close_timeout: float | None = DEFAULT_CLOSE_S,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        launch: LaunchWish | None = None,
        copy: bool = True,
    ) -> None:
        """Make the channels that games join by.

        With ``num_envs`` these are ``name`` and ``name.0``, ``name.1`` ...; a
        ``ClientBackend`` that is given ``name`` takes one that is free. Those that are
        left over when all lanes are there are removed.

        Args:
            name: Of the channel, or its address at a bridge, ``tcp://host:port/name``;
                None for ``$RLAY_CHANNEL``.
            num_envs: How many environments the games must have together; None for
                those of the first game.
            autoreset_mode: When ended environments start again.
            on_lane_lost: What to do when a game leaves or dies. ``raise``: ``step``
                raises EnvLost, and :meth:`reset` waits for another one. ``truncate``:
                its lanes are reported as truncated, with the reason in
                ``infos["rlay"]``, in each step until a game has come in its place.
                ``wait``: they are truncated once, and the next step waits for a game
                in its place, ``connect_timeout`` at most.
            observation_space: Demanded, of one environment, or None.
            action_space: Demanded, of one environment, or None.
            connect_timeout: Seconds to wait for games.
            reset_timeout: Seconds to wait for first observations.
            step_timeout: Seconds to wait for the games' next decision points.
            close_timeout: Unused: closing does not wait for games.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            launch: A game to start, and to end with this environment: a command, or
                a dict of the arguments of ``rlay.launch``; ``num_envs`` instances of
                it, unless the dict says how many. None: nothing is started.
            copy: Whether observations are copies. If not, they are views, which the
                next step or reset overwrites; in SAME_STEP mode they are always copies.

        Raises:
            ValueError: A mode, or ``on_lane_lost``, is not known; or ``num_envs`` is
                less than 1.
            ChannelBusy: Another trainer has one of the names.
            ConnectTimeout: There is no bridge at the address.
            ChannelError: The bridge of ``listen`` did not start; AuthError: others
                could reach it, and there is no token or TLS.
            LaunchFailed: What was to be launched cannot be executed.
        """
        arguments = given_arguments(locals(), ServerVectorEnv)
        name = channel_name(name, launch=launch)
        super().__init__(
            name,
            vector_spec("rlay/ServerEnv-v0", "make_server_vector_env", arguments),
            OwnBridge(listen, name, directory),
        )
        if num_envs is not None and num_envs < 1:
            raise ValueError(f"num_envs={num_envs}: at least 1")
        self._mode = mode_of(autoreset_mode)
        self.metadata = {"autoreset_mode": self._mode}
        timeouts = Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout)
        copy = copy or self._mode is AutoresetMode.SAME_STEP
        self._manner = Manner(OnLaneLost(on_lane_lost), timeouts, copy)
        wishes = Wishes(
            vector=True,
            observation_space=demanded(observation_space),
            action_space=demanded(action_space),
        )
        if num_envs is not None:
            self.num_envs = num_envs
            if observation_space is not None and action_space is not None:
                self._set_spaces(observation_space, action_space, num_envs)
        self._lanes: Lanes | None = None
        self._places: GamePlaces | None = None
        with self._bridge.starting():
            self._places = GamePlaces(name, directory, wishes, timeouts, num_envs)
            try:
                self._prepare(launch, name, directory, num_envs).start()
            except BaseException:
                self._let_go()
                raise

    # ------------------------------------------------------------------ connection

    def __getattr__(self, name: str) -> Any:
        """Wait for the games, where something is asked for that they bring."""
        if name not in _WAITED_FOR:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        self.wait_until_connected()
        return self.__dict__[name]

    @property
    def connected(self) -> bool:
        """Whether games are in sessions with this environment; never waits."""
        return self._lanes is not None and not self._lanes.over

    @property
    def channels(self) -> tuple[str | None, ...]:
        """The name of the channel of each lane; None for a lane without a game."""
        if self._lanes is None:
            count: int = self.__dict__.get("num_envs", 0)
            return (None,) * count
        return self._lanes.channels

    def wait_until_connected(self) -> None:
        """Wait until enough games have joined, up to ``connect_timeout``.

        Raises:
            ConnectTimeout: They did not join in time.
        """
        with self._exclusively():
            self._joined_lanes()

    def _joined_lanes(self) -> Lanes:
        if self._lanes is None:
            assert self._places is not None  # noqa: S101 - only closed ones have none
            self._launch.start()
            self._places.forget_refusals()
            try:
                games = self._places.wait(self._look_while_waiting)
            except RLayError as error:
                raise self._launch.explained(error) from error.__cause__
            self._launch.attached()
            self._lanes = self._link = Lanes(
                games,
                self._places,
                self._mode,
                self._manner,
                GameLanes,
                tend=self._launch.look,
            )
            self._take_facts(self._lanes.facts)
            self.metadata = {**games[0].facts.metadata, "autoreset_mode": self._mode}
        return self._lanes

    def _look_while_waiting(self) -> None:
        """Raise where it is of no use to wait for launched games any longer."""
        if self._launch.names and self._places is not None:
            refusal = self._places.refusal
            if refusal is not None:
                raise error_of(refusal)
        self._launch.look()

    # ----------------------------------------------------------------------- reset

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those in ``options["reset_mask"]``.

        Waits for games where there are not enough yet. A game that has left since the
        last step is no error: the one that comes next is reset.

        Args:
            seed: One for all (then seed, seed + 1, ...), or one per environment.
            options: For the games; ``reset_mask`` is a bool array of shape (num_envs,).

        Returns:
            observations: An element of :attr:`observation_space`.
            infos: Gymnasium's vector infos.

        Raises:
            ValueError: Seeds or mask do not fit the number of environments.
            TypeError: The mask is no array of bool.
            gymnasium.error.ResetNeeded: There is a mask, but all must be reset: it is
                the first reset, or the last step has no result.
            ConnectTimeout: Games did not come in time.
            The errors of ``ServerEnv.reset``.
        """
        with self._exclusively():
            lanes = self._joined_lanes()
            lanes.drop_absent()
            result = lanes.reset(seed, options)
            self._step = lanes.step
            return result

    # ------------------------------------------------------------------- the end

    def close_extras(self, **kwargs: Any) -> None:
        """Tell the games, and remove the channels."""
        if self._forked:
            return
        lanes, self._lanes = self._lanes, None
        try:
            if lanes is not None:
                lanes.close()
        finally:
            self._forget()
            self._let_go()
            self._launch.close(friendly=True)
            self._bridge.end()  # last: it carries the goodbye

    def _let_go(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.close()
