"""The greeting of a link: both ends know the token, or nobody is let in."""

import hashlib
import hmac

import msgpack
import pytest

from rlay.errors import (
    AuthError,
    DecodeError,
    Draining,
    LocalProtocolError,
    MessageTooLarge,
    RemoteProtocolError,
    VersionMismatch,
)
from rlay.protocol.constants import ErrorCode
from rlay.protocol.frames import (
    FRAME_HEADER_BYTES,
    FrameDecoder,
    FrameType,
    pack_frame,
    pack_header,
    unpack_header,
)
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    LinkTerms,
    ListenerGreeting,
    Role,
)
from rlay.protocol.link_messages import Note

TOKEN = bytes(range(32))
TERMS = LinkTerms(False, 2000, 10_000, 300_000)
DIALER = LinkIdentity(Role.BRIDGE, 2**64 - 1, "trainer", "rlay 1.0")
LISTENER = LinkIdentity(Role.BRIDGE, 5, "sim", "rlay 1.0", LinkCapability.HEARTBEAT)
CERTIFICATE = hashlib.sha256(b"certificate").digest()


def dialer(token=TOKEN, *, crc=False, certificate=b"", nonce=None, identity=DIALER):
    return DialerGreeting(
        identity, token, crc=crc, certificate=certificate, nonce=nonce
    )


def listener(token=TOKEN, *, terms=TERMS, certificate=b"", nonce=None):
    return ListenerGreeting(
        LISTENER, token, terms, certificate=certificate, nonce=nonce
    )


def give(greeting, data):
    """Give a greeting the frames in ``data``; return all that it answers."""
    answers = []
    decoder = FrameDecoder(
        lambda frame: greeting.check(frame),
        lambda frame, body: answers.append(greeting.receive(frame, body)),
    )
    decoder.feed(data)
    return b"".join(answers)


def note_in(data):
    """Return the note in an ERROR frame."""
    assert unpack_header(data).type is FrameType.ERROR
    return Note.decode(data[FRAME_HEADER_BYTES:])


def fields_of(data):
    """Return the map in a frame."""
    return msgpack.unpackb(data[FRAME_HEADER_BYTES:])


def changed(data, **fields):
    """Return a frame with other fields in its map; None takes one away."""
    body = {**fields_of(data), **fields}
    kept = {key: value for key, value in body.items() if value is not None}
    return pack_frame(unpack_header(data).type, msgpack.packb(kept))


def greet(one, other):
    """Let two ends greet each other; return what was said."""
    said = [one.start()]
    for greeting in (other, one, other, one):
        said.append(give(greeting, said[-1]))
    return said


# ------------------------------------------------------------------------ success


@pytest.mark.parametrize("token", [TOKEN, bytes(16), None])
@pytest.mark.parametrize("certificate", [b"", CERTIFICATE])
def test_ends_that_share_a_token_let_each_other_in(token, certificate):
    """Both are done, know each other and have the same terms."""
    one = dialer(token, certificate=certificate)
    other = listener(token, certificate=certificate)
    said = greet(one, other)
    assert [unpack_header(frame).type.name for frame in said[:4]] == [
        *("HELLO", "CHALLENGE", "PROOF", "WELCOME")
    ]
    assert said[4] == b""
    assert one.done
    assert other.done
    assert (one.peer, other.peer) == (LISTENER, DIALER)
    assert one.terms == other.terms == TERMS
    assert one.farewell == other.farewell == b""


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("demanded", [False, True])
def test_crc_is_in_force_where_either_wants_it(wanted, demanded):
    """The dialer may add the CRC to the listener's terms, never take it away."""
    terms = LinkTerms(demanded, 2000, 10_000, 300_000)
    one, other = dialer(crc=wanted), listener(terms=terms)
    greet(one, other)
    assert one.terms == other.terms
    assert one.terms.crc is (wanted or demanded)


def test_nobody_is_connected_before_welcome():
    """The dialer is not done when it has proved itself, the listener is then."""
    one, other = dialer(), listener()
    proof = give(one, give(other, one.start()))
    assert not one.done
    assert not other.done
    for ask in (lambda: one.peer, lambda: one.terms, lambda: other.peer):
        with pytest.raises(LocalProtocolError, match="not done"):
            ask()
    give(other, proof)
    assert other.done
    assert not one.done


def test_macs_are_those_of_the_specification():
    """HMAC over direction, both bodies with their lengths, and the certificate."""
    one = dialer(certificate=CERTIFICATE, nonce=bytes(32))
    other = listener(certificate=CERTIFICATE, nonce=bytes(range(32)))
    hello, challenge, proof, welcome, _ = greet(one, other)
    text = b""
    for frame in (hello, challenge):
        body = frame[FRAME_HEADER_BYTES:]
        text += len(body).to_bytes(4, "little") + body
    transcript = hashlib.sha256(text + CERTIFICATE).digest()
    for frame, label in ((proof, b"rlay1 dialer"), (welcome, b"rlay1 listener")):
        mac = hmac.new(TOKEN, label + transcript, hashlib.sha256).digest()
        assert fields_of(frame)["mac"] == mac


def test_every_greeting_has_new_nonces():
    """Nothing is said twice."""
    hellos = {fields_of(dialer().start())["nonce"] for _ in range(10)}
    challenges = {
        fields_of(give(listener(), dialer().start()))["nonce"] for _ in range(10)
    }
    assert len(hellos | challenges) == 20
    assert {len(nonce) for nonce in hellos | challenges} == {32}


def test_long_names_are_cut_and_made_printable():
    """Texts for people never make a greeting fail, nor write lines of a log."""
    long = LinkIdentity(Role.PEER, 1, "漢\n" * 100, "s" * 100)
    one, other = dialer(identity=long), listener()
    assert len(one.start()) <= FRAME_HEADER_BYTES + 1024
    greet(fresh := dialer(identity=long), other)
    assert fresh.done
    assert other.peer == LinkIdentity(Role.PEER, 1, "漢?" * 32, "s" * 64)


def test_unknown_keys_and_capabilities_are_ignored():
    """A newer peer may say more."""
    one, other = dialer(None), listener(None)
    hello = changed(one.start(), later=[1, {"a": 2}], capabilities=2**31 | 1)
    give(other, hello)
    give(other, pack_frame(FrameType.PROOF, msgpack.packb({"mac": b"", "more": 1})))
    assert other.peer.capabilities == LinkCapability(2**31 | 1)


# ----------------------------------------------------------------------- the token


@pytest.mark.parametrize("make", [dialer, listener])
def test_short_token_is_refused_with_the_remedy(make):
    """15 bytes are too few, and the error says how to make a token."""
    make(bytes(16))
    with pytest.raises(LocalProtocolError, match=r"15 bytes is too short.*rlay token"):
        make(bytes(15))


@pytest.mark.parametrize(
    "token", [bytes(32), TOKEN[:31], TOKEN[:16], TOKEN + b"\1", TOKEN[::-1]]
)
def test_d1_wrong_token_is_an_auth_error_at_both_ends(token):
    """D1: wrong, truncated, longer: the listener refuses, and tells no secret."""
    one, other = dialer(token), listener()
    proof = give(one, give(other, one.start()))
    with pytest.raises(AuthError, match="does not know the token"):
        give(other, proof)
    note = note_in(other.farewell)
    assert note.code == ErrorCode.AUTH
    assert TOKEN.hex() not in note.message
    assert not other.done
    with pytest.raises(AuthError, match="the peer says: the dialer does not know"):
        give(one, other.farewell)
    assert one.farewell == b""


def test_d1_missing_token_is_seen_by_the_dialer():
    """D1: who has none learns that the listener asks for one, and where to name it."""
    one, other = dialer(None), listener()
    challenge = give(other, one.start())
    with pytest.raises(AuthError, match=r"at sim asks for a token.*RLAY_TOKEN_FILE"):
        give(one, challenge)
    with pytest.raises(AuthError):
        give(other, one.farewell)


def test_d1_empty_proof_does_not_open_the_door():
    """D1: a dialer that ignores the demand is refused."""
    one, other = dialer(None), listener()
    give(other, one.start())
    with pytest.raises(AuthError):
        give(other, pack_frame(FrameType.PROOF, msgpack.packb({"mac": b""})))


def test_d1_listener_without_a_token_is_refused_by_a_dialer_with_one():
    """D1: a stranger cannot pose as the listener by asking for nothing."""
    one, other = dialer(), listener(None)
    with pytest.raises(AuthError, match="has no token, so it cannot prove who it is"):
        give(one, give(other, one.start()))


@pytest.mark.parametrize("mac", [b"", bytes(32), bytes(31)])
def test_d1_listener_with_a_wrong_mac_is_refused(mac):
    """D1: the proof is mutual."""
    one, other = dialer(), listener()
    welcome = give(other, give(one, give(other, one.start())))
    with pytest.raises(AuthError, match="listener does not know the token"):
        give(one, changed(welcome, mac=mac))
    assert not one.done
    assert note_in(one.farewell).code == ErrorCode.AUTH


def test_d1_other_roles_mac_proves_nothing():
    """D1: the dialer's own proof, sent back as the listener's, is refused."""
    one, other = dialer(), listener()
    proof = give(one, give(other, one.start()))
    welcome = changed(give(other, proof), mac=fields_of(proof)["mac"])
    with pytest.raises(AuthError):
        give(one, welcome)


def test_d2_reflected_challenge_proves_nothing():
    """D2: who lets a listener answer its own challenge learns no mac to use."""
    one, victim, mirror = dialer(), listener(), listener()
    challenge = give(victim, one.start())
    # A stranger repeats the victim's nonce as its own, to the victim itself.
    said = fields_of(challenge)
    answer = give(mirror, changed(dialer().start(), nonce=said["nonce"]))
    assert set(fields_of(answer)) == set(said)
    assert "mac" not in said  # nobody proves anything to a stranger first
    # And the dialer's proof, sent back to it, is not the listener's.
    proof = give(one, challenge)
    terms = fields_of(give(victim, proof))
    terms["mac"] = fields_of(proof)["mac"]
    with pytest.raises(AuthError):
        give(one, pack_frame(FrameType.WELCOME, msgpack.packb(terms)))


def test_d2_recorded_greeting_is_refused():
    """D2: what opened the door yesterday does not open it today."""
    one, other = dialer(), listener()
    hello, _, proof, welcome, _ = greet(one, other)
    again = listener()
    give(again, hello)
    with pytest.raises(AuthError):
        give(again, proof)
    # Nor does a recorded listener convince a new dialer.
    fresh = dialer()
    recorded = listener()
    give(fresh, give(recorded, fresh.start()))
    with pytest.raises(AuthError):
        give(fresh, welcome)


def test_d5_relayed_greeting_with_another_certificate_is_refused():
    """D5: who stands between with a certificate of his own cannot pass proofs on."""
    one = dialer(certificate=hashlib.sha256(b"his").digest())
    other = listener(certificate=CERTIFICATE)
    proof = give(one, give(other, one.start()))
    with pytest.raises(AuthError, match="somebody else"):
        give(other, proof)


def test_changed_hello_is_noticed():
    """Not a word of HELLO or CHALLENGE can be changed on the way."""
    for key, value in {"machine": "other", "crc": True, "id": 7}.items():
        one, other = dialer(), listener()
        challenge = give(other, changed(one.start(), **{key: value}))
        with pytest.raises(AuthError):
            give(other, give(one, challenge))
    one, other = dialer(), listener()
    challenge = give(other, one.start())
    with pytest.raises(AuthError):
        give(other, give(one, changed(challenge, capabilities=0)))


# ---------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("versions", "theirs"), [([2, 3], 2), ([2, 2], 2), ([0, 0], 0), ([200, 255], 200)]
)
def test_d16_no_common_version_is_told_with_both(versions, theirs):
    """D16: both ends get a VersionMismatch that names both versions."""
    other = listener()
    with pytest.raises(VersionMismatch) as caught:
        give(other, changed(dialer().start(), versions=versions))
    assert (caught.value.ours, caught.value.theirs) == (1, theirs)
    note = note_in(other.farewell)
    assert (note.code, note.version) == (ErrorCode.VERSION, 1)


def test_d16_refused_dialer_learns_the_version():
    """D16: an ERROR with a version is raised as one."""
    one = dialer()
    one.start()
    note = Note(ErrorCode.VERSION, "too old", 2)
    with pytest.raises(VersionMismatch) as caught:
        give(one, pack_frame(FrameType.ERROR, note.encode()))
    assert (caught.value.ours, caught.value.theirs) == (1, 2)


@pytest.mark.parametrize("versions", [[0, 1], [1, 1], [1, 255], [0, 255]])
def test_d16_common_version_is_found(versions):
    """D16: a peer that speaks older or newer versions too is let in."""
    other = listener(None)
    answer = give(other, changed(dialer(None).start(), versions=versions))
    assert fields_of(answer)["version"] == 1


def test_d16_listener_that_chooses_another_version_is_refused():
    """D16: only a version that was offered may be chosen."""
    one, other = dialer(), listener()
    challenge = changed(give(other, one.start()), version=2)
    with pytest.raises(VersionMismatch) as caught:
        give(one, challenge)
    assert caught.value.theirs == 2


# ------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"versions": None}, "versions"),
        ({"versions": 1}, "versions"),
        ({"versions": [1]}, "versions"),
        ({"versions": [1, 2, 3]}, "versions"),
        ({"versions": [True, 1]}, "versions"),
        ({"versions": [2, 1]}, "versions"),
        ({"versions": [-1, 1]}, "versions"),
        ({"versions": [1, 256]}, "versions"),
        ({"role": "king"}, "role"),
        ({"role": None}, "role"),
        ({"id": -1}, "id"),
        ({"id": None}, "id"),
        ({"machine": "m" * 65}, "machine"),
        ({"software": 7}, "software"),
        ({"capabilities": 2**32}, "capabilities"),
        ({"nonce": bytes(31)}, "nonce"),
        ({"nonce": bytes(33)}, "nonce"),
        ({"nonce": "text"}, "nonce"),
        ({"crc": 1}, "crc"),
    ],
)
def test_malformed_hello_is_a_decode_error(fields, path):
    """Every field is checked, and the error names it."""
    other = listener()
    with pytest.raises(DecodeError, match=rf"\$\.{path}"):
        give(other, changed(dialer().start(), **fields))
    assert note_in(other.farewell).code == ErrorCode.PROTOCOL
    assert not other.done


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"version": None}, "version"),
        ({"version": True}, "version"),
        ({"role": "king"}, "role"),
        ({"nonce": bytes(31)}, "nonce"),
        ({"token": 1}, "token"),
        ({"token": None}, "token"),
    ],
)
def test_malformed_challenge_is_a_decode_error(fields, path):
    """The dialer is as careful as the listener."""
    one, other = dialer(), listener()
    challenge = changed(give(other, one.start()), **fields)
    with pytest.raises(DecodeError, match=rf"\$\.{path}"):
        give(one, challenge)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"mac": None}, "mac"),
        ({"mac": "text"}, "mac"),
        ({"crc": 0}, "crc"),
        ({"crc": False}, "crc"),
        ({"heartbeat_ms": 0}, "heartbeat_ms"),
        ({"heartbeat_ms": 2.5}, "heartbeat_ms"),
        ({"dead_after_ms": 2000}, "dead_after_ms"),
        ({"resume_window_ms": -1}, "resume_window_ms"),
        ({"resume_window_ms": 2**32}, "resume_window_ms"),
    ],
)
def test_malformed_welcome_is_a_decode_error(fields, path):
    """Terms that nobody could keep, or that were not asked for, are refused."""
    one, other = dialer(crc=True), listener()
    welcome = give(other, give(one, give(other, one.start())))
    with pytest.raises(DecodeError, match=rf"\$\.{path}"):
        give(one, changed(welcome, **fields))
    assert not one.done


@pytest.mark.parametrize("kind", [k for k in FrameType if k is not FrameType.HELLO])
def test_frame_out_of_order_ends_the_greeting(kind):
    """Only HELLO may come first, and ERROR at any time."""
    other = listener()
    body = bytes(64)
    if kind is FrameType.ERROR:
        body = Note(ErrorCode.DRAINING, "bye").encode()
    error = Draining if kind is FrameType.ERROR else RemoteProtocolError
    with pytest.raises(error):
        give(other, pack_frame(kind, body))
    assert not other.done


def test_frame_is_refused_with_its_header():
    """G10: a stranger's 256 KiB are not awaited."""
    other = listener()
    header = unpack_header(pack_header(FrameType.OPEN, total=2**18, body_bytes=2**18))
    with pytest.raises(RemoteProtocolError, match=r"OPEN came in the greeting.*HELLO"):
        other.check(header)
    assert note_in(other.farewell).code == ErrorCode.PROTOCOL
    with pytest.raises(LocalProtocolError):
        other.check(header)


def test_body_beyond_a_kilobyte_is_refused():
    """G10: 1 KiB is the most that a stranger may say at once."""
    one = dialer()
    one.start()
    frame = unpack_header(pack_frame(FrameType.CHALLENGE, bytes(1024)))
    with pytest.raises(MessageTooLarge):
        one.check(frame._replace(body_bytes=1025))


def test_bridge_that_dials_itself_is_told():
    """The address was one's own."""
    other = listener()
    hello = changed(dialer().start(), id=LISTENER.id)
    with pytest.raises(RemoteProtocolError, match="dialed itself"):
        give(other, hello)


@pytest.mark.parametrize("end", ["dialer", "listener"])
def test_nothing_is_taken_after_the_end(end):
    """A greeting that is over, well or badly, takes no frame."""
    one, other = dialer(), listener()
    said = greet(one, other)
    greeting, frame = (one, said[3]) if end == "dialer" else (other, said[2])
    with pytest.raises(LocalProtocolError, match="nothing more is awaited"):
        give(greeting, frame)
    assert greeting.done
    failed = listener()
    with pytest.raises(RemoteProtocolError):
        give(failed, said[2])
    with pytest.raises(LocalProtocolError):
        give(failed, said[0])


def test_greeting_begins_once():
    """HELLO is said once, and nothing is taken before it."""
    one = dialer()
    with pytest.raises(LocalProtocolError, match="nothing more is awaited"):
        give(one, give(listener(), dialer().start()))
    one.start()
    with pytest.raises(LocalProtocolError, match="has begun"):
        one.start()


def greet_with(index, offset):
    """Greet, with one byte of one body changed; return both ends."""
    one, other = dialer(), listener()
    frame = one.start()
    for number, greeting in enumerate((other, one, other, one)):
        if number == index:
            body = bytearray(frame[FRAME_HEADER_BYTES:])
            if offset >= len(body):
                return None
            body[offset] ^= 0x41
            frame = pack_frame(unpack_header(frame).type, bytes(body))
        try:
            frame = give(greeting, frame)
        except (AuthError, RemoteProtocolError, VersionMismatch):
            break
    return one, other


def test_d9_every_byte_of_a_greeting_matters():
    """D9: a change of any byte is a documented error; only terms could be others."""
    for index in range(4):
        for offset in range(1024):
            ends = greet_with(index, offset)
            if ends is None:
                break
            one, other = ends
            assert other.done is (index == 3)
            if one.done:
                assert other.terms != one.terms or offset > 1 + 4 + 34
