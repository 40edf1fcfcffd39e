"""``ClientVectorEnv``: many environments on one channel, stepped as one batch."""

import os
from typing import Any

from gymnasium.vector import AutoresetMode

from rlay.envs.client_env import Attachment, attach_client
from rlay.envs.display import backend_mode
from rlay.envs.remote_env import channel_name, given_arguments
from rlay.envs.spaces import mismatch
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
from rlay.envs.vector_end import (
    RemoteVectorEnv,
    describe_mode,
    vector_spec,
)
from rlay.envs.vector_end import (
    autoreset_mode as mode_of,
)
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.greeting import Wishes


class ClientVectorEnv(RemoteVectorEnv):
    """A ``gymnasium.vector.VectorEnv`` that a ``ServerBackend`` holds elsewhere.

    One message carries all actions, one all transitions. The backend runs
    Gymnasium's own ``SyncVectorEnv``, so autoreset, seeds, masks and infos are its.

    Example::

        envs = rlay.ClientVectorEnv("cartpole")   # rlay serve ... --num-envs 8
        observations, infos = envs.reset(seed=0)
        observations, rewards, terminations, truncations, infos = envs.step(actions)
    """

    def __init__(
        self,
        name: str | None = None,
        num_envs: int | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        reset_timeout: float | None = DEFAULT_RESET_S,
        step_timeout: float | None = DEFAULT_STEP_S,
        close_timeout: float | None = DEFAULT_CLOSE_S,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        render_mode: str | None = None,
        copy: bool = True,
    ) -> None:
        """Attach to a channel that carries a batch of environments.

        Args:
            name: Of the channel, or its address at a bridge, ``tcp://host:port/name``;
                None for ``$RLAY_CHANNEL``.
            num_envs: How many environments it must carry; None for what there is.
            autoreset_mode: A backend of ids or factories adopts it; one that holds a
                ready vector environment has its own, see ``metadata``.
            connect_timeout: Seconds to wait for the channel and the greeting.
            reset_timeout: Seconds to wait for first observations.
            step_timeout: Seconds to wait for transitions.
            close_timeout: Seconds to wait for the environments to close.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            render_mode: Wanted, where the backend was given an id and no mode.
            copy: Whether observations are copies, or views as in ``ClientEnv``.

        Raises:
            ConnectTimeout: No channel, or no greeting, in time.
            ChannelBusy: The channel has a client; the message names it.
            SpaceMismatch: The channel does not carry ``num_envs`` environments.
            ChannelError: The bridge of ``listen`` did not start; AuthError: others
                could reach it, and there is no token or TLS.
        """
        arguments = given_arguments(locals(), ClientVectorEnv)
        name = channel_name(name, group=True)
        super().__init__(
            name,
            vector_spec("rlay/ClientEnv-v0", "make_client_vector_env", arguments),
            OwnBridge(listen, name, directory),
        )
        self._timeouts = Timeouts(
            connect_timeout, reset_timeout, step_timeout, close_timeout
        )
        self._directory = directory
        self._copy = copy
        self._wishes = Wishes(
            render_mode=backend_mode(render_mode),
            autoreset_mode=mode_of(autoreset_mode).value,
            vector=True,
            num_envs=num_envs,
        )
        self._attachment: Attachment | None = None
        with self._bridge.starting():
            self._connect()

    def _connect(self) -> None:
        attachment = attach_client(
            self.name,
            self._directory,
            self._timeouts,
            self._wishes,
            copy=self._copy,
            look=self._look_while_waiting,
        )
        facts = attachment.link.facts
        if self._facts is not None:
            error = mismatch(
                self._facts.observation_space,
                facts.observation_space,
                "observation spaces",
            ) or mismatch(self._facts.action_space, facts.action_space, "action spaces")
            if error is not None:
                attachment.let_go()
                raise error
        self._take_facts(facts)
        self.metadata = {**facts.metadata, "autoreset_mode": describe_mode(facts)}
        self._attachment = attachment
        self._link = attachment.link

    def _look_while_waiting(self) -> None:
        """Raise where it is of no use to wait for the channel any longer."""

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those in ``options["reset_mask"]``.

        Args:
            seed: One for all (then seed, seed + 1, ...), or one per environment.
            options: For the environments; ``reset_mask`` is a bool array of shape
                (num_envs,).

        Returns:
            observations: An element of :attr:`observation_space`.
            infos: Gymnasium's vector infos.

        Raises:
            The errors of ``ClientEnv.reset``.
        """
        with self._exclusively():
            if self._link is not None and self._link.over:
                self._let_go()
            if self._link is None:
                self._connect()
            assert self._link is not None  # noqa: S101 - connected above
            result = self._link.reset(seed, options)
            self._step = self._link.compile_step()
            return result

    def close_extras(self, **kwargs: Any) -> None:
        """Tell the backend, and leave the channel."""
        attachment, self._attachment = self._attachment, None
        try:
            if attachment is not None and not self._forked:
                attachment.say_goodbye()
        finally:
            self._forget()
            self._bridge.end()  # last: it carries the goodbye

    def _let_go(self) -> None:
        attachment, self._attachment = self._attachment, None
        self._link = None
        if attachment is not None:
            attachment.let_go()
