"""A bridge that moves payload on blocking threads: a prototype to measure, no more.

Usage: ``python -m measure.thread_bridge OPTION...``, the options of ``rlay bridge``.

It is the bridge as it is, with three changes. Each session has a thread that sleeps on
its slot's futex and sends what is published with a blocking ``sendmsg``. Each link has
a thread that receives with a blocking ``recv_into``, straight into the slots. The loop
keeps greetings, discovery and heartbeats. It is not safe against links that break.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import Any

from measure import bridge
from rlay.bridge import link as links
from rlay.bridge import program, sender, session, stream
from rlay.errors import RLayError
from rlay.protocol import slot_layout as at
from rlay.protocol.constants import BellKind
from rlay.protocol.frames import FrameType
from rlay.transport import futex
from rlay.transport.stores import End

# Only a bound: nothing that matters here waits for it.
_SLICE_S = 1.0
_MOVED = (FrameType.DATA, FrameType.TAKEN)


def _locked(method: Any) -> Any:
    """Return a method of ``Sender`` that threads may call."""

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Any:
        with self.lock:
            return method(self, *args)

    return call


def _write_all(self: Any, buffers: Any) -> int:
    """Send everything, as long as it takes."""
    total = sum(map(len, buffers))
    sent = self.sock.sendmsg(buffers)
    if sent < total:
        self.sock.sendall(b"".join(buffers)[sent:])
    self.sent += total
    return total


# ------------------------------------------------------------------------ from a link


def _read_for_ever(link: Any) -> None:
    decoder, receive = link._decoder, link.stream.sock.recv_into
    try:
        while link.ended is None and (size := receive(decoder.buffer())):
            decoder.received(size)
            link.heard_at = time.monotonic()
            if not link.sender.empty:
                link.flush()
        link.stream.loop.call_soon_threadsafe(link.end, link._end_of_stream())
    except (RLayError, OSError):
        link.stream.loop.call_soon_threadsafe(link.end, link._end_of_stream())


def _start_reader(link: Any) -> None:
    if link.ended is None:
        link.stream.loop.remove_reader(link.stream.sock.fileno())
        link.stream.sock.setblocking(True)
        threading.Thread(target=_read_for_ever, args=(link,), daemon=True).start()


def _deliver(deliver: Any, self: Any, frame: Any, body: Any) -> None:
    """Deliver payload here and now, and leave everything else to the loop."""
    loop = self.stream.loop
    if frame.type in _MOVED or threading.current_thread() is threading.main_thread():
        deliver(self, frame, body)
        return

    def later(body: bytes = bytes(body)) -> None:
        try:
            deliver(self, frame, memoryview(body))
        except RLayError as error:
            self.end(error)
        self.flush()

    loop.call_soon_threadsafe(later)


# ------------------------------------------------------------------------ from a slot


def _wait_for_ever(self: Any, link: Any, address: int) -> None:
    words = self.outlet.words
    while self.link is link and link.ended is None:
        published = words[at.PUBLISHED_WORD]
        if published == self.outlet.queued:
            futex.wait(address, published, _SLICE_S)
            continue
        with link.sender.lock:
            self.rung()
            link.flush()


def _start_waiter(self: Any, link: Any) -> None:
    end, memory, offset = self.covered
    # From now on this end is woken by its futex, and the loop hears no bell.
    end.line._words[at.END_BELL_OFFSET // 4] = BellKind.FUTEX
    link.stream.loop.call_soon(link.stream.loop.remove_reader, end.bell._fd)
    address = futex.address_of(memory, offset) + at.PUBLISHED_OFFSET
    waiter = threading.Thread(
        target=_wait_for_ever, args=(self, link, address), daemon=True
    )
    waiter.start()


def _patch() -> None:
    for name in ("control", "enqueue", "send", "behind", "cancel", "flush"):
        setattr(sender.Sender, name, _locked(getattr(sender.Sender, name)))
    begin_sender = sender.Sender.__init__
    begin_session, attach = session.Session.__init__, session.Session.attach
    up, deliver = program.Bridge._up, links.Link._deliver
    write = stream.Stream.write

    def make_sender(self: Any, *args: Any) -> None:
        self.lock = threading.RLock()
        begin_sender(self, *args)

    def make_session(
        self: Any, end: Any, side: End, memory: Any, geometry: Any, *others: Any
    ) -> None:
        begin_session(self, end, side, memory, geometry, *others)
        client = side is End.CLIENT
        offset = geometry.reply_offset if client else geometry.request_offset
        self.covered = end, memory, offset

    def attach_and_wait(self: Any, link: Any, channel: int) -> None:
        attach(self, link, channel)
        _start_waiter(self, link)

    def up_and_read(self: Any, link: Any) -> None:
        up(self, link)
        link.stream.loop.call_soon(_start_reader, link)

    def deliver_somewhere(self: Any, frame: Any, body: Any) -> None:
        _deliver(deliver, self, frame, body)

    def write_somehow(self: Any, buffers: Any) -> int:
        return (_write_all if self.sock.getblocking() else write)(self, buffers)

    sender.Sender.__init__ = make_sender  # type: ignore[method-assign]
    session.Session.__init__ = make_session  # type: ignore[assignment, method-assign]
    session.Session.attach = attach_and_wait  # type: ignore[method-assign]
    program.Bridge._up = up_and_read  # type: ignore[method-assign]
    stream.Stream.write = write_somehow  # type: ignore[method-assign]
    # No turn of the loop to wait for: each thread sends what it has.
    links.Link.flush_soon = links.Link.flush  # type: ignore[method-assign]
    links.Link.flush_later = links.Link.flush  # type: ignore[method-assign]
    links.Link._deliver = deliver_somewhere  # type: ignore[method-assign]


def main() -> int:
    """Run the bridge."""
    _patch()
    return bridge.main()


if __name__ == "__main__":
    sys.exit(main())
