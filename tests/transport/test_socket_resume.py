"""A broken link is made again, and every message arrives once, in order."""

import contextlib
import threading
import time

import pytest

from rlay.errors import ChannelClosed, LinkDown, PeerLost, StepTimeout
from rlay.protocol.constants import Kind
from rlay.protocol.delivery import next_sequence
from tests.support.channels import LIMIT_S, patience, receive, send, socket_pair
from tests.support.hub import Hub
from tests.support.waiting import wait_until

EXCHANGES = 6


def payload_of(size: int, salt: int) -> bytes:
    return bytes((salt + 13 * index + (index >> 8)) & 0xFF for index in range(size))


def say(channel, sequence, payload):
    buffer = channel.outgoing[sequence & 1]
    overflow = buffer.write(int(Kind.STEP), payload)
    if overflow is None:
        channel.send(sequence)
    else:
        channel.send_parts(sequence, overflow, patience(channel))


@contextlib.contextmanager
def echoing(channel, exchanges):
    """Answer so many requests with their reverse; what came is in the list."""
    came: list[tuple[int, bytes]] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(exchanges):
                sequence, payload = receive(channel)
                came.append((sequence, payload))
                say(channel, sequence, payload[::-1])
            # The last reply may have to be sent again.
            with contextlib.suppress(ChannelClosed, PeerLost, StepTimeout):
                channel.receive(patience(channel))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield came
    finally:
        thread.join(2 * LIMIT_S)
        assert not thread.is_alive()
        assert not failed, failed


@contextlib.contextmanager
def driven(end):
    """Let a thread wait with an end, as its user would."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            end._link.pump(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LIMIT_S)


def exchange_all(pair, size, exchanges=EXCHANGES):
    """Ask and be answered; check that nothing was lost, doubled or changed."""
    client, server = pair.ends
    asked = []
    with echoing(server, exchanges) as came:
        sequence = 0
        for number in range(exchanges):
            sequence = next_sequence(sequence)
            payload = payload_of(size, number)
            asked.append((sequence, payload))
            say(client, sequence, payload)
            assert receive(client) == (sequence, payload[::-1])
        pair.close(client)
    assert came == asked


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("after", range(EXCHANGES))
def test_link_cut_at_each_frame(role, after):
    """Wherever the link of an end is cut, each message arrives once and in order."""
    with Hub() as hub, socket_pair(hub) as pair:
        hub.cut(role, after)
        exchange_all(pair, 100)


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("after", range(0, 12, 2))
def test_link_cut_between_parts(role, after):
    """A message in parts goes on with the part at which the link was cut."""
    with Hub() as hub, socket_pair(hub, capacity_bytes=256) as pair:
        hub.cut(role, after)
        exchange_all(pair, 1000, exchanges=3)


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("after", range(6))
def test_link_cut_between_pieces(role, after):
    """A message in pieces is sent again whole."""
    size = 700_000
    with Hub() as hub, socket_pair(hub, capacity_bytes=size) as pair:
        hub.cut(role, after)
        exchange_all(pair, size, exchanges=2)
        assert hub.accepted > 2


def test_link_that_breaks_again_and_again():
    """A flapping link makes progress."""
    with Hub() as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        stop = threading.Event()

        def flap() -> None:
            while not stop.wait(0.05):
                hub.cut_now("client")

        thread = threading.Thread(target=flap)
        thread.start()
        try:
            with echoing(server, 100):
                for sequence in range(1, 101):
                    say(client, sequence, b"%d" % sequence)
                    assert receive(client)[0] == sequence
                stop.set()
                thread.join()
                pair.close(client)
        finally:
            stop.set()
            thread.join()


def test_message_sent_while_the_link_is_down():
    """What is sent without a link goes out when there is one again."""
    with Hub() as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        hub.cut_now("client")
        wait_until(lambda: not client.watch.check(), what="the client sees it")
        with echoing(server, 1) as came:
            send(client, 1, b"later")
            assert receive(client) == (1, b"retal")
            pair.close(client)
        assert came == [(1, b"later")]


def test_time_without_a_link_does_not_count():
    """While the link is down a time-out does not run."""
    with Hub() as hub, socket_pair(hub) as pair:
        client, _ = pair.ends
        hub.held.set()  # it answers nothing: nobody comes in again
        hub.cut_now("client")
        limit = patience(client, 0.05)
        stop_at = time.monotonic() + 0.5

        class Stopped(Exception):
            pass

        class Bounded:
            def start(self) -> float:
                return limit.start()

            def check(self) -> float:
                if time.monotonic() > stop_at:
                    raise Stopped
                return limit.check()

        with pytest.raises(Stopped):
            client.receive(Bounded())
        hub.held.clear()
        with driven(pair.server):
            wait_until(client.watch.check, what="the link is back")
        with pytest.raises(StepTimeout):
            client.receive(patience(client, 0.05))


def test_window_over_is_link_down():
    """A link that is down for longer than the window ends the session, and says why."""
    with Hub(window_s=0.3) as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        send(client, 1)
        hub._listener.close()  # nobody comes in again
        hub.cut_now("client")
        with pytest.raises(
            LinkDown, match=r"down for more than 0\.3 s.*nobody listens"
        ):
            client.receive(patience(client))
        with pytest.raises(LinkDown):
            client.watch.check()
        assert client.request_taken, "it may have been taken, unseen from here"
        assert not server.forked


def test_session_that_the_far_end_forgot():
    """A session that nobody knows any more is PeerLost, and what ran is not known."""
    with Hub() as hub, socket_pair(hub) as pair:
        client, _ = pair.ends
        send(client, 1)
        pair.server._slots = None
        hub.cut_now("client")
        with driven(pair.server), pytest.raises(PeerLost):
            client.receive(patience(client))
        assert client.request_taken


def test_request_that_was_not_taken_before_a_goodbye():
    """After an orderly end the last request is known not to have been taken."""
    with Hub() as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        send(client, 1)
        assert server.receive(patience(server)) is not None
        pair.close(server)
        with pytest.raises(ChannelClosed):
            client.receive(patience(client))
        assert not client.request_taken


def test_request_that_was_taken_before_a_goodbye():
    """After an orderly end the last request is known to have been taken."""
    with Hub() as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        send(client, 1)
        receive(server)
        pair.close(server)
        with pytest.raises(ChannelClosed):
            client.receive(patience(client))
        assert client.request_taken


def test_silent_bridge_is_given_up():
    """A bridge that says nothing for too long is dialed anew, though TCP is well."""
    with Hub(heartbeat_ms=50, dead_after_ms=300) as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        hub.held.set()
        wait_until(lambda: not client.watch.check(), what="the client gives it up")
        hub.held.clear()
        with echoing(server, 1):
            send(client, 1, b"again")
            assert receive(client) == (1, b"niaga")
            pair.close(client)


def test_quiet_link_is_kept():
    """A bridge that answers PING is not given up, however long nothing is said."""
    with Hub(heartbeat_ms=20, dead_after_ms=100) as hub, socket_pair(hub) as pair:
        client, _ = pair.ends
        with pytest.raises(StepTimeout):
            client.receive(patience(client, 0.5))
        assert hub.accepted == 2


def test_peer_that_computes_keeps_its_link():
    """Who does not look for long does not take its own silence for the bridge's."""
    with Hub(heartbeat_ms=20, dead_after_ms=100) as hub, socket_pair(hub) as pair:
        client, server = pair.ends
        time.sleep(0.5)  # the computation
        send(client, 1, b"done")
        assert receive(server) == (1, b"done")
        assert hub.accepted == 2
