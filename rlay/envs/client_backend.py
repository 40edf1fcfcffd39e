"""``ClientBackend``: an environment, or a game, that asks for decisions."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import gymnasium
import numpy as np

from rlay.envs.decisions import Action, Close, Decision, Reset
from rlay.envs.environment_end import ReportOptions
from rlay.envs.faults import unsendable_report
from rlay.envs.game_link import GameSession
from rlay.envs.game_phases import EnvironmentRaised, Phase
from rlay.envs.games import EnvironmentGame, Game, LoopGame
from rlay.envs.listening import Listening
from rlay.envs.remote_env import channel_name
from rlay.envs.sources import Target
from rlay.envs.timeouts import DEFAULT_CONNECT_S
from rlay.envs.trainer_search import TrainerSearch, wait_for_trainer
from rlay.envs.unsendable import Policy
from rlay.errors import (
    ConnectTimeout,
    ForkedError,
    LocalProtocolError,
    PeerLost,
    RemoteProtocolError,
    RLayError,
)
from rlay.processes.own_bridge import OwnBridge
from rlay.protocol.constants import DEFAULT_MAX_MESSAGE_BYTES, CloseReason
from rlay.protocol.values import Unsendable
from rlay.transport.peers import PeerGone

_log = logging.getLogger("rlay.envs.client_backend")


class _NothingType:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING: Final = _NothingType()


class ClientBackend(Listening):
    """Asks a ``ServerEnv`` for decisions.

    For a game with a loop of its own: :meth:`decide` blocks until the decision is
    there; :meth:`report` and :meth:`poll` are its twin that does not. For an existing
    environment: :meth:`run` is that loop.

    Example::

        with rlay.ClientBackend(name="game", observation_space=obs,
                                action_space=act) as backend:
            decision = backend.decide()
            while True:
                match decision:
                    case rlay.Reset(seed=seed):
                        game.restart(seed)
                        decision = backend.decide(game.observe())
                    case rlay.Action(action=action):
                        reward = game.tick(action)
                        decision = backend.decide(
                            game.observe(), reward, game.is_over, False
                        )
                    case rlay.Close():
                        decision = backend.decide()     # waits for the next trainer

    Attributes:
        name: Of the channel.
    """

    def __init__(
        self,
        env: Target | None = None,
        *,
        name: str | None = None,
        num_envs: int = 1,
        observation_space: gymnasium.Space[Any] | None = None,
        action_space: gymnasium.Space[Any] | None = None,
        metadata: dict[str, Any] | None = None,
        render_mode: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        kwargs: dict[str, Any] | None = None,
        allow: Iterable[str] = (),
        cast_observations: bool = False,
        check_bounds: bool = False,
        on_unsendable_info: Policy = "raise",
        render: Callable[[], Any] | None = None,
        calls: Mapping[str, Callable[..., Any]] | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Say what the game is, and look for its trainer.

        Args:
            env: For :meth:`run`: an id, an environment, or a factory. None for a
                loop of your own, which needs both spaces.
            name: Of the channel, or its address at a bridge, ``tcp://host:port/name``;
                None for ``$RLAY_CHANNEL``. Where it has a game already, the first
                free one of ``name.0``, ``name.1`` ... that a ``ServerVectorEnv`` has
                made for more games; ``name.*`` stands for those alone.
            num_envs: Environments on one clock; more than 1 with ``env`` needs an id
                or a factory.
            observation_space: Of one environment, where there is no ``env``.
            action_space: Of one environment, where there is no ``env``.
            metadata: Where there is no ``env``.
            render_mode: How ``render`` renders.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this backend. None: no bridge.
            connect_timeout: Seconds to wait for the trainer here; None for ever, 0
                looks once and returns, unconnected or not.
            kwargs: For the id or the factory.
            allow: Names of ``env`` that the trainer may use.
            cast_observations: Cast observations of a wrong dtype or shape.
            check_bounds: Refuse observations outside their space.
            on_unsendable_info: What to do with info that cannot travel.
            render: Returns a frame, where there is no ``env``.
            calls: Functions that the trainer may call, by name; they run inside
                :meth:`decide` and :meth:`poll`.
            max_message_bytes: Larger messages are refused.

        Raises:
            ConnectTimeout: There is no trainer, or it has not answered.
            SpaceMismatch: The trainer demands other spaces, or ours cannot travel.
            ChannelError: The channel cannot be used, or the bridge of ``listen`` did
                not start; the message says why.
            AuthError: A bridge and this end do not trust each other; or ``listen``
                can be reached by others, and there is no token or TLS.
            ValueError: The arguments do not go together.
        """
        self.name = channel_name(name, group=True)
        self._bridge = OwnBridge(listen, self.name, directory)
        self._options = ReportOptions(
            cast_observations, check_bounds, on_unsendable_info
        )
        self._closed = False
        self._session: GameSession | None = None
        self._phase = Phase.UNCONNECTED
        self._ended = False
        self._pid = os.getpid()
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs}: at least 1")
        self._game: Game
        if env is None:
            self._game = LoopGame(
                observation_space,
                action_space,
                num_envs,
                metadata=metadata,
                render_mode=render_mode,
                render=render,
                calls=calls,
            )
        elif observation_space is not None or action_space is not None:
            raise ValueError("spaces are for a loop of your own, not for an env")
        else:
            self._game = EnvironmentGame(
                env,
                num_envs,
                kwargs=kwargs,
                render_mode=render_mode,
                allow=tuple(allow),
            )
        self._env = self._game.env
        self._num_envs = num_envs
        self._search = TrainerSearch(
            self.name, directory, self._game.facts, max_message_bytes
        )
        try:
            with self._bridge.starting():
                self._connect_first(connect_timeout)
        except BaseException:
            self.close()
            raise

    # --------------------------------------------------------------- connection

    def _connect_first(self, timeout_s: float | None) -> None:
        if self._connect(timeout_s) or timeout_s == 0:
            return
        raise ConnectTimeout(
            f"no trainer within {timeout_s} s: {self._search.problem}. Or raise "
            "connect_timeout, or pass connect_timeout=0 to play on without a trainer"
        )

    def _connect(self, timeout_s: float | None) -> bool:
        found = wait_for_trainer(self._search, timeout_s)
        if found is None:
            return False
        client, channel = found
        game = self._game
        self._session = GameSession(
            client, channel, game.facts, self._options, game.contains, game.answer
        )
        self._phase = Phase.IDLE
        self._ended = False
        _log.info("joined the trainer of %r", client.name)
        return True

    @property
    def connected(self) -> bool:
        """Whether a trainer is there; never waits."""
        return self._session is not None

    # ---------------------------------------------------------------- decisions

    def decide(
        self,
        observation: Any = _NOTHING,
        reward: Any = 0.0,
        terminated: Any = False,
        truncated: Any = False,
        info: Any = None,
    ) -> Decision:
        """Report where the game is, wait for the trainer's decision, and return it.

        What to report depends on the last decision: after Close, and at first,
        nothing; after Reset the first observation and info; after Action all five.
        Call it at each decision point, and at once when an episode ends.

        There is no time-out: a trainer may compute for minutes. Waiting ends when it
        is gone. Without a trainer a call with no arguments waits for the next one.

        Args:
            observation: An element of the observation space; batched where
                ``num_envs`` > 1.
            reward: Since the last decision. Batched: float64 of shape (num_envs,).
            terminated: Whether a terminal state was reached. Batched: bool arrays.
            truncated: Whether the episode was cut short.
            info: A dict, or None for an empty one. Batched: a list of dicts.

        Returns:
            Action, Reset or Close. After an episode's end never Action.

        Raises:
            LocalProtocolError: This is not what may be reported now; nothing was
                sent.
            SpaceMismatch: The observation is not in its space; nothing was sent.
            MessageTooLarge: The report exceeds ``max_message_bytes``; nothing was
                sent.
        """
        info = {} if info is None else info
        self._report(observation, reward, terminated, truncated, info)
        return self._next_decision()

    def report(
        self,
        observation: Any = _NOTHING,
        reward: Any = 0.0,
        terminated: Any = False,
        truncated: Any = False,
        info: Any = None,
    ) -> None:
        """Report where the game is, and do not wait; arguments as :meth:`decide`.

        :meth:`poll` returns the decision. Without a trainer only a report without
        arguments is allowed: the first decision then comes from the next trainer.

        Raises:
            LocalProtocolError: As :meth:`decide`, or the last report has not been
                decided upon.
            SpaceMismatch: As :meth:`decide`; MessageTooLarge too.
        """
        info = {} if info is None else info
        self._report(observation, reward, terminated, truncated, info)

    def _report(
        self,
        observation: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: Any,
    ) -> None:
        """Report an info as it is, also None, which an environment may return."""
        self._check_usable()
        session = self._session
        if session is not None and session.in_flight:
            raise LocalProtocolError(
                "the last report has not been decided upon yet: call poll()"
            )
        self._check_order(observation, reward, terminated, truncated)
        if session is None:
            return
        try:
            if self._phase is Phase.IDLE:
                session.report(session.end.writer.ready)
            elif self._phase is Phase.RESETTING:
                session.report(
                    lambda buffer: session.end.reset_result(buffer, observation, info)
                )
            else:
                # Before it is sent: a flag without a truth value raises here.
                ended = self._num_envs == 1 and bool(terminated or truncated)
                session.report(
                    lambda buffer: session.end.transition(
                        buffer, observation, reward, terminated, truncated, info
                    )
                )
                self._ended = ended
        except Unsendable as error:
            raise unsendable_report(error) from None
        except (PeerLost, PeerGone):
            _log.info("the trainer went away during a report; poll() says so")

    def _check_order(
        self, observation: Any, reward: Any, terminated: Any, truncated: Any
    ) -> None:
        given = observation is not _NOTHING
        if self._phase in (Phase.UNCONNECTED, Phase.IDLE):
            if given:
                raise LocalProtocolError(
                    "no trainer has said Reset yet: call decide() without arguments"
                )
        elif not given:
            raise LocalProtocolError(
                "an observation must be reported here: the last decision was "
                f"{'Reset' if self._phase is Phase.RESETTING else 'Action'}"
            )
        elif self._phase is Phase.RESETTING:
            self._check_first(reward, terminated, truncated)

    def _check_first(self, reward: Any, terminated: Any, truncated: Any) -> None:
        # One environment's values may be anything with a truth value, as None.
        truth = bool if self._num_envs == 1 else np.any
        if truth(terminated) or truth(truncated) or truth(reward):
            raise LocalProtocolError(
                "the report after a Reset has no reward and no flags: run no tick "
                "between Reset and this report"
            )

    def poll(self, timeout: float | None = 0) -> Decision | None:
        """Return the decision upon the last report, or None where there is none yet.

        Calls of the trainer (``render``, allowed functions) are answered here.

        Args:
            timeout: Seconds to wait; 0 looks once, None waits for as long as the
                trainer lives.

        Returns:
            Action, Reset, Close, or None.

        Raises:
            LocalProtocolError: Nothing was reported.
            RemoteProtocolError: The trainer broke the protocol; the session is over.
        """
        self._check_usable()
        if self._session is None:
            if not self._connect(timeout):
                return None
            self.report()
        session = self._session
        assert session is not None  # noqa: S101 - connected above
        if session.idle:
            if self._phase is not Phase.IDLE:
                raise LocalProtocolError("nothing was reported: call report() first")
            self.report()
        try:
            decision = session.decision(timeout)
        except (PeerGone, PeerLost, RemoteProtocolError) as error:
            return self._farewell(error)
        return self._decided(decision)

    def _farewell(self, error: RLayError) -> Close:
        """Return the Close that a loss stands for; a breach is raised again."""
        if isinstance(error, PeerGone):
            draining = error.reason is CloseReason.DRAINING
            return self._leave("draining" if draining else "closed")
        self._leave("lost")
        if isinstance(error, RemoteProtocolError):
            raise error
        _log.info("%s", error)
        return Close("lost")

    def _decided(self, decision: Decision | None) -> Decision | None:
        match decision:
            case Reset():
                self._phase, self._ended = Phase.RESETTING, False
            case Action():
                if self._ended or self._phase is Phase.IDLE:
                    self._leave("lost")
                    raise RemoteProtocolError(
                        "the trainer said Action where only Reset or Close may come"
                    )
                self._phase = Phase.RUNNING
            case Close(reason=reason):
                return self._leave(reason)
            case None:
                pass
        return decision

    def _leave(self, reason: Any) -> Close:
        session, self._session = self._session, None
        self._phase, self._ended = Phase.UNCONNECTED, False
        if session is not None:
            session.leave()
        return Close(reason)

    # --------------------------------------------------------------------- run

    def run(self, sessions: int | None = None) -> None:
        """Let an existing environment ask for decisions, for ever or for some trainers.

        Blocks. This backend is closed when it returns or raises.

        Args:
            sessions: How many trainers to serve; None for any number. One that was
                lost before its first reset does not count.

        Raises:
            ValueError: This backend was made without an environment.
        """
        if self._env is None:
            raise ValueError("run() needs an env; a loop of your own calls decide()")
        reason = CloseReason.CLOSED
        served, asked = 0, False
        try:
            decision = self.decide()
            while True:
                if isinstance(decision, Close):
                    served += asked or decision.reason == "closed"
                    asked = False
                    if sessions is not None and served >= sessions:
                        return
                    decision = self.decide()
                else:
                    asked = True
                    decision = self._advance(decision)
        except KeyboardInterrupt:
            reason = CloseReason.DRAINING
            raise
        except SystemExit:
            reason = CloseReason.ENVIRONMENT_EXITED
            raise
        finally:
            self.close(reason)

    def _advance(self, decision: Decision) -> Decision:
        """Do what was decided, report, and return the next decision."""
        batched = self._num_envs > 1
        session = self._session
        if session is not None and session.is_steady(decision):
            return self._advance_steadily(session, decision)
        try:
            if isinstance(decision, Action):
                result = self._env.step(decision if batched else decision.action)
            elif batched:
                observation, info = self._env.reset(decision)
                result = observation, 0.0, False, False, info
            else:
                assert isinstance(decision, Reset)  # noqa: S101 - run() looked
                observation, info = self._env.reset(
                    seed=decision.seed, options=decision.options
                )
                result = observation, 0.0, False, False, info
        except Exception as error:
            return self._confess(error)
        return self._decide_or_confess(result)

    def _decide_or_confess(self, result: Any) -> Decision:
        """Report what the environment returned; where that fails, it is its fault."""
        try:
            self._report(*result)
        except ForkedError:
            raise
        except Exception as error:
            return self._confess(error)
        return self._next_decision()

    def _advance_steadily(self, session: GameSession, last: Any) -> Decision:
        """Go on for as long as nothing unusual happens; return the next decision."""
        try:
            decision, self._phase, result = session.steady_run(last, self._env)
        except EnvironmentRaised as raised:
            self._phase = raised.phase
            return self._confess(raised.error)
        except (PeerGone, PeerLost, RemoteProtocolError) as error:
            return self._farewell(error)
        if decision is None:
            return self._decide_or_confess(result)
        self._ended = bool(result[2] or result[3])
        decided = self._decided(decision)
        assert decided is not None  # noqa: S101 - it was a decision
        return decided

    def _confess(self, error: Exception) -> Decision:
        """Report that the environment raised, and return the next decision."""
        self._check_usable()  # not in a child that the environment forked
        session = self._session
        if session is None:
            raise error
        session.confess(error)
        return self._next_decision()

    def _next_decision(self) -> Decision:
        decision = self.poll(None)
        assert decision is not None  # noqa: S101 - without a limit there is one
        return decision

    # ------------------------------------------------------------------- the end

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(
                f"the backend on {self.name!r} belongs to the parent process: make a "
                "new one in the child"
            )
        if self._closed:
            raise RLayError(f"the backend on {self.name!r} was closed")

    def close(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Leave the trainer, and close the environment. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        session, self._session = self._session, None
        try:
            if session is not None:
                session.leave(reason)
            if hasattr(self, "_search"):
                self._search.give_up()
            if self._pid == os.getpid():  # not a forked child's copy
                self._game.close()
        finally:
            self._bridge.end()  # last: it carries the goodbye

    def __enter__(self) -> "ClientBackend":
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Show channel and phase; never waits."""
        state = "closed" if self._closed else self._phase.value
        return f"<ClientBackend {self.name!r} {state}>"
