"""``ClientVectorEnv``: many environments, on one channel or on several."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError
from gymnasium.vector import AutoresetMode

from rlay.envs.algorithm_end import refuse
from rlay.envs.candidates import candidates_for
from rlay.envs.display import backend_mode
from rlay.envs.gathering import Gathering, Welcomed
from rlay.envs.lanes import Lanes
from rlay.envs.remote_env import channel_name, given_arguments
from rlay.envs.replacement import GatheredChannels
from rlay.envs.sole_batch import SoleBatch
from rlay.envs.sole_lane import SoleLane
from rlay.envs.sole_session import SoleSession
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
from rlay.envs.vector_manner import Manner, OnLaneLost, mode_of_all
from rlay.errors import ChannelError, EnvLost, ResetTimeout, RLayError, StepTimeout
from rlay.processes.launch import LaunchWish
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.greeting import Wishes

_log = logging.getLogger("rlay.envs.client_vector_env")


class ClientVectorEnv(RemoteVectorEnv):
    """A ``gymnasium.vector.VectorEnv`` whose environments live elsewhere.

    Its lanes are those of one channel, or of several: channels with one environment
    and channels with a batch of them, on this machine, behind bridges or attached
    directly, in any mixture. All actions are sent before the first transition is
    awaited, so that latency is paid once per step. Seeds, masks, autoreset and infos
    are as in Gymnasium's ``SyncVectorEnv``.

    Example::

        envs = rlay.ClientVectorEnv("sim", num_envs=8)   # sim, sim.0, sim.1 ...
        observations, infos = envs.reset(seed=0)
        observations, rewards, terminations, truncations, infos = envs.step(actions)
    """

    def __init__(
        self,
        name: str | Sequence[str] | None = None,
        num_envs: int | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        on_lane_lost: str = "raise",
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        reset_timeout: float | None = DEFAULT_RESET_S,
        step_timeout: float | None = DEFAULT_STEP_S,
        close_timeout: float | None = DEFAULT_CLOSE_S,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        launch: LaunchWish | None = None,
        render_mode: str | None = None,
        copy: bool = True,
    ) -> None:
        """Attach to the channels that carry the environments.

        Args:
            name: The channel ``name`` and the channels ``name.<digits>``, in numeric
                order, whichever are free; or an address of such at a bridge,
                ``tcp://host:port/name``. A list of names and addresses stands for
                exactly those, in this order. None for ``$RLAY_CHANNEL``.
            num_envs: How many environments to wait for, in all; None for those that
                are there once the first channel is.
            autoreset_mode: Backends of ids or factories adopt it; of one that holds a
                ready vector environment it is the mode, see ``metadata``.
            on_lane_lost: What to do when lanes lose their environment. ``raise``:
                ``step`` raises EnvLost, and :meth:`reset` attaches to new ones.
                ``truncate``: the lanes are reported as truncated, with the reason in
                ``infos["rlay"]``, in each step until an environment has come in their
                place; it is reset, and they go on. Environments may leave and join
                while the vector runs. ``wait``: the lanes are truncated once, and the
                next step waits for environments in their place, ``connect_timeout``
                at most.
            connect_timeout: Seconds to wait for the channels and the greetings.
            reset_timeout: Seconds to wait for first observations.
            step_timeout: Seconds to wait for transitions.
            close_timeout: Seconds to wait for the environments to close.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            launch: A game to start, and to end with this environment: a command, or
                a dict of the arguments of ``rlay.launch``; ``num_envs`` instances of
                it, unless the dict says how many. None: nothing is started.
            render_mode: Wanted, where a backend was given an id and no mode.
            copy: Whether observations are copies. If not, they are views, which the
                next step or reset overwrites.

        Raises:
            ValueError: A mode, or ``on_lane_lost``, is not known.
            ConnectTimeout: The environments were not there in time.
            ChannelBusy: A bridge's only channel of the name has a client.
            SpaceMismatch: The channels carry another number of environments, or
                environments with different spaces.
            ChannelError: A channel is not one of a ``ServerBackend``; or the bridge of
                ``listen`` did not start. AuthError: others could reach it, and there is
                no token or TLS.
            LaunchFailed: What was to be launched cannot be executed, or ended before
                it attached; the message has its last lines.
        """
        arguments = given_arguments(locals(), ClientVectorEnv)
        self._names = _names(name, launch)
        shown = self._names if isinstance(self._names, str) else ", ".join(self._names)
        super().__init__(
            shown,
            vector_spec("rlay/ClientEnv-v0", "make_client_vector_env", arguments),
            OwnBridge(listen, shown, directory),
        )
        self._directory = directory
        self._wanted = num_envs
        self._mode = mode_of(autoreset_mode)
        self._manner = Manner(
            OnLaneLost(on_lane_lost),
            Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout),
            copy,
        )
        self._wishes = Wishes(
            render_mode=backend_mode(render_mode),
            autoreset_mode=self._mode.value,
            vector=True,
        )
        self._lanes: Lanes | SoleSession | None = None
        self._pending = False
        single = isinstance(self._names, str)
        instances = num_envs if single else len(self._names)
        with (
            self._bridge.starting(),
            self._prepare(launch, self._names, directory, instances).starting(),
        ):
            self._connect()

    # ------------------------------------------------------------------ connection

    def _connect(self) -> None:
        self._launch.start()
        try:
            self._gather()
        except RLayError as error:
            raise self._launch.explained(error) from error.__cause__
        self._launch.attached()

    def _gather(self) -> None:
        candidates = candidates_for(self._names, self._directory)
        gathering = Gathering(
            candidates,
            self._wishes,
            self._manner.timeouts.connect,
            wanted=self._wanted,
        )
        found = gathering.wait(self._look_while_waiting)
        try:
            lanes = self._lanes_of(found)
            self._check_before(lanes)
        except BaseException:
            for each in found:
                each.let_go()
            raise
        self._take_facts(lanes.facts)
        self.metadata = {**lanes.facts.metadata, "autoreset_mode": lanes.mode}
        if self._wanted is None:
            _log.info("%d environments are there: %s", self.num_envs, lanes.channels)
            self._wanted = self.num_envs  # from now on
        self._lanes = self._link = lanes

    def _lanes_of(self, found: list[Welcomed]) -> Lanes | SoleSession:
        mode = mode_of_all(found, self._mode)
        raises = self._manner.on_lost is OnLaneLost.RAISE
        if len(found) == 1 and raises:
            return self._sole(found[0], mode)
        source = GatheredChannels(
            candidates_for(self._names, self._directory),
            self._wishes,
            self._manner.timeouts.connect,
        )
        return Lanes(found, source, mode, self._manner, tend=self._launch.look)

    def _sole(self, found: Welcomed, mode: AutoresetMode) -> SoleSession:
        timeouts, copy = self._manner.timeouts, self._manner.copy
        if found.facts.vector:
            return SoleBatch(found.attach(timeouts, copy=copy), mode)
        return SoleLane(found.attach(timeouts, copy=False), mode, copy=copy)

    def _check_before(self, lanes: Lanes | SoleSession) -> None:
        """Refuse environments with other spaces than those before."""
        if self._facts is None:
            return
        before, now = self._facts, lanes.facts
        error = mismatch(
            before.observation_space, now.observation_space, "observation spaces"
        ) or mismatch(before.action_space, now.action_space, "action spaces")
        if error is not None:
            raise error

    def _look_while_waiting(self) -> None:
        """Raise where it is of no use to wait for the channels any longer."""
        self._launch.look()

    @property
    def channels(self) -> tuple[str | None, ...]:
        """The name of the channel of each lane; None for a lane that is lost."""
        return (None,) * self.num_envs if self._lanes is None else self._lanes.channels

    # ----------------------------------------------------------------------- reset

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
            AlreadyPendingCallError: A step was begun by :meth:`step_async`.
            The errors of ``ClientEnv.reset``.
        """
        with self._exclusively():
            self._check_not_pending()
            if isinstance(self._lanes, SoleSession) and self._lanes.over:
                self._let_go()
            if self._lanes is None:
                self._connect()
            assert self._lanes is not None  # noqa: S101 - connected above
            result = self._lanes.reset(seed, options, self._look_while_waiting)
            self._step = self._lanes.step
            return result

    # ------------------------------------------------------------- steps in halves

    def step_async(self, actions: Any) -> None:
        """Send the actions, and return without waiting; see :meth:`step_wait`.

        Raises:
            AlreadyPendingCallError: A step was begun before.
            The errors of :meth:`step` that concern the actions.
        """
        with self._exclusively():
            self._check_not_pending()
            if self._lanes is None or self._step != self._lanes.step:
                self._step(actions)  # it says why reset() comes first
            assert self._lanes is not None  # noqa: S101 - or the step has raised
            self._lanes.send(actions)
            self._pending = True

    def step_wait(self) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Wait for the transitions of the step that :meth:`step_async` began.

        Returns:
            As :meth:`step`.

        Raises:
            NoAsyncCallError: No step was begun.
            The errors of :meth:`step`.
        """
        with self._exclusively():
            if not self._pending or self._lanes is None:
                raise NoAsyncCallError(
                    "step_wait() was called without step_async() before", "step"
                )
            self._pending = False
            return self._lanes.receive()

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
            infos: Gymnasium's vector infos: arrays, and ``_key`` masks. Where lanes are
                lost ``infos["rlay"]["lost"]`` says why, for each of them.

        Raises:
            AlreadyPendingCallError: A step was begun by :meth:`step_async`.
            EnvLost: Environments are lost, and ``on_lane_lost`` is ``raise``; its
                ``lanes`` says which.
            ConnectTimeout: Nothing came in the place of lost environments in time.
            The errors of ``ClientEnv.step``. Where there are several channels they have
                a note of the lanes they concern, and :meth:`reset` comes next: the
                other lanes have stepped.
        """
        if self._pending:
            self._check_not_pending()
        return super().step(actions)

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        self._check_not_pending()
        return super()._ask(*args, **kwargs)

    def _check_not_pending(self) -> None:
        if self._pending:
            raise AlreadyPendingCallError(
                "a step was begun by step_async(): call step_wait() first", "step"
            )

    def _after_failure(self, error: BaseException) -> None:
        if not isinstance(error, AlreadyPendingCallError):
            self._pending = False
        if isinstance(error, EnvLost) and isinstance(self._lanes, SoleSession):
            error.lanes = tuple(range(self.num_envs))
        broken_off = (StepTimeout, ResetTimeout)
        if self._lanes is not None and (
            isinstance(error, broken_off) or not isinstance(error, Exception)
        ):
            self._lanes.unsettle()
        super()._after_failure(error)

    # ------------------------------------------------------------------- the end

    def close_extras(self, **kwargs: Any) -> None:
        """Tell the backends, and leave the channels."""
        lanes, self._lanes = self._lanes, None
        try:
            if lanes is not None and not self._forked:
                lanes.close()
        finally:
            self._pending = False
            self._forget()
            self._launch.close(friendly=True)
            self._bridge.end()  # last: it carries the goodbye

    def _let_go(self) -> None:
        lanes, self._lanes = self._lanes, None
        self._link = None
        self._step = refuse("the channels were left")
        if lanes is not None:
            lanes.let_go()


def _names(
    name: str | Sequence[str] | None, launch: LaunchWish | None
) -> str | tuple[str, ...]:
    """Return the name, or the names, as they were given and are allowed.

    Raises:
        ChannelError: One is not allowed, stands there twice, or there is none.
    """
    if name is None or isinstance(name, str):
        return channel_name(name, launch=launch)
    names = tuple(channel_name(each) for each in name)
    if not names:
        raise ChannelError("the list of names is empty: name at least one channel")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ChannelError(f"{', '.join(twice)}: named twice; each carries its own")
    return names
