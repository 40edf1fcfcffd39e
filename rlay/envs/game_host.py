"""The end of a channel that a game joins: behind ``ServerEnv`` and its vector."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any, Final

import gymnasium

from rlay.envs.server_link import ServerLink
from rlay.envs.spaces import describe, mismatch
from rlay.envs.timeouts import Timeouts
from rlay.errors import (
    ChannelClosed,
    ChannelError,
    ChannelNoSpace,
    ConnectTimeout,
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

_HELLO_S: Final = 1.0
"""How long a Hello that has begun may take, where nobody waits for it."""

_LOOK_EVERY_S: Final = 0.005

Accepts = Callable[[EnvironmentFacts], Refusal | None]
"""Returns why a game is not taken, or None."""


class GameHost:
    """The server end that a game joins: greets it, and says goodbye to it.

    Attributes:
        name: Of the channel.
        refusal: What the last game that was not taken was told; None before that.
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
        self.refusal: Refusal | None = None
        self._session: Channel | None = None
        self._closed = False
        self._server = self._make_channel()

    @property
    def refused(self) -> str:
        """The same in words; empty before that."""
        return "" if self.refusal is None else self.refusal.message

    def _make_channel(self) -> ServerEnd:
        return serve_channel(
            self.name,
            self._directory,
            self._timeouts.connect,
            paradigm=Paradigm.SERVER_ENV,
            num_envs=self._wishes.num_envs or 0,
        )

    def look(self, accepts: Accepts) -> ServerLink | None:
        """Return the session with a game, or None where none has come. Does not wait.

        Raises:
            ChannelClosed: Another thread closed the channel.
            ChannelNoSpace: There is no room for its slots.
        """
        if self._closed:
            raise ChannelClosed(
                f"channel {self.name!r} was closed here, while it was in use"
            )
        self._dismiss()
        if not self._server.client_waits:
            return None
        try:
            buffer, hello = self._server.receive_hello(_HELLO_S)
        except ConnectTimeout:
            return None  # it stopped in the middle of a long one
        return self._answer(buffer, hello, accepts)

    def welcome(
        self, accepts: Accepts, check: Callable[[], None] | None = None
    ) -> ServerLink:
        """Wait for a game and return the session with it.

        Args:
            accepts: Judges the game.
            check: Called now and then; raises where it is of no use to wait longer.

        Raises:
            ConnectTimeout: No game joined within ``connect_timeout``.
            ChannelNoSpace: There is no room for its slots.
        """
        self._dismiss()
        limit = self._timeouts.connect
        until = None if limit is None else time.monotonic() + limit
        while True:
            if check is not None:
                self._wait_for_hello(until, check)
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                buffer, hello = self._server.receive_hello(left)
            except ConnectTimeout as error:
                raise self._nobody_came(limit) from error
            link = self._answer(buffer, hello, accepts)
            if link is not None:
                return link

    def _wait_for_hello(self, until: float | None, check: Callable[[], None]) -> None:
        """Wait until a game has begun to greet, or the time is up."""
        while not self._closed and not self._server.client_waits:
            check()
            if until is not None and time.monotonic() >= until:
                return
            time.sleep(_LOOK_EVERY_S)

    def _answer(self, buffer: Any, hello: Hello, accepts: Accepts) -> ServerLink | None:
        """Return the session with a game that said Hello; None where there is none."""
        refusal = self._refusal(hello, accepts)
        if refusal is not None:
            _log.warning("refused a game on %r: %s", self.name, refusal.message)
            self.refusal = refusal
            self._server.refuse(buffer, refusal)
            return None
        facts = hello.environment
        assert facts is not None  # noqa: S101 - _refusal looked
        try:
            channel = self._accept(buffer, hello, facts)
        except ChannelNoSpace as error:
            self._server.refuse(buffer, Refusal(ErrorCode.NO_SPACE, str(error)))
            raise
        if channel is None:
            return None
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
        if self.refused:
            return ConnectTimeout(
                f"the games that joined channel {self.name!r} were refused, and no "
                f"other came within {limit_s} s. The last one: {self.refused}"
            )
        there = "" if is_address(self.name) else ", and the same RLAY_DIR"
        return ConnectTimeout(
            f"no game joined channel {self.name!r} within {limit_s} s. Start it with "
            f"a ClientBackend(name={self.name!r}){there}"
        )

    def _refusal(self, hello: Hello, accepts: Accepts) -> Refusal | None:
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
        return accepts(facts)

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


def refusal_of(error: RLayError | None) -> Refusal | None:
    """Return how a game is told of an error that its facts stand for."""
    if error is None:
        return None
    spaces_differ = isinstance(error, SpaceMismatch)
    code = ErrorCode.SPACE_MISMATCH if spaces_differ else ErrorCode.UNSUPPORTED
    return Refusal(code, str(error))


def error_of(refusal: Refusal) -> RLayError:
    """Return what this end raises where a game was refused that it has launched."""
    spaces_differ = refusal.code == ErrorCode.SPACE_MISMATCH
    return (SpaceMismatch if spaces_differ else ChannelError)(refusal.message)


def demanded(space: gymnasium.Space[Any] | None) -> Description | None:
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
