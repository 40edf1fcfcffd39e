"""The greeting of a link: who is there, and do both know the token?

::

    dialer                                  listener
      HELLO  -- versions, nonce ------------->
             <------------- version, nonce --  CHALLENGE
      PROOF  -- mac ------------------------->
             <----------------- mac, terms --  WELCOME

Rule 1: nobody is a peer before it has proved that it knows the token, and the dialer
is not connected before WELCOME has come.
Rule 2: both macs cover both nonces and the listener's certificate, so that nothing
that was recorded, and nothing that passed through a third, proves anything.
Rule 3: each direction has its own words in front: a challenge that is sent back
proves nothing.
Rule 4: an error that is told to the peer holds no secret.
"""

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import Final

from rlay.errors import (
    AuthError,
    DecodeError,
    LocalProtocolError,
    MessageTooLarge,
    RemoteProtocolError,
    RLayError,
    VersionMismatch,
)
from rlay.protocol.constants import UINT32_MASK
from rlay.protocol.control import MapFields, pack_map, printable, unpack_map
from rlay.protocol.frames import (
    MAX_GREETING_BODY_BYTES,
    Frame,
    FrameType,
    pack_frame,
)
from rlay.protocol.link_messages import LINK_VERSION, MAX_MACHINE_CHARS, Note

MIN_TOKEN_BYTES: Final = 16
NONCE_BYTES: Final = 32
MAC_BYTES: Final = 32
MAX_SOFTWARE_CHARS: Final = 64

_DIALER_LABEL: Final = b"rlay1 dialer"
_LISTENER_LABEL: Final = b"rlay1 listener"
_LENGTH: Final = struct.Struct("<I")
_UINT64_MASK: Final = 2**64 - 1
_MAX_VERSION: Final = 255


class Role(StrEnum):
    """What speaks on a link."""

    BRIDGE = "bridge"  # mirrors the channels of its machine
    PEER = "peer"  # is one end of one channel, without a mapped file


class LinkCapability(IntFlag):
    """What an end of a link can do."""

    NONE = 0
    HEARTBEAT = 1  # says something every heartbeat_ms, whatever else it does


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """Who is at an end of a link.

    Attributes:
        role: A bridge, or an end of a channel.
        id: A random 64-bit number of one life of that process.
        machine: Name of the machine, for people.
        software: Name and version, for people.
        capabilities: What it can do.
    """

    role: Role
    id: int
    machine: str = ""
    software: str = ""
    capabilities: LinkCapability = LinkCapability.NONE

    def pack(self) -> dict[str, str | int]:
        """Return the fields as they travel, texts cut to their limits."""
        return {
            "role": str(self.role),
            "id": self.id,
            "machine": printable(self.machine, MAX_MACHINE_CHARS),
            "software": printable(self.software, MAX_SOFTWARE_CHARS),
            "capabilities": int(self.capabilities),
        }

    @classmethod
    def unpack(cls, fields: MapFields) -> "LinkIdentity":
        """Return the identity in a map from a peer.

        Raises:
            DecodeError: It is malformed.
        """
        role = fields.text("role", MAX_MACHINE_CHARS)
        if role not in set(Role):
            raise DecodeError(f"unknown role {role!r}", "$.role")
        return cls(
            Role(role),
            fields.count("id", _UINT64_MASK),
            fields.text("machine", MAX_MACHINE_CHARS),
            fields.text("software", MAX_SOFTWARE_CHARS),
            LinkCapability(fields.count("capabilities", UINT32_MASK)),
        )


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """How a link is kept. The listener says it.

    Attributes:
        crc: Whether bodies carry a CRC.
        heartbeat_ms: After how long a silence an end says something.
        dead_after_ms: After how long a silence the other end ends the link.
        resume_window_ms: How long a session outlives its link.
    """

    crc: bool
    heartbeat_ms: int
    dead_after_ms: int
    resume_window_ms: int

    def pack(self) -> dict[str, bool | int]:
        """Return the fields as they travel."""
        return {
            "crc": self.crc,
            "heartbeat_ms": self.heartbeat_ms,
            "dead_after_ms": self.dead_after_ms,
            "resume_window_ms": self.resume_window_ms,
        }

    @classmethod
    def unpack(cls, fields: MapFields) -> "LinkTerms":
        """Return the terms in a map from a peer.

        Raises:
            DecodeError: They are malformed, or nobody could keep them.
        """
        heartbeat_ms = fields.count("heartbeat_ms", UINT32_MASK, least=1)
        return cls(
            fields.get("crc", bool),
            heartbeat_ms,
            fields.count("dead_after_ms", UINT32_MASK, least=heartbeat_ms + 1),
            fields.count("resume_window_ms", UINT32_MASK),
        )


class _Greeting:
    """What both ends do: one frame after the other, in order, or none any more."""

    def __init__(
        self,
        identity: LinkIdentity,
        token: bytes | None,
        certificate: bytes,
        nonce: bytes | None,
    ) -> None:
        if token is not None and len(token) < MIN_TOKEN_BYTES:
            raise LocalProtocolError(
                f"a token of {len(token)} bytes is too short, it needs at least "
                f"{MIN_TOKEN_BYTES}: make one with `rlay token new`"
            )
        self._identity = identity
        self._token = token
        self._certificate = certificate
        self._nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
        self._transcript = hashlib.sha256()
        self._awaited: FrameType | None = None
        self._peer: LinkIdentity | None = None
        self._terms: LinkTerms | None = None
        self.farewell = b""

    @property
    def done(self) -> bool:
        """Whether both ends have proved themselves."""
        return self._terms is not None

    @property
    def peer(self) -> LinkIdentity:
        """Who is at the other end.

        Raises:
            LocalProtocolError: It has not proved it yet.
        """
        if self._terms is None or self._peer is None:
            raise LocalProtocolError("the greeting of this link is not done")
        return self._peer

    @property
    def terms(self) -> LinkTerms:
        """How the link is kept.

        Raises:
            LocalProtocolError: The greeting is not done.
        """
        if self._terms is None:
            raise LocalProtocolError("the greeting of this link is not done")
        return self._terms

    def check(self, frame: Frame) -> None:
        """Refuse a header that has no place here, before its body is awaited.

        Raises:
            RemoteProtocolError: It is not the frame that is awaited, nor an ERROR.
            MessageTooLarge: Its body exceeds 1 KiB.
            LocalProtocolError: Nothing is awaited: the greeting is over.
        """
        awaited = self._awaited
        if awaited is None:
            raise LocalProtocolError("nothing more is awaited in this greeting")
        try:
            if frame.type not in (awaited, FrameType.ERROR):
                raise RemoteProtocolError(
                    f"{frame.type.name} came in the greeting of a link, in place of "
                    f"{awaited.name}"
                )
            if frame.body_bytes > MAX_GREETING_BODY_BYTES:
                raise MessageTooLarge(frame.body_bytes, MAX_GREETING_BODY_BYTES)
        except RLayError as error:
            self._fail(error)
            raise

    def receive(self, frame: Frame, body: memoryview) -> bytes:
        """Take a frame, and return the bytes that answer it, if any.

        Args:
            frame: Its header.
            body: Its body; copied where it is kept.

        Returns:
            What is to be sent now; look at :attr:`done` then.

        Raises:
            AuthError: The peer does not know the token, or says that we do not.
            VersionMismatch: There is no version that both speak.
            RemoteProtocolError: The peer broke the protocol, or says that we did.
            Draining: The peer shuts down.
            LocalProtocolError: Nothing is awaited: the greeting is over.

        After any of them the greeting is over: send :attr:`farewell`, and close.
        """
        self.check(frame)
        try:
            if frame.type is FrameType.ERROR:
                error = Note.decode(body).error()
                self._awaited = None
                raise error
            return self._answer(body)
        except RLayError as error:
            self._fail(error, told=frame.type is FrameType.ERROR)
            raise

    def _answer(self, body: memoryview) -> bytes:
        raise NotImplementedError

    def _fail(self, error: RLayError, *, told: bool = False) -> None:
        self._awaited = None
        if not told:
            self.farewell = pack_frame(FrameType.ERROR, Note.of(error).encode())

    def _record(self, body: bytes | memoryview) -> None:
        self._transcript.update(_LENGTH.pack(len(body)))
        self._transcript.update(body)

    def _mac(self, label: bytes) -> bytes:
        if self._token is None:
            return b""
        transcript = self._transcript.copy()
        transcript.update(self._certificate)
        return hmac.digest(self._token, label + transcript.digest(), "sha256")

    def _proves(self, fields: MapFields, label: bytes) -> bool:
        """Return whether the mac in a map from the peer is the right one."""
        mac: bytes = fields.get("mac", bytes)
        return hmac.compare_digest(mac, self._mac(label))


def _check_nonce(fields: MapFields) -> None:
    nonce: bytes = fields.get("nonce", bytes)
    if len(nonce) != NONCE_BYTES:
        raise DecodeError(f"a nonce of {len(nonce)} bytes", "$.nonce")


class DialerGreeting(_Greeting):
    """The greeting as who connects does it.

    Attributes:
        farewell: After a failure, the ERROR frame to send before closing; empty where
            the peer knows already.
    """

    def __init__(
        self,
        identity: LinkIdentity,
        token: bytes | None,
        *,
        crc: bool,
        certificate: bytes = b"",
        nonce: bytes | None = None,
    ) -> None:
        """Begin; call :meth:`start` next.

        Args:
            identity: Ours.
            token: At least 16 bytes, or None to demand none.
            crc: Whether we want bodies to carry a CRC.
            certificate: SHA-256 of the listener's certificate in DER; empty without
                TLS.
            nonce: 32 bytes that were never used before; None to draw them. For tests.

        Raises:
            LocalProtocolError: The token is too short.
        """
        super().__init__(identity, token, certificate, nonce)
        self._crc = crc

    def start(self) -> bytes:
        """Return the HELLO to send."""
        if self._awaited is not None or self.done:
            raise LocalProtocolError("this greeting has begun")
        body = pack_map(
            {
                "versions": [LINK_VERSION, LINK_VERSION],
                **self._identity.pack(),
                "nonce": self._nonce,
                "crc": self._crc,
            }
        )
        self._record(body)
        self._awaited = FrameType.CHALLENGE
        return pack_frame(FrameType.HELLO, body)

    def _answer(self, body: memoryview) -> bytes:
        if self._awaited is FrameType.CHALLENGE:
            return self._prove(body)
        self._finish(unpack_map(body))
        return b""

    def _prove(self, body: memoryview) -> bytes:
        fields = unpack_map(body)
        version = fields.count("version", _MAX_VERSION)
        if version != LINK_VERSION:
            raise VersionMismatch(LINK_VERSION, version)
        self._peer = LinkIdentity.unpack(fields)
        _check_nonce(fields)
        demanded = fields.get("token", bool)
        if demanded and self._token is None:
            raise AuthError(
                f"the listener at {self._peer.machine or 'the other end'} asks for a "
                "token: name its file in RLAY_TOKEN_FILE or with --token-file"
            )
        if self._token is not None and not demanded:
            raise AuthError(
                f"the listener at {self._peer.machine or 'the other end'} has no "
                "token, so it cannot prove who it is: give it the same token, or "
                "dial without one"
            )
        self._record(body)
        self._awaited = FrameType.WELCOME
        return pack_frame(FrameType.PROOF, pack_map({"mac": self._mac(_DIALER_LABEL)}))

    def _finish(self, fields: MapFields) -> None:
        if not self._proves(fields, _LISTENER_LABEL):
            raise AuthError(
                "the listener does not know the token, or the link passes through "
                "somebody else: compare the token files and the certificate"
            )
        terms = LinkTerms.unpack(fields)
        if self._crc and not terms.crc:
            raise DecodeError("the CRC that was asked for is denied", "$.crc")
        self._awaited = None
        self._terms = terms


class ListenerGreeting(_Greeting):
    """The greeting as who accepts does it.

    Attributes:
        farewell: After a failure, the ERROR frame to send before closing; empty where
            the peer knows already.
    """

    def __init__(
        self,
        identity: LinkIdentity,
        token: bytes | None,
        terms: LinkTerms,
        *,
        certificate: bytes = b"",
        nonce: bytes | None = None,
    ) -> None:
        """Await a HELLO.

        Args:
            identity: Ours.
            token: At least 16 bytes, or None to ask for none.
            terms: Ours; the dialer may add the CRC.
            certificate: SHA-256 of our certificate in DER; empty without TLS.
            nonce: 32 bytes that were never used before; None to draw them. For tests.

        Raises:
            LocalProtocolError: The token is too short.
        """
        super().__init__(identity, token, certificate, nonce)
        self._own_terms = terms
        self._crc = terms.crc
        self._awaited = FrameType.HELLO

    def _answer(self, body: memoryview) -> bytes:
        if self._awaited is FrameType.HELLO:
            return self._challenge(body)
        return self._welcome(unpack_map(body))

    def _challenge(self, body: memoryview) -> bytes:
        fields = unpack_map(body)
        _check_versions(fields)
        self._peer = LinkIdentity.unpack(fields)
        _check_nonce(fields)
        self._crc = fields.get("crc", bool) or self._own_terms.crc
        if self._peer.id == self._identity.id:
            raise RemoteProtocolError(
                "this bridge dialed itself: give it the address of the other one"
            )
        answer = pack_map(
            {
                "version": LINK_VERSION,
                **self._identity.pack(),
                "nonce": self._nonce,
                "token": self._token is not None,
            }
        )
        self._record(body)
        self._record(answer)
        self._awaited = FrameType.PROOF
        return pack_frame(FrameType.CHALLENGE, answer)

    def _welcome(self, fields: MapFields) -> bytes:
        if not self._proves(fields, _DIALER_LABEL):
            raise AuthError(
                "the dialer does not know the token, or the link passes through "
                "somebody else: compare the token files and the certificate"
            )
        own = self._own_terms
        terms = LinkTerms(
            self._crc, own.heartbeat_ms, own.dead_after_ms, own.resume_window_ms
        )
        self._awaited = None
        self._terms = terms
        body = pack_map({"mac": self._mac(_LISTENER_LABEL), **terms.pack()})
        return pack_frame(FrameType.WELCOME, body)


def _check_versions(fields: MapFields) -> None:
    """Check that the dialer speaks our version: newest and oldest are the same."""
    versions = fields.get("versions", list)
    if len(versions) != 2 or any(type(v) is not int for v in versions):
        raise DecodeError("expected the oldest and the newest version", "$.versions")
    oldest, newest = versions
    if not 0 <= oldest <= newest <= _MAX_VERSION:
        raise DecodeError(f"no versions {oldest} to {newest}", "$.versions")
    if not oldest <= LINK_VERSION <= newest:
        raise VersionMismatch(LINK_VERSION, newest if newest < LINK_VERSION else oldest)
