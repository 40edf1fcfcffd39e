"""What ``rlay doctor --peer`` finds on the way to another machine, stage by stage."""

import contextlib
import socket
import ssl
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from rlay.cli.findings import Finding, info, ok, problem
from rlay.cli.link_probe import LinkProbe
from rlay.cli.log_lines import one_line
from rlay.errors import AuthError, PeerLost, RLayError, VersionMismatch
from rlay.protocol.addresses import Endpoint
from rlay.protocol.link_messages import Announcement
from rlay.transport.credentials import (
    Credentials,
    certificate_digest,
    explain_tls,
    format_fingerprint,
)
from rlay.transport.software import SOFTWARE

STAGES: Final = (
    "name", "port", "TLS", "token", "version", "channel", "first reply"
)  # fmt: skip
LIMIT_S: Final = 5.0
_PINGS: Final = 20
_RECEIVE_BYTES: Final = 64 * 1024
# Of Linux's struct tcp_info: how many segments had to be sent again.
_RETRANSMITTED: Final = struct.Struct("=100xI")
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)


@dataclass(frozen=True, slots=True)
class Journey:
    """Where to go, and with what.

    Attributes:
        endpoint: Of the bridge there.
        tls: Whether to speak TLS.
        credentials: What we prove ourselves with.
        channel: To look for; None for none.
    """

    endpoint: Endpoint
    tls: bool
    credentials: Credentials
    channel: str | None


class _Stopped(Exception):
    """A stage failed; those behind it were not reached."""


def peer(journey: Journey) -> Iterator[Finding]:
    """Go there, and tell of each stage. The first that fails is the last."""
    reached = []
    with contextlib.ExitStack() as open_until_the_end:
        try:
            for finding in _stages(journey, open_until_the_end):
                reached.append(finding.check)
                yield finding
        except _Stopped as stopped:
            (failed,) = stopped.args
            reached.append(failed.check)
            yield failed
    left = STAGES[max(map(STAGES.index, reached)) + 1 :]
    if left and reached:
        yield info("peer", f"not reached: {', '.join(left)}")


def _stages(journey: Journey, stack: contextlib.ExitStack) -> Iterator[Finding]:
    addresses = _resolve(journey.endpoint)
    listed = ", ".join(sorted({str(address[4][0]) for address in addresses}))
    yield ok("name", f"{journey.endpoint.host} is {listed}")

    began = time.monotonic()
    sock = stack.enter_context(_connect(journey.endpoint, addresses))
    took_ms = (time.monotonic() - began) * 1000
    yield ok("port", f"{journey.endpoint} answers in {took_ms:.1f} ms")

    digest = b""
    if journey.tls:
        sock, digest = _shake_hands(journey, sock, stack)
        yield ok("TLS", f"TLS 1.3; fingerprint {format_fingerprint(digest)}")
    else:
        yield info("TLS", "not asked for: everything is said in the clear")

    probe = LinkProbe(sock.sendall, lambda: sock.recv(_RECEIVE_BYTES))
    yield _greet(journey, probe, digest)
    yield _compare(probe)

    if journey.channel is None:
        yield info("channel", "none was asked for: --channel NAME looks for one")
    else:
        yield _find(probe, journey.channel)
    yield _ping(probe, sock)


_Answer = TypeVar("_Answer")
_Addresses = list[tuple[int, int, int, str, tuple[object, ...]]]


def _resolve(endpoint: Endpoint) -> _Addresses:
    try:
        return socket.getaddrinfo(  # type: ignore[return-value]  # its last is a tuple
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise _Stopped(
            problem(
                "name",
                f"{endpoint.host!r} cannot be resolved: {error}",
                "check its spelling, /etc/hosts and DNS; in compose both services need "
                "a network in common. Or give the number of its address",
            )
        ) from error


def _connect(endpoint: Endpoint, addresses: _Addresses) -> socket.socket:
    reason = "it has no address"
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(LIMIT_S)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
        else:
            return sock
    fix = "see that a firewall lets the port through, and that both are on one network"
    if "refused" in reason:
        # Who listens at all addresses of one family is not reached by the other.
        by_ipv6 = all(family == socket.AF_INET6 for family, *_ in addresses)
        everywhere, loopback = ("[::]", "::1") if by_ipv6 else ("0.0.0.0", "127.0.0.1")
        fix = (
            f"start a bridge there (rlay bridge --listen {everywhere}:{endpoint.port})."
            f" If one runs: does it listen at {loopback} only, or at another port"
            + (", or at IPv4 addresses only?" if by_ipv6 else "?")
        )
    raise _Stopped(problem("port", f"{endpoint}: {reason.lower()}", fix))


def _shake_hands(
    journey: Journey, sock: socket.socket, stack: contextlib.ExitStack
) -> tuple[socket.socket, bytes]:
    credentials = journey.credentials
    try:
        context = credentials.client_context()
        tls = stack.enter_context(
            context.wrap_socket(sock, server_hostname=journey.endpoint.host)
        )
        der = tls.getpeercert(binary_form=True)
        credentials.check_certificate(der)
    except AuthError as error:
        raise _Stopped(
            problem(
                "TLS",
                str(error),
                "compare with what rlay cert new printed there, and name the right one",
            )
        ) from error
    except OSError as error:
        fix = (
            "if its certificate is self-signed: copy rlay.crt from there and give "
            "--tls-ca rlay.crt, or --tls-fingerprint. " + _shown_certificate(journey)
        )
        raise _Stopped(problem("TLS", explain_tls(error), fix.strip())) from error
    return tls, certificate_digest(der or b"")


def _shown_certificate(journey: Journey) -> str:
    """Return a sentence about the certificate that the peer shows, unchecked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said to it; only looked at
    where = (journey.endpoint.host, journey.endpoint.port)
    try:
        with (
            socket.create_connection(where, LIMIT_S) as sock,
            context.wrap_socket(sock) as tls,
        ):
            der = tls.getpeercert(binary_form=True) or b""
    except OSError:
        return ""
    pin = format_fingerprint(certificate_digest(der))
    return (
        f"It shows a certificate with the fingerprint {pin}: compare that with what "
        "rlay cert new printed there before you trust it"
    )


def _greet(journey: Journey, probe: LinkProbe, digest: bytes) -> Finding:
    token = journey.credentials.token
    try:
        found = probe.greet(token, digest)
    except VersionMismatch as error:
        raise _Stopped(
            problem("version", str(error), "install the same version of rlay at both")
        ) from error
    except AuthError as error:
        raise _Stopped(
            problem(
                "token",
                one_line(str(error)),
                "give both machines the same token file: scp -p rlay.token HOST:, and "
                "--token-file at both (sha256sum shows whether they are the same)",
            )
        ) from error
    except (RLayError, OSError) as error:
        raise _Stopped(_not_greeted(journey, error)) from error
    proof = "both know the token" if token is not None else "no token is asked for"
    return ok("token", f"{one_line(found.machine)} greets: {proof}")


def _not_greeted(journey: Journey, error: Exception) -> Finding:
    text = f"no greeting: {one_line(str(error))}"
    if not journey.tls and (shown := _shown_certificate(journey)):
        return problem(
            "TLS",
            f"{text}. The peer speaks TLS, and we did not",
            f"give --tls-ca FILE or --tls-fingerprint HEX. {shown}",
        )
    if journey.tls and isinstance(error, (PeerLost, OSError)):
        return problem(
            "TLS",
            f"{text}: the peer ended the connection after the handshake",
            "it may ask for a certificate of ours: give --tls-cert and --tls-key, of "
            "an authority that its --tls-client-ca knows",
        )
    return problem(
        "token",
        text,
        f"is it a bridge that listens at {journey.endpoint}? Look at its log",
    )


def _compare(probe: LinkProbe) -> Finding:
    theirs = probe.peer.software if probe.peer is not None else ""
    if theirs == SOFTWARE:
        return ok("version", f"both are {SOFTWARE}")
    return info("version", f"we are {SOFTWARE}, the peer is {one_line(theirs)}")


def _find(probe: LinkProbe, name: str) -> Finding:
    found = _asked("channel", lambda: probe.find(name))
    if isinstance(found, Announcement):
        return ok("channel", f"{name} is there: {one_line(found.program)}")
    raise _Stopped(
        problem(
            "channel",
            one_line(found.message),
            f"serve it there (rlay serve ... --name {name}), and see that the bridge "
            "there shares it (--share)",
        )
    )


def _ping(probe: LinkProbe, sock: socket.socket) -> Finding:
    trips = _asked("first reply", lambda: [probe.ping() for _ in range(_PINGS)])
    median, longest = statistics.median(trips) * 1000, max(trips) * 1000
    text = f"{_PINGS} round trips: median {median:.2f} ms, longest {longest:.2f} ms"
    if _TCP_INFO is not None:
        with contextlib.suppress(OSError, struct.error):
            facts = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)
            (again,) = _RETRANSMITTED.unpack_from(facts)
            text += f"; {again} segments were sent again"
    return ok("first reply", text)


def _asked(stage: str, ask: Callable[[], _Answer]) -> _Answer:
    try:
        return ask()
    except (RLayError, OSError) as error:
        raise _Stopped(
            problem(
                stage,
                f"no answer: {one_line(str(error))}",
                "look at the log of the bridge there",
            )
        ) from error
