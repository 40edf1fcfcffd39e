"""Whether the bridge lives, whether it is ready, and what it counts; over HTTP.

Three pages, for GET alone, of one answer per connection: ``/livez``, ``/readyz`` and
``/metrics``. A link that is down fails none of them: whoever restarts a bridge because
another machine is away makes things worse.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from rlay.errors import ChannelError
from rlay.protocol.addresses import Endpoint

_log = logging.getLogger("rlay.bridge.health")

MAX_LAG_S: Final = 1.0
"""By how much the loop may be late and still be called alive."""
MAX_REQUEST_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 16
REQUEST_LIMIT_S: Final = 5.0

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Report:
    """How the bridge fares.

    Attributes:
        problem: What is wrong; "" where all is well.
        facts: What else there is to know. Plain data.
    """

    problem: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the pages show.

    Attributes:
        alive: Whether the loop turns.
        ready: Whether new sessions can be opened.
        metrics: Returns a content type, and what Prometheus reads.
    """

    alive: Callable[[], Report]
    ready: Callable[[], Report]
    metrics: Callable[[], tuple[str, bytes]]


def respond(head: bytes, probes: Probes) -> bytes:
    """Return the answer to a request.

    Args:
        head: The request, up to the end of its header at least.
        probes: What the pages show.
    """
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _answer(HTTPStatus.BAD_REQUEST, TEXT, b"this is not HTTP/1.1\n")
    if words[0] != b"GET":
        return _answer(HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"only GET\n")
    path = words[1].partition(b"?")[0]
    if path == b"/metrics":
        return _answer(HTTPStatus.OK, *probes.metrics())
    if path in (b"/livez", b"/readyz"):
        report = probes.alive() if path == b"/livez" else probes.ready()
        body = {"ok": not report.problem, "problem": report.problem, **report.facts}
        status = HTTPStatus.SERVICE_UNAVAILABLE if report.problem else HTTPStatus.OK
        return _answer(status, JSON, json.dumps(body).encode() + b"\n")
    return _answer(HTTPStatus.NOT_FOUND, TEXT, b"/livez, /readyz or /metrics\n")


def _answer(status: HTTPStatus, kind: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode() + body


class HealthServer:
    """Answers on one address.

    Attributes:
        address: Where; the port is the real one.
    """

    def __init__(self, probes: Probes) -> None:
        """Show what ``probes`` say; :meth:`start` begins."""
        self.address = ""
        self._probes = probes
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, endpoint: Endpoint) -> None:
        """Listen.

        Raises:
            ChannelError: The address cannot be used.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve,
                endpoint.host,
                endpoint.port,
                limit=MAX_REQUEST_BYTES,
            )
        except OSError as error:
            raise ChannelError(
                f"cannot answer health requests at {endpoint}: "
                f"{error.strerror or error}"
            ) from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = str(Endpoint(host, port))
        _log.info("health at http://%s/readyz", self.address)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        self._tasks.add(task)
        try:
            if len(self._tasks) <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_LIMIT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(respond(head, self._probes))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Gone, too slow (TimeoutError is an OSError), or it says too much. What it
            # does not read is not kept for it: closing would wait for that for ever.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Stop listening, and drop who is still there. Twice is harmless."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
