"""One client of a backend, from its Welcome to its goodbye."""

from collections.abc import Callable
from typing import Any, Final, NoReturn

from rlay.envs.environment_end import AllowedNames, EnvironmentEnd, ReportOptions
from rlay.errors import (
    ConnectTimeout,
    DecodeError,
    ForkedError,
    MessageTooLarge,
    RemoteProtocolError,
)
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Kind
from rlay.protocol.delivery import Outcome, Responder, ResponderState
from rlay.protocol.greeting import EnvironmentFacts
from rlay.protocol.slot_layout import SEQUENCE_WORD
from rlay.protocol.steady import UNSTEADY, never
from rlay.transport.base import Channel
from rlay.transport.peers import Deadline

_RUN: Final = Outcome.RUN


class BackendSession:
    """One client, from its Welcome to its goodbye."""

    def __init__(
        self,
        channel: Channel,
        facts: EnvironmentFacts,
        env: Any,
        options: ReportOptions,
    ) -> None:
        """Compile for a session; arguments as :class:`EnvironmentEnd`."""
        self._channel = channel
        self._env = env
        self._names = AllowedNames(env, facts.allow, vector=facts.vector)
        self._end = EnvironmentEnd(
            channel, facts, options, env.observation_space.contains
        )
        self._responder = Responder()
        self._patience = Deadline(channel.watch, None, ConnectTimeout)
        self._closing = False
        self._in_parts = (0, b"")

    @property
    def sequence(self) -> int:
        """The last request that was run: their number, until it wraps."""
        return self._responder.sequence

    def serve(self) -> None:
        """Answer requests until the client closes.

        Raises:
            PeerGone: The client said goodbye without a Close.
            PeerLost: It is gone.
            RemoteProtocolError: It broke the protocol.
        """
        channel, patience, responder = self._channel, self._patience, self._responder
        receive, take, send = channel.receive, channel.take, channel.send
        accept, answer = responder.receive, responder.answer
        write_steady = tuple(buffer.steady for buffer in channel.outgoing)
        env_step, respond, write_other = (
            self._env.step,
            self._respond,
            self._end.transition,
        )
        if self._end.bounded:
            write_steady = (never, never)
        reset_steadily = self._compile_reset()
        while not self._closing:
            request = receive(patience)
            sequence = request.words[SEQUENCE_WORD]
            if accept(sequence) is not _RUN:
                self._not_new(sequence)
                continue
            read_steady = request.steady
            try:
                action = UNSTEADY if read_steady is None else read_steady()
            except DecodeError:
                action = UNSTEADY  # the long way finds it too, and answers
            if action is UNSTEADY:
                if not reset_steadily(request, sequence):
                    respond(request)
                continue
            take()
            try:
                transition = env_step(action)
                if channel.forked:
                    self._refuse_fork()
                if write_steady[sequence & 1](*transition):
                    answer()
                    send(sequence)
                    continue
                overflow = write_other(channel.outgoing[sequence & 1], *transition)
            except Exception as error:
                overflow = self._failed(sequence, error)
            self._send(overflow)

    def _compile_reset(self) -> Callable[[MessageBuffer, int], bool]:
        """Return what runs and answers a steady Reset; False where it is none."""
        channel, end, send_other = self._channel, self._end, self._send
        take, send, answer = channel.take, channel.send, self._responder.answer
        env_reset, write_other = self._env.reset, end.reset_result
        write_steady = tuple(buffer.steady_reset for buffer in channel.outgoing)
        if end.bounded:
            write_steady = (never, never)

        def reset(request: MessageBuffer, sequence: int) -> bool:
            read_steady = request.steady_reset
            if read_steady is None or not read_steady():
                return False
            take()
            try:
                first = env_reset(seed=None, options=None)
                if channel.forked:
                    self._refuse_fork()
                if write_steady[sequence & 1](*first):
                    answer()
                    send(sequence)
                    return True
                overflow = write_other(channel.outgoing[sequence & 1], *first)
            except Exception as error:
                overflow = self._failed(sequence, error)
            send_other(overflow)
            return True

        return reset

    def _refuse_fork(self, error: Exception | None = None) -> NoReturn:
        raise ForkedError(
            "a process that the environment forked came back into the backend of "
            f"{self._channel.name!r}; it must not answer in its parent's place"
        ) from error

    def _failed(self, sequence: int, error: Exception) -> bytes | None:
        if self._channel.forked:
            self._refuse_fork(error)
        return self._end.failure(self._channel.outgoing[sequence & 1], error)

    def _send(self, overflow: bytes | None) -> None:
        sequence = self._responder.answer()
        if overflow is None:
            self._channel.send(sequence)
            return
        self._in_parts = sequence, overflow
        try:
            self._channel.send_parts(sequence, overflow, self._patience)
        except MessageTooLarge as error:
            self._failed(sequence, error)
            self._channel.send(sequence)

    def _not_new(self, sequence: int) -> None:
        """Deal with a request that is not the next one; its outcome is known."""
        responder = self._responder
        self._channel.take()
        if responder.state is ResponderState.OVER:
            raise RemoteProtocolError(
                f"request {sequence} came after {responder.sequence}"
            )
        if sequence != responder.sequence:
            return
        # The stored reply is still in its buffer, unless it went in parts.
        answered, overflow = self._in_parts
        if answered == sequence:
            self._channel.send_parts(sequence, overflow, self._patience)
        else:
            self._channel.send(sequence)

    def _respond(self, request: MessageBuffer) -> None:
        """Run a request that is no steady step, and answer it.

        A request that cannot be read is answered too, so that its sender does not
        wait for nothing; it is the last one of the session.
        """
        sequence = request.sequence
        buffer = self._channel.outgoing[sequence & 1]
        try:
            run = self._runner(request, buffer)
        except RemoteProtocolError as error:
            self._channel.take()
            self._send(self._end.breach(buffer, error))
            raise
        self._channel.take()
        try:
            overflow = run()
            if self._channel.forked:
                self._refuse_fork()
        except Exception as error:
            overflow = self._failed(sequence, error)
        self._send(overflow)

    def _runner(
        self, request: MessageBuffer, buffer: MessageBuffer
    ) -> Callable[[], bytes | None]:
        """Return what runs a request and writes its reply."""
        end, kind, env = self._end, request.kind, self._env
        if kind is Kind.STEP:
            action = end.reader.step(request)
            return lambda: end.transition(buffer, *env.step(action))
        if kind is Kind.RESET:
            fields = end.reader.reset(request)
            options = fields.options
            if fields.mask is not None:
                options = {**(options or {}), "reset_mask": fields.mask}
            return lambda: end.reset_result(
                buffer, *env.reset(seed=fields.seed, options=options)
            )
        if kind is Kind.CALL:
            call = end.reader.call(request)
            return lambda: end.call_result(buffer, self._names.answer(call))
        if kind is Kind.CLOSE:
            self._closing = True
            return lambda: end.call_result(buffer, None)
        raise RemoteProtocolError(f"{kind.name} is no request to a backend")
