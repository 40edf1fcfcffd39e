"""``ServerEnv``: the algorithm is here, a game that owns its loop asks elsewhere."""

import contextlib
import logging
import os
import time
from typing import Any

import gymnasium

from rlay.envs.algorithm_end import Step
from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.display import backend_mode, mode_mismatch
from rlay.envs.faults import reset_needed
from rlay.envs.remote_env import RemoteEnv, channel_name, given_arguments
from rlay.envs.server_link import ServerLink
from rlay.envs.spaces import describe, mismatch
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
from rlay.errors import (
    ChannelNoSpace,
    ConnectTimeout,
    EnvLost,
    PeerLost,
    RLayError,
    SpaceMismatch,
)
from rlay.protocol.addresses import is_address
from rlay.protocol.constants import CloseReason, ErrorCode, Paradigm
from rlay.protocol.greeting import EnvironmentFacts, Hello, Refusal, Welcome, Wishes
from rlay.protocol.spaces import Description
from rlay.transport.attaching import ServerEnd, serve_channel
from rlay.transport.base import Channel
from rlay.transport.ends import CAPABILITIES, draw_id
from rlay.transport.software import SOFTWARE

_log = logging.getLogger("rlay.envs.server_env")


class GameHost:
    """The server end that a game joins: greets it, and says goodbye to it.

    Attributes:
        name: Of the channel.
    """

    def __init__(
        self,
        name: str,
        directory: str | os.PathLike[str] | None,
        wishes: Wishes,
        timeouts: Timeouts,
        *,
        copy: bool,
    ) -> None:
        """Make the channel.

        Raises:
            ChannelBusy: A living trainer has the name.
            ConnectTimeout: There is no bridge at the address.
        """
        self.name = name
        self._directory = directory
        self._wishes = wishes
        self._timeouts = timeouts
        self._copy = copy
        self._refused = ""
        self._session: Channel | None = None
        self._closed = False
        self._server = self._make_channel()

    def _make_channel(self) -> ServerEnd:
        return serve_channel(
            self.name,
            self._directory,
            self._timeouts.connect,
            paradigm=Paradigm.SERVER_ENV,
            num_envs=self._wishes.num_envs or 0,
        )

    @property
    def game_waits(self) -> bool:
        """Whether a game has said Hello and was not answered yet."""
        return self._server.client_waits

    def welcome(self, accepts: Any) -> ServerLink:
        """Wait for a game and return the session with it.

        Args:
            accepts: A function of its facts that returns the error with which to
                refuse it, or None.

        Raises:
            ConnectTimeout: No game joined within ``connect_timeout``.
            ChannelNoSpace: There is no room for its slots.
        """
        self._dismiss()
        limit = self._timeouts.connect
        until = None if limit is None else time.monotonic() + limit
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                buffer, hello = self._server.receive_hello(left)
            except ConnectTimeout as error:
                raise self._nobody_came(limit) from error
            refusal = self._refusal(hello, accepts)
            if refusal is not None:
                _log.warning("refused a game on %r: %s", self.name, refusal.message)
                self._refused = refusal.message
                self._server.refuse(buffer, refusal)
                continue
            facts = hello.environment
            assert facts is not None  # noqa: S101 - _refusal looked
            try:
                channel = self._accept(buffer, hello, facts)
            except ChannelNoSpace as error:
                self._server.refuse(buffer, Refusal(ErrorCode.NO_SPACE, str(error)))
                raise
            if channel is not None:
                self._session = channel
                return ServerLink(channel, facts, self._timeouts, copy=self._copy)

    def _dismiss(self) -> None:
        """Send away a game that is still in a session which this end gave up.

        It waits for a decision that will not come, and holds its end of the channel:
        a new channel tells it so, and takes it in again.
        """
        session, self._session = self._session, None
        if session is None:
            return
        try:
            session.watch.check()
        except RLayError:
            return  # it has left, or it has said Hello again
        self._server.close(CloseReason.PROTOCOL_ERROR)
        self._server = self._make_channel()
        if self._closed:  # by another thread, meanwhile
            self._server.close(CloseReason.CLOSED)

    def _nobody_came(self, limit_s: float | None) -> ConnectTimeout:
        if self._refused:
            return ConnectTimeout(
                f"the games that joined channel {self.name!r} were refused, and no "
                f"other came within {limit_s} s. The last one: {self._refused}"
            )
        there = "" if is_address(self.name) else ", and the same RLAY_DIR"
        return ConnectTimeout(
            f"no game joined channel {self.name!r} within {limit_s} s. Start it with "
            f"a ClientBackend(name={self.name!r}){there}"
        )

    def _refusal(self, hello: Hello, accepts: Any) -> Refusal | None:
        facts = hello.environment
        if hello.paradigm is not Paradigm.SERVER_ENV or facts is None:
            return Refusal(
                ErrorCode.PROTOCOL,
                f"channel {self.name!r} was made by a trainer and waits for a game",
            )
        if facts.vector and not self._wishes.vector:
            return Refusal(
                ErrorCode.NUM_ENVS,
                f"a ServerEnv takes one environment, this game has {facts.num_envs}: "
                f"use rlay.ServerVectorEnv({self.name!r})",
            )
        if self._wishes.vector and not facts.vector:
            return Refusal(
                ErrorCode.NUM_ENVS,
                "a ServerVectorEnv takes a game with several environments, this one "
                f"has one: use rlay.ServerEnv({self.name!r}), or num_envs=... in the "
                "game",
            )
        if self._wishes.num_envs not in (None, facts.num_envs):
            return Refusal(
                ErrorCode.NUM_ENVS,
                f"the trainer of {self.name!r} takes a game with "
                f"{self._wishes.num_envs} environments, this one has {facts.num_envs}",
            )
        error = accepts(facts)
        if error is None:
            return None
        spaces_differ = isinstance(error, SpaceMismatch)
        code = ErrorCode.SPACE_MISMATCH if spaces_differ else ErrorCode.UNSUPPORTED
        return Refusal(code, str(error))

    def _accept(
        self, buffer: Any, hello: Hello, facts: EnvironmentFacts
    ) -> Channel | None:
        agreement = facts.agreement()
        return self._server.accept(
            buffer,
            Welcome(
                0, wishes=self._wishes, software=SOFTWARE, capabilities=CAPABILITIES
            ),
            (buffer.incarnation, draw_id()),
            (agreement.report_capacity, agreement.decision_capacity),
            max_message_bytes=hello.max_message_bytes,
        )

    def close(self) -> None:
        """Remove the channel; a game in it is told."""
        self._closed = True
        self._server.close(CloseReason.CLOSED)


def demanded(
    space: gymnasium.Space[Any] | None,
) -> Description | None:
    """Return the description of a space that the trainer demands, or None."""
    return None if space is None else describe(space)


def demands_met(wishes: Wishes, facts: EnvironmentFacts) -> RLayError | None:
    """Return the error that says which demand a game does not meet, or None."""
    for what in ("observation_space", "action_space"):
        wanted = getattr(wishes, what)
        if wanted is not None:
            error = mismatch(wanted, getattr(facts, what), f"{what}s")
            if error is not None:
                return error
    return None


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
        """
        arguments = given_arguments(locals(), ServerEnv)
        timeouts = Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout)
        super().__init__(
            channel_name(name),
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
        link = self._host.welcome(self._judge)
        self._metadata = dict(link.facts.metadata)
        self._attached(link)

    def _judge(self, facts: EnvironmentFacts) -> RLayError | None:
        return (
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
