"""A hub that pairs direct peers by forwarding frames: what they need of a bridge.

It has no slots: the two ends of a session resume with each other. What it does wrong is
done on request::

    with Hub() as hub:
        server = SocketServer.create(hub.address("x"), 20.0)
        hub.cut("client", after=3)      # the third frame from the client is the last
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rlay.errors import RLayError
from rlay.protocol.constants import CloseReason, ErrorCode, PeerState
from rlay.protocol.frames import (
    Frame,
    FrameDecoder,
    FrameType,
    pack_frame,
    pack_header,
)
from rlay.protocol.link_greeting import (
    LinkIdentity,
    LinkTerms,
    ListenerGreeting,
    Role,
)
from rlay.protocol.link_messages import Announcement, Ending, Note, Question
from rlay.protocol.names import group_member, group_prefix

LOST = Ending(PeerState.LOST, CloseReason.VANISHED).encode()


@dataclass
class Room:
    """A channel: its server, its client, and the session they are in."""

    announcement: Announcement
    number: int
    server: HubPeer | None = None
    client: HubPeer | None = None
    session: tuple[int, int] | None = None
    empty_since: dict[str, float] = field(default_factory=dict)


class HubPeer:
    """A connection to the hub."""

    def __init__(self, hub: Hub, sock: socket.socket, certificate: bytes) -> None:
        self.hub, self.sock = hub, sock
        self.role = ""
        self.room: Room | None = None
        self.outbox = bytearray()
        self.greeting = ListenerGreeting(
            hub.identity, hub.token, hub.terms, certificate=certificate
        )
        self.decoder = FrameDecoder(self._place, self._deliver)
        self.alive = True

    def _place(self, frame: Frame) -> None:
        if not self.greeting.done:
            self.greeting.check(frame)

    def _deliver(self, frame: Frame, body: memoryview) -> None:
        if self.greeting.done:
            self.hub._take(self, frame, body)
        else:
            self.outbox += self.greeting.receive(frame, body)

    def send(self, data: bytes) -> None:
        self.outbox += data


class Hub:
    """Listens on loopback, in a thread of its own.

    Attributes:
        window_s: How long a session outlives a link of either end.
        frames: Frames that came from servers and from clients, by name of their type.
        accepted: Connections that were accepted.
        held: Answer nothing while this is set.
    """

    def __init__(
        self,
        *,
        window_s: float = 20.0,
        token: bytes | None = None,
        context: ssl.SSLContext | None = None,
        certificate: bytes = b"",
        crc: bool = False,
        heartbeat_ms: int = 2000,
        dead_after_ms: int = 10_000,
    ) -> None:
        self.window_s = window_s
        self.token = token
        self.identity = LinkIdentity(Role.BRIDGE, 1, "hub", "test")
        self.terms = LinkTerms(crc, heartbeat_ms, dead_after_ms, int(window_s * 1000))
        self.frames: list[tuple[str, str]] = []
        self.accepted = 0
        self.held = threading.Event()
        self._context, self._certificate = context, certificate
        self._rooms: dict[str, Room] = {}
        self._cuts: dict[str, int] = {}
        self._peers: dict[int, HubPeer] = {}
        self._numbers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._stopped = False
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def address(self, name: str, scheme: str = "tcp") -> str:
        """Return the address of a channel here."""
        host = "localhost" if scheme == "tls" else "127.0.0.1"
        return f"{scheme}://{host}:{self.port}/{name}"

    def cut(self, role: str, after: int) -> None:
        """Cut the link of an end when it has sent so many more frames of sessions."""
        with self._lock:
            self._cuts[role] = after

    def cut_now(self, role: str) -> None:
        """Cut the links of all servers, or of all clients."""
        with self._lock:
            for peer in list(self._peers.values()):
                if peer.role == role:
                    self._read(peer)  # what was said before is heard
                    self._drop(peer)

    def __enter__(self) -> Hub:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._wake.send(b"x")
        self._thread.join(20)
        for peer in list(self._peers.values()):
            peer.sock.close()
        self._listener.close()
        self._wake.close()
        self._woken.close()
        self._selector.close()
        if self._failure is not None:
            raise self._failure

    # ------------------------------------------------------------------------ thread

    def _run(self) -> None:
        try:
            while not self._stopped:
                events = self._selector.select(0.01)
                with self._lock:
                    if not self.held.is_set():
                        self._turn(events)
        except BaseException as error:  # for the test that waits for the hub
            self._failure = error

    def _turn(self, events: list[Any]) -> None:
        for key, mask in events:
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._woken:
                return
            elif mask & selectors.EVENT_READ:
                self._read(self._peers.get(key.fd))
        self._sweep()
        for peer in list(self._peers.values()):
            self._flush(peer)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self.accepted += 1
        if self._context is not None:
            sock.settimeout(5)
            try:
                sock = self._context.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[sock.fileno()] = HubPeer(self, sock, self._certificate)
        self._selector.register(sock, selectors.EVENT_READ)

    def _read(self, peer: HubPeer | None) -> None:
        if peer is None or not peer.alive:
            return
        try:
            while True:
                data = peer.sock.recv(65_536)
                if not data:
                    self._drop(peer)
                    return
                peer.decoder.feed(data)
                if peer.sock.fileno() < 0:  # a frame said goodbye
                    return
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except RLayError:
            peer.outbox += peer.greeting.farewell
            self._flush(peer)
            self._drop(peer)
        except OSError:
            self._drop(peer)

    def _flush(self, peer: HubPeer) -> None:
        try:
            while peer.alive and peer.outbox:
                del peer.outbox[: peer.sock.send(peer.outbox)]
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._drop(peer)
        if peer.alive:
            wanted = selectors.EVENT_WRITE if peer.outbox else 0
            self._selector.modify(peer.sock, selectors.EVENT_READ | wanted)

    def _drop(self, peer: HubPeer) -> None:
        if not peer.alive:
            return
        peer.alive = False
        self._selector.unregister(peer.sock)
        self._peers.pop(peer.sock.fileno(), None)
        peer.sock.close()
        room = peer.room
        if room is None or getattr(room, peer.role) is not peer:
            return
        setattr(room, peer.role, None)
        room.empty_since[peer.role] = time.monotonic()
        other = room.server if peer.role == "client" else room.client
        if room.session is not None and other is not None and self.window_s > 0:
            self._drop(other)  # it has no slots: both ends resume with each other

    # ------------------------------------------------------------------------- frames

    def _take(self, peer: HubPeer, frame: Frame, body: memoryview) -> None:
        kind = frame.type
        if kind is FrameType.PING:
            peer.send(pack_frame(FrameType.PONG, bytes(body)))
        elif kind is FrameType.BYE:
            self._drop(peer)
        elif kind is FrameType.ANNOUNCE:
            self._announce(peer, frame, Announcement.decode(body))
        elif kind is FrameType.FIND:
            self._find(peer, frame, Question.decode(body).name)
        elif kind is not FrameType.PONG:
            self._forward(peer, frame, bytes(body))

    def _announce(self, peer: HubPeer, frame: Frame, there: Announcement) -> None:
        room = self._rooms.get(there.name)
        if room is None:
            self._numbers += 2
            room = self._rooms[there.name] = Room(there, self._numbers)
        if room.server is not None:
            note = Note(ErrorCode.BUSY, f"{there.name} has a server already")
            peer.send(pack_frame(FrameType.REJECT, note.encode(), frame.channel))
            return
        room.announcement, room.server = there, peer
        peer.role, peer.room = "server", room

    def _find(self, peer: HubPeer, frame: Frame, name: str) -> None:
        prefix = group_prefix(name)
        names = [name]
        if prefix is not None:
            names = [n for n in self._rooms if group_member(prefix, n) is not None]
        rooms = [room for n in names if (room := self._rooms.get(n)) and room.server]
        free = [room for room in rooms if room.client is None]
        if not free:
            code = ErrorCode.BUSY if rooms else ErrorCode.NOT_FOUND
            note = Note(code, f"{name} has a client" if rooms else f"no {name} here")
            answer = pack_frame(
                FrameType.NOT_FOUND, note.encode(), sequence=frame.sequence
            )
            peer.send(answer)
            return
        room = free[0]
        room.client, peer.role, peer.room = peer, "client", room
        peer.send(
            pack_frame(
                FrameType.ANNOUNCE,
                room.announcement.encode(),
                room.number,
                sequence=frame.sequence,
            )
        )

    def _forward(self, peer: HubPeer, frame: Frame, body: bytes) -> None:
        self.frames.append((peer.role, frame.type.name))
        room = peer.room
        if room is None:
            return
        other = room.server if peer.role == "client" else room.client
        number = 1 if peer.role == "client" else room.number
        ids = frame.incarnation, frame.session
        if frame.type is FrameType.OPENED:
            room.session = ids
        elif frame.type is FrameType.WITHDRAW:
            self._rooms.pop(room.announcement.name, None)
            room.server = None
        elif frame.type is FrameType.CLOSE:
            room.client, room.session = None, None
        if self._is_cut(peer):
            return
        if other is not None:
            crc = frame.body_crc if frame.flags & 1 else None
            other.send(
                pack_header(
                    frame.type, number, *ids, frame.sequence, frame.publication,
                    frame.offset, frame.total, frame.body_bytes, crc,
                )
                + body
            )  # fmt: skip

    def _is_cut(self, peer: HubPeer) -> bool:
        left = self._cuts.get(peer.role)
        if left is None:
            return False
        if left > 0:
            self._cuts[peer.role] = left - 1
            return False
        del self._cuts[peer.role]
        self._drop(peer)
        return True

    def _sweep(self) -> None:
        """Tell an end whose other end did not come back in time."""
        now = time.monotonic()
        for name, room in list(self._rooms.items()):
            for role, since in list(room.empty_since.items()):
                if getattr(room, role) is not None or room.session is None:
                    del room.empty_since[role]
                elif now - since >= self.window_s:
                    del room.empty_since[role]
                    self._give_up(name, room, role)
            if room.server is None and room.session is None and room.client is None:
                self._rooms.pop(name, None)

    def _give_up(self, name: str, room: Room, role: str) -> None:
        assert room.session is not None
        kind = FrameType.CLOSE if role == "client" else FrameType.LOST
        other = room.server if role == "client" else room.client
        number = 1 if role == "client" else room.number
        if other is not None:
            other.send(pack_frame(kind, LOST, number, *room.session))
        room.session = None
        if role == "server":
            room.client = None
            self._rooms.pop(name, None)
            if other is not None:
                other.room = None
