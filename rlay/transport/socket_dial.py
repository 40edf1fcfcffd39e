"""Dialing a bridge: from its name to a connection on which both have proved themselves.

Nothing here waits longer than it is told, and nothing is given up before its owner
says so: a name that is not known yet, a port where nobody listens and a bridge that is
being restarted are all tried again, in pauses that grow. What will not get better by
waiting is raised: a wrong token, a wrong certificate, another version.
"""

import platform
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

from rlay.errors import (
    AuthError,
    DecodeError,
    Draining,
    MessageTooLarge,
    RemoteProtocolError,
    RLayError,
    VersionMismatch,
)
from rlay.protocol.addresses import Address
from rlay.protocol.frames import Frame, FrameDecoder
from rlay.protocol.link_greeting import DialerGreeting, LinkIdentity, LinkTerms, Role
from rlay.transport.credentials import (
    Credentials,
    certificate_digest,
    explain_tls,
    from_environment,
)
from rlay.transport.ends import draw_id
from rlay.transport.socket_names import Candidates, Lookup
from rlay.transport.socket_stream import Stream, begin
from rlay.transport.software import SOFTWARE

FIRST_PAUSE_S: Final = 0.1
LAST_PAUSE_S: Final = 5.0
_STAGE_S: Final = 5.0
"""How long each of connecting, TLS handshake and greeting may take."""
_SILENT_ENDS: Final = 3
"""A bridge that is killed may end a connection after the TLS handshake, but not thrice
in a row: that is how TLS 1.3 says that a certificate is missing."""


def machine_name() -> str:
    """Return the name of this machine, for people."""
    return platform.node()


def draw_identity() -> LinkIdentity:
    """Return what one peer says of itself for all its life."""
    return LinkIdentity(Role.PEER, draw_id(), machine_name(), SOFTWARE)


class Connection:
    """A connection that greeted.

    Attributes:
        stream: For bytes.
        decoder: For what comes; it may hold the beginning of a frame.
        terms: How the link is kept.
        machine: Of the bridge, for people.
        crc: Whether bodies carry a CRC.
    """

    def __init__(
        self, stream: Stream, decoder: FrameDecoder, greeting: DialerGreeting
    ) -> None:
        """Take over a connection."""
        self.stream = stream
        self.decoder = decoder
        self.terms: LinkTerms = greeting.terms
        self.machine = greeting.peer.machine
        self.crc = self.terms.crc


class Dialer:
    """Tries to connect until it succeeds; :meth:`advance` makes headway.

    Attributes:
        problem: Why the last attempt failed, for people; empty before that.
    """

    def __init__(
        self,
        address: Address,
        identity: LinkIdentity,
        place: Callable[[Frame], "memoryview | None"],
        deliver: Callable[[Frame, memoryview], None],
        credentials: Credentials | None = None,
    ) -> None:
        """Take note of whom to dial.

        Args:
            address: Of the bridge.
            identity: Ours.
            place: Says where bodies go once the greeting is done.
            deliver: Takes frames once the greeting is done.
            credentials: None for those of the environment variables.

        Raises:
            AuthError: A token or a certificate cannot be read.
        """
        self.address = address
        self.problem = ""
        self._identity = identity
        self._place, self._deliver = place, deliver
        self._credentials = credentials or from_environment()
        self._context: ssl.SSLContext | None = None
        if address.secure:
            self._context = self._credentials.client_context()
        self._pause_s = FIRST_PAUSE_S
        self._rest_until = 0.0
        self._silent_ends = 0
        self._attempt: _Attempt | None = None
        self._lookup: Lookup | None = None
        self._candidates: Candidates = []

    def advance(self, wait_s: float) -> Connection | None:
        """Go on, waiting at most ``wait_s`` seconds; return a connection or None.

        Raises:
            AuthError: The bridge could not prove who it is, or we could not.
            VersionMismatch: It speaks another version.
        """
        now = time.monotonic()
        if self._attempt is None:
            if now < self._rest_until:
                time.sleep(min(wait_s, self._rest_until - now))
                return None
            self._begin(now, wait_s)
        attempt = self._attempt
        if attempt is None:
            return None
        try:
            connection = attempt.advance(wait_s)
        except (AuthError, VersionMismatch):
            self.rest()
            raise
        except (OSError, RLayError) as error:
            self._failed(attempt, error)
            return None
        except BaseException:
            self.rest()  # an interruption: what was half-said cannot be taken up again
            raise
        if connection is not None:
            self._attempt, self.problem = None, ""
            self._candidates, self._silent_ends = [], 0
        return connection

    def succeeded(self) -> None:
        """Begin with short pauses again: the last connection was of use."""
        self._pause_s = FIRST_PAUSE_S

    def rest(self) -> None:
        """Give up the attempt, and try again after a pause."""
        self._drop()
        self._candidates = []
        self._rest_until = time.monotonic() + random.uniform(0, self._pause_s)
        self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)

    def close(self) -> None:
        """Give up the attempt. Twice is harmless."""
        self._drop()

    def abandon(self) -> None:
        """Give up the attempt in a forked child."""
        self._lookup = None
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.stream.abandon()

    def _drop(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.stream.close()

    def _begin(self, now: float, wait_s: float) -> None:
        endpoint = self.address.endpoint
        try:
            if not self._candidates and not self._look_up(wait_s):
                return
            stream = begin(self._candidates.pop(0), self._context, endpoint.host)
        except (OSError, UnicodeError) as error:
            self._note(error)
            if not self._candidates:
                self.rest()
            return
        self._attempt = _Attempt(
            stream, now, self._make_greeting, self._place, self._deliver
        )

    def _look_up(self, wait_s: float) -> bool:
        """Ask for the bridge's addresses; return whether they are known now."""
        endpoint = self.address.endpoint
        if self._lookup is None:
            # Anew each time: a container that is made again has another address.
            self._lookup = Lookup(endpoint.host, endpoint.port)
        if not self._lookup.answered(wait_s):
            self.problem = self.problem or (
                f"the name {endpoint.host!r} is being looked up, and nobody has "
                "answered yet"
            )
            return False
        lookup, self._lookup = self._lookup, None
        self._candidates = lookup.result()
        return True

    def _make_greeting(self, stream: Stream) -> DialerGreeting:
        certificate = stream.certificate
        self._credentials.check_certificate(certificate)
        return DialerGreeting(
            self._identity,
            self._credentials.token,
            crc=certificate is None and not stream.loopback,
            certificate=b"" if certificate is None else certificate_digest(certificate),
        )

    def _failed(self, attempt: "_Attempt", error: Exception) -> None:
        self._note(error)
        if attempt.ended_silently and self.address.secure:
            self._silent_ends += 1
        else:
            self._silent_ends = 0
        more = bool(self._candidates) and not attempt.connected
        self._drop()
        if not more:
            self.rest()
        if isinstance(error, ssl.SSLError) and _is_refused_certificate(error):
            raise AuthError(f"{self.address.endpoint}: {explain_tls(error)}") from error
        if self._silent_ends >= _SILENT_ENDS:
            raise AuthError(
                f"{self.address.endpoint} ends the connection after the TLS handshake, "
                "before it greets: it asks for a certificate, and ours is missing or "
                "unknown to it. Set RLAY_TLS_CERT and RLAY_TLS_KEY"
            ) from error

    def _note(self, error: Exception) -> None:
        self.problem = describe(error, self.address)


class _Attempt:
    """One connection on its way to a done greeting.

    Attributes:
        stream: The connection.
        connected: Whether somebody accepted it.
        ended_silently: Whether it ended before the bridge said anything.
    """

    def __init__(
        self,
        stream: Stream,
        now: float,
        make_greeting: Callable[[Stream], DialerGreeting],
        place: Callable[[Frame], "memoryview | None"],
        deliver: Callable[[Frame, memoryview], None],
    ) -> None:
        self.stream = stream
        self.connected = self.ended_silently = False
        self._make_greeting = make_greeting
        self._greeting: DialerGreeting | None = None
        self._until = now + _STAGE_S
        self._owner = place, deliver
        self._decoder = FrameDecoder(self._place, self._take)
        self._outbox = b""

    def advance(self, wait_s: float) -> Connection | None:
        if time.monotonic() >= self._until:
            what = "the connection" if self._greeting is None else "the greeting"
            raise TimeoutError(f"{what} was not answered within {_STAGE_S:.0f} s")
        if self._greeting is None:
            if not self.stream.advance(wait_s):
                return None
            self.connected = True
            self._until = time.monotonic() + _STAGE_S
            self._greeting = self._make_greeting(self.stream)
            self._outbox = self._greeting.start()
        return self._greet(self._greeting, wait_s)

    def _greet(self, greeting: DialerGreeting, wait_s: float) -> Connection | None:
        try:
            self._flush()
            counts: list[int] = []
            self.stream.read(self._decoder.buffer(), wait_s, counts)
            if not counts[0]:
                self.ended_silently = not self._decoder.frames
                raise ConnectionResetError("it ended the connection in the greeting")
            self._decoder.received(counts[0])
        except BlockingIOError:
            return None
        except RLayError:
            self._outbox = greeting.farewell
            self._flush()
            raise
        self._flush()
        if not greeting.done:
            return None
        return Connection(self.stream, self._decoder, greeting)

    def _flush(self) -> None:
        if self._outbox:
            counts: list[int] = []
            self.stream.write([self._outbox], counts)
            self._outbox = self._outbox[counts[0] :]

    def _place(self, frame: Frame) -> "memoryview | None":
        greeting = self._greeting
        if greeting is None or greeting.done:
            return self._owner[0](frame)
        greeting.check(frame)
        return None

    def _take(self, frame: Frame, body: memoryview) -> None:
        greeting = self._greeting
        if greeting is None or greeting.done:
            self._owner[1](frame, body)
        else:
            self._outbox += greeting.receive(frame, body)


def _is_refused_certificate(error: ssl.SSLError) -> bool:
    """Return whether one end refused the other's certificate for good."""
    reason = (error.reason or "").upper()
    return "CERTIFICATE" in reason or "UNKNOWN_CA" in reason


def describe(error: Exception, address: Address) -> str:
    """Say what keeps us from a bridge, and where it is known the remedy."""
    where = address.endpoint
    if isinstance(error, (socket.gaierror, UnicodeError)):
        text = getattr(error, "strerror", None) or error
        return f"the name {where.host!r} is not known here ({text})"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on {where}: start a bridge there, or mend the address"
    if isinstance(error, ssl.SSLError):
        hint = ""
        if "WRONG_VERSION_NUMBER" in str(error).upper():
            hint = ". If that bridge has no TLS, use tcp://"
        return f"{where}: {explain_tls(error)}{hint}"
    if isinstance(error, DecodeError):
        hint = "" if address.secure else ". If that bridge has TLS, use tls://"
        return f"what listens on {where} does not speak RLay ({error}){hint}"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        has, scheme = ("no TLS", "tcp") if address.secure else ("TLS", "tls")
        return (
            f"{where} ended the connection in the greeting. If that bridge has {has}, "
            f"use {scheme}://"
        )
    if isinstance(error, (RemoteProtocolError, MessageTooLarge, Draining)):
        return f"the bridge at {where}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{where} cannot be reached ({error.strerror})"
    return f"{where}: {error}"
