"""B6: any byte of a channel's memory may be wrong: an error or a time-out, no more.

The channel is alive, its server in another thread. After each corruption the memory is
put right again, and the same server must still serve a client.
"""

import contextlib
import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlay.errors import RLayError
from rlay.protocol.constants import CloseReason
from rlay.protocol.greeting import Welcome
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from rlay.transport.peers import PeerGone
from tests.support.channels import HELLO, LIMIT_S, patience, send

HEADER_PAGE = 4096
GREETING_CONTROL = (4096, 4096 + 256), (69_632, 69_632 + 256)
PAYLOAD = b"the right answer"
# Long enough for an honest answer on a busy machine; what was broken ends at it.
BROKEN_S = 0.3


class Served:
    """A server that greets clients and echoes one message for each, in a thread."""

    def __init__(self, directory):
        self.directory = directory
        self.header = directory / "game" / "header"
        self.server = MemServer.create("game", directory)
        self.crashed = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while not self.server.closed:
            try:
                buffer, _ = self.server.receive_hello(LIMIT_S)
                channel = self.server.accept(
                    buffer, Welcome(0), (1, buffer.session), (64, 64)
                )
                if channel is None:
                    continue
                message = channel.receive(patience(channel, BROKEN_S))
                payload = bytes(message.body())
                channel.take()
                send(channel, message.sequence, payload)
            except RLayError:
                continue
            except BaseException as error:
                self.crashed.append(error)
                raise

    def close(self):
        self.server.close()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
        assert self.crashed == []

    def try_once(self, limit_s):
        """Attach and exchange one message; return what came back, or the error."""
        try:
            client = MemClient.open("game", self.directory)
        except RLayError as error:
            return error
        try:
            ids, welcome = client.greet(HELLO, (0, 5), limit_s)
            channel = client.attach(welcome, ids)
            send(channel, 1, PAYLOAD)
            message = channel.receive(patience(channel, limit_s))
            answer = bytes(message.body())
            channel.take()
        except RLayError as error:
            return error
        else:
            return answer
        finally:
            client.close()

    def write(self, offset, content):
        with open(self.header, "r+b", buffering=0) as file:
            file.seek(offset)
            before = file.read(len(content))
            file.seek(offset)
            file.write(content)
        return before

    def put_right(self, offset, before):
        """Undo a corruption; what the ends wrote meanwhile they write again."""
        self.write(offset, before)


@pytest.fixture
def served(channel_directory):
    made = Served(channel_directory)
    yield made
    made.close()


def _assert_sound(outcome):
    """Check that what happened is the right answer, or an error of RLay's."""
    assert outcome == PAYLOAD or isinstance(outcome, RLayError), outcome


def test_sound_channel_answers(served):
    """The instrument works: without corruption the right answer comes."""
    for _ in range(3):
        assert served.try_once(LIMIT_S) == PAYLOAD


@pytest.mark.parametrize("start", range(0, 384, 32))
def test_b6_each_byte_that_means_something(served, start):
    """B6: each byte of the header's three lines, changed while a client comes."""
    for offset in range(start, start + 32):
        (byte,) = served.write(offset, b"\0")
        served.write(offset, bytes([byte ^ 0xFF]))
        outcome = served.try_once(BROKEN_S)
        _assert_sound(outcome)
        if offset < 12 or 16 <= offset < 28:  # magic, version, sizes, paradigm
            assert isinstance(outcome, RLayError), offset
        served.put_right(offset, bytes([byte]))
    assert served.try_once(LIMIT_S) == PAYLOAD


def test_b6_each_reserved_byte_is_ignored(served):
    """B6: bytes without a meaning change nothing, one by one and all at once."""
    for start in range(384, HEADER_PAGE, 464):
        before = served.write(start, os.urandom(464))
        assert served.try_once(LIMIT_S) == PAYLOAD
        served.put_right(start, before)


@pytest.mark.parametrize("start", [part[0] for part in GREETING_CONTROL])
@pytest.mark.parametrize("word", [0, 4, 128, 132])
def test_b6_each_word_of_a_greeting_slot(served, start, word):
    """B6: the greeting's words, changed between two clients, lose greetings at most."""
    for change in (1, 2, 0x80000000, 0xFFFFFFFF):
        before = served.write(start + word, bytes(4))
        changed = int.from_bytes(before, "little") ^ change
        served.write(start + word, changed.to_bytes(4, "little"))
        _assert_sound(served.try_once(BROKEN_S))
        if word == 128:
            # Only its reader writes this word, and only after another message: a
            # writer that waits for it waits until somebody puts it right.
            served.put_right(start + word, before)
        # What a lost greeting left is taken by the next one.
        outcomes = [served.try_once(BROKEN_S) for _ in range(3)]
        assert PAYLOAD in outcomes, outcomes


@given(
    offset=st.integers(0, 4096 + 1024),
    content=st.binary(min_size=1, max_size=64),
)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_b6_any_bytes_anywhere(served, offset, content):
    """B6: 1 to 64 random bytes over header and greeting, while a client comes."""
    before = served.write(offset, content)
    _assert_sound(served.try_once(BROKEN_S))
    served.put_right(offset, before)


def test_b6_goodbye_in_somebodys_name_is_only_believed(served):
    """B6: a server that is declared closed or lost is told so, and nothing worse."""
    for state in range(6):
        before = served.write(128, state.to_bytes(4, "little"))
        _assert_sound(served.try_once(BROKEN_S))
        served.put_right(128, before)
    assert served.try_once(LIMIT_S) == PAYLOAD


def test_b6_slots_head_between_welcome_and_attach(channel_directory):
    """B6: the file of slots is checked when it is mapped, byte by byte."""
    server = MemServer.create("game", channel_directory)
    client = MemClient.open("game", channel_directory)
    client.send_hello(HELLO, (0, 5), LIMIT_S)
    buffer, _ = server.receive_hello(LIMIT_S)
    assert server.accept(buffer, Welcome(0), (1, 5), (64, 64)) is not None
    ids, welcome = client.receive_welcome((0, 5), LIMIT_S)
    with open(channel_directory / "game" / "slots.1", "r+b", buffering=0) as file:
        head = file.read(64)
        for offset in range(64):
            file.seek(offset)
            file.write(bytes([head[offset] ^ 0xFF]))
            with contextlib.suppress(RLayError):
                client.attach(welcome, ids)
                assert offset >= 32
            file.seek(offset)
            file.write(head[offset : offset + 1])
    client.attach(welcome, ids)
    client.close()
    server.close()


def test_b6_closed_by_corruption_still_closes_cleanly(served):
    """B6: a server whose own line was overwritten says goodbye like any other."""
    served.write(128, os.urandom(128))
    client = MemClient.open("game", served.directory)
    served.server.close(CloseReason.DRAINING)
    with pytest.raises(PeerGone) as caught:
        client.watch.check()
    assert caught.value.reason is CloseReason.DRAINING
    client.close()
