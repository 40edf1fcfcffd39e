"""The thread of a proxy: accepts, dials, and moves bytes, with one selector."""

from __future__ import annotations

import collections
import contextlib
import errno
import random
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from rlay.testing.chaos.conditions import Blackhole, Conditions, Direction
from rlay.testing.chaos.flow import Cut, Flow
from rlay.testing.chaos.frame_faults import FrameTap

Address = tuple[str, int]

ANSWER_LIMIT_S = 10.0
"""For the thread to do what was posted: it never waits for a peer."""
DIAL_LIMIT_S = 5.0
_TICK_S = 0.5
_RESET = struct.pack("ii", 1, 0)  # linger on, for no time


class Connection:
    """One accepted connection and the one that was dialled for it."""

    def __init__(
        self, dialer: socket.socket, listener: socket.socket, flows: tuple[Flow, Flow]
    ) -> None:
        self.dialer = dialer
        self.listener = listener
        self.to_listener, self.to_dialer = flows
        self.connected = False
        self.dial_deadline = time.monotonic() + DIAL_LIMIT_S

    @property
    def flows(self) -> tuple[Flow, Flow]:
        """Both directions."""
        return self.to_listener, self.to_dialer

    def flow(self, direction: Direction) -> Flow:
        """The flow of one direction."""
        mine = direction is Direction.TO_LISTENER
        return self.to_listener if mine else self.to_dialer

    def interests(self) -> tuple[tuple[socket.socket, int], tuple[socket.socket, int]]:
        """What the selector is to watch for each socket."""
        if not self.connected:
            return (self.dialer, 0), (self.listener, selectors.EVENT_WRITE)
        return (
            (self.dialer, _events(self.to_listener, self.to_dialer)),
            (self.listener, _events(self.to_dialer, self.to_listener)),
        )


def _events(reading: Flow, writing: Flow) -> int:
    events = selectors.EVENT_READ if reading.wants_read else 0
    return events | (selectors.EVENT_WRITE if writing.blocked else 0)


class Relay:
    """All sockets of a proxy, and its thread.

    Of the methods only ``start``, ``post`` and ``stop`` are for other threads.

    Attributes:
        target: Where the next connections are dialled to.
        conditions: One for each direction.
        connections: Those that are open.
        accepted: How many there were.
        refused: How many were turned away because too many were open, or because the
            listener could not be reached.
        cuts: How many were reset by a fault.
        refusing: Whether new connections are refused.
    """

    def __init__(
        self,
        target: Address,
        listen: Address,
        buffer_bytes: int,
        max_connections: int,
        patience_s: float,
        seed: int,
    ) -> None:
        self.target = target
        self.conditions = {
            Direction.TO_LISTENER: Conditions(),
            Direction.TO_DIALER: Conditions(),
        }
        self.connections: list[Connection] = []
        self.accepted = self.refused = self.cuts = 0
        self.refusing = False
        self._buffer_bytes = buffer_bytes
        self._max_connections = max_connections
        self._patience_s = patience_s
        self._chance = random.Random(seed)
        self._family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        self._door = self._bind(listen)
        self.address: Address = self._door.getsockname()[:2]
        self._door.listen()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._posted: collections.deque[Callable[[], None]] = collections.deque()
        self._stopping = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"chaos proxy {self.address[1]}", daemon=True
        )

    # ---------------------------------------------------------- for other threads

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, act: Callable[[], Any]) -> Any:
        """Do something in the thread; return when it is done, and what it returned.

        Raises:
            RuntimeError: The proxy is closed, or its thread has ended.
        """
        done = threading.Event()
        results: list[Any] = []

        def run() -> None:
            try:
                results.append(act())
            finally:
                done.set()

        if not self._thread.is_alive():
            raise RuntimeError("the chaos proxy is closed") from self._failure
        self._posted.append(run)
        self._wake()
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while not done.wait(0.05):
            if not self._thread.is_alive():
                raise RuntimeError("the chaos proxy is closed") from self._failure
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the chaos proxy did not answer within {ANSWER_LIMIT_S} s"
                )
        if not results:
            raise RuntimeError("the chaos proxy failed") from self._failure
        return results[0]

    def stop(self) -> None:
        """Close every socket and end the thread.

        Raises:
            RuntimeError: The thread did not end, or had failed.
        """
        self._stopping = True
        self._wake()
        self._thread.join(ANSWER_LIMIT_S)
        if self._thread.is_alive():
            raise RuntimeError("the thread of the chaos proxy does not end")
        self._waker.close()
        if self._failure is not None:
            raise RuntimeError("the thread of the chaos proxy failed") from (
                self._failure
            )

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"\0")

    # -------------------------------------------------------------------- the loop

    def _run(self) -> None:
        try:
            self._selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                self._watch_door()
                ready = self._selector.select(self._timeout())
                for key, events in ready:
                    self._handle(key, events)
                while self._posted:
                    self._posted.popleft()()
                now = time.monotonic()
                for connection in list(self.connections):
                    self._advance(connection, now)
        except BaseException as failure:  # shown by post and stop
            self._failure = failure
        finally:
            for connection in list(self.connections):
                self.close(connection)
            self._selector.close()
            self._door.close()
            self._woken.close()

    def _timeout(self) -> float:
        times = [
            time_
            for connection in self.connections
            for flow in connection.flows
            if (time_ := flow.next_due()) is not None
        ]
        if not times:
            return _TICK_S
        return min(max(min(times) - time.monotonic(), 0.0), _TICK_S)

    def _handle(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj is self._woken:
            with contextlib.suppress(BlockingIOError):
                while self._woken.recv(4096):
                    pass
        elif key.fileobj is self._door:
            self._accept()
        elif key.data in self.connections:  # not closed by what was handled before
            self._ready(key.data, key.fileobj, events)

    def _ready(self, connection: Connection, ready: Any, events: int) -> None:
        try:
            if not connection.connected:
                error = connection.listener.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ERROR
                )
                if error:
                    self.refused += 1
                    self.reset(connection)
                    return
                connection.connected = True
            elif events & selectors.EVENT_READ:
                mine = ready is connection.dialer
                flow = connection.to_listener if mine else connection.to_dialer
                if flow.wants_read:
                    flow.receive(time.monotonic())
        except OSError:
            self.reset(connection)

    def _advance(self, connection: Connection, now: float) -> None:
        """Send what is due, and watch for what is wanted next."""
        try:
            if connection.connected:
                for flow in connection.flows:
                    flow.pump(now)
            elif now > connection.dial_deadline:
                self.refused += 1
                self.reset(connection)
                return
        except Cut:
            self.cuts += 1
            self.reset(connection)
            return
        except OSError:
            self.reset(connection)
            return
        if all(flow.finished for flow in connection.flows):
            self.close(connection)
            return
        for sock, events in connection.interests():
            self._watch(sock, events, connection)

    def _watch(self, sock: socket.socket, events: int, data: object) -> None:
        key = self._selector.get_map().get(sock)
        if key is None:
            if events:
                self._selector.register(sock, events, data)
        elif not events:
            self._selector.unregister(sock)
        elif key.events != events:
            self._selector.modify(sock, events, data)

    # ----------------------------------------------------------------- connections

    def _watch_door(self) -> None:
        """Accept, unless nothing would get through: the kernel holds the rest."""
        blackhole = any(one.blackhole for one in self.conditions.values())
        open_ = not self.refusing and not blackhole
        self._watch(self._door, selectors.EVENT_READ if open_ else 0, None)

    def _accept(self) -> None:
        try:
            dialer, _ = self._door.accept()
        except OSError:  # gone again, or out of descriptors: the next one may do
            return
        if len(self.connections) >= self._max_connections:
            self.refused += 1
            _reset_socket(dialer)
            return
        try:
            listener = self._dial()
        except (OSError, UnicodeError):  # UnicodeError: no host has such a name
            self.refused += 1
            _reset_socket(dialer)
            return
        for sock in (dialer, listener):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        flows = (
            self._flow(dialer, listener, Direction.TO_LISTENER),
            self._flow(listener, dialer, Direction.TO_DIALER),
        )
        self.connections.append(Connection(dialer, listener, flows))

    def _dial(self) -> socket.socket:
        """Begin to connect to the target, whose name is looked up each time."""
        found = socket.getaddrinfo(*self.target, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        error = sock.connect_ex(address)
        if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            sock.close()
            raise OSError(error, "the listener cannot be reached")
        return sock

    def _flow(
        self, source: socket.socket, target: socket.socket, direction: Direction
    ) -> Flow:
        conditions = self.conditions[direction]
        tap = FrameTap(conditions.frame_faults, conditions.frames, self._patience_s)
        return Flow(source, target, conditions, tap, self._buffer_bytes, self._chance)

    def close(self, connection: Connection) -> None:
        """Close both of its sockets in order."""
        self._forget(connection)
        connection.dialer.close()
        connection.listener.close()

    def reset(self, connection: Connection) -> None:
        """Close both of its sockets with a RST."""
        self._forget(connection)
        _reset_socket(connection.dialer)
        _reset_socket(connection.listener)

    def _forget(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self._watch(connection.dialer, 0, None)
        self._watch(connection.listener, 0, None)

    # ---------------------------------------------------------------------- faults

    def cut(self) -> int:
        """Reset all connections; return how many."""
        number = len(self.connections)
        for connection in list(self.connections):
            self.reset(connection)
        self.cuts += number
        return number

    def refuse(self, refusing: bool) -> None:
        """Refuse new connections, or accept them again, at the same address."""
        if refusing == self.refusing:
            return
        # A socket that is bound and does not listen keeps the port and refuses.
        self._watch(self._door, 0, None)
        self._door.close()
        self._door = self._bind(self.address)
        if not refusing:
            self._door.listen()
        self.refusing = refusing

    def heal(self, directions: list[Direction]) -> None:
        """Make the network good; reset the connections that lost bytes."""
        for direction in directions:
            discarded = self.conditions[direction].blackhole == Blackhole.DISCARD
            self.conditions[direction].heal()
            for connection in list(self.connections):
                if discarded and connection.flow(direction).lost_bytes:
                    self.reset(connection)

    def _bind(self, address: Address) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        return sock


def _reset_socket(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
