"""The work of both ends on the messages of a step, done in one thread.

It is a session over a channel in this process's own memory. The algorithm's end is
``ClientEnv``'s; what a backend does with a request runs inside its wait for the reply,
which is there when it looks. So nobody waits and nobody is woken: what it takes is
encoding, publishing, taking and decoding, of both messages.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from rlay.envs.client_link import ClientLink
from rlay.envs.environment_end import EnvironmentEnd, ReportOptions
from rlay.envs.timeouts import Timeouts
from rlay.errors import ConnectTimeout, RLayError
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Paradigm
from rlay.protocol.delivery import Responder
from rlay.protocol.greeting import EnvironmentFacts, Hello, Welcome
from rlay.protocol.slot_layout import PAYLOAD_BYTES_WORD
from rlay.protocol.steady import UNSTEADY
from rlay.transport.ends import CAPABILITIES, draw_id
from rlay.transport.in_process import InProcessServer
from rlay.transport.mem_client import MemClient
from rlay.transport.peers import Deadline
from rlay.transport.slot_channel import SlotChannel
from rlay.transport.waiting import Patience

_LIMIT_S: Final = 5.0


class NotCopied(Exception):
    """The messages cannot be sent within one thread; it says why."""


class Copying:
    """Sends an action to and fro with a transition, as often as it is called.

    Attributes:
        step: Does it once.
        sizes: Payload of the request and of the reply, in bytes.
    """

    def __init__(
        self,
        channels: tuple[SlotChannel, SlotChannel],
        facts: EnvironmentFacts,
        action: Any,
        transition: Any,
    ) -> None:
        """Compile both ends.

        Args:
            channels: The algorithm's and the environment's.
            facts: Of the environment.
            action: What every step sends.
            transition: What every step answers.

        Raises:
            NotCopied: A message exceeds its slot.
        """
        algorithm, environment = channels
        answer = _compile_answer(environment, facts, transition)
        receive = algorithm.receive

        def receive_answer(patience: Patience) -> MessageBuffer:
            answer()
            return receive(patience)

        algorithm.receive = receive_answer
        link_step = ClientLink(algorithm, facts, Timeouts(step=_LIMIT_S)).compile_step()
        self.step: Callable[[], Any] = lambda: link_step(action)
        try:
            self.step()
        except RLayError as error:
            raise NotCopied(f"its messages travel in parts ({error})") from error
        self.sizes = _payload_bytes(algorithm), _payload_bytes(environment)


def _payload_bytes(channel: SlotChannel) -> int:
    # One of its two buffers holds a message, the other perhaps nothing yet.
    return max(buffer.words[PAYLOAD_BYTES_WORD] for buffer in channel.outgoing)


def _compile_answer(
    channel: SlotChannel, facts: EnvironmentFacts, transition: Any
) -> Callable[[], None]:
    """Return what a backend does with a Step, but for the environment's part."""
    end, responder = EnvironmentEnd(channel, facts, ReportOptions()), Responder()
    receive, take, send = channel.receive, channel.take, channel.send
    write_steady = tuple(buffer.steady for buffer in channel.outgoing)
    patience = Deadline(channel.watch, None, ConnectTimeout)

    def answer() -> None:
        request = receive(patience)
        sequence = request.sequence
        responder.receive(sequence)
        action = UNSTEADY if request.steady is None else request.steady()
        if action is UNSTEADY:
            end.reader.step(request)
        take()
        if not write_steady[sequence & 1](*transition):
            overflow = end.transition(channel.outgoing[sequence & 1], *transition)
            if overflow is not None:
                raise NotCopied("its transitions travel in parts")
        responder.answer()
        send(sequence)

    return answer


@contextlib.contextmanager
def copying(facts: EnvironmentFacts, action: Any, transition: Any) -> Iterator[Copying]:
    """Open a session within this process, and close it at the end.

    Args:
        facts: Of the environment.
        action: As it was sent.
        transition: As it came back.

    Raises:
        NotCopied: A message exceeds its slot.
    """
    server = InProcessServer("bench")
    with contextlib.closing(server), contextlib.closing(server.client()) as client:
        yield Copying(_connect(server, client, facts), facts, action, transition)


def _connect(
    server: InProcessServer, client: MemClient, facts: EnvironmentFacts
) -> tuple[SlotChannel, SlotChannel]:
    agreement = facts.agreement()
    accepted: list[SlotChannel | None] = []

    def accept() -> None:
        buffer, _ = server.receive_hello(_LIMIT_S)
        capacities = (agreement.decision_capacity, agreement.report_capacity)
        ids = (draw_id(), buffer.session)
        welcome = Welcome(0, facts, capabilities=CAPABILITIES)
        accepted.append(server.accept(buffer, welcome, ids, capacities))

    thread = threading.Thread(target=accept, name="rlay-bench-greeting", daemon=True)
    thread.start()
    try:
        hello = Hello(Paradigm.CLIENT_ENV, capabilities=CAPABILITIES)
        ids, welcome = client.greet(hello, (0, draw_id()), _LIMIT_S)
    finally:
        thread.join()
    (channel,) = accepted
    if channel is None:
        raise NotCopied("the greeting failed")
    return client.attach(welcome, ids), channel
