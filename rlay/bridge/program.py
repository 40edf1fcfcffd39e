"""The bridge's life: start, run, drain, end."""

import asyncio
import contextlib
import errno
import functools
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from rlay.bridge.dialer import Dialer
from rlay.bridge.link import Link
from rlay.bridge.link_history import MOST_ERROR_CHARS, LinkHistory
from rlay.bridge.listener import Listener
from rlay.bridge.presence import Presence
from rlay.bridge.registry import Registry
from rlay.bridge.settings import is_loopback
from rlay.bridge.status import StatusFile
from rlay.bridge.stranger_log import StrangerLog
from rlay.bridge.stream import Stream
from rlay.bridge.websocket import OriginPolicy
from rlay.errors import (
    AuthError,
    ChannelBusy,
    ChannelError,
    ProtocolError,
    RLayError,
)
from rlay.protocol.addresses import Endpoint
from rlay.protocol.constants import CloseReason
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_greeting import (
    DialerGreeting,
    LinkCapability,
    LinkIdentity,
    LinkTerms,
    ListenerGreeting,
    Role,
)
from rlay.transport import credentials
from rlay.transport.directory import ChannelDirectory
from rlay.transport.software import SOFTWARE

if TYPE_CHECKING:
    from rlay.bridge.health import HealthServer
    from rlay.bridge.settings import BridgeSettings

_log = logging.getLogger("rlay.bridge")

TICK_S: Final = 1.0
_SHORTEST_TICK_S: Final = 0.05
_DRAIN_LOOK_S: Final = 0.02
_FAREWELL_S: Final = 1.0
"""For a BYE to arrive and the other side to end the link."""
_LOOPBACKS: Final = ("127.", "::1", "localhost")
_REMEDIES: Final[dict[int | None, str]] = {
    errno.EADDRINUSE: ". Another program listens there, maybe a bridge that still "
    "runs: end it, or take another port; port 0 takes a free one",
    errno.EADDRNOTAVAIL: ". This machine has no such address: 127.0.0.1 is for its own "
    "programs, 0.0.0.0 stands for all of its addresses",
    errno.EACCES: ". Ports below 1024 are often for root alone: take a larger one",
    socket.EAI_NONAME: ". No host of that name is known here",
}


class Keys:
    """Token and certificates, as they are in their files now."""

    def __init__(self, settings: "BridgeSettings") -> None:
        """Read them all.

        Raises:
            RLayError: A file cannot be read, or does not do.
        """
        self._settings = settings
        self.reload()

    def reload(self) -> None:
        """Read them again; links that are up stay up."""
        settings = self._settings
        path = settings.token_file
        token = None if path is None else credentials.load_token(path)
        server, digest, client = None, b"", None
        if settings.tls_cert is not None and settings.tls_key is not None:
            server = credentials.server_context(
                settings.tls_cert, settings.tls_key, settings.tls_client_ca
            )
            der = credentials.load_certificate(settings.tls_cert)
            digest = credentials.certificate_digest(der)
        if settings.dials_tls:
            client = credentials.client_context(
                settings.tls_ca,
                settings.tls_cert,
                settings.tls_key,
                settings.tls_fingerprint,
            )
        # All of them or none: one that cannot be read leaves the old ones in force.
        self.token: bytes | None = token
        self.server: ssl.SSLContext | None = server
        self.digest = digest
        self.client: ssl.SSLContext | None = client

    def check(self, certificate: bytes | None) -> bytes:
        """Check a listener's certificate against a pin; return its digest.

        Raises:
            AuthError: It is another one.
        """
        fingerprint = self._settings.tls_fingerprint
        if fingerprint is not None:
            credentials.check_pin(certificate, fingerprint)
        return (
            b"" if certificate is None else credentials.certificate_digest(certificate)
        )


class Bridge:
    """Everything that one bridge process has.

    Attributes:
        registry: The channels.
        links: All links, those that greet too.
        listeners: Where it listens.
        dialers: Where it dials.
        settings: What it was told.
        started_at: On the monotonic clock.
        lag_s: By how much the loop was late when it looked last.
        history: What there was over links that ended.
        last_error: Why a link ended last, or a stranger was refused; "" before.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: "BridgeSettings",
        directory: ChannelDirectory,
        presence: Presence,
        keys: Keys,
    ) -> None:
        """Set everything up short of sockets."""
        self.settings = settings
        self.links: list[Link] = []
        self.listeners: list[Listener] = []
        self.dialers: list[Dialer] = []
        self.started_at = time.monotonic()
        self.lag_s = 0.0
        self.history = LinkHistory()
        self.last_error = ""
        self._status = StatusFile(directory)
        self._strangers = StrangerLog()
        self._loop = loop
        self._keys = keys
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        identity = LinkIdentity(
            Role.BRIDGE,
            presence.id,
            socket.gethostname()[:64],
            SOFTWARE,
            LinkCapability.HEARTBEAT,
        )
        self.registry = Registry(
            loop,
            directory,
            identity,
            share=settings.share,
            prefix=settings.prefix,
            window_s=settings.resume_window_s,
            max_channels=settings.max_channels,
            max_slot_bytes=settings.max_slot_bytes,
        )

    # -------------------------------------------------------------------------- links

    def _terms(self, *, crc: bool) -> LinkTerms:
        settings = self.settings
        return LinkTerms(
            crc,
            round(settings.heartbeat_s * 1000),
            round(settings.dead_after_s * 1000),
            round(settings.resume_window_s * 1000),
        )

    def _accepted(self, stream: Stream, where: str, digest: bytes) -> Link:
        plain = not stream.secure and not where.startswith(_LOOPBACKS)
        greeting = ListenerGreeting(
            self.registry.identity,
            self._keys.token,
            self._terms(crc=plain),
            certificate=digest,
        )
        return self._made(Link(stream, greeting, self.registry, where, dialed=False))

    def _dialed(self, stream: Stream, where: str, digest: bytes) -> Link:
        plain = not stream.secure and not where.startswith(_LOOPBACKS)
        greeting = DialerGreeting(
            self.registry.identity,
            self._keys.token,
            crc=plain,
            certificate=digest,
        )
        return self._made(Link(stream, greeting, self.registry, where, dialed=True))

    def _made(self, link: Link) -> Link:
        self.links.append(link)
        link.on_up, link.on_end = self._up, self._ended
        return link

    def _up(self, link: Link) -> None:
        if not link.dialed:
            self._strangers.let_in(link.where)
        _log.info("link to %s is up", link.name, extra={"peer": link.name})
        self.history.begun(link)
        self.registry.link_up(link)

    def _ended(self, link: Link) -> None:
        self.links.remove(link)
        counts, error = self.registry.counts, link.ended
        about = {"peer": link.name, "reason": type(error).__name__}
        counts.bytes_sent += link.stream.sent
        counts.bytes_received += link.stream.got
        if isinstance(error, AuthError):
            counts.auth_failures[type(error).__name__] += 1
        if isinstance(error, ProtocolError):
            counts.protocol_errors[type(error).__name__] += 1
        if not link.said_goodbye:
            self.last_error = f"{link.name}: {error}"[:MOST_ERROR_CHARS]
        if link.peer is not None:
            self.history.ended(link)
            counts.reconnects[type(error).__name__] += 1
            level = logging.INFO if link.said_goodbye else logging.WARNING
            _log.log(level, "link to %s is down: %s", link.name, error, extra=about)
        elif not link.dialed:
            self._strangers.refused(link.where, str(error), type(error).__name__)
        self.registry.link_ended(link)

    def _has_dialed(self, peer_id: int) -> bool:
        """Return whether there is a link to a bridge that was dialed from here."""
        return any(
            link.dialed and link.peer is not None and link.peer.id == peer_id
            for link in self.registry.links
        )

    def _may_accept(self) -> bool:
        most: int = self.settings.links_limit()
        return len(self.links) < most

    # --------------------------------------------------------------------------- life

    def stop(self) -> None:
        """Begin to drain; called again, end at once."""
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    def reload(self) -> None:
        """Read token and certificates again; new links use them."""
        try:
            self._keys.reload()
        except (RLayError, OSError) as error:
            _log.error("kept the old token and certificates: %s", error)
        else:
            _log.info("token and certificates were read again")

    def listen(self) -> None:
        """Bind and listen.

        Raises:
            ChannelError: An address cannot be used.
        """
        settings = self.settings
        for endpoint in settings.listen:
            policy = OriginPolicy(
                settings.allow_origin,
                loopback=is_loopback(endpoint.host),
                token=settings.token_file is not None,
            )
            for sock in _bind(endpoint.host, endpoint.port):
                listener = Listener(
                    self._loop,
                    sock,
                    self._accepted,
                    may_accept=self._may_accept,
                    context=lambda: self._keys.server,
                    digest=lambda: self._keys.digest,
                    policy=policy,
                    log=self._strangers,
                )
                self.listeners.append(listener)
                _log.info("listening on %s", listener.address)

    async def run(self) -> None:
        """Run until :meth:`stop`, then drain."""
        self.registry.scan()
        self.listen()
        for endpoint in self.settings.connect:
            dialer = Dialer(
                endpoint.host,
                endpoint.port,
                self._dialed,
                context=lambda: self._keys.client,
                digest_of=self._keys.check,
                has_link_to=self._has_dialed,
            )
            self.dialers.append(dialer)
        tasks = [asyncio.create_task(dialer.run()) for dialer in self.dialers]
        tasks.append(asyncio.create_task(self._tick()))
        health: HealthServer | None = None
        try:
            health = await self._answer_health()
            self._status.write(self)  # who started it may wait for that
            await self._wait_for_stop(tasks)
            await self._drain()
            await self._part()
        finally:
            self._end()  # first: a dialer that is cancelled says no goodbye
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if health is not None:
                await health.close()

    async def _answer_health(self) -> "HealthServer | None":
        endpoint = self.settings.health
        if endpoint is None:
            return None
        from rlay.bridge.exposition import probes_of
        from rlay.bridge.health import HealthServer

        health = HealthServer(probes_of(self))
        await health.start(endpoint)
        return health

    async def _wait_for_stop(self, tasks: "list[asyncio.Task[None]]") -> None:
        stop = asyncio.create_task(self._stop.wait())
        waiting: list[Awaitable[Any]] = [stop, *tasks]
        done, _ = await asyncio.wait(
            waiting,  # type: ignore[type-var]
            return_when=asyncio.FIRST_COMPLETED,
        )
        stop.cancel()
        for task in done:
            if task is not stop:
                task.result()  # type: ignore[attr-defined]  # it does not end by itself

    async def _tick(self) -> None:
        heartbeat_s = self.settings.heartbeat_s
        last_look = time.monotonic()
        while True:
            beats = [link.heartbeat_s for link in self.links]
            pause_s = max(_SHORTEST_TICK_S, min([TICK_S, heartbeat_s, *beats]))
            await asyncio.sleep(pause_s)
            now = time.monotonic()
            self.lag_s = max(0.0, now - last_look - pause_s)
            if self.lag_s > heartbeat_s:
                # This process stood still: what came meanwhile was not read yet.
                for link in self.links:
                    link.heard_at = max(link.heard_at, now - heartbeat_s)
            last_look = now
            self._look_after(now)

    def _look_after(self, now: float) -> None:
        """Look at everything once; a fault in one look does not end the others."""
        looks: list[Callable[[], object]] = [
            self.registry.tick,
            lambda: self._status.write(self),
            self._strangers.tell,
        ]
        looks += [functools.partial(link.tick, now) for link in self.links]
        for look in looks:
            try:
                look()
            except Exception:
                _log.exception("a fault of this bridge, in a look at %r", look)

    async def _drain(self) -> None:
        """Let requests in flight be answered, take no new sessions."""
        registry = self.registry
        registry.draining = True
        _log.info("draining")
        for listener in self.listeners:
            listener.close()
        for link in list(registry.links):
            link.sender.control(pack_frame(FrameType.DRAIN))
            link.flush()
        until = time.monotonic() + self.settings.drain_grace_s
        while time.monotonic() < until and not self._at_once.is_set():
            busy = any(holder.busy for holder in registry.holders())
            if not busy and all(link.flushed for link in registry.links):
                return
            await asyncio.sleep(_DRAIN_LOOK_S)

    async def _part(self) -> None:
        """Say goodbye to the other sides, and let them end the links."""
        for dialer in self.dialers:
            dialer.stop()
        for link in list(self.registry.links):
            link.say_goodbye(CloseReason.DRAINING)
        until = time.monotonic() + _FAREWELL_S
        while time.monotonic() < until and not self._at_once.is_set():
            if not self.registry.links:
                return
            await asyncio.sleep(_DRAIN_LOOK_S)

    def _end(self) -> None:
        for listener in self.listeners:
            listener.close()
        for link in list(self.links):
            link.bye(CloseReason.DRAINING)
        self._strangers.tell(at_end=True)
        self.registry.close()
        self._status.remove()


def _bind(host: str, port: int) -> list[socket.socket]:
    """Return bound sockets for every address of a host."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            made.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
        for sock in made:
            sock.close()
        reason = getattr(error, "strerror", None) or error
        remedy = _REMEDIES.get(getattr(error, "errno", None), "")
        where = Endpoint(host, port)
        raise ChannelError(f"cannot listen on {where}: {reason}{remedy}") from error
    return made


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as the system gives: each channel needs a few."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _main(settings: "BridgeSettings", directory: ChannelDirectory) -> None:
    keys = Keys(settings)
    presence = Presence(directory)
    try:
        loop = asyncio.get_running_loop()
        bridge = Bridge(loop, settings, directory, presence, keys)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, bridge.stop)
        loop.add_signal_handler(signal.SIGHUP, bridge.reload)
        await bridge.run()
    finally:
        presence.leave()


def run_program(settings: "BridgeSettings") -> int:
    """Run a bridge until it is told to end; return the program's exit code."""
    _raise_descriptor_limit()
    try:
        with (
            ChannelDirectory.open(settings.directory) as directory,
            asyncio.Runner(loop_factory=_new_loop) as runner,
        ):
            runner.run(_main(settings, directory))
    except AuthError as error:
        _log.error("%s", error)
        return 78
    except (ChannelError, ChannelBusy) as error:
        _log.error("%s", error)
        return 1
    return 0
