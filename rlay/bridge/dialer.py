"""Dialing one address, for ever."""

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from typing import Final

from rlay.bridge.link import Link
from rlay.bridge.stream import Stream, TlsLayer
from rlay.bridge.tcp import tune
from rlay.errors import AuthError, PeerLost, RLayError

_log = logging.getLogger("rlay.bridge.dialer")

CONNECT_LIMIT_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
_STAND_BY_S: Final = 0.5
_SHORTEST_TRY_S: Final = 1.0
_MAYBE_TLS: Final = "If that bridge has TLS, give --tls-ca or --tls-fingerprint"

MakeLink = Callable[[Stream, str, bytes], Link]


class Dialer:
    """Keeps a link to one address.

    Attributes:
        where: The address as it was given.
        problem: Why there is no link; "" while there is one.
        attempts: How often it was dialed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        make_link: MakeLink,
        *,
        context: Callable[[], ssl.SSLContext | None],
        digest_of: Callable[[bytes | None], bytes],
        has_link_to: Callable[[int], bool] = lambda peer_id: False,
    ) -> None:
        """Take note of where to dial; :meth:`run` does it.

        Args:
            host: Name or number; resolved anew each time.
            port: Of the listener.
            make_link: Makes a link of a connection.
            context: Returns the TLS context; None without TLS.
            digest_of: Checks the listener's certificate (DER) and returns its digest.
            has_link_to: Whether another dialer has a link to a peer. Two would end each
                other's for ever, so this one then stands by.
        """
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.problem = "not dialed yet"
        self.attempts = 0
        self._host, self._port = host, port
        self._make_link = make_link
        self._context = context
        self._digest_of = digest_of
        self._has_link_to = has_link_to
        self._peer_id = 0  # who it was last time
        self._stopped = False

    def stop(self) -> None:
        """Do not dial again once the present link has ended."""
        self._stopped = True

    async def run(self) -> None:
        """Dial, hold the link, dial again; until it is stopped or cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._stand_by()
            self.attempts += 1
            try:
                link = await self._dial()
                error: Exception = await self._hold(link)
                if link.peer is not None:
                    pause_s = FIRST_PAUSE_S
                    self._peer_id = link.peer.id
                elif isinstance(error, PeerLost) and self._context() is None:
                    # A listener with TLS only hangs up on who speaks in the clear.
                    error = PeerLost(f"{error}. {_MAYBE_TLS}")
            except (OSError, RLayError) as failure:
                error = failure
            except Exception as fault:
                _log.exception("a fault of this bridge, as it dialed %s", self.where)
                error = fault
            if self._stopped:
                return
            self._tell(error)
            # Full jitter: a thousand dialers that lost one listener spread out.
            await asyncio.sleep(random.uniform(0, pause_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _stand_by(self) -> None:
        while self._peer_id and self._has_link_to(self._peer_id):
            self.problem = "there is a link to that bridge already, by another address"
            await asyncio.sleep(_STAND_BY_S)

    def _tell(self, error: Exception) -> None:
        text = _words(error)
        if text != self.problem:
            self.problem = text
            _log.warning(
                "no link to %s: %s",
                self.where,
                text,
                extra={"peer": self.where, "reason": type(error).__name__},
            )

    async def _dial(self) -> Link:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                sock = await self._connect(loop)
        except TimeoutError:
            raise PeerLost(f"no answer within {CONNECT_LIMIT_S:g} s") from None
        stream = Stream(loop, sock)
        try:
            tune(sock)
            digest = await self._shake_hands(stream)
            return self._make_link(stream, self.where, digest)
        except BaseException:
            stream.close()
            raise

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        try:
            found = await loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
        except UnicodeError:  # an empty label, or one of more than 63 letters
            raise PeerLost("the name cannot be resolved: no host has it") from None
        # One address may swallow everything: the others get their turn.
        try_s = max(_SHORTEST_TRY_S, CONNECT_LIMIT_S / max(1, len(found)))
        problem: OSError | None = None
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(try_s):
                    await loop.sock_connect(sock, address)
            except OSError as error:  # a TimeoutError is one
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem or OSError(f"{self._host} has no address")

    async def _shake_hands(self, stream: Stream) -> bytes:
        """Do the TLS handshake, where there is TLS; return the certificate's digest."""
        context = self._context()
        if context is None:
            return b""
        layer = TlsLayer(context, server=False, hostname=self._host)
        stream.layers.append(layer)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def readable() -> None:
            try:
                if not stream.read_layered(lambda data: None):
                    raise AuthError("the other side ended the TLS handshake")
            except RLayError as error:
                if not done.done():
                    done.set_exception(error)
                return
            if layer.ready and not done.done():
                done.set_result(None)

        stream.flush_layers()
        stream.listen(readable, lambda: None)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await done
        except TimeoutError:
            raise PeerLost("the TLS handshake was not answered") from None
        finally:
            loop.remove_reader(stream.sock.fileno())
        return self._digest_of(layer.certificate)

    async def _hold(self, link: Link) -> RLayError:
        """Greet, and wait until the link ends; return why."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[RLayError] = loop.create_future()
        on_end, on_up = link.on_end, link.on_up

        def ended(link: Link) -> None:
            on_end(link)
            if not over.done():
                over.set_result(link.ended or PeerLost("it ended"))

        def up(link: Link) -> None:
            self.problem = ""
            on_up(link)

        link.on_end, link.on_up = ended, up
        greeting = loop.call_later(
            CONNECT_LIMIT_S,
            lambda: (
                None
                if link.peer
                else link.end(PeerLost("the greeting was not answered"))
            ),
        )
        try:
            link.start()
            return await over
        finally:
            greeting.cancel()
            link.end(PeerLost("the bridge ends"))


def _words(error: Exception) -> str:
    if isinstance(error, RLayError):
        return str(error)
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
