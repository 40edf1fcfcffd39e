"""The proxy as its user sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rlay.protocol.frames import FrameType
from rlay.testing.chaos.conditions import Blackhole, Conditions, Direction
from rlay.testing.chaos.frame_faults import FrameFault
from rlay.testing.chaos.relay import Address, Relay

DEFAULT_BUFFER_BYTES = 1024 * 1024
"""For each direction of each connection: 200 ms of latency at 5 MB/s."""
DEFAULT_MAX_CONNECTIONS = 256
DEFAULT_PATIENCE_S = 1.0

_BOTH = [Direction.TO_LISTENER, Direction.TO_DIALER]


class ChaosProxy:
    """A TCP proxy between a dialer and a listener, and a network that can be made bad.

    It accepts connections at :attr:`address` and dials the listener once for each. At
    first it passes everything on; each method below changes that at once, for all
    connections, also while they are in use::

        with ChaosProxy(("127.0.0.1", 7450)) as proxy:
            ...                                  # dial proxy.address instead of :7450
            proxy.degrade(latency_s=0.2, jitter_s=0.1)
            ...
            proxy.heal()
            proxy.cut()

    It runs in one thread of this process, and knows nothing of what it passes on, so
    that TLS and WebSocket go through it too. Only the faults of frames
    (:meth:`drop_frame`, :meth:`duplicate_frame`, :meth:`delay_frame`,
    :meth:`replay_frame`) and the counts of frames need plain RLay frames.

    Where a method takes a direction, that is :class:`Direction` or its value:
    ``"to_listener"``, ``"to_dialer"``, or ``"both"``, the default. Numbers of bytes are
    those of all connections together, counted from the call.

    A blackhole, a refusal, a slow network last until :meth:`heal`. Memory is bounded:
    ``buffer_bytes`` for each direction of each connection; then the sender waits.
    """

    def __init__(
        self,
        listener: Address,
        *,
        listen: Address = ("127.0.0.1", 0),
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        patience_s: float = DEFAULT_PATIENCE_S,
        seed: int = 0,
    ) -> None:
        """Start to accept connections.

        Args:
            listener: Host and port to dial. The host's name is looked up for each
                connection; give a number where that may be slow.
            listen: Host and port to accept at; port 0 is any free one.
            buffer_bytes: Which wait in one direction of one connection, at least 1.
            max_connections: Open at a time; more are reset at once.
            patience_s: Seconds after which a frame that was delayed is sent although
                too few frames passed it.
            seed: Of the jitter.

        Raises:
            OSError: ``listen`` cannot be had.
            ValueError: A number is out of its range.
        """
        _at_least("buffer_bytes", buffer_bytes, 1)
        _at_least("max_connections", max_connections, 1)
        _at_least("patience_s", patience_s, 0)
        self._relay = Relay(
            listener, listen, buffer_bytes, max_connections, patience_s, seed
        )
        self._closed = False
        self._relay.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        host, port = self.address
        target = "{}:{}".format(*self._relay.target)
        state = "closed" if self._closed else f"{self.open_connections} open"
        return f"<ChaosProxy {host}:{port} to {target}, {state}>"

    def close(self) -> None:
        """Close all connections and end the thread. Closing twice is harmless.

        Raises:
            RuntimeError: The thread did not end within 10 s, or had failed before.
        """
        if not self._closed:
            self._closed = True
            self._relay.stop()

    # ----------------------------------------------------------------- what it is

    @property
    def address(self) -> Address:
        """Host and port that the dialer dials."""
        return self._relay.address

    @property
    def listener(self) -> Address:
        """Host and port that the proxy dials; assign to it when the listener moves."""
        return self._relay.target

    @listener.setter
    def listener(self, address: Address) -> None:
        self._relay.target = address

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return self._relay.accepted

    @property
    def open_connections(self) -> int:
        """How many are open."""
        return len(self._relay.connections)

    @property
    def refused(self) -> int:
        """How many were reset because too many were open or nobody listened."""
        return self._relay.refused

    @property
    def cuts(self) -> int:
        """How many were reset by :meth:`cut` and :meth:`cut_after`."""
        return self._relay.cuts

    def received_bytes(self, direction: Direction | str = Direction.BOTH) -> int:
        """Return how many bytes came in."""
        return sum(one.received_bytes for one in self._conditions(direction))

    def delivered_bytes(self, direction: Direction | str = Direction.BOTH) -> int:
        """Return how many bytes were passed on."""
        return sum(one.delivered_bytes for one in self._conditions(direction))

    def discarded_bytes(self, direction: Direction | str = Direction.BOTH) -> int:
        """Return how many bytes a blackhole or a half-close threw away."""
        return sum(one.discarded_bytes for one in self._conditions(direction))

    def frames(
        self,
        direction: Direction | str = Direction.BOTH,
        kind: FrameType | None = None,
    ) -> int:
        """Return how many frames came in, of one type or of all."""
        counts = [one.frames for one in self._conditions(direction)]
        if kind is None:
            return sum(count.total() for count in counts)
        return sum(count[kind] for count in counts)

    # ------------------------------------------------------------ connections break

    def cut(self) -> int:
        """Reset all connections, as a crashed machine or a firewall does.

        Both ends get a RST at once; what is on its way is lost.

        Returns:
            How many there were.
        """
        number: int = self._relay.post(self._relay.cut)
        return number

    def cut_after(
        self, size_bytes: int, direction: Direction | str = Direction.BOTH
    ) -> None:
        """Reset the connection that delivers the given number of bytes from now.

        Exactly so many bytes get through in the direction, in each of the two if both
        are meant, and no more.
        """
        _at_least("size_bytes", size_bytes, 0)

        def change(conditions: Conditions) -> None:
            conditions.cut_at = conditions.delivered_bytes + size_bytes

        self._change(direction, change)

    def half_close(self, direction: Direction | str) -> None:
        """Say FIN in one direction of all connections; the other one goes on.

        What the sender sends from here is thrown away.
        """
        directions = _directions(direction)

        def act() -> None:
            now = time.monotonic()
            for connection in self._relay.connections:
                for one in directions:
                    connection.flow(one).finish(now)

        self._relay.post(act)

    def refuse(self, refusing: bool = True) -> None:
        """Refuse new connections, as a machine does on which nobody listens.

        Those that are open go on. ``refuse(False)`` accepts again, at the same address.
        """
        self._relay.post(lambda: self._relay.refuse(refusing))

    # ------------------------------------------------------ the network gets worse

    def blackhole(
        self,
        direction: Direction | str = Direction.BOTH,
        what: Blackhole | str = Blackhole.STALL,
    ) -> None:
        """Let nothing through, until :meth:`heal`: no bytes, no FIN, no RST.

        Connections stay up, as TCP's do on a network that swallows packets; new ones
        connect and hear nothing.

        Args:
            direction: Which way.
            what: Becomes of the bytes: see :class:`Blackhole`.
        """
        kind = Blackhole(what)

        def change(conditions: Conditions) -> None:
            conditions.blackhole = kind

        self._change(direction, change)

    def degrade(
        self,
        direction: Direction | str = Direction.BOTH,
        *,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        bytes_per_s: float | None = None,
        segment_bytes: int | None = None,
        close_delay_s: float = 0.0,
    ) -> None:
        """Make the network slow; what is not given becomes normal again.

        Args:
            direction: Which way.
            latency_s: Seconds by which everything is late, one way.
            jitter_s: By how many seconds more or less, at random for each piece. The
                order stays: this is TCP.
            bytes_per_s: Limit of the rate, of each connection.
            segment_bytes: Send at most so many bytes at once.
            close_delay_s: Seconds by which a FIN is late, beside the latency.

        Raises:
            ValueError: A number is out of its range. Nothing changed.
        """
        _at_least("latency_s", latency_s, 0)
        _at_least("jitter_s", jitter_s, 0)
        _at_least("close_delay_s", close_delay_s, 0)
        if segment_bytes is not None:
            _at_least("segment_bytes", segment_bytes, 1)
        if bytes_per_s is not None:
            _at_least("bytes_per_s", bytes_per_s, 1)

        def change(conditions: Conditions) -> None:
            conditions.degrade(
                latency_s, jitter_s, bytes_per_s, segment_bytes, close_delay_s
            )

        self._change(direction, change)

    def heal(self, direction: Direction | str = Direction.BOTH) -> None:
        """Make the network good again, and forget every fault that has not happened.

        What a blackhole held back is delivered; a connection that lost bytes in one
        is reset. If both directions are meant, new connections are accepted again.
        """
        directions = _directions(direction)

        def act() -> None:
            self._relay.heal(directions)
            if directions == _BOTH:
                self._relay.refuse(False)

        self._relay.post(act)

    def corrupt(
        self,
        position: int = 0,
        direction: Direction | str = Direction.BOTH,
        *,
        mask: int = 1,
    ) -> None:
        """Damage one byte: the one at ``position`` from now, 0 being the next.

        Args:
            position: Which byte.
            direction: Which way; one byte in each of the two if both are meant.
            mask: The bits to flip, 1 to 255.
        """
        _at_least("position", position, 0)
        if not 1 <= mask <= 255:
            raise ValueError(f"mask is from 1 to 255, got {mask}")

        def change(conditions: Conditions) -> None:
            conditions.corrupt_at = conditions.delivered_bytes + position
            conditions.corrupt_mask = mask

        self._change(direction, change)

    # --------------------------------------------------------------- single frames

    def drop_frame(self, kind: FrameType | None, direction: Direction | str) -> None:
        """Lose the next frame of a type, None being any."""
        self._add(FrameFault(kind, now=0), direction)

    def duplicate_frame(
        self, kind: FrameType | None, direction: Direction | str
    ) -> None:
        """Send the next frame of a type twice."""
        self._add(FrameFault(kind, now=2), direction)

    def delay_frame(
        self, kind: FrameType | None, direction: Direction | str, behind: int = 1
    ) -> None:
        """Let the next frame of a type be passed by so many further ones.

        If they do not come within ``patience_s`` seconds it is sent all the same.
        """
        _at_least("behind", behind, 1)
        self._add(FrameFault(kind, now=0, after=behind), direction)

    def replay_frame(
        self, kind: FrameType | None, direction: Direction | str, behind: int = 1
    ) -> None:
        """Send the next frame of a type, and once more after so many further ones.

        If they do not come within ``patience_s`` seconds it is sent all the same.
        """
        _at_least("behind", behind, 1)
        self._add(FrameFault(kind, now=1, after=behind), direction)

    def _add(self, fault: FrameFault, direction: Direction | str) -> None:
        self._change(direction, lambda one: one.frame_faults.append(fault))

    def _change(
        self, direction: Direction | str, change: Callable[[Conditions], None]
    ) -> None:
        chosen = self._conditions(direction)

        def act() -> None:
            for conditions in chosen:
                change(conditions)

        self._relay.post(act)

    def _conditions(self, direction: Direction | str) -> list[Conditions]:
        return [self._relay.conditions[one] for one in _directions(direction)]


def _directions(direction: Direction | str) -> list[Direction]:
    one = Direction(direction)
    return list(_BOTH) if one is Direction.BOTH else [one]


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} is at least {least}, got {value}")
