"""The game's end of a session in which it asks: behind ``ClientBackend``."""

import logging
from collections.abc import Callable
from typing import Any, Final

from rlay.envs.decisions import Action, Close, Decision, Reset
from rlay.envs.environment_end import EnvironmentEnd, ReportOptions
from rlay.envs.game_phases import EnvironmentRaised, Halt, Phase
from rlay.errors import (
    ForkedError,
    MessageTooLarge,
    PeerLost,
    RemoteProtocolError,
    RLayTimeout,
)
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, Kind
from rlay.protocol.decisions import CallFields
from rlay.protocol.delivery import Outcome, Requester, RequesterState
from rlay.protocol.greeting import EnvironmentFacts
from rlay.protocol.slot_layout import SEQUENCE_WORD
from rlay.protocol.steady import UNSTEADY
from rlay.transport.attaching import ClientEnd
from rlay.transport.base import Channel
from rlay.transport.peers import Deadline

_log = logging.getLogger("rlay.envs.client_backend")

_ACCEPT: Final = Outcome.ACCEPT
_RESET: Final = object()
"""In place of an action: a Reset without seed and options."""


class GameSession:
    """A session with a trainer: reports out, decisions in.

    Attributes:
        channel: The session.
        end: Writes reports and reads decisions.
    """

    def __init__(
        self,
        client: ClientEnd,
        channel: Channel,
        facts: EnvironmentFacts,
        options: ReportOptions,
        contains: Callable[[Any], bool] | None,
        answer: Callable[[CallFields], Any],
    ) -> None:
        """Compile for a session.

        Args:
            client: The end.
            channel: The session.
            facts: What the greeting said of the game.
            options: What to do with unusual observations and infos.
            contains: The observation space's, for ``check_bounds``.
            answer: Answers the trainer's calls.
        """
        self.channel = channel
        self.end = EnvironmentEnd(channel, facts, options, contains)
        self._client = client
        self._batched = facts.num_envs > 1
        self._answer = answer
        self._requester = Requester()
        self._waiting = self._patience(None)

    def _patience(self, timeout_s: float | None) -> Deadline:
        return Deadline(
            self.channel.watch, timeout_s, lambda: RLayTimeout("no decision yet")
        )

    @property
    def in_flight(self) -> bool:
        """Whether a report was made and its decision has not come."""
        return self._requester.state is RequesterState.WAITING

    @property
    def idle(self) -> bool:
        """Whether a report may be made."""
        return self._requester.state is RequesterState.IDLE

    def report(self, write: Callable[[MessageBuffer], bytes | None]) -> None:
        """Send a report that ``write`` puts into a buffer.

        Raises:
            Exception: What ``write`` raised; nothing was sent.
            MessageTooLarge: The same: another report can be made.
            PeerLost: The trainer went away while a large report was sent.
        """
        try:
            sequence = self._requester.begin()
            overflow = write(self.channel.outgoing[sequence & 1])
            if overflow is None:
                self.channel.send(sequence)
            else:
                self._send_parts(sequence, overflow)
        except BaseException:
            self._undo_unsent()
            raise

    def _send_parts(self, sequence: int, payload: bytes) -> None:
        try:
            self.channel.send_parts(sequence, payload, self._waiting)
        except MessageTooLarge:
            raise  # before anything was sent
        except BaseException:
            # Half a report is out: nothing more can be said in this session.
            self._requester.lose()
            raise

    def _undo_unsent(self) -> None:
        """Be idle again where a report was broken off before it was published."""
        sequence = self._requester.sequence
        if self.channel.outgoing[sequence & 1].sequence != sequence:
            self._requester.cancel()

    def confess(self, error: Exception) -> None:
        """Report a Failure that tells of ``error``."""
        try:
            self._tell(error)
        except MessageTooLarge as large:  # its traceback is long, the limit short
            self._tell(large)

    def _tell(self, error: Exception) -> None:
        self.report(lambda buffer: self.end.failure(buffer, error))

    def decision(self, timeout_s: float | None) -> Decision | None:
        """Wait for the decision; calls of the trainer are answered on the way.

        Returns:
            The decision, or None where ``timeout_s`` seconds passed without one.

        Raises:
            PeerGone: The trainer said goodbye.
            PeerLost: It is gone, or it cannot be spoken to any more.
            RemoteProtocolError: It broke the protocol.
        """
        patience = self._waiting if timeout_s is None else self._patience(timeout_s)
        if self._requester.state is RequesterState.OVER:
            self.channel.watch.check()  # it knows best why
            raise PeerLost("a large report was broken off; the session is over")
        while True:
            if timeout_s == 0 and not self.channel.receive_nowait():
                self.channel.watch.check()
                return None
            try:
                reply = self.channel.receive(patience)
            except RLayTimeout:
                return None
            outcome = self._requester.receive(reply.sequence)
            if outcome is Outcome.DROP:
                self.channel.take()
                continue
            if outcome is not Outcome.ACCEPT:
                raise RemoteProtocolError("a decision came that nobody asked for")
            decision = self._read(reply)
            if decision is not None:
                return decision

    def steady_run(self, decision: Action | Reset, env: Any) -> Halt:
        """Step or reset, report and wait, for as long as all of it is steady.

        Args:
            decision: The last one; a Reset has neither seed nor options.
            env: The environment.

        Raises:
            EnvironmentRaised: ``env`` raised, or what it returned is no transition;
                nothing is in flight.
            PeerLost: As :meth:`decision`; PeerGone and RemoteProtocolError too.
        """
        channel, requester, patience = self.channel, self._requester, self._waiting
        begin, accept = requester.begin, requester.receive
        send, receive, take = channel.send, channel.receive, channel.take
        env_step, env_reset = env.step, env.reset
        write_step = tuple(buffer.steady for buffer in channel.outgoing)
        write_first = tuple(buffer.steady_reset for buffer in channel.outgoing)
        action = decision.action if isinstance(decision, Action) else _RESET
        while True:
            resetting = action is _RESET
            try:
                if resetting:
                    observation, info = env_reset(seed=None, options=None)
                else:
                    transition = env_step(action)
            except Exception as error:
                # Told apart from a loss of the trainer, which has the same types
                # where the environment is itself a remote one.
                raise EnvironmentRaised(error, _phase(resetting)) from error
            if channel.forked:
                raise ForkedError(
                    "a process that the environment forked came back into the game of "
                    f"{channel.name!r}; it must not ask in its parent's place"
                )
            sequence = begin()
            try:
                if resetting:
                    transition = observation, 0.0, False, False, info
                    steady = write_first[sequence & 1](observation, info)
                else:
                    steady = write_step[sequence & 1](*transition)
            except BaseException as error:
                requester.cancel()
                if isinstance(error, Exception):  # it returned no transition
                    raise EnvironmentRaised(error, _phase(resetting)) from error
                raise
            if not steady:
                requester.cancel()
                return Halt(None, _phase(resetting), transition)
            send(sequence)
            reply = receive(patience)
            if accept(reply.words[SEQUENCE_WORD]) is not _ACCEPT:
                take()
                return Halt(self.decision(None), _phase(resetting), transition)
            read_steady = reply.steady
            action = UNSTEADY if read_steady is None else read_steady()
            if action is UNSTEADY or transition[2] or transition[3]:
                read_reset = reply.steady_reset
                if read_reset is None or not read_reset():
                    unusual = self._read(reply) or self.decision(None)
                    return Halt(unusual, _phase(resetting), transition)
                action = _RESET
            take()

    def is_steady(self, decision: Decision) -> bool:
        """Return whether :meth:`steady_run` may begin with ``decision``."""
        if self._batched or self.end.bounded:
            return False
        if isinstance(decision, Reset):
            return decision.seed is None and decision.options is None
        return isinstance(decision, Action)

    def _read(self, reply: MessageBuffer) -> Decision | None:
        """Return the decision in a reply; None for a call, which is answered."""
        kind, reader = reply.kind, self.end.reader
        decision: Decision
        if kind is Kind.STEP:
            if self._batched:
                decision = Action(*reader.batch_step(reply))
            else:
                decision = Action(reader.step(reply))
        elif kind is Kind.RESET:
            decision = Reset(*reader.reset(reply))
        elif kind is Kind.CLOSE:
            decision = close_decision(reader.close(reply))
        elif kind is Kind.CALL:
            call = reader.call(reply)
            self.channel.take()
            self._answer_call(call)
            return None
        else:
            raise RemoteProtocolError(f"{kind.name} is no decision")
        self.channel.take()
        return decision

    def _answer_call(self, call: CallFields) -> None:
        try:
            value = self._answer(call)
        except Exception as error:
            self.confess(error)
            return
        try:
            self.report(lambda buffer: self.end.call_result(buffer, value))
        except MessageTooLarge as error:
            self.confess(error)

    def leave(self, reason: CloseReason = CloseReason.CLOSED) -> None:
        """Say goodbye and let go of the channel."""
        self._client.close(reason)


def _phase(resetting: bool) -> Phase:
    return Phase.RESETTING if resetting else Phase.RUNNING


def close_decision(reason: CloseReason) -> Close:
    """Return the Close that a goodbye with ``reason`` stands for."""
    return Close("draining" if reason is CloseReason.DRAINING else "closed")
