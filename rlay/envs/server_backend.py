"""``ServerBackend``: holds an environment and answers a ``ClientEnv``."""

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from typing import Any, Final

from gymnasium.vector import AutoresetMode

from rlay.envs.backend_session import BackendSession
from rlay.envs.display import mode_mismatch
from rlay.envs.environment_end import ReportOptions
from rlay.envs.facts import facts_of
from rlay.envs.faults import failure_of
from rlay.envs.listening import Listening
from rlay.envs.remote_env import channel_name
from rlay.envs.sources import EnvironmentSource, Target
from rlay.envs.spaces import mismatch
from rlay.envs.timeouts import DEFAULT_CONNECT_S
from rlay.envs.unsendable import Policy
from rlay.errors import (
    ChannelNoSpace,
    ConnectTimeout,
    PeerLost,
    RemoteProtocolError,
    RLayError,
)
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    CloseReason,
    ErrorCode,
    Paradigm,
)
from rlay.protocol.greeting import EnvironmentFacts, Hello, Refusal, Welcome
from rlay.transport.attaching import ServerEnd, serve_channel
from rlay.transport.base import Channel
from rlay.transport.ends import CAPABILITIES, draw_id
from rlay.transport.peers import PeerGone
from rlay.transport.software import SOFTWARE

_log = logging.getLogger("rlay.envs.server_backend")

_TELL_OF_FAILURE_S: Final = 1.0
"""How long an environment that could not be made is still reported to clients."""


class ServerBackend(Listening):
    """Holds an environment, and answers one client after the other.

    The channel exists from :meth:`open` (which :meth:`run` and ``with`` call) to
    :meth:`close`. The environment is made there, in the process that calls it.

    Example::

        rlay.ServerBackend("CartPole-v1", name="cartpole").run()

    Attributes:
        name: Of the channel.
        steps: Requests that were run, in all sessions.
    """

    def __init__(
        self,
        env: Target,
        *,
        name: str | None = None,
        num_envs: int = 1,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        kwargs: dict[str, Any] | None = None,
        render_mode: str | None = None,
        allow: Iterable[str] = (),
        cast_observations: bool = False,
        check_bounds: bool = False,
        on_unsendable_info: Policy = "raise",
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Take note of what to serve; nothing is made yet.

        Args:
            env: An id, a ``gymnasium.Env``, a ``gymnasium.vector.VectorEnv``, or a
                factory that returns an environment.
            name: Of the channel, or its address at a bridge, ``tcp://host:port/name``;
                None for ``$RLAY_CHANNEL``.
            num_envs: Environments on the channel; more than 1 needs an id or a factory.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this backend. None: no bridge.
            connect_timeout: Seconds to wait for the bridge of an address, in
                :meth:`open`; None for ever.
            kwargs: For the id or the factory.
            render_mode: For the id or the factory. None leaves it to the client where
                there is an id.
            allow: Names of attributes and methods that a client may use.
            cast_observations: Cast observations of a wrong dtype or shape instead of
                refusing them.
            check_bounds: Refuse observations outside their space.
            on_unsendable_info: What to do with info that cannot travel.
            max_message_bytes: Larger messages are refused.

        Raises:
            ChannelError: The name is not allowed, or ``listen`` is no address.
            ValueError: The arguments do not go together.
        """
        self.name = channel_name(name)
        self._bridge = OwnBridge(listen, self.name, directory)
        self.steps = 0
        self._source = EnvironmentSource(
            env, num_envs=num_envs, kwargs=kwargs, render_mode=render_mode
        )
        self._directory = directory
        self._connect_timeout_s = connect_timeout
        self._allow = tuple(allow)
        self._options = ReportOptions(
            cast_observations, check_bounds, on_unsendable_info
        )
        self._max_message_bytes = max_message_bytes
        self._server: ServerEnd | None = None
        self._env: Any = None
        self._made_with: tuple[str | None, str | None] = (None, None)
        self._incarnation = 0

    # --------------------------------------------------------------- life cycle

    def open(self) -> "ServerBackend":
        """Make the channel and the environment. Twice is harmless.

        Raises:
            ChannelBusy: A living backend has the name; the message names it. Or a
                bridge other than that of ``listen`` serves the directory.
            ChannelNoSpace: There is no room for the channel.
            ChannelError: The bridge of ``listen`` did not start; the message says why.
            ConnectTimeout: There is no bridge at the address.
            AuthError: The bridge and this end do not trust each other; or ``listen``
                can be reached by others, and there is no token or TLS.
            Exception: What making the environment raised. Clients that wait are told.
        """
        if self._server is None:
            self._pid = os.getpid()
            with self._bridge.starting():
                self._open()
        return self

    def _open(self) -> None:
        self._server = serve_channel(
            self.name,
            self._directory,
            self._connect_timeout_s,
            paradigm=Paradigm.CLIENT_ENV,
            num_envs=self._source.num_envs,
        )
        try:
            self._make_env(None, None)
            self._facts()  # what is wrong with spaces or names shows now
        except Exception as error:
            try:
                self._tell_of_failure(error)
            finally:
                self.close()
            raise
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ServerBackend":
        """Open."""
        return self.open()

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Say goodbye, remove the channel, close the environment. Twice is harmless."""
        server, self._server = self._server, None
        env, self._env = self._env, None
        try:
            if server is not None:
                server.close(reason)
            if env is not None and self._pid == os.getpid():  # no forked child's copy
                env.close()
        finally:
            self._bridge.end()  # last: it carries the goodbye

    def _make_env(self, render_mode: str | None, autoreset_mode: str | None) -> None:
        default_mode = AutoresetMode.NEXT_STEP.value
        wanted = (
            render_mode if self._source.picks_mode else None,
            autoreset_mode or default_mode if self._source.vector else None,
        )
        if self._env is not None:
            if self._source.fixed or wanted == self._made_with:
                return
            old, self._env = self._env, None
            old.close()
        self._env = self._source.make(*wanted)
        self._made_with = wanted
        self._incarnation = draw_id()

    def _tell_of_failure(self, error: Exception) -> None:
        """Tell clients that wait why there is no environment."""
        refusal = _refusal(error)
        until = time.monotonic() + _TELL_OF_FAILURE_S
        with contextlib.suppress(ConnectTimeout):
            while self._server is not None:
                left = max(0.0, until - time.monotonic())
                buffer, _ = self._server.receive_hello(left)
                self._server.refuse(buffer, refusal)

    # --------------------------------------------------------------------- serve

    def run(self, sessions: int | None = None) -> None:
        """Serve clients until the process ends, or ``sessions`` of them have left.

        Blocks. There is no time-out: an algorithm may compute for hours. Ctrl-C ends
        it within 0.2 s. The channel is removed when it returns or raises.

        Args:
            sessions: How many clients to serve; None for any number. One that went
                away before it asked for anything, as to close, does not count.

        Raises:
            RLayError: :meth:`close` was called by another thread or the environment.
            Exception: As :meth:`open`. What the environment raises in ``step`` or
                ``reset`` goes to the client and is not raised here.
        """
        self.open()
        reason = CloseReason.CLOSED
        try:
            served = 0
            while sessions is None or served < sessions:
                served += self._serve_one()
        except KeyboardInterrupt:
            reason = CloseReason.DRAINING
            raise
        except SystemExit:
            reason = CloseReason.ENVIRONMENT_EXITED
            raise
        except Exception as error:
            if self._server is None:  # whatever was at hand is gone
                raise self._closed_error() from error
            raise
        finally:
            self.close(reason)

    def _closed_error(self) -> RLayError:
        return RLayError(f"the backend of {self.name!r} was closed")

    def _serve_one(self) -> bool:
        """Serve the next client; return whether it asked for anything.

        One whose ``connect_timeout`` was over before it saw its Welcome has asked for
        nothing, and will try again.
        """
        server = self._server
        if server is None:
            raise self._closed_error()
        buffer, hello = server.receive_hello()
        try:
            refusal = self._prepare(hello)
        except Exception as error:
            refusal = _refusal(error)
        if refusal is not None:
            _log.info("refused a client of %r: %s", self.name, refusal.message)
            server.refuse(buffer, refusal)
            return False
        facts = self._facts()
        try:
            channel = self._accept(server, buffer, hello, facts)
        except ChannelNoSpace as error:
            server.refuse(buffer, Refusal(ErrorCode.NO_SPACE, str(error)))
            return False
        if channel is None:
            return False
        return self._serve_session(channel, facts) > 0

    def _prepare(self, hello: Hello) -> Refusal | None:
        """Make the environment that a client wants, or say why that cannot be."""
        wishes = hello.wishes
        if hello.paradigm is not Paradigm.CLIENT_ENV or wishes is None:
            return Refusal(
                ErrorCode.PROTOCOL,
                f"channel {self.name!r} holds an environment and waits for a ClientEnv",
            )
        count = self._source.num_envs
        if self._source.vector and not wishes.vector:
            return Refusal(
                ErrorCode.NUM_ENVS,
                f"channel {self.name!r} carries a batch of {count}: use "
                f"rlay.ClientVectorEnv({self.name!r})",
            )
        if wishes.num_envs not in (None, count):
            return Refusal(
                ErrorCode.NUM_ENVS,
                f"channel {self.name!r} carries {count} environments, "
                f"{wishes.num_envs} were asked for",
            )
        self._make_env(wishes.render_mode, wishes.autoreset_mode)
        return self._compare_modes(wishes.render_mode) or self._compare_spaces(wishes)

    def _compare_modes(self, wanted: str | None) -> Refusal | None:
        """Refuse a render mode that the client cannot make out of ours either."""
        error = mode_mismatch(wanted, self._env.render_mode)
        return None if error is None else Refusal(ErrorCode.UNSUPPORTED, str(error))

    def _compare_spaces(self, wishes: Any) -> Refusal | None:
        facts = self._facts()
        for what in ("observation_space", "action_space"):
            demanded = getattr(wishes, what)
            if demanded is not None:
                error = mismatch(getattr(facts, what), demanded, f"{what}s")
                if error is not None:
                    return Refusal(ErrorCode.SPACE_MISMATCH, str(error))
        return None

    def _facts(self) -> EnvironmentFacts:
        return facts_of(
            self._env,
            num_envs=self._source.num_envs,
            vector=self._source.vector,
            allow=self._allow,
        )

    def _accept(
        self,
        server: ServerEnd,
        buffer: MessageBuffer,
        hello: Hello,
        facts: EnvironmentFacts,
    ) -> Channel | None:
        agreement = facts.agreement()
        return server.accept(
            buffer,
            Welcome(0, facts, software=SOFTWARE, capabilities=CAPABILITIES),
            (self._incarnation, buffer.session),
            (agreement.decision_capacity, agreement.report_capacity),
            max_message_bytes=min(self._max_message_bytes, hello.max_message_bytes),
        )

    def _serve_session(self, channel: Channel, facts: EnvironmentFacts) -> int:
        """Serve a client until it has left; return how often it asked."""
        _log.info("a client came to %r", self.name)
        session = BackendSession(channel, facts, self._env, self._options)
        how = "still there, the backend ends"
        try:
            session.serve()
            how = "closed"
        except (PeerGone, PeerLost) as error:
            how = str(error)
        except RemoteProtocolError as error:
            how = f"it broke the protocol: {error}"
        finally:
            self.steps += session.sequence
            _log.info(
                "the session on %r is over after %d requests: %s",
                self.name,
                session.sequence,
                how,
            )
        return session.sequence


def _refusal(error: BaseException) -> Refusal:
    failure = failure_of(error)
    return Refusal(
        failure.code,
        failure.remote_message,
        failure.remote_type,
        failure.remote_traceback,
    )
