"""The algorithm's end of a session: decisions out, reports in.

A ``ClientLink`` asks and the backend answers; behind a ``ServerLink`` the game asks.
Everything that is the same for both is here.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple

from rlay.envs.faults import (
    error_of,
    invalid_action,
    is_loss,
    lost_error,
    unsendable_request,
)
from rlay.envs.timeouts import Timeouts
from rlay.errors import (
    LinkDown,
    MessageTooLarge,
    RemoteProtocolError,
    ResetTimeout,
    RLayError,
    RLayTimeout,
    StepTimeout,
)
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import KIND_MASK, Kind
from rlay.protocol.decisions import DecisionWriter, Operation
from rlay.protocol.delivery import (
    Outcome,
    Requester,
    RequesterState,
    Responder,
    ResponderState,
)
from rlay.protocol.greeting import EnvironmentFacts
from rlay.protocol.reports import ReportReader
from rlay.protocol.slot_layout import KIND_WORD, SEQUENCE_WORD
from rlay.protocol.values import Unsendable
from rlay.transport.base import Channel
from rlay.transport.peers import Deadline

Step = Callable[..., Any]
Write = Callable[[MessageBuffer], bytes | None]
Read = Callable[[MessageBuffer], Any]

_TRANSITION: Final = int(Kind.TRANSITION)
_RESET_RESULT: Final = int(Kind.RESET_RESULT)


class SplitStep(NamedTuple):
    """A step in pieces, so that many are on their way before one is awaited.

    Attributes:
        write: Takes an action, and of a batch the mask of those that reset instead;
            sends nothing. What it raises concerns nobody else.
        undo: Takes back what was written and not sent.
        send: Sends what was written; takes the time, of ``time.monotonic``.
        wait: Waits for the transition; the limit runs from the time of ``send``.
    """

    write: Callable[..., None]
    undo: Callable[[], None]
    send: Callable[[float], None]
    wait: Callable[[], Any]


class AlgorithmLink:
    """What both links have in common.

    Attributes:
        channel: The session.
        facts: What the other end said of the environment.
    """

    _machine: Requester | Responder
    _begin: Callable[[], int]
    """Starts the next message out, and returns its sequence."""
    _wanted: ClassVar[Outcome]
    """The outcome of the one message in that is awaited."""
    _awaiting: ClassVar[RequesterState | ResponderState]
    """The state while it is awaited."""
    _outstanding: ClassVar[RequesterState | ResponderState]
    """The state in which a message in must be discarded before the next one out."""
    _at_rest: ClassVar[RequesterState | ResponderState]
    """The state in which the next message out may begin."""
    _over: ClassVar[RequesterState | ResponderState]
    """The state in which the session is over."""

    def __init__(
        self,
        channel: Channel,
        facts: EnvironmentFacts,
        timeouts: Timeouts,
        *,
        copy: bool = True,
    ) -> None:
        """Compile for a session."""
        self.channel = channel
        self.facts = facts
        agreement = facts.agreement()
        self._writer = DecisionWriter(agreement, channel.outgoing)
        self._reader = ReportReader(agreement, channel.incoming, copy=copy)
        self._timeouts = timeouts
        self._step_patience = self._patience(timeouts.step, StepTimeout, "transition")
        self._reset_patience = self._patience(
            timeouts.reset, ResetTimeout, "first observation"
        ).running()

    def _patience(
        self, limit_s: float | None, error: type[RLayTimeout], what: str
    ) -> Deadline:
        phase = error.__name__.removesuffix("Timeout").lower()
        name = self.channel.name  # and not self: the link is to go without a collector
        return Deadline(
            self.channel.watch,
            limit_s,
            lambda: error(
                f"no {what} from {name!r} within {limit_s} s: the process "
                "at the other end is alive, but busy or stopped. Call reset() or "
                f"close() next, or raise {phase}_timeout"
            ),
        )

    @property
    def over(self) -> bool:
        """Whether the session is over."""
        return self._machine.state is self._over

    # -------------------------------------------------------------------- step

    def compile_step(self) -> Step:
        """Return the function behind ``step``: an action in, a transition out.

        With a batch it takes a reset mask too.
        """
        channel, patience = self.channel, self._step_patience
        begin, accept, wanted = self._begin, self._machine.receive, self._wanted
        send, receive, take = channel.send, channel.receive, channel.take
        write_steady = tuple(buffer.steady for buffer in channel.outgoing)
        write_other, send_other = self._write_step, self._send
        read_other, next_message = self._read_transition, self._next
        give_up = self._give_up

        def step(action: Any, reset_mask: Any = None) -> Any:
            try:
                sequence = begin()
                if reset_mask is None and write_steady[sequence & 1](action):
                    send(sequence)
                else:
                    overflow = write_other(sequence, action, reset_mask)
                    send_other(sequence, overflow, patience)
                message = receive(patience)
                if accept(message.words[SEQUENCE_WORD]) is not wanted:
                    message = next_message(patience)
                read_steady = message.steady
                transition = None if read_steady is None else read_steady()
                if transition is None:
                    transition = read_other(message)
                take()
            except BaseException as error:
                give_up(error)
                raise
            return transition

        return step

    def compile_split_step(self) -> SplitStep:
        """Return :meth:`compile_step`'s function in pieces, for several at once."""
        channel, patience = self.channel, self._step_patience.running()
        begin, accept, wanted = self._begin, self._machine.receive, self._wanted
        publish, receive, take = channel.send, channel.receive, channel.take
        write_steady = tuple(buffer.steady for buffer in channel.outgoing)
        write_other, send_other = self._write_step, self._send
        read_other, next_message = self._read_transition, self._next
        give_up, restart = self._give_up, patience.restart
        sequence, overflow = 0, None

        def write(action: Any, reset_mask: Any = None) -> None:
            nonlocal sequence, overflow
            try:
                sequence, overflow = begin(), None
                if reset_mask is not None or not write_steady[sequence & 1](action):
                    overflow = write_other(sequence, action, reset_mask)
            except BaseException as error:
                give_up(error)
                raise

        def send(now: float) -> None:
            restart(now)
            try:
                if overflow is None:
                    publish(sequence)
                else:
                    send_other(sequence, overflow, patience)
            except BaseException as error:
                give_up(error)
                raise

        def wait() -> Any:
            try:
                message = receive(patience)
                if accept(message.words[SEQUENCE_WORD]) is not wanted:
                    message = next_message(patience)
                read_steady = message.steady
                transition = None if read_steady is None else read_steady()
                if transition is None:
                    transition = read_other(message)
                take()
            except BaseException as error:
                give_up(error)
                raise
            return transition

        return SplitStep(write, self._reconcile, send, wait)

    def _write_step(self, sequence: int, action: Any, reset_mask: Any) -> bytes | None:
        """Write a step that is not steady; return what exceeds the buffer."""
        buffer = self.channel.outgoing[sequence & 1]
        try:
            return self._writer.step(buffer, action, reset_mask)
        except Unsendable as error:
            raise invalid_action(error, action) from None

    def _send(self, sequence: int, overflow: bytes | None, patience: Deadline) -> None:
        """Send what is in the buffer, or what exceeds it."""
        if overflow is None:
            self.channel.send(sequence)
        else:
            self._send_parts(sequence, overflow, patience)

    def _read_transition(self, message: MessageBuffer) -> Any:
        """Return a transition that is not steady, or raise what came instead."""
        if message.words[KIND_WORD] & KIND_MASK != _TRANSITION:
            self._odd(message, Kind.TRANSITION)
        return self._reader.transition(message)

    def step_send(self, action: Any, reset_mask: Any = None) -> None:
        """Send a Step without waiting; :meth:`step_wait` returns its transition."""
        try:
            self._say(
                lambda buffer: self._writer.step(buffer, action, reset_mask),
                self._step_patience,
            )
        except Unsendable as error:
            raise invalid_action(error, action) from None

    def step_wait(self) -> Any:
        """Wait for the transition of the Step that was sent last."""
        return self._hear(self._step_patience, Kind.TRANSITION, self._reader.transition)

    # ------------------------------------------------------------------- others

    def reset(self, seed: Any, options: Any, mask: Any = None) -> tuple[Any, Any]:
        """Send Reset and return the first observation and info.

        A message that is still outstanding is awaited first, and discarded.
        """
        if (
            seed is None
            and options is None
            and mask is None
            and self._machine.state is self._at_rest
        ):
            return self._reset_steadily()
        return self.reset_wait(self.reset_send(seed, options, mask))

    def reset_send(self, seed: Any, options: Any, mask: Any = None) -> Deadline:
        """Send Reset without waiting for its answer.

        Returns:
            How long :meth:`reset_wait` may wait for it.
        """
        patience = self._reset_patience.running()
        self._settle(patience)
        try:
            self._say(
                lambda buffer: self._writer.reset(buffer, seed, options, mask), patience
            )
        except Unsendable as error:
            raise unsendable_request(error, "reset") from None
        return patience

    def reset_wait(self, patience: Deadline) -> tuple[Any, Any]:
        """Wait for the answer to the Reset that was sent; return it."""
        result: tuple[Any, Any] = self._hear(
            patience, Kind.RESET_RESULT, self._reader.reset_result
        )
        return result

    def _reset_steadily(self) -> tuple[Any, Any]:
        """Reset where nothing is outstanding and nothing is asked for."""
        channel, patience = self.channel, self._reset_patience.rewind()
        result: tuple[Any, Any] | None
        try:
            channel.take()  # an interruption may have left the last message
            sequence = self._begin()
            buffer = channel.outgoing[sequence & 1]
            if not buffer.steady_reset():
                self._writer.reset(buffer, None, None)  # a few bytes: they fit
            channel.send(sequence)
            message = channel.receive(patience)
            if self._machine.receive(message.words[SEQUENCE_WORD]) is not self._wanted:
                message = self._next(patience)
            read_steady = message.steady_reset
            result = None if read_steady is None else read_steady()
            if result is None:
                if message.words[KIND_WORD] & KIND_MASK != _RESET_RESULT:
                    self._odd(message, Kind.RESET_RESULT)
                result = self._reader.reset_result(message)
            channel.take()
        except BaseException as error:
            self._give_up(error)
            raise
        return result

    def call(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Send Call and return its result.

        Raises:
            gymnasium.error.ResetNeeded: A step is outstanding: reset or close first.
        """
        return self.call_wait(self.call_send(operation, name, args, kwargs))

    def call_send(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Deadline:
        """Send Call without waiting for its result; as :meth:`reset_send`."""
        self._before_call(name)
        patience = self._step_patience.running()
        try:
            self._say(
                lambda buffer: self._writer.call(buffer, operation, name, args, kwargs),
                patience,
            )
        except Unsendable as error:
            raise unsendable_request(error, f"the arguments of {name}") from None
        return patience

    def call_wait(self, patience: Deadline) -> Any:
        """Wait for the result of the Call that was sent; return it."""
        return self._hear(patience, Kind.CALL_RESULT, self._reader.call_result)

    def _before_call(self, name: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Say Close, and wait for the answer where there is one.

        Raises:
            CloseTimeout: No answer within ``close_timeout``.
            EnvLost: The other end is gone.
        """
        patience = self.close_send()
        if patience is not None:
            self.call_wait(patience)

    def close_send(self) -> Deadline | None:
        """Say Close, where it can be said now.

        Returns:
            How long :meth:`call_wait` may wait for the answer; None: there is none.
        """
        raise NotImplementedError

    # ----------------------------------------------------------------- exchange

    def _say(self, write: Write, patience: Deadline) -> None:
        try:
            sequence = self._begin()
            overflow = write(self.channel.outgoing[sequence & 1])
            self._send(sequence, overflow, patience)
        except BaseException as error:
            self._give_up(error)
            raise

    def _send_parts(self, sequence: int, payload: bytes, patience: Deadline) -> None:
        try:
            self.channel.send_parts(sequence, payload, patience)
        except MessageTooLarge:
            raise  # before anything was sent
        except BaseException:
            # Half a message is out: nothing more can be said in this session.
            self._machine.lose()
            raise

    def _hear(self, patience: Deadline, kind: Kind, read: Read) -> Any:
        try:
            message = self.channel.receive(patience)
            if self._machine.receive(message.sequence) is not self._wanted:
                message = self._next(patience)
            if message.words[KIND_WORD] & KIND_MASK != kind:
                self._odd(message, kind)
            result = read(message)
            self.channel.take()
        except BaseException as error:
            self._give_up(error)
            raise
        return result

    def _next(self, patience: Deadline) -> MessageBuffer:
        """Return the awaited message, after one that was not it."""
        while self._machine.state is self._awaiting:
            self.channel.take()
            message = self.channel.receive(patience)
            if self._machine.receive(message.sequence) is self._wanted:
                return message
        raise _breach(self._machine.sequence)

    def _settle(self, patience: Deadline) -> None:
        """Wait for an outstanding message and discard it."""
        self._reconcile()
        try:
            while self._machine.state is self._outstanding:
                message = self.channel.receive(patience)
                self._machine.receive(message.sequence)
                self.channel.take()
        except BaseException as error:
            self._give_up(error)
            raise
        if self.over:
            raise _breach(self._machine.sequence)

    def _odd(self, message: MessageBuffer, wanted: Kind) -> None:
        """Raise what a message that is not of the wanted kind stands for."""
        kind = message.kind
        if kind is Kind.FAILURE:
            failure = self._reader.failure(message)
            self.channel.take()
            raise error_of(failure)
        raise RemoteProtocolError(f"{kind.name} came in place of {wanted.name}")

    def _give_up(self, error: BaseException) -> None:
        """Set the session right after a failure; say so if the other end is gone."""
        self._reconcile()
        pending = self._machine.state is self._outstanding
        if is_loss(error) and isinstance(error, RLayError):
            unsure = isinstance(error, LinkDown) or self.channel.request_taken
            executed = None if pending and unsure else False
            self._machine.lose()
            raise lost_error(error, executed) from error
        if isinstance(error, MessageTooLarge) and not pending:
            return  # it was not sent, at this end or at the other: no harm was done
        if isinstance(error, RemoteProtocolError):
            self._machine.lose()

    def _reconcile(self) -> None:
        """Make the machine say what is so, wherever a call was broken off.

        A signal may interrupt between any two instructions. A message that was not
        published is undone, one that was is to be awaited and discarded, and what
        came in is taken, so that nobody meets it later.
        """
        machine = self._machine
        if machine.state is self._awaiting:
            sequence = machine.sequence
            if self.channel.outgoing[sequence & 1].sequence == sequence:
                self._abandon()
            else:
                machine.cancel()
        if machine.state is self._at_rest:
            self.channel.take()

    def _abandon(self) -> None:
        """Stop waiting: what comes late will be discarded."""


def _breach(sequence: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"a message came out of order at sequence {sequence}; the session is over, "
        "reset() starts a new one"
    )
