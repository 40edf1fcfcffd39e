"""Rows D9 to D17: who was let in, and then says what it may not.

All of it is said to the listening bridge of a stage, while a player steps through that
same bridge: whatever a peer says, it costs that peer's own link at most.
"""

import contextlib
import pickle
import random
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import msgpack
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.protocol.constants import (
    MESSAGE_HEADER_BYTES,
    CloseReason,
    ErrorCode,
    Paradigm,
    PeerState,
)
from rlay.protocol.frames import FrameType, pack_frame, pack_header, unpack_header
from rlay.protocol.greeting import Hello
from rlay.protocol.link_greeting import DialerGreeting
from rlay.protocol.link_messages import (
    Announcement,
    Ending,
    Note,
    Opening,
    Question,
    SlotWords,
)
from rlay.protocol.refusal import GREETING_HEAD, Refusal
from rlay.testing.environments import EchoEnv
from tests.bridge.faults.test_odd_frames import dropped_frames
from tests.bridge.faults.test_slow_networks import anonymous_bytes
from tests.faults.stage import LIMIT_S, NAME
from tests.protocol.test_frames import altered, data, with_crc
from tests.protocol.test_link_greeting import changed
from tests.support.channels import say
from tests.support.dialers import IDENTITY, RawDialer
from tests.support.long import LONG


@contextlib.contextmanager
def insider(bridge):
    """Give a peer of a bridge that was let in."""
    with RawDialer(bridge.port()) as dialer:
        dialer.greet(None)
        yield dialer


def assert_unhurt(stage, player):
    """Assert that the bridges and the player go on as if nothing had been said."""
    player.step()
    for bridge in (stage.near, stage.far):
        assert bridge.running.exit_code is None
        assert "Traceback" not in bridge.log, bridge.log
        assert "a fault of this bridge" not in bridge.log


def fault_told(bridge, data):
    """Say something; return the error that the bridge answers before it hangs up."""
    with insider(bridge) as peer:
        peer.send(data)
        _, body = peer.expect(FrameType.ERROR)
        peer.rest()
        return Note.decode(body)


# ---------------------------------------------------------------------------------- D9

LOST = Ending(PeerState.LOST, CloseReason.VANISHED).encode()
MESSAGE = bytes(MESSAGE_HEADER_BYTES + 100)
OPENING = Opening(0, 1024, 1024, 1).encode()
SAMPLES = [
    pack_frame(FrameType.PING, bytes(8)),
    pack_frame(FrameType.PONG, bytes(8)),
    pack_frame(FrameType.DRAIN),
    pack_frame(FrameType.BYE, LOST),
    pack_frame(FrameType.ERROR, Note(int(ErrorCode.PROTOCOL), "why").encode()),
    pack_frame(FrameType.ANNOUNCE, Announcement("fuzz", 1).encode(), 1),
    pack_frame(FrameType.ANNOUNCED),
    pack_frame(FrameType.WITHDRAW, LOST, 1),
    pack_frame(FrameType.REJECT, Note(int(ErrorCode.BUSY), "no").encode(), 2),
    pack_frame(FrameType.FIND, Question(NAME).encode(), 0, 0, 0, 1),
    pack_frame(FrameType.NOT_FOUND, b"", 0, 0, 0, 1),
    pack_frame(FrameType.OPEN, OPENING + Hello(Paradigm.CLIENT_ENV).encode(), 2, 0, 7),
    pack_frame(FrameType.OPENED, OPENING + Refusal(1, "no").encode(), 1, 6, 7),
    pack_frame(FrameType.REFUSED, OPENING + Refusal(1, "no").encode(), 1, 6, 7),
    pack_frame(FrameType.CLOSE, LOST, 2, 6, 7),
    pack_frame(FrameType.RESUME, SlotWords(2, 2, 2, 2).encode(), 2, 6, 7),
    pack_frame(FrameType.RESUMED, SlotWords(2, 2, 2, 2).encode(), 1, 6, 7),
    pack_frame(FrameType.LOST, LOST, 1, 6, 7),
    pack_frame(FrameType.DATA, MESSAGE, 2, 6, 7, 1, 2),
    pack_frame(FrameType.TAKEN, b"", 2, 6, 7, 0, 2),
]
"""Channel 1 is the peer's to name, channel 2 the bridge's: the player's own."""


def fuzzed(chance):
    """Return a valid frame with some bytes changed, its header's CRC mostly right."""
    frame = bytearray(chance.choice(SAMPLES))
    for _ in range(chance.randint(1, 4)):
        frame[chance.randrange(len(frame))] = chance.randrange(256)
    if chance.random() < 0.9:
        frame[:64] = with_crc(frame[:64])
    return bytes(frame)


def say_and_leave(bridge, data):
    """Say something, end the stream, and wait until the bridge has done so too."""
    with insider(bridge) as peer, contextlib.suppress(ConnectionError):
        peer.send(data)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.rest()


def test_d9_fuzzed_frames_cost_a_link_at_most(stage):
    """Any byte of any frame may be another, header and body."""
    player, _ = stage.playing()
    before = anonymous_bytes(stage.far)
    chance = random.Random(9)
    for _ in range(5000 if LONG else 250):
        say_and_leave(stage.far, fuzzed(chance) + fuzzed(chance))
        player.step()
    assert anonymous_bytes(stage.far) - before < 64 * 2**20
    assert_unhurt(stage, player)


def test_d9_frames_that_break_off_cost_a_link_at_most(stage):
    """Every frame, cut anywhere."""
    player, _ = stage.playing()
    for number, frame in enumerate(SAMPLES):
        for size in range(1 + number % 9, len(frame), 1 if LONG else 9):
            say_and_leave(stage.far, frame[:size])
    assert_unhurt(stage, player)


# --------------------------------------------------------------------------------- D10

GIGABYTES = 2**32 - 1
CLAIMS = {
    "a message of 4 GiB": pack_header(
        FrameType.DATA, 2, 6, 7, 1, 2, 0, GIGABYTES, GIGABYTES
    ),
    "a map of 4 GiB": pack_header(
        FrameType.ANNOUNCE, 1, total=GIGABYTES, body_bytes=GIGABYTES
    ),
    "a greeting of 4 GiB": pack_header(
        FrameType.OPEN, 2, 0, 7, total=GIGABYTES, body_bytes=1024
    ),
    "more than a piece may have": altered(12, 65, header=data(bytes(64))),
    "less than its body": altered(40, 1, header=data(bytes(64))),
    "an unknown type": altered(5, 255, 1),
    "an unknown flag": altered(6, 0x8001, 2),
    "another version": altered(4, 2, 1),
}


def test_d10_header_alone_is_refused(stage):
    """Of what it claims nothing is awaited, and no memory is taken for it."""
    player, _ = stage.playing()
    before = anonymous_bytes(stage.far)
    codes = {
        what: fault_told(stage.far, header).code for what, header in CLAIMS.items()
    }
    assert set(codes.values()) == {
        ErrorCode.PROTOCOL, ErrorCode.TOO_LARGE, ErrorCode.VERSION
    }, codes  # fmt: skip
    assert anonymous_bytes(stage.far) - before < 2**20
    assert_unhurt(stage, player)


def test_d10_body_of_another_length_is_refused(stage):
    """Shorter, longer, or not there."""
    player, _ = stage.playing()
    for kind in (FrameType.RESUME, FrameType.CLOSE, FrameType.PING):
        for size in (0, 1, 7, 9, 1000):
            frame = pack_frame(kind, bytes(size), 2, 6, 7)
            assert fault_told(stage.far, frame).code == ErrorCode.PROTOCOL
    assert_unhurt(stage, player)


WIDE = spaces.Box(0, 255, (300_000,), np.uint8)


def serve_wide():
    """Serve an environment with observations of 300,000 bytes: a child's function."""
    with rlay.ServerBackend(lambda: EchoEnv(WIDE), name="wide") as backend:
        say("serving")
        backend.run()


def test_d10_slots_beyond_the_limit_are_refused_with_the_remedy(stage):
    """The client learns which setting; other channels of that link go on."""
    stage.connect(max_slot_bytes=2**18)
    variables = {"RLAY_DIR": str(stage.far.directory)}
    child = stage.children.start(serve_wide, forever=True, env=variables)
    stage.processes.append(child)
    stage.environment()
    with pytest.raises(rlay.ChannelNoSpace, match="raise its --max-slot-bytes"):
        stage.algorithm("wide")
    stage.player(NAME).play(seed=1, steps=3)
    stage.near.kill()
    stage.near.options["max_slot_bytes"] = 2**20
    stage.near.start()
    env = stage.algorithm("wide", connect_timeout=LIMIT_S)
    assert env.reset(seed=1)[0].shape == WIDE.shape


# ------------------------------------------------------------------------ D11, D12, D13

BOMBS = {
    "depth": b"\x81\xa1a" * 20_000 + b"\x01",
    "arrays in arrays": b"\x81\xa1a" + b"\x91" * 60_000 + b"\x01",
    "four billion items": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "four billion pairs": b"\xdf\xff\xff\xff\xff",
    "many maps": b"\x81\xa1a\xdc\xff\x00" + b"\x80" * 0xFF00,
    "keys that are no text": b"\x81\x01\x01",
    "one key twice": b"\x82\xa1a\x01\xa1a\x02",
    "bad UTF-8": b"\x81\xa1\xff\x01",
    "an extension": b"\x81\xa1a\xd4\x01\x00",
    "a reserved byte": b"\xc1",
}


class Trap:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def pickles(tmp_path):
    """Return pickles that leave a file where they are loaded, and that file."""
    path = tmp_path / "sprung"
    every = range(pickle.HIGHEST_PROTOCOL + 1)
    made = {f"protocol {each}": pickle.dumps(Trap(path), each) for each in every}
    pickle.loads(made["protocol 4"]).close()  # the trap is one
    path.unlink()
    return made, path


def test_d11_bombs_are_refused_by_the_bridge(stage):
    """In every frame whose body is a map."""
    player, _ = stage.playing()
    before = anonymous_bytes(stage.far)
    for kind in (FrameType.ANNOUNCE, FrameType.FIND, FrameType.REJECT):
        for bomb in BOMBS.values():
            frame = pack_frame(kind, bomb, 1)
            assert fault_told(stage.far, frame).code == ErrorCode.PROTOCOL
    assert anonymous_bytes(stage.far) - before < 64 * 2**20
    assert_unhurt(stage, player)


def test_d13_pickles_are_bytes_to_the_bridge(stage, tmp_path):
    """As any body, and as any text in one."""
    player, _ = stage.playing()
    made, path = pickles(tmp_path)
    for body in made.values():
        for kind in FrameType:
            say_and_leave(stage.far, pack_frame(kind, body, 1, 6, 7))
        with contextlib.suppress(ConnectionError), insider(stage.far) as peer:
            text = body.decode("latin-1")
            name = Announcement("odd", 1, machine=text, program=text)
            peer.say(FrameType.ANNOUNCE, name.encode(), 1)
            peer.say(FrameType.PING, bytes(8))
            peer.expect(FrameType.PONG)
    assert not path.exists()
    assert_unhurt(stage, player)


def attach(names):
    """Attach to channels and say which error each gave: a child's main function."""
    for name in names:
        try:
            rlay.ClientEnv(name, connect_timeout=LIMIT_S)
        except rlay.RLayError as error:
            say(f"{name}: {type(error).__name__}")


F4 = msgpack.ExtType(2, b"\x0b\x00" + bytes(4))
"""An array of float32 without dimensions, as greetings carry it."""
TRUE = msgpack.ExtType(2, b"\x01\x00\x01")
PLAIN = ["box", 11, [2], F4, F4, TRUE, TRUE]
SPACES = {
    "dtype O": ["box", "O", [2], F4, F4, TRUE, TRUE],
    "dtype V": ["box", "V1000000000", [2], F4, F4, TRUE, TRUE],
    "dtype U": ["box", "<U4", [2], F4, F4, TRUE, TRUE],
    "dtype of a structure": ["box", "i4,f8", [2], F4, F4, TRUE, TRUE],
    "dtype of a date": ["box", "M8[ns]", [2], F4, F4, TRUE, TRUE],
    "dtype code 0": ["box", 0, [2], F4, F4, TRUE, TRUE],
    "dtype code 99": ["box", 99, [2], F4, F4, TRUE, TRUE],
    "a negative dimension": ["box", 11, [-1], F4, F4, TRUE, TRUE],
    "2^64 items": ["box", 11, [2**32, 2**32], F4, F4, TRUE, TRUE],
    "no items of 2^62": ["box", 11, [0, 2**62], F4, F4, TRUE, TRUE],
    "65 dimensions": ["box", 11, [1] * 65, F4, F4, TRUE, TRUE],
    "a dimension of float": ["box", 11, [1.0], F4, F4, TRUE, TRUE],
    "a dimension of bool": ["box", 11, [True], F4, F4, TRUE, TRUE],
    "a bound of 2^31 items": [
        "box", 11, [2],
        msgpack.ExtType(2, b"\x0b\x01\xff\xff\xff\x7f" + bytes(4)), F4, TRUE, TRUE,
    ],
}  # fmt: skip
"""Observation spaces that nobody may make an array of."""


def welcome(observation_space):
    """Return a Welcome with a space that may be nonsense."""
    facts = {
        "observation_space": observation_space,
        "action_space": ["discrete", 8, 3, 0],
        "num_envs": 1,
        "metadata": {},
        "render_mode": None,
        "spec": None,
        "allow": {},
        "autoreset_mode": None,
        "vector": False,
        "report_layout": [8, [["$", 11, [2], 0]]],
        "decision_layout": [16, [["$", 0, [], 0]]],
    }
    fields = {
        "generation": 1,
        "environment": facts,
        "wishes": None,
        "software": "",
        "capabilities": 0,
        "max_message_bytes": 2**30,
    }
    return GREETING_HEAD + msgpack.packb(fields)


def errors_of_clients(stage, welcomes):
    """Let a client read each Welcome from a hostile machine; return what it raised."""
    stage.near.start(listen=["127.0.0.1:0"])
    names = [f"evil.{number}" for number in range(len(welcomes))]
    with insider(stage.near) as peer:
        for number, name in enumerate(names):
            said = Announcement(name, int(Paradigm.CLIENT_ENV))
            peer.say(FrameType.ANNOUNCE, said.encode(), 2 * number + 1)
        child = stage.children.start(
            attach, names, env={"RLAY_DIR": str(stage.near.directory)}
        )
        for payload in welcomes:
            frame, _ = peer.expect(FrameType.OPEN)
            ids = 6, frame.session
            body = Opening(0, 2**17, 2**17, 1).encode() + payload
            peer.say(FrameType.OPENED, body, frame.channel, *ids)
        child.wait()  # exit code 0: nothing has overwritten its memory
    found = dict(line.split(": ") for line in child.stdout.splitlines())
    return [found.get(name, "nothing") for name in names]


REFUSED = {"DecodeError", "SpaceMismatch", "MessageTooLarge", "VersionMismatch"}


def test_a_true_welcome_is_taken(stage):
    """The others below are refused for their one fault only."""
    assert errors_of_clients(stage, [welcome(PLAIN)]) == ["nothing"]


def test_d11_bombs_are_refused_by_the_client(stage):
    """The bridge does not look into it; the client does, with limits."""
    welcomes = [GREETING_HEAD + bomb for bomb in BOMBS.values()]
    assert set(errors_of_clients(stage, welcomes)) <= REFUSED


def test_d12_spaces_of_nobody_are_refused_by_the_client(stage):
    """No dtype by name, no size that was not multiplied out; and no segfault."""
    welcomes = [welcome(space) for space in SPACES.values()]
    assert set(errors_of_clients(stage, welcomes)) <= REFUSED


def test_d13_pickles_are_bytes_to_the_client(stage, tmp_path):
    """As the whole Welcome, and as a space."""
    made, path = pickles(tmp_path)
    welcomes = [GREETING_HEAD + each for each in made.values()]
    welcomes += [welcome(each) for each in made.values()]
    assert set(errors_of_clients(stage, welcomes)) <= REFUSED
    assert not path.exists()


# --------------------------------------------------------------------------------- D15


def test_d15_who_speaks_for_another_session_is_dropped_and_counted(stage):
    """The channel is the player's own; incarnation and session are made up."""
    player, chain = stage.playing(health="127.0.0.1:0")
    before = dropped_frames(stage.far)
    with insider(stage.far) as peer:
        announced, _ = peer.expect(FrameType.ANNOUNCE)
        where = announced.channel, 6, 7
        peer.say(FrameType.DATA, MESSAGE, *where, 1, 4)
        peer.say(FrameType.TAKEN, b"", *where, 0, 4)
        peer.say(FrameType.CLOSE, LOST, *where)
        peer.say(FrameType.RESUME, SlotWords(2, 2, 2, 2).encode(), *where)
        peer.expect(FrameType.LOST)
        peer.say(
            FrameType.OPEN,
            Opening(0).encode() + Hello(Paradigm.CLIENT_ENV).encode(),
            announced.channel, 0, 7,
        )  # fmt: skip
        _, body = peer.expect(FrameType.REFUSED)
        assert Refusal.decode(body[16:]).code == ErrorCode.BUSY
        player.step()
    assert dropped_frames(stage.far) == before + 1
    assert_unhurt(stage, player)
    assert chain.stdout.count("begins") == 1 + 1 + 5 + 2


def reset_of_a_hostile_machine(stage, threads, peer):
    """Begin a reset whose environment is the peer; return it, and where it went."""
    said = Announcement("evil", int(Paradigm.CLIENT_ENV))
    peer.say(FrameType.ANNOUNCE, said.encode(), 1)
    making = threads.submit(stage.algorithm, "evil", close_timeout=0.1)
    frame, _ = peer.expect(FrameType.OPEN)
    ids = 6, frame.session
    body = Opening(0, 2**17, 2**17, 1).encode() + welcome(PLAIN)
    peer.say(FrameType.OPENED, body, frame.channel, *ids)
    reset = threads.submit(making.result(LIMIT_S).reset)
    peer.expect(FrameType.DATA)
    return reset, (frame.channel, *ids)


def test_d15_answers_for_others_are_dropped_and_counted_and_end_the_link(stage):
    """Of another session or another life; and of a message that is not its frame's."""
    stage.near.start(listen=["127.0.0.1:0"], resume_window_s=1, health="127.0.0.1:0")
    stage.near.wait_until_logged("health at")
    before = dropped_frames(stage.near)
    with insider(stage.near) as peer, ThreadPoolExecutor(1) as threads:
        reset, where = reset_of_a_hostile_machine(stage, threads, peer)
        channel, incarnation, session = where
        peer.say(FrameType.DATA, MESSAGE, channel, incarnation, session + 1, 1, 2)
        peer.say(FrameType.DATA, MESSAGE, channel, incarnation + 1, session, 1, 2)
        peer.say(FrameType.PING, bytes(8))
        peer.expect(FrameType.PONG)
        assert dropped_frames(stage.near) == before + 2
        assert not reset.done()
        peer.say(FrameType.DATA, MESSAGE, *where, 1, 2)
        peer.rest()
        stage.near.wait_until_logged("header differs from its frame's")
        with pytest.raises(rlay.LinkDown):
            reset.result(LIMIT_S)


# --------------------------------------------------------------------------------- D16


@pytest.mark.parametrize("versions", [[2, 9], [0, 0]], ids=["newer", "older"])
def test_d16_peer_of_another_version_is_refused_with_both(stage, versions):
    """In the answer and in the log, and others are let in as before."""
    player, _ = stage.playing()
    hello = DialerGreeting(IDENTITY, None, crc=False).start()
    with RawDialer(stage.far.port()) as peer:
        peer.send(changed(hello, versions=versions))
        heard = peer.rest()
    note = Note.decode(heard[64:])
    assert (note.code, note.version) == (ErrorCode.VERSION, 1)
    stage.far.wait_until_logged("refused")
    (line,) = [line for line in stage.far.log.splitlines() if "refused" in line]
    assert re.search(r"version\D*1\D", line)
    assert str(versions[0]) in line.partition("refused")[2]
    assert_unhurt(stage, player)


def test_d16_peer_with_capabilities_of_a_newer_one_is_let_in(stage):
    """Bits that nobody knows mean nothing; a range of versions is agreed on."""
    player, _ = stage.playing()
    hello = DialerGreeting(IDENTITY, None, crc=False).start()
    with RawDialer(stage.far.port()) as peer:
        peer.send(changed(hello, versions=[0, 9], capabilities=2**31 | 1))
        assert unpack_header(peer.sock.recv(4096)[:64]).type is FrameType.CHALLENGE
    assert_unhurt(stage, player)


# --------------------------------------------------------------------------------- D17

AT_ONCE, PER_S = 4096, 200


def test_d17_flood_of_opens_is_held_to_its_rate(stage):
    """Some thousands at once, then two hundred a second; the player goes on."""
    player, _ = stage.playing()
    with insider(stage.far) as peer:
        announced, _ = peer.expect(FrameType.ANNOUNCE)
        body = Opening(0).encode() + Hello(Paradigm.CLIENT_ENV).encode()
        flood = pack_frame(FrameType.OPEN, body, announced.channel, 0, 7)
        more = 2 * PER_S
        with ThreadPoolExecutor(1) as threads:
            sending = threads.submit(peer.send, flood * (AT_ONCE + more))
            for _ in range(AT_ONCE):
                peer.expect(FrameType.REFUSED)
            begin = time.monotonic()
            for _ in range(more):
                peer.expect(FrameType.REFUSED)
                player.step()
            took_s = time.monotonic() - begin
            sending.result(LIMIT_S)
    assert took_s >= 0.5 * more / PER_S  # a rate of the bridge's own, not a speed
    assert_unhurt(stage, player)
