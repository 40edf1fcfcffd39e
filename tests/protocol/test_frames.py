"""Frames: what travels between machines, cut anywhere, damaged anywhere."""

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import (
    DecodeError,
    LocalProtocolError,
    MessageTooLarge,
    VersionMismatch,
)
from rlay.protocol import frames
from rlay.protocol.frames import (
    FIRST_RECEIVE_BYTES,
    FRAME_HEADER_BYTES,
    MAX_BODY_BYTES,
    MAX_CONTROL_BYTES,
    MAX_GREETING_BODY_BYTES,
    RECEIVE_BYTES,
    DamagedFrame,
    Frame,
    FrameDecoder,
    FrameFlag,
    FrameType,
    pack_frame,
    pack_header,
    unpack_header,
)

GREETINGS = ("HELLO", "CHALLENGE", "PROOF", "WELCOME", "ERROR")
PIECES = {"DATA": 64, "OPEN": 16, "OPENED": 16, "REFUSED": 16}
CONTROLS = [t for t in FrameType if t.name not in (*GREETINGS, *PIECES)]


class Receiver:
    """Keeps what a decoder delivers."""

    def __init__(self, place=lambda frame: None):
        self.got = []
        self.decoder = FrameDecoder(place, self.deliver)

    def deliver(self, frame, body):
        self.got.append((frame, bytes(body)))


def data(body, *, channel=1, offset=0, total=None, crc=True, publication=2):
    """Return a DATA frame with a piece of a message."""
    head = pack_header(
        FrameType.DATA, channel, 2**64 - 1, 7, 2**32 - 1, publication, offset,
        len(body) if total is None else total, len(body),
        zlib.crc32(body) if crc else None,
    )  # fmt: skip
    return head + body


def with_crc(header):
    """Return a header with its last four bytes made right."""
    return bytes(header[:60]) + zlib.crc32(header[:60]).to_bytes(4, "little")


def altered(offset, value, size=4, header=None):
    """Return a header with one field changed and the CRC made right."""
    made = bytearray(header or pack_frame(FrameType.TAKEN))[:64]
    made[offset : offset + size] = value.to_bytes(size, "little")
    return with_crc(made)


# ------------------------------------------------------------------------ headers

numbers = st.integers(0, 2**32 - 1)
longs = st.integers(0, 2**64 - 1)
small = st.binary(max_size=1024)


@given(st.sampled_from(CONTROLS), small, numbers, longs, longs, numbers, numbers)
def test_header_comes_back_as_it_was(
    kind, body, channel, incarnation, session, sequence, publication
):
    """Every field of a header has a place of its own."""
    fields = (channel, incarnation, session, sequence, publication)
    frame = unpack_header(pack_frame(kind, body, *fields))
    assert frame == Frame(kind, *fields, 0, len(body), len(body))
    assert frame.last


@given(st.integers(64, 2**20), st.data())
def test_piece_says_where_it_lies(total, drawn):
    """Offset and total of a piece come back; the last one is known as such."""
    offset = drawn.draw(st.integers(0, total - 1))
    size = drawn.draw(st.integers(1, min(total - offset, MAX_BODY_BYTES)))
    header = pack_header(FrameType.DATA, 1, 2, 3, 4, 5, offset, total, size, 6)
    frame = unpack_header(header)
    assert frame == Frame(FrameType.DATA, 1, 2, 3, 4, 5, offset, total, size, 1, 6)
    assert frame.last is (offset + size == total)


def test_header_lies_where_the_drawing_says():
    """The bytes of a header, one by one."""
    header = pack_header(39, 0x11, 0x22, 0x33, 0x44, 0x55, 64, 192, 128, 0x99)
    assert header[:60].hex() == (
        "524c4652" "01" "27" "0100" "11000000" "80000000"
        "2200000000000000" "3300000000000000"
        "44000000" "55000000" "40000000" "c0000000"
        "99000000" "0000000000000000"
    )  # fmt: skip
    assert header[60:] == zlib.crc32(header[:60]).to_bytes(4, "little")


@pytest.mark.parametrize("size", [0, 1, 63])
def test_header_cut_short_is_a_decode_error(size):
    """Who asks for a header gets 64 bytes or an error of ours."""
    with pytest.raises(DecodeError, match=f"in {size} bytes"):
        unpack_header(pack_frame(FrameType.TAKEN)[:size])


def test_header_of_another_version_names_both():
    """A sound header of another version is a VersionMismatch."""
    with pytest.raises(VersionMismatch) as caught:
        unpack_header(altered(4, 2, 1))
    assert (caught.value.ours, caught.value.theirs) == (1, 2)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (altered(0, 0x20505454), r"no frame begins with b'TTP '"),
        (altered(5, 0, 1), "unknown type of frame 0"),
        (altered(5, 255, 1), "unknown type of frame 255"),
        (altered(6, 2, 2), "unknown flags 0x0002"),
        (altered(6, 0x8001, 2), "unknown flags 0x8001"),
        (altered(40, 1), "a TAKEN comes whole"),
        (altered(44, 1), "a TAKEN comes whole"),
        (altered(12, 1), "a TAKEN comes whole"),
        (altered(44, 63, header=data(bytes(64))), "a DATA of 63 bytes in all"),
        (altered(12, 65, header=data(bytes(64))), "65 bytes at 0 are no piece of 64"),
        (altered(40, 1, header=data(bytes(64))), "64 bytes at 1 are no piece of 64"),
        (altered(12, 0, header=data(bytes(64))), "0 bytes at 0 are no piece of 64"),
        (
            altered(40, 2**32 - 1, header=data(bytes(64))),
            "64 bytes at 4294967295 are no piece",
        ),
    ],
)
def test_header_that_means_nothing_is_a_decode_error(header, text):
    """A sound CRC makes no sense of nonsense."""
    with pytest.raises(DecodeError, match=text):
        unpack_header(header)


def test_reserved_bytes_are_ignored():
    """A later minor version may use them."""
    assert unpack_header(altered(52, 2**64 - 1, 8)) == Frame(FrameType.TAKEN)


@pytest.mark.parametrize("kind", FrameType)
def test_length_is_refused_with_the_header(kind):
    """A body is held to the limit of its type, before it comes."""
    if kind.name in GREETINGS:
        limit = MAX_GREETING_BODY_BYTES
    else:
        limit = MAX_BODY_BYTES if kind.name in PIECES else MAX_CONTROL_BYTES
    unpack_header(pack_header(kind, total=limit, body_bytes=limit))
    for size in (limit + 1, 2**32 - 1):
        with pytest.raises(MessageTooLarge) as caught:
            unpack_header(pack_header(kind, total=size, body_bytes=size))
        assert caught.value.size_bytes == size


@pytest.mark.parametrize(
    ("name", "most"),
    [("DATA", 2**30), ("OPEN", 2**26), ("OPENED", 2**26), ("REFUSED", 2**26)],
)
def test_whole_is_refused_with_its_first_piece(name, most):
    """What comes in pieces is held to the limit of the whole."""
    kind, limit = FrameType[name], PIECES[name] + most
    unpack_header(pack_header(kind, total=limit, body_bytes=1))
    with pytest.raises(MessageTooLarge) as caught:
        unpack_header(pack_header(kind, total=limit + 1, body_bytes=1))
    assert caught.value.limit_bytes == limit


# ------------------------------------------------------------------------ streams

STREAM = [
    pack_frame(FrameType.HELLO, b"who"),
    pack_frame(FrameType.PING, b"8 bytes."),
    pack_frame(FrameType.DRAIN),
    data(bytes(range(256)) * 2),
    data(b"x" * 30_000, total=40_000),
    data(b"y" * 10_000, offset=30_000, total=40_000, crc=False),
    pack_frame(FrameType.TAKEN, b"", 1, 2, 3, 0, 4),
]
BODIES = [frame[64:] for frame in STREAM]


@given(st.lists(st.integers(1, 50_000), max_size=40), st.booleans())
def test_stream_may_be_cut_anywhere(cuts, placed):
    """The same frames come out, whatever the pieces in which the stream comes."""
    receiver = Receiver(
        (lambda frame: memoryview(bytearray(frame.body_bytes)))
        if placed
        else (lambda frame: None)
    )
    stream = b"".join(STREAM)
    for cut in cuts:
        receiver.decoder.feed(stream[:cut])
        stream = stream[cut:]
    receiver.decoder.feed(stream)
    assert [body for _, body in receiver.got] == BODIES
    assert [frame for frame, _ in receiver.got] == [unpack_header(f) for f in STREAM]
    assert receiver.decoder.frames == len(STREAM)


@given(st.lists(st.integers(1, 50_000), max_size=40))
def test_receiving_into_the_buffer_is_the_same_as_feeding(sizes):
    """``received`` after filling ``buffer`` by hand delivers the same frames."""
    receiver = Receiver()
    stream = memoryview(b"".join(STREAM))
    for size in [*sizes, *[50_000] * 10]:
        buffer = receiver.decoder.buffer()
        assert len(buffer)
        size = min(size, len(buffer), len(stream))
        buffer[:size] = stream[:size]
        stream = stream[size:]
        receiver.decoder.received(size)
    if not stream:
        assert [body for _, body in receiver.got] == BODIES


@given(st.lists(st.integers(1, 300_000), max_size=40))
def test_receiving_into_two_buffers_is_the_same_as_feeding(sizes):
    """What exceeds a body may be received with it, into :meth:`behind`."""
    pieces = [
        data(bytes([n]) * 70_000, offset=n * 70_000, total=700_000) for n in range(10)
    ]
    receiver = Receiver()
    stream = memoryview(b"".join(pieces))
    for most in [*sizes, *[300_000] * 30]:
        behind = receiver.decoder.behind()
        rooms = [receiver.decoder.buffer(), *([] if behind is None else [behind])]
        size = got = min(most, sum(map(len, rooms)), len(stream))
        for room in rooms:
            part = min(got, len(room))
            room[:part] = stream[:part]
            stream, got = stream[part:], got - part
        receiver.decoder.received(size)
    assert b"".join(body for _, body in receiver.got) == b"".join(
        p[64:] for p in pieces
    )


def test_nothing_goes_behind_where_a_header_is_awaited():
    """Only a body has something behind it that is not to lie in its place."""
    receiver = Receiver()
    assert receiver.decoder.behind() is None
    receiver.decoder.feed(data(bytes(1000), total=2000)[:500])
    behind = receiver.decoder.behind()
    assert behind is not None
    assert len(behind) == 64


def test_body_goes_into_its_place():
    """A body lies where it was asked to, and the rest of it is received there."""
    place = bytearray(40_000)
    receiver = Receiver(
        lambda frame: memoryview(place)[frame.offset : frame.offset + frame.body_bytes]
    )
    whole = bytes(range(200)) * 200
    frame = data(whole[:30_000], total=40_000)
    receiver.decoder.feed(frame[:100])
    buffer = receiver.decoder.buffer()
    assert len(buffer) == 30_000 - 36
    assert buffer.obj is place
    receiver.decoder.feed(frame[100:])
    receiver.decoder.feed(data(whole[30_000:], offset=30_000, total=40_000))
    assert place == whole
    assert [frame.last for frame, _ in receiver.got] == [False, True]


def test_place_of_another_size_is_our_own_mistake():
    """A place that is too large would swallow the next frame."""
    receiver = Receiver(lambda frame: memoryview(bytearray(65)))
    with pytest.raises(LocalProtocolError, match="65 bytes for a body of 64"):
        receiver.decoder.feed(data(bytes(64)))


def test_place_is_asked_once_for_each_frame():
    """It is asked as soon as the header is there, before any of the body."""
    asked: list[Frame] = []
    receiver = Receiver(asked.append)
    frame = data(b"x" * 20_000)
    receiver.decoder.feed(frame[:63])
    assert asked == []
    receiver.decoder.feed(frame[63:64])
    assert asked == [unpack_header(frame)]
    receiver.decoder.feed(frame[64:])
    assert len(asked) == 1


def test_place_may_refuse():
    """What it raises comes out, before memory is taken for the body."""

    def refuse(frame):
        raise MessageTooLarge(frame.total, 1)

    receiver = Receiver(refuse)
    with pytest.raises(MessageTooLarge):
        receiver.decoder.feed(data(bytes(64))[:64])


def test_stranger_costs_little_memory():
    """Before a frame that is no greeting has come, there is room for a greeting."""
    receiver = Receiver()
    assert len(receiver.decoder.buffer()) == FIRST_RECEIVE_BYTES == 1088
    receiver.decoder.feed(STREAM[0])
    assert len(receiver.decoder.buffer()) == FIRST_RECEIVE_BYTES
    receiver.decoder.feed(STREAM[1] + STREAM[1][:10])
    assert len(receiver.decoder.buffer()) == RECEIVE_BYTES - 10
    receiver.decoder.feed(STREAM[1][10:])
    assert len(receiver.got) == 3


def test_no_memory_is_taken_for_a_length_that_is_refused():
    """D10: four gigabytes that are only claimed cost nothing."""
    receiver = Receiver()
    header = altered(12, 2**32 - 1, header=data(bytes(64)))
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooLarge):
            receiver.decoder.feed(header)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


# ------------------------------------------------------------------------- damage

SAMPLES = [
    pack_frame(FrameType.HELLO, b"who", crc=True),
    pack_frame(FrameType.ANNOUNCE, b"a channel", 1, crc=True),
    data(bytes(range(64))),
    data(bytes(range(64)), total=100),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=["hello", "announce", "data", "piece"])
def test_d9_every_truncation_waits(sample):
    """D9: a frame that has not come whole is waited for, and nothing is delivered."""
    for size in range(len(sample)):
        receiver = Receiver()
        receiver.decoder.feed(sample[:size])
        assert receiver.got == []


@pytest.mark.parametrize("sample", SAMPLES, ids=["hello", "announce", "data", "piece"])
def test_c8_every_changed_byte_is_noticed(sample):
    """C8: no bit of a frame with a CRC can change unseen."""
    for offset in range(len(sample)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(sample)
            damaged[offset] ^= change
            receiver = Receiver()
            with pytest.raises(DecodeError) as caught:
                receiver.decoder.feed(bytes(damaged))
            assert isinstance(caught.value, DamagedFrame) is (offset >= 4)
            assert receiver.got == []


def test_d9_every_field_may_be_anything():
    """D9: with a right CRC, a change gives a documented error, a frame, or a wait."""
    for sample in SAMPLES:
        for offset in range(60):
            for value in (0, 1, 2, 39, 0x7F, 0x80, 0xFF):
                header = bytearray(sample[:64])
                header[offset] = value
                receiver = Receiver()
                try:
                    receiver.decoder.feed(with_crc(header) + sample[64:])
                except (DecodeError, VersionMismatch, MessageTooLarge):
                    assert receiver.got == []


@given(st.binary(max_size=400))
def test_d8_strangers_bytes_are_a_decode_error(stranger):
    """D8: a stream of anything else ends with its first 64 bytes, and no frame."""
    receiver = Receiver()
    if len(stranger) < FRAME_HEADER_BYTES or stranger[:4] == b"RLFR":
        receiver.decoder.feed(stranger[:63])
    else:
        with pytest.raises(DecodeError, match="no frame begins with"):
            receiver.decoder.feed(stranger)
    assert receiver.got == []


def test_body_without_a_crc_is_not_checked():
    """Where the flag is not set, the word of the CRC means nothing."""
    receiver = Receiver()
    receiver.decoder.feed(altered(48, 77, header=pack_frame(FrameType.PING, b"8" * 8)))
    receiver.decoder.feed(b"8" * 8)
    assert [body for _, body in receiver.got] == [b"8" * 8]


def test_empty_body_may_carry_a_crc():
    """The CRC of nothing is 0."""
    receiver = Receiver()
    receiver.decoder.feed(pack_frame(FrameType.TAKEN, crc=True))
    assert receiver.got == [(Frame(FrameType.TAKEN, flags=FrameFlag.CRC), b"")]


@pytest.mark.parametrize(
    ("enumeration", "members"),
    [
        (
            FrameType,
            "HELLO=1 CHALLENGE=2 PROOF=3 WELCOME=4 ERROR=5 PING=6 PONG=7 DRAIN=8 BYE=9 "
            "ANNOUNCE=16 ANNOUNCED=17 WITHDRAW=18 REJECT=19 FIND=20 NOT_FOUND=21 "
            "OPEN=32 OPENED=33 REFUSED=34 CLOSE=35 RESUME=36 RESUMED=37 LOST=38 "
            "DATA=39 TAKEN=40",
        ),
        (FrameFlag, "CRC=1"),
    ],
)
def test_numbers_never_change(enumeration, members):
    """The wire's numbers are written out here a second time."""
    assert " ".join(f"{m.name}={m.value}" for m in enumeration) == members


def test_sizes_never_change():
    """Nor do its sizes."""
    assert (frames.FRAME_MAGIC, frames.FRAME_VERSION) == (b"RLFR", 1)
    assert (FRAME_HEADER_BYTES, MAX_BODY_BYTES) == (64, 262144)
    assert (MAX_CONTROL_BYTES, MAX_GREETING_BODY_BYTES) == (65536, 1024)
