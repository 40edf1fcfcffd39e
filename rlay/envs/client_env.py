"""``ClientEnv``: the algorithm is here, the environment answers elsewhere."""

import os
from typing import Any

from rlay.envs.attachments import Attachment, attach_client
from rlay.envs.display import backend_mode
from rlay.envs.remote_env import RemoteEnv, channel_name, given_arguments
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
from rlay.errors import ChannelError, RLayError
from rlay.processes.launch import LaunchWish
from rlay.protocol.greeting import EnvironmentFacts, Wishes


class ClientEnv(RemoteEnv):
    """An environment that a ``ServerBackend`` holds in another process.

    The constructor waits until the channel is there and the backend has greeted.
    Gymnasium's wrappers, checkers and trainers take it for what it is: a
    ``gymnasium.Env``.

    Example::

        env = rlay.ClientEnv("cartpole")       # rlay serve CartPole-v1 --name cartpole
        observation, info = env.reset(seed=0)
        observation, reward, terminated, truncated, info = env.step(1)
        env.close()
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium
    _entry_id = "rlay/ClientEnv-v0"
    _entry_point = "rlay.envs.registration:make_client_env"

    def __init__(
        self,
        name: str | None = None,
        *,
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
        """Attach to a channel.

        Args:
            name: Of the channel, or of a group: ``n.*`` takes its first free
                channel; or an address at a bridge, ``tcp://host:port/name`` or
                ``tls://...``. None for ``$RLAY_CHANNEL``.
            connect_timeout: Seconds to wait for the channel and the greeting; None
                for ever.
            reset_timeout: Seconds to wait for a first observation.
            step_timeout: Seconds to wait for a transition.
            close_timeout: Seconds to wait for the environment to close.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            launch: A game to start, and to end with this environment: a command, or
                a dict of the arguments of ``rlay.launch``. None: nothing is started.
            render_mode: Wanted; the backend takes it if it was given an id and no
                mode. ``human`` over a backend that renders ``rgb_array`` opens a
                window here, ``rgb_array_list`` collects frames here.
            copy: Whether observations are copies. If not, they are read-only views
                into the slot, valid until the next but one step, reset, render or
                other call. With ``human`` and ``rgb_array_list`` always copies.
            check_bounds: Whether each observation must lie within its space.

        Raises:
            ConnectTimeout: No channel, or no greeting, in time.
            ChannelBusy: The channel has a client; the message names it.
            ChannelError: The channel cannot be used, or the bridge of ``listen`` did
                not start; the message says why.
            AuthError: The bridge of an address and this end do not trust each other;
                or ``listen`` can be reached by others, and there is no token or TLS.
            RemoteEnvError: The environment could not be made there.
            LaunchFailed: What was to be launched cannot be executed, or ended before
                it attached; the message has its last lines.
        """
        super().__init__(
            channel_name(name, group=True, launch=launch),
            given_arguments(locals(), ClientEnv),
            Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout),
            directory=directory,
            listen=listen,
            render_mode=render_mode,
            copy=copy,
            check_bounds=check_bounds,
        )
        self._attachment: Attachment | None = None
        with (
            self._bridge.starting(),
            self._prepare(launch, self.name, directory).starting(),
        ):
            self._connect()

    def _connect(self) -> None:
        self._launch.start()
        try:
            self._attach()
        except RLayError as error:
            raise self._launch.explained(error) from error.__cause__
        self._launch.attached()

    def _attach(self) -> None:
        wishes = Wishes(render_mode=backend_mode(self._wanted_mode))
        attachment = attach_client(
            self.name,
            self._directory,
            self._timeouts,
            wishes,
            copy=self._copy,
            look=self._look_while_waiting,
        )
        try:
            self._take_over(attachment.link.facts)
            self._attached(attachment.link)
        except BaseException:
            attachment.let_go()
            raise
        self._attachment = attachment

    def _look_while_waiting(self) -> None:
        """Raise where it is of no use to wait for the channel any longer."""
        self._launch.look()

    def _take_over(self, facts: EnvironmentFacts) -> None:
        error = self._same_as_before(facts)
        if error is not None:
            raise error
        if facts.num_envs > 1:
            raise ChannelError(
                f"channel {self.name!r} carries {facts.num_envs} environments: use "
                f"rlay.ClientVectorEnv({self.name!r})"
            )
        self.__dict__["metadata"] = dict(facts.metadata)

    def _detach(self) -> None:
        self._link = None
        if self._attachment is not None:
            self._attachment.let_go()
            self._attachment = None

    def _say_goodbye(self) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.say_goodbye()

    def _let_go(self) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.let_go()
