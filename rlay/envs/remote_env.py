"""What ``ClientEnv`` and ``ServerEnv`` have in common: a real ``gymnasium.Env``."""

import contextlib
import dataclasses
import inspect
import os
from typing import Any, ClassVar

import gymnasium
from gymnasium.envs.registration import EnvSpec

from rlay.envs.algorithm_end import (
    AlgorithmEnd,
    Refusal,
    Step,
    closed_error,
    refuse,
    refuse_closed,
)
from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.display import Display, display_for, makes_display
from rlay.envs.facts import RemoteSpec
from rlay.envs.faults import reset_needed
from rlay.envs.remote_attributes import RemoteAttributes
from rlay.envs.spaces import build, mismatch
from rlay.envs.timeouts import Timeouts
from rlay.errors import (
    ChannelError,
    SpaceMismatch,
)
from rlay.processes.launch import drawn_name
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.addresses import is_address, parse_address
from rlay.protocol.decisions import Operation
from rlay.protocol.greeting import EnvironmentFacts
from rlay.protocol.names import check_name, group_prefix


def channel_name(
    name: str | None, *, group: bool = False, launch: object = None
) -> str:
    """Return the channel's name or address; ``RLAY_CHANNEL`` where none is given.

    A game that is launched needs none: then one is drawn.

    Raises:
        ChannelError: There is none, or it is not allowed.
    """
    name = name if name is not None else os.environ.get("RLAY_CHANNEL")
    if name is None and launch is not None:
        name = drawn_name(launch)
    if name is None:
        raise ChannelError("no channel was named: pass name=..., or set RLAY_CHANNEL")
    if is_address(name):
        parse_address(name, group=group)
        return name
    if group and group_prefix(name):
        return name
    try:
        return check_name(name)
    except ChannelError as error:
        if not isinstance(name, str) or not {":", "/"} & set(name):
            raise
        raise ChannelError(
            f"{error}. If an address was meant, write tcp://HOST:PORT/NAME"
        ) from None


class RemoteEnv(AlgorithmEnd[AlgorithmLink], RemoteAttributes, gymnasium.Env[Any, Any]):
    """An environment whose dynamics live at the other end of a channel.

    Attributes:
        name: Of the channel.
        remote_spec: The spec of the environment at the other end, or None.
    """

    _entry_id: ClassVar[str] = ""
    _entry_point: ClassVar[str] = ""

    def __init__(
        self,
        name: str,
        arguments: dict[str, Any],
        timeouts: Timeouts,
        *,
        directory: str | os.PathLike[str] | None,
        listen: str | None,
        render_mode: str | None,
        copy: bool,
        check_bounds: bool,
    ) -> None:
        """Set everything up short of a connection."""
        self._set_up(name, OwnBridge(listen, name, directory))
        self._arguments = arguments
        self._timeouts = timeouts
        self._directory = directory
        self._wanted_mode = render_mode
        # A window or a collection takes a second message at each step, which would
        # overwrite the view of the step before it.
        self._copy = copy or makes_display(render_mode)
        self._check_bounds = check_bounds
        self._facts: EnvironmentFacts | None = None
        self._spaces: tuple[gymnasium.Space[Any], gymnasium.Space[Any]] | None = None
        self._display: Display | None = None
        self._spec: EnvSpec | None = None
        self._env_closed = False

    # ----------------------------------------------------------------- the core

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Send ``action``, wait for the transition that it causes, and return it.

        One request and one reply. The arrays returned are copies, valid for ever,
        unless the environment was made with ``copy=False``.

        Args:
            action: An element of :attr:`action_space`. Any other encodable value
                travels as it is, for the environment to answer or refuse.

        Returns:
            observation: An element of :attr:`observation_space`, with exactly its
                shape and dtype, C-contiguous and writeable.
            reward: The reward of this step, of the type that the environment gave.
            terminated: Whether the task reached a terminal state.
            truncated: Whether the episode was cut short, as by a time limit.
            info: What the remote environment returned; RLay adds at most the key
                ``rlay``.

        Raises:
            gymnasium.error.ResetNeeded: :meth:`reset` must be called first.
            gymnasium.error.InvalidAction: ``action`` cannot be encoded; the message
                names the path. Nothing was sent.
            RemoteEnvError: The remote ``step`` raised. The environment is as that
                left it.
            SpaceMismatch: The observation is not in the space that was promised.
            StepTimeout: No transition within ``step_timeout`` seconds. Only
                :meth:`reset` and :meth:`close` are allowed next.
            EnvLost: The other end is gone; ``executed`` says whether the step ran.
                :meth:`reset` attaches to a new environment of the same name.
            LocalProtocolError: Another thread is using the environment.
            ForkedError: This is a forked child.
        """
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            transition = self._step(action)
            if self._display is not None or self._check_bounds:
                self._look_at(transition)
        except BaseException as error:
            self._after_failure(error)
            raise
        finally:
            in_use[0] = False
        return transition  # type: ignore[no-any-return]

    def _look_at(self, transition: Any) -> None:
        if self._check_bounds:
            self._check_observation(transition[0])
        if self._display is not None:
            self._display.after_step()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode and return its first observation and info.

        After a time-out or an interrupted step the late transition is awaited
        first, and discarded. After a lost environment this attaches to a new one of
        the same name.

        Args:
            seed: For the environment's random numbers; an int of any size.
            options: For the environment; plain data and arrays.

        Returns:
            observation: An element of :attr:`observation_space`.
            info: What the remote environment returned.

        Raises:
            ResetTimeout: No observation within ``reset_timeout`` seconds.
            ConnectTimeout: No environment of this name within ``connect_timeout``.
            RemoteEnvError: The remote ``reset`` raised.
            EnvLost: The other end went away during the reset.
            SpaceMismatch: A new environment of this name has other spaces.
            LocalProtocolError: ``options`` cannot be encoded; nothing was sent.
        """
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            self._check_open()
            self._seed_locally(seed)
            link = self._ready_link()
            observation, info = self._reset_over(link, seed, options)
            if isinstance(self._step, Refusal):  # else it is compiled for this link
                self._step = self._compiled_step(link)
            if self._check_bounds:
                self._check_observation(observation)
            if self._display is not None:
                self._display.after_reset()
        except Exception:
            raise
        except BaseException as error:
            self._after_failure(error)
            raise
        finally:
            in_use[0] = False
        return observation, info

    def _reset_over(self, link: AlgorithmLink, seed: Any, options: Any) -> Any:
        try:
            return link.reset(seed, options)
        except Exception as error:
            self._after_failure(error)
            raise

    def _seed_locally(self, seed: Any) -> None:
        # ``np_random`` is local. A seed that is no seed is for the remote environment
        # to refuse, as it would in the same process.
        if seed is not None:
            with contextlib.suppress(Exception):
                super().reset(seed=seed)

    def _compiled_step(self, link: AlgorithmLink) -> Step:
        return link.compile_step()

    def _ready_link(self) -> AlgorithmLink:
        """Return a link that can reset, attaching anew where the last one is over."""
        if self._link is not None and self._link.over:
            self._detach()
        if self._link is None:
            self._connect_open()
        assert self._link is not None  # noqa: S101 - _connect sets it or raises
        return self._link

    def _connect_open(self) -> None:
        """Connect, unless another thread closes this environment meanwhile."""
        self._connect()
        if self._env_closed:
            self._let_go()
            self._link = None
            raise closed_error(self.name)

    def _connect(self) -> None:
        raise NotImplementedError

    def _detach(self) -> None:
        """Give up a session that is over."""
        raise NotImplementedError

    def _attached(self, link: AlgorithmLink) -> None:
        """Take over a new session whose spaces were compared with the last one's."""
        facts = link.facts
        if self._spaces is None:
            self._spaces = build(facts.observation_space), build(facts.action_space)
        self._facts = facts
        self._link = link
        self._step = refuse("reset() was not called in this session")
        if self._display is not None:
            self._display.close()
        self._display = display_for(
            self._wanted_mode, facts.render_mode, self._fetch_frame, facts.metadata
        )

    def _same_as_before(self, facts: EnvironmentFacts) -> SpaceMismatch | None:
        """Return the error that says how a new environment differs from the last."""
        if self._facts is None:
            return None
        return mismatch(
            self._facts.observation_space, facts.observation_space, "observation spaces"
        ) or mismatch(self._facts.action_space, facts.action_space, "action spaces")

    def _check_observation(self, observation: Any) -> None:
        if not self.observation_space.contains(observation):
            raise SpaceMismatch(
                f"an observation is outside {self.observation_space} "
                "(check_bounds=True)"
            )

    def _check_open(self) -> None:
        if self._env_closed:
            raise closed_error(self.name)

    # -------------------------------------------------------------- description

    @property
    def observation_space(self) -> gymnasium.Space[Any]:  # type: ignore[override]
        """The remote observation space; the same object on each access."""
        return self._connected_spaces()[0]

    @property
    def action_space(self) -> gymnasium.Space[Any]:  # type: ignore[override]
        """The remote action space; the same object on each access."""
        return self._connected_spaces()[1]

    def _connected_spaces(self) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
        if self._spaces is None:
            self._wait_for_facts()
        assert self._spaces is not None  # noqa: S101 - set with the facts
        return self._spaces

    def _wait_for_facts(self) -> None:
        """Wait for the other end, where it was not there yet."""
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            if self._facts is None:
                self._check_open()
                self._connect_open()
        finally:
            in_use[0] = False

    @property
    def render_mode(self) -> str | None:  # type: ignore[override]
        """How :meth:`render` renders; what was asked for until it is connected."""
        if self._wanted_mode is not None or self._facts is None:
            return self._wanted_mode
        return self._facts.render_mode

    @property
    def remote_spec(self) -> RemoteSpec | None:
        """The spec of the environment at the other end, as a plain record.

        None where that has none, or until it is connected; never waits.
        """
        return RemoteSpec.of(None if self._facts is None else self._facts.spec)

    @property
    def spec(self) -> EnvSpec:
        """How to make this RLay environment again; never waits.

        ``nondeterministic`` and ``reward_threshold`` are the remote environment's,
        once it is connected.
        """
        if self._spec is None:
            self._spec = EnvSpec(
                id=self._entry_id,
                entry_point=self._entry_point,
                disable_env_checker=True,
                order_enforce=False,
                kwargs=dict(self._arguments),
            )
        record = RemoteSpec.of(self._facts.spec) if self._facts else None
        if record is not None:
            if self._spec.reward_threshold is None:
                self._spec.reward_threshold = record.reward_threshold
            if record.nondeterministic:
                self._spec.nondeterministic = True
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        """Take what ``gymnasium.make`` knows about how the environment was made."""
        self._spec = None if spec is None else dataclasses.replace(spec)

    # ----------------------------------------------------------------- rendering

    def render(self) -> Any:
        """Return a frame as the remote ``render`` does, or what was collected.

        Raises:
            gymnasium.error.ResetNeeded: :meth:`reset` must be called first.
            RemoteEnvError: The remote ``render`` raised.
        """
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            self._check_open()
            if self._display is not None:
                return self._display.render()
            return self._fetch_frame()
        finally:
            in_use[0] = False

    def _fetch_frame(self) -> Any:
        return self._ask(Operation.RENDER, "render")

    # ---------------------------------------------------------------- attributes

    def has_wrapper_attr(self, name: str) -> bool:
        """Return whether :meth:`get_wrapper_attr` finds ``name``; never asks for it."""
        facts = self._facts
        known = facts is not None and name in facts.allow and not name.startswith("_")
        return known or super().has_wrapper_attr(name)

    def _ask_guarded(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        in_use = self._in_use
        if in_use[0]:
            raise self._busy_error()
        in_use[0] = True
        try:
            self._check_open()
            return self._ask(operation, name, args, kwargs)
        finally:
            in_use[0] = False

    def _ask(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        if self._link is None or self._link.over:
            raise reset_needed(f"{name} needs a living environment")
        try:
            return self._link.call(operation, name, args, kwargs)
        except BaseException as error:
            self._after_failure(error)
            raise

    # ------------------------------------------------------------------- the end

    def close(self) -> None:
        """Close this end, and tell the other. Twice is harmless.

        Raises:
            CloseTimeout: The environment did not close within ``close_timeout``;
                this end is closed all the same.
        """
        if self._env_closed:
            return
        self._env_closed = True
        self._step = refuse_closed(self.name)
        display, self._display = self._display, None
        if display is not None:
            display.close()
        if self._forked:
            return
        try:
            self._say_goodbye()
        finally:
            self._link = None  # and with it the mapped memory
            self._launch.close(friendly=True)
            self._bridge.end()  # last: it carries the goodbye

    def _say_goodbye(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        """Let go of the channel without waiting for anybody."""
        # Not by way of __dict__: a dict that is made only now would keep everything
        # alive for one more round of the garbage collector.
        with contextlib.suppress(Exception):  # the constructor may have failed early
            if not self._env_closed and not self._forked:
                self._launch.let_go()
                self._let_go()

    def _let_go(self) -> None:
        """Leave the channel at once."""
        raise NotImplementedError

    # ------------------------------------------------------------------ pickling

    def __reduce__(self) -> Any:
        """Pickle an unconnected environment as its constructor's arguments."""
        if self._link is not None:
            raise TypeError(
                f"a connected {type(self).__name__} cannot be pickled or copied: a "
                "channel has one owner. Pass a factory instead, such as "
                f"lambda: {type(self).__name__}({self.name!r})"
            )
        return _remake, (type(self), dict(self._arguments))

    def __repr__(self) -> str:
        """Show the channel and its state; never waits."""
        state = "closed" if self._env_closed else "unconnected"
        if self._link is not None and not self._env_closed:
            state = "lost" if self._link.over else "connected"
        return f"<{type(self).__name__} {self.name!r} {state}>"

    def __str__(self) -> str:
        """Show the same as ``repr``."""
        return repr(self)


def _remake(kind: type[RemoteEnv], arguments: dict[str, Any]) -> RemoteEnv:
    return kind(**arguments)


def given_arguments(frame_locals: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the constructor's arguments that differ from their defaults.

    Args:
        frame_locals: ``locals()`` at the start of ``__init__``.
        kind: The class that is constructed.
    """
    parameters = inspect.signature(kind).parameters
    return {
        name: frame_locals[name]
        for name, parameter in parameters.items()
        if name in frame_locals and frame_locals[name] != parameter.default
    }
