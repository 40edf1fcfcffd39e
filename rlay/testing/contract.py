"""What every channel must do, whatever carries it.

A transport passes its contract if :func:`check_channel` returns::

    @contextlib.contextmanager
    def make_pair(capacity_bytes, max_message_bytes):
        ...                        # open both ends of a session in this process
        yield pair                 # see Pair
        ...                        # close what is still open

    check_channel(make_pair)

Each check gets a new pair, and runs in both directions. A test runner that shows one
result for each check goes through :data:`CHECKS`. A wait that never ends fails after
:data:`PATIENCE_S` seconds instead of hanging.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from rlay.errors import ChannelClosed, MessageTooLarge, PeerLost, StepTimeout
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import CloseReason, Kind
from rlay.protocol.delivery import next_sequence
from rlay.transport.base import Channel
from rlay.transport.peers import Deadline

__all__ = ["CHECKS", "Check", "MakePair", "Pair", "check_channel"]

PATIENCE_S: Final = 20.0
"""A limit for a hang, not a claim about speed."""
_CAPACITY_BYTES: Final = 1024
_MAX_MESSAGE_BYTES: Final = 256 * 1024


class Pair(Protocol):
    """Both ends of one session, in this process.

    Attributes:
        ends: The client's and the server's channel. The payloads of their outgoing
            buffers hold ``capacity_bytes``, rounded up at most to the next 64.
    """

    ends: tuple[Channel, Channel]

    def close(self, end: Channel) -> None:
        """Say goodbye for one end, with the reason ``CloseReason.CLOSED``."""

    def lose(self, end: Channel) -> None:
        """Let one end vanish without a word, as a killed process does."""


MakePair = Callable[[int, int], AbstractContextManager[Pair]]
"""Opens a pair, given ``capacity_bytes`` and ``max_message_bytes``."""
Check = Callable[[Pair, Channel, Channel], None]
"""A check of what passes from the first to the second end of the pair."""
CHECKS: Final[dict[str, Check]] = {}
"""All checks by name, in the order in which they make sense."""


def check_channel(make_pair: MakePair, name: str | None = None) -> None:
    """Run all checks, or the one of this name, in both directions.

    Raises:
        AssertionError: The transport breaks the contract; the message names the
            check and the direction.
    """
    for check_name, check in CHECKS.items():
        if name is not None and check_name != name:
            continue
        for direction in ("client to server", "server to client"):
            with make_pair(_CAPACITY_BYTES, _MAX_MESSAGE_BYTES) as pair:
                one, other = pair.ends
                if direction != "client to server":
                    one, other = other, one
                try:
                    check(pair, one, other)
                except Exception as error:
                    claim = (check.__doc__ or "").strip()
                    raise AssertionError(
                        f"{check_name}, {direction}: not so: {claim}"
                    ) from error


def _check(function: Check) -> Check:
    CHECKS[function.__name__.removeprefix("_")] = function
    return function


# ------------------------------------------------------------------- instruments


def _patience(channel: Channel, timeout_s: float | None = PATIENCE_S) -> Deadline:
    return Deadline(
        channel.watch, timeout_s, lambda: StepTimeout(f"nothing within {timeout_s} s")
    )


class _Sleepy:
    """A patience that looks at the peer once in a very long time.

    Whoever waits with it is woken by the peer or fails.

    Attributes:
        asleep: Set when the wait begins.
    """

    def __init__(self, channel: Channel) -> None:
        self.asleep = threading.Event()
        self._deadline = _patience(channel)

    def start(self) -> float:
        self.asleep.set()
        self._deadline.start()
        return PATIENCE_S

    def check(self) -> float:
        self._deadline.check()
        return PATIENCE_S


class _Interrupted:
    """A patience during which Ctrl-C is pressed."""

    def start(self) -> float:
        raise KeyboardInterrupt

    def check(self) -> float:
        raise KeyboardInterrupt


class _Held:
    """A patience that does not wait before it is let go.

    Attributes:
        waits: Set when the wait begins.
        go: Lets the wait begin.
    """

    def __init__(self, channel: Channel) -> None:
        self.waits, self.go = threading.Event(), threading.Event()
        self._deadline = _patience(channel)

    def start(self) -> float:
        self.waits.set()
        assert self.go.wait(PATIENCE_S)
        return self._deadline.start()

    def check(self) -> float:
        return self._deadline.check()


@contextmanager
def _thread() -> Iterator[Callable[..., "Future[Any]"]]:
    with ThreadPoolExecutor(2) as executor:
        yield executor.submit


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def _payload(size: int, salt: int = 0) -> bytes:
    return bytes((salt + 7 * index + (index >> 8)) & 0xFF for index in range(size))


def _send(channel: Channel, sequence: int, payload: bytes = b"") -> None:
    """Send a message in one part or in several."""
    buffer = channel.outgoing[sequence & 1]
    overflow = buffer.write(int(Kind.STEP), payload)
    if overflow is None:
        channel.send(sequence)
    else:
        channel.send_parts(sequence, overflow, _patience(channel))


def _receive(channel: Channel) -> tuple[int, bytes]:
    """Receive and take a message; return its sequence and payload."""
    message = channel.receive(_patience(channel))
    received = message.sequence, bytes(message.body())
    channel.take()
    return received


def _room(channel: Channel) -> int:
    return len(channel.outgoing[0].payload)


def _assert_passes(
    one: Channel, other: Channel, sequence: int, payload: bytes = b"x"
) -> None:
    """Check that a message passes, and one back."""
    with _thread() as run:
        sent = run(_send, one, sequence, payload)
        assert _receive(other) == (sequence, payload)
        sent.result(PATIENCE_S)
        sent = run(_send, other, sequence, payload[::-1])
        assert _receive(one) == (sequence, payload[::-1])
        sent.result(PATIENCE_S)


def _end_while_waiting(
    channel: Channel, end: Callable[[], None], kind: type[Exception]
) -> None:
    """Check what a wait raises whose peer ends after it began."""
    waiting = threading.Event()

    class Noticed(Deadline):
        def start(self) -> float:
            waiting.set()
            return super().start()

    forever = Noticed(channel.watch, None, lambda: StepTimeout("never"))
    with _thread() as run:
        received = run(channel.receive, forever)
        assert waiting.wait(PATIENCE_S)
        end()
        _assert_raises(kind, received.result, PATIENCE_S)


def _assert_raises(
    kind: type[BaseException], function: Callable[..., object], *args: object
) -> BaseException:
    try:
        function(*args)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


# ------------------------------------------------------------------------ checks


@_check
def _order(pair: Pair, one: Channel, other: Channel) -> None:
    """A hundred exchanges arrive once each, in order, with sequence and ids."""
    for sequence in range(1, 101):
        _send(one, sequence, _payload(sequence, sequence))
        message = other.receive(_patience(other))
        assert message.kind is Kind.STEP
        assert message.sequence == sequence
        assert bytes(message.body()) == _payload(sequence, sequence)
        assert (message.incarnation, message.session) == (
            one.incarnation,
            one.session,
        )
        other.take()
        _send(other, sequence, b"reply")
        assert _receive(one) == (sequence, b"reply")


@_check
def _sizes(pair: Pair, one: Channel, other: Channel) -> None:
    """Any size passes: none, one byte, the slot, one more, many parts, the limit."""
    room = _room(one)
    sizes = [0, 1, room - 1, room, room + 1, 2 * room, 2 * room + 1, 50 * room + 17]
    for sequence, size in enumerate([*sizes, _MAX_MESSAGE_BYTES, 0], 1):
        _assert_passes(one, other, sequence, _payload(size, sequence))


@_check
def _parts_are_one_message(pair: Pair, one: Channel, other: Channel) -> None:
    """A message that came in parts looks like one that did not."""
    payload = _payload(3 * _room(one) + 5)
    with _thread() as run:
        sent = run(_send, one, 1, payload)
        message = other.receive(_patience(other))
        assert message.part == (0, 1)
        assert message.kind is Kind.STEP
        assert message.total_bytes == len(payload)
        other.take()
        sent.result(PATIENCE_S)
    _assert_passes(one, other, 2)  # whose buffer had no parts
    _assert_passes(one, other, 3)  # whose buffer had


@_check
def _too_large(pair: Pair, one: Channel, other: Channel) -> None:
    """More than the limit is refused before anything is sent, and nothing is lost."""
    buffer = one.outgoing[1]
    payload = bytes(_MAX_MESSAGE_BYTES + 1)
    overflow = buffer.write(int(Kind.STEP), payload)
    assert overflow is not None
    error = _assert_raises(MessageTooLarge, one.send_parts, 1, overflow, _patience(one))
    assert isinstance(error, MessageTooLarge)
    assert (error.size_bytes, error.limit_bytes) == (len(payload), _MAX_MESSAGE_BYTES)
    assert not other.receive_nowait()
    _assert_passes(one, other, 1)


@_check
def _late(pair: Pair, one: Channel, other: Channel) -> None:
    """What comes after a time-out is received by the next wait."""
    for timeout_s in (0.0, 0.01, 0.12):
        _assert_raises(StepTimeout, other.receive, _patience(other, timeout_s))
    _send(one, 1, b"late")
    assert _receive(other) == (1, b"late")
    _assert_passes(one, other, 2)


@_check
def _looks_once(pair: Pair, one: Channel, other: Channel) -> None:
    """A time-out of 0 still finds what is there."""
    assert not other.receive_nowait()
    _send(one, 1, b"there")
    _wait_for(other.receive_nowait)  # it may have a network to cross
    assert bytes(other.receive(_patience(other, 0.0)).body()) == b"there"


@_check
def _interrupted(pair: Pair, one: Channel, other: Channel) -> None:
    """Ctrl-C in a wait leaves both ends usable."""
    for sequence in range(1, 4):
        _assert_raises(KeyboardInterrupt, other.receive, _Interrupted())
        _assert_passes(one, other, sequence)


@_check
def _interrupted_parts(pair: Pair, one: Channel, other: Channel) -> None:
    """A wait for the rest of a message can be broken off and taken up again."""
    payload = _payload(6 * _room(one) + 1)
    held = _Held(one)
    with _thread() as run:
        overflow = one.outgoing[1].write(int(Kind.STEP), payload)
        assert overflow is not None
        sent = run(one.send_parts, 1, overflow, held)
        # The first part is out and the second is not, where each is waited for.
        _wait_for(lambda: held.waits.is_set() or sent.done())
        try:
            message = other.receive(_Interrupted())
        except KeyboardInterrupt:
            held.go.set()
            message = other.receive(_patience(other))
        held.go.set()
        assert bytes(message.body()) == payload
        other.take()
        sent.result(PATIENCE_S)
    _assert_passes(one, other, 2)


@_check
def _stays_until_taken(pair: Pair, one: Channel, other: Channel) -> None:
    """A message is the next one until it is taken; a reply says that it was."""
    _send(one, 1, b"first")
    for _ in range(3):
        assert bytes(other.receive(_patience(other)).body()) == b"first"
        assert other.receive_nowait()
    other.take()
    assert not other.receive_nowait()
    _send(other, 1)  # a reply implies that its request was taken
    _receive(one)
    assert one.request_taken


@_check
def _untaken_at_the_end(pair: Pair, one: Channel, other: Channel) -> None:
    """A message that was read and not taken is known not to have been taken."""
    _send(one, 1, b"first")
    assert bytes(other.receive(_patience(other)).body()) == b"first"
    pair.close(other)
    _assert_raises(ChannelClosed, one.receive, _patience(one))
    assert not one.request_taken


@_check
def _taken_at_the_end(pair: Pair, one: Channel, other: Channel) -> None:
    """A message that was taken is known to have been, without a reply."""
    _send(one, 1, b"first")
    _receive(other)
    pair.close(other)
    _assert_raises(ChannelClosed, one.receive, _patience(one))
    assert one.request_taken


@_check
def _views_last(pair: Pair, one: Channel, other: Channel) -> None:
    """A view of a message is good until the message after the next is sent."""
    views: list[memoryview] = []
    for sequence in range(1, 5):
        _send(one, sequence, b"%d" % sequence)
        message = other.receive(_patience(other))
        views.append(message.body())
        other.take()
        if sequence > 1:
            assert bytes(views[-2]) == b"%d" % (sequence - 1)
        assert bytes(views[-1]) == b"%d" % sequence
        _send(other, sequence)
        _receive(one)


@_check
def _wraps(pair: Pair, one: Channel, other: Channel) -> None:
    """The sequence goes on over 2**32, leaving out 0."""
    sequence = 2**32 - 3
    for _ in range(6):
        _assert_passes(one, other, sequence)
        sequence = next_sequence(sequence)
    assert sequence == 4


@_check
def _wakes(pair: Pair, one: Channel, other: Channel) -> None:
    """Who sleeps is woken by the message, not by the next look at the clock."""
    for sequence in range(1, 6):
        sleepy = _Sleepy(other)
        with _thread() as run:
            received: Future[MessageBuffer] = run(other.receive, sleepy)
            assert sleepy.asleep.wait(PATIENCE_S)
            _send(one, sequence, b"wake")
            assert bytes(received.result(PATIENCE_S / 2).body()) == b"wake"
        other.take()
        _send(other, sequence)
        _receive(one)


@_check
def _alive(pair: Pair, one: Channel, other: Channel) -> None:
    """An end that is there and silent is alive."""
    for _ in range(3):
        assert one.watch.check()
        assert other.watch.check()


@_check
def _closed(pair: Pair, one: Channel, other: Channel) -> None:
    """A peer that closes is ChannelClosed with its reason, not PeerLost."""
    pair.close(one)
    for _ in range(2):
        error = _assert_raises(ChannelClosed, other.receive, _patience(other))
        assert getattr(error, "reason", None) is CloseReason.CLOSED
    other.send(1)  # never blocks


@_check
def _closed_while_waiting(pair: Pair, one: Channel, other: Channel) -> None:
    """A goodbye during a wait ends the wait."""
    _end_while_waiting(other, lambda: pair.close(one), ChannelClosed)


@_check
def _closed_here_while_waiting(pair: Pair, one: Channel, other: Channel) -> None:
    """A thread that waits is told that another thread closed its own end."""
    _end_while_waiting(other, lambda: pair.close(other), ChannelClosed)


@_check
def _closed_after_message(pair: Pair, one: Channel, other: Channel) -> None:
    """What was sent before a goodbye is received, then the goodbye."""
    _send(one, 1, b"last words")
    pair.close(one)
    assert _receive(other) == (1, b"last words")
    _assert_raises(ChannelClosed, other.receive, _patience(other))


@_check
def _lost(pair: Pair, one: Channel, other: Channel) -> None:
    """A peer that vanishes is PeerLost, every time one looks."""
    pair.lose(one)
    for _ in range(2):
        _assert_raises(PeerLost, other.receive, _patience(other))
    _assert_raises(PeerLost, other.watch.check)


@_check
def _lost_while_waiting(pair: Pair, one: Channel, other: Channel) -> None:
    """A peer that vanishes during a wait ends the wait."""
    _end_while_waiting(other, lambda: pair.lose(one), PeerLost)


@_check
def _lost_after_message(pair: Pair, one: Channel, other: Channel) -> None:
    """What was sent before an end vanished is received, then it is PeerLost."""
    _send(one, 1, b"last words")
    pair.lose(one)
    assert _receive(other) == (1, b"last words")
    _assert_raises(PeerLost, other.receive, _patience(other))


@_check
def _lost_between_parts(pair: Pair, one: Channel, other: Channel) -> None:
    """Half a message is never received."""
    payload = _payload(6 * _room(one))
    held = _Held(one)
    with _thread() as run:
        overflow = one.outgoing[1].write(int(Kind.STEP), payload)
        assert overflow is not None
        sent = run(one.send_parts, 1, overflow, held)
        _wait_for(lambda: held.waits.is_set() or sent.done())
        pair.lose(one)
        try:
            message = other.receive(_patience(other))
        except PeerLost:
            pass
        else:  # it was out as a whole
            assert bytes(message.body()) == payload
        pair.lose(other)
        held.go.set()
        sent.exception(PATIENCE_S)


@_check
def _threads(pair: Pair, one: Channel, other: Channel) -> None:
    """Two threads that hold the guard may share an end."""
    exchanges, sequence = 60, 0

    def ask(salt: int) -> None:
        nonlocal sequence
        for index in range(exchanges):
            with one.guard:
                sequence = next_sequence(sequence)
                payload = _payload(16, salt + index)
                _send(one, sequence, payload)
                assert _receive(one) == (sequence, payload)

    with _thread() as run:
        asked = [run(ask, salt) for salt in (0, 100)]
        for _ in range(2 * exchanges):
            number, payload = _receive(other)
            _send(other, number, payload)
        for future in asked:
            future.result(PATIENCE_S)
