"""``ServerEnv``: the algorithm is here, a game that owns its loop asks elsewhere."""

import contextlib
import os
from typing import Any

import gymnasium

from rlay.envs.algorithm_end import Step
from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.display import backend_mode, mode_mismatch
from rlay.envs.faults import reset_needed
from rlay.envs.game_host import (
    GameHost,
    demanded,
    demands_met,
    error_of,
    refusal_of,
)
from rlay.envs.remote_env import RemoteEnv, channel_name, given_arguments
from rlay.envs.server_link import ServerLink
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
from rlay.errors import (
    EnvLost,
    PeerLost,
    RLayError,
)
from rlay.processes.launch import LaunchWish
from rlay.protocol.greeting import EnvironmentFacts, Refusal, Wishes


class ServerEnv(RemoteEnv):
    """An environment whose game drives itself and asks for decisions.

    Returns from its constructor as soon as the channel exists; the game joins when it
    starts. Only the spaces, ``metadata``, :meth:`reset` and
    :meth:`wait_until_connected` wait for it.

    Example::

        env = rlay.ServerEnv("game")
        observation, info = env.reset(seed=0)     # waits for the game
        observation, reward, terminated, truncated, info = env.step(action)
    """

    _entry_id = "rlay/ServerEnv-v0"
    _entry_point = "rlay.envs.registration:make_server_env"

    def __init__(
        self,
        name: str | None = None,
        *,
        observation_space: gymnasium.Space[Any] | None = None,
        action_space: gymnasium.Space[Any] | None = None,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        reset_timeout: float | None = DEFAULT_RESET_S,
        step_timeout: float | None = DEFAULT_STEP_S,
        close_timeout: float | None = DEFAULT_CLOSE_S,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        launch: LaunchWish | None = None,
        render_mode: str | None = None,
        copy: bool = True,
        check_bounds: bool = False,
    ) -> None:
        """Make the channel.

        Args:
            name: Of the channel, or its address at a bridge, ``tcp://host:port/name``;
                None for ``$RLAY_CHANNEL``.
            observation_space: Demanded of the game, or None for whatever it has.
            action_space: Demanded of the game, or None for whatever it has.
            connect_timeout: Seconds to wait for the game, where something needs it;
                and here for the bridge of an address.
            reset_timeout: Seconds to wait for a first observation.
            step_timeout: Seconds to wait for the game's next decision point.
            close_timeout: Unused: :meth:`close` does not wait for the game.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            launch: A game to start, and to end with this environment: a command, or
                a dict of the arguments of ``rlay.launch``. None: nothing is started.
            render_mode: Wanted; as in ``ClientEnv``, but the game's own is not
                changed: a game whose mode does not do is refused.
            copy: Whether observations are copies, or views as in ``ClientEnv``.
            check_bounds: Whether each observation must lie within its space.

        Raises:
            ChannelBusy: Another trainer has the name.
            ChannelError: The channel cannot be made, or the bridge of ``listen`` did
                not start; the message says why.
            ConnectTimeout: There is no bridge at the address.
            AuthError: The bridge and this end do not trust each other; or ``listen``
                can be reached by others, and there is no token or TLS.
            SpaceMismatch: A demanded space cannot travel.
            LaunchFailed: What was to be launched cannot be executed.
        """
        arguments = given_arguments(locals(), ServerEnv)
        timeouts = Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout)
        super().__init__(
            channel_name(name, launch=launch),
            arguments,
            timeouts,
            directory=directory,
            listen=listen,
            render_mode=render_mode,
            copy=copy,
            check_bounds=check_bounds,
        )
        self._wishes = Wishes(
            num_envs=1,
            observation_space=demanded(observation_space),
            action_space=demanded(action_space),
        )
        if observation_space is not None and action_space is not None:
            self._spaces = observation_space, action_space
        self._metadata: dict[str, Any] | None = None
        self._episode_over = [False]  # shared with the step, which must not know us
        self._host: GameHost | None = None
        with self._bridge.starting():
            self._host = GameHost(
                self.name, directory, self._wishes, timeouts, copy=self._copy
            )
            try:
                self._prepare(launch, self.name, directory).start()
            except BaseException:
                self._host.close()
                raise

    @property
    def metadata(self) -> dict[str, Any]:
        """The game's metadata; waits for the game where it has not joined yet."""
        if self._metadata is None:
            self._wait_for_facts()
        assert self._metadata is not None  # noqa: S101 - set with the facts
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: dict[str, Any]) -> None:
        self._metadata = metadata

    @property
    def connected(self) -> bool:
        """Whether a game is in a session with this environment; never waits."""
        return self._link is not None and not self._link.over

    def wait_until_connected(self) -> None:
        """Wait for the game, up to ``connect_timeout``.

        Raises:
            ConnectTimeout: It did not join in time.
        """
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            self._check_open()
            self._ready_link()
        finally:
            in_use[0] = False

    def _connect(self) -> None:
        assert self._host is not None  # noqa: S101 - only closed environments have none
        self._launch.start()
        self._host.refusal = None
        look = self._look_while_waiting if self._launch.names else None
        try:
            link = self._host.welcome(self._judge, look)
        except RLayError as error:
            raise self._launch.explained(error) from error.__cause__
        self._launch.attached()
        self._metadata = dict(link.facts.metadata)
        self._attached(link)

    def _look_while_waiting(self) -> None:
        """Raise where it is of no use to wait for a launched game any longer."""
        if self._host is not None and self._host.refusal is not None:
            raise error_of(self._host.refusal)
        self._launch.look()

    def _judge(self, facts: EnvironmentFacts) -> Refusal | None:
        return refusal_of(
            demands_met(self._wishes, facts)
            or self._same_as_before(facts)
            or mode_mismatch(backend_mode(self._wanted_mode), facts.render_mode)
        )

    def _detach(self) -> None:
        self._link = None

    def _ready_link(self) -> AlgorithmLink:
        link = self._link
        if link is not None and not link.over:
            # A game that went away while nobody waited for it is no error: the next
            # one is a new environment, and this is the call that adopts it.
            try:
                link.channel.watch.check()
            except (PeerLost, RLayError):
                self._link = None
        return super()._ready_link()

    def _compiled_step(self, link: AlgorithmLink) -> Step:
        inner, over = link.compile_step(), self._episode_over

        def step(action: Any) -> Any:
            if over[0]:
                raise reset_needed("the episode is over")
            transition = inner(action)
            if transition[2] or transition[3]:
                over[0] = True
            return transition

        return step

    def _reset_over(self, link: AlgorithmLink, seed: Any, options: Any) -> Any:
        try:
            first = super()._reset_over(link, seed, options)
        except EnvLost as error:
            # That it was gone may show only now, where the next game takes its place:
            # from its first sign of life to its Hello it looks like the old one.
            if error.executed is not False:
                raise
            first = super()._reset_over(self._ready_link(), seed, options)
        self._episode_over[0] = False
        return first

    def _say_goodbye(self) -> None:
        host, self._host = self._host, None
        if host is None:
            return
        try:
            if isinstance(self._link, ServerLink) and not self._link.over:
                with contextlib.suppress(RLayError):
                    self._link.close()
        finally:
            host.close()

    def _let_go(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            host.close()
