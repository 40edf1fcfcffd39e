"""The channels that a bridge knows: those of this machine, and mirrors of others."""

import fnmatch
import logging
import os
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rlay.bridge.ends import BridgeServer, facts_of
from rlay.bridge.fault_points import ARMED, reach
from rlay.bridge.inotify import CLOSE_WRITE, CREATED, REMOVED, Inotify
from rlay.bridge.metrics import Counts
from rlay.bridge.mirror import Mirror
from rlay.bridge.origin import Origin
from rlay.errors import (
    ChannelBusy,
    ChannelError,
    ChannelNoSpace,
    ChannelNotFound,
    Draining,
    MessageTooLarge,
    ProtocolError,
    RLayError,
    VersionMismatch,
)
from rlay.protocol.constants import (
    Capability,
    CloseReason,
    ErrorCode,
    Holder,
    PeerState,
)
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_greeting import LinkIdentity
from rlay.protocol.link_messages import Announcement, Ending, Note, Question
from rlay.protocol.names import check_name, group_member, group_prefix
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore
from rlay.transport.header import ChannelHeader
from rlay.transport.stores import End

if TYPE_CHECKING:
    from rlay.bridge.link import Link

_log = logging.getLogger("rlay.bridge.registry")

LOOKS_S: Final = (0.0, 0.01, 0.05)
"""When to look after a lock file was closed: the kernel tells of it just before it
lets go of the lock."""
_FEW: Final = 64
_CODES: Final[tuple[tuple[type[RLayError], ErrorCode], ...]] = (
    (ChannelBusy, ErrorCode.BUSY),
    (ChannelNoSpace, ErrorCode.NO_SPACE),
    (ChannelNotFound, ErrorCode.ENVIRONMENT_GONE),
    (VersionMismatch, ErrorCode.VERSION),
    (MessageTooLarge, ErrorCode.TOO_LARGE),
    (Draining, ErrorCode.DRAINING),
    (ProtocolError, ErrorCode.PROTOCOL),
)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A channel that another machine announced."""

    link: "Link"
    channel: int
    announcement: Announcement


class Registry:
    """Knows every channel, and which link it goes over.

    Attributes:
        loop: The bridge's.
        root: The directory of channels.
        identity: Who this bridge is.
        counts: What is counted.
        window_s: How long a session outlives its link.
        draining: Whether no new sessions are taken.
        origins: Channels whose server is on this machine, by name.
        mirrors: Channels whose server is elsewhere, by name.
        links: All links that are up.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        directory: ChannelDirectory,
        identity: LinkIdentity,
        *,
        share: tuple[str, ...],
        prefix: str,
        window_s: float,
        max_channels: int,
    ) -> None:
        """Start without channels; :meth:`scan` looks for them."""
        self.loop = loop
        self.root = directory.path
        self.identity = identity
        self.counts = Counts()
        self.window_s = window_s
        self.draining = False
        self.origins: dict[str, Origin] = {}
        self.mirrors: dict[str, Mirror] = {}
        self.links: list[Link] = []
        self._directory = directory
        self._share = share
        self._prefix = prefix
        self._max_channels = max_channels
        self._offers: dict[tuple[Link, int], _Offer] = {}
        self._left_alone: dict[str, tuple[int, int]] = {}
        self._inotify = Inotify(loop)
        self._inotify.watch(self.root, CREATED | REMOVED, self.scan)

    def close(self) -> None:
        """Let go of everything that is left."""
        for mirror in list(self.mirrors.values()):
            mirror.withdrawn(Ending(PeerState.CLOSED, CloseReason.DRAINING))
        for origin in list(self.origins.values()):
            origin.close(Ending(PeerState.CLOSED, CloseReason.DRAINING))
        self._inotify.close()

    def code_of(self, error: RLayError) -> ErrorCode:
        """Return the number that stands for an error."""
        for kind, code in _CODES:
            if isinstance(error, kind):
                return code
        return ErrorCode.UNSUPPORTED

    # ----------------------------------------------------------------------- watching

    def watch_lock(self, path: str, end: End, holder: "Origin | Mirror") -> int:
        """Have ``holder`` look when a lock file of its channel is closed."""

        def closed() -> None:
            for delay in LOOKS_S:
                self.loop.call_later(delay, self._look, holder)

        return self._inotify.watch(f"{path}/{end.value}.lock", CLOSE_WRITE, closed)

    def forget(self, watch: int) -> None:
        """Stop watching a lock file."""
        self._inotify.forget(watch)

    def _look(self, holder: "Origin | Mirror") -> None:
        known = self.origins if isinstance(holder, Origin) else self.mirrors
        if known.get(holder.name) is holder:
            holder.look()

    def holders(self) -> "list[Origin | Mirror]":
        """Return everything that may have a session."""
        return [*self.origins.values(), *self.mirrors.values()]

    def tick(self) -> None:
        """Look at everything once: what an event did not tell is found here."""
        self.scan()
        for holder in self.holders():
            self._look(holder)
        for offer in list(self._offers.values()):
            if offer.channel not in offer.link.mirrors:
                self._mirror(offer, again=True)

    def scan(self) -> None:
        """Look for channels that came and went."""
        try:
            names = self._directory.names()
        except RLayError as error:
            _log.warning("cannot look for channels: %s", error)
            return
        for origin in list(self.origins.values()):
            if origin.name not in names:
                origin.look()
        for name in names:
            if name not in self.origins and name not in self.mirrors:
                self._found(name)
        if len(self._left_alone) > 2 * len(names) + _FEW:
            left = self._left_alone
            self._left_alone = {name: left[name] for name in names if name in left}

    def _found(self, name: str) -> None:
        identity = self._identity(name)
        if identity is None or self._left_alone.get(name) == identity:
            return
        try:
            check_name(name)
            state = self._kind_of(name)
            if state == "left mirror":
                self._adopt_mirror(name)
            elif state == "channel" and self._shares(name):
                self._add_origin(name)
            else:
                self._left_alone[name] = identity
        except (ChannelBusy, ChannelNoSpace) as error:  # not now, but soon perhaps
            _log.debug("channel %r has to wait: %s", name, error)
        except RLayError as error:
            self._left_alone[name] = identity
            _log.debug("channel %r is left alone: %s", name, error)

    def _identity(self, name: str) -> tuple[int, int] | None:
        """Return device and inode of a channel's directory; None where it is gone."""
        try:
            facts = os.stat(name, dir_fd=self._directory.fd, follow_symlinks=False)
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def _shares(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._share)

    def _kind_of(self, name: str) -> str:
        """Say what a channel is: "channel", "mirror", "left mirror" or "stale"."""
        directory = ChannelDirectory.open(self.root, create=False)
        try:
            store = FileStore.open(directory, name)
        except BaseException:
            directory.close()
            raise
        try:
            header = ChannelHeader(store.header)
            facts = header.check(store.path)
            if store.is_held(End.SERVER):
                return "mirror" if facts.mirror else "channel"
            goes_on = header.server.state in (PeerState.ALIVE, PeerState.LINK_DOWN)
            if header.server.holder == Holder.BRIDGE and goes_on:
                return "left mirror"
            return "stale"
        finally:
            store.close()

    def _adopt_mirror(self, name: str) -> None:
        mirror = Mirror(self, BridgeServer.adopt(self.loop, self.root, name))
        self.mirrors[name] = mirror
        mirror.adopt()

    def _add_origin(self, name: str) -> Origin | None:
        if len(self.origins) + len(self.mirrors) >= self._max_channels:
            raise ChannelNoSpace(
                f"{self._max_channels} channels are the limit: raise --max-channels"
            )
        origin = Origin(self, name)
        self.origins[name] = origin
        try:
            origin.adopt()
        except RLayError as error:
            _log.debug("no session to take over on %r: %s", name, error)
        _log.info("channel %r is here", name, extra={"channel": name})
        for link in self.links:
            if link.with_bridge:
                origin.announce(link)
                link.flush()
        return origin

    def origin_closed(self, origin: Origin) -> None:
        """Forget a channel of this machine."""
        if self.origins.get(origin.name) is origin:
            del self.origins[origin.name]
            _log.info("channel %r is gone", origin.name, extra={"channel": origin.name})

    # -------------------------------------------------------------------------- links

    def link_up(self, link: "Link") -> None:
        """Tell a new link of every channel."""
        self._replace_older(link)
        self.links.append(link)
        self.scan()
        if link.with_bridge:
            for origin in self.origins.values():
                if self._shares(origin.name) and not origin.facts.mirror:
                    origin.announce(link)
            link.sender.control(pack_frame(FrameType.ANNOUNCED))
        link.flush()

    def _replace_older(self, link: "Link") -> None:
        """End an older link with the same bridge: it has dialed anew."""
        assert link.peer is not None  # noqa: S101 - it is up
        for older in list(self.links):
            same = older.peer is not None and older.peer.id == link.peer.id
            if same and older.where != link.where and older.dialed == link.dialed:
                text = "a newer link to the same peer took its place"
                note = Note(int(ErrorCode.SUPERSEDED), text)
                older.end(ChannelBusy(text), note)

    def link_ended(self, link: "Link") -> None:
        """Take note that a link is down."""
        if link in self.links:
            self.links.remove(link)
        for key in [key for key in self._offers if key[0] is link]:
            del self._offers[key]
        for mirror in list(link.mirrors.values()):
            mirror.link_ended()
        link.mirrors.clear()
        for origin in set(link.origins.values()):
            origin.link_ended(link)
        link.origins.clear()

    def window_after(self, link: "Link") -> float:
        """Return how long sessions wait for a link like the one that ended."""
        peer = link.peer
        if peer is not None and not link.with_bridge and link.is_local:
            # Its process is on this machine: if that lived it would be back at once.
            return min(self.window_s, 1.0)
        return self.window_s

    # ------------------------------------------------------------------------ mirrors

    def announced(self, link: "Link", channel: int, said: Announcement) -> None:
        """Make a mirror of a channel of another machine, or take up the old one."""
        offer = _Offer(link, channel, said)
        self._offers[link, channel] = offer
        self._mirror(offer)

    def announce_again(self, link: "Link", channel: int) -> None:
        """Make a mirror anew whose session was lost."""
        offer = self._offers.get((link, channel))
        if offer is not None:
            self._mirror(offer)

    def withdrawn(self, link: "Link", channel: int) -> None:
        """Forget an offer."""
        self._offers.pop((link, channel), None)

    def _mirror(self, offer: _Offer, *, again: bool = False) -> None:
        link, said = offer.link, offer.announcement
        name = self._prefix + said.name if link.with_bridge else said.name
        old = self.mirrors.get(name)
        if old is not None:
            if old.link is None:
                old.attach(link, offer.channel)
                return
            theirs, ours = old.link.peer, link.peer
            if theirs is not None and ours is not None and theirs.id == ours.id:
                return  # two links to one peer: the second one stands by
        try:
            check_name(name)
            if len(self.origins) + len(self.mirrors) >= self._max_channels:
                raise ChannelError(
                    f"{self._max_channels} channels are the limit of the bridge on "
                    f"{self.identity.machine}"
                )
            server = BridgeServer.create(
                self.loop,
                self.root,
                name,
                facts_of(said.paradigm, said.num_envs, mirror=link.with_bridge),
                Capability(said.capabilities),
                f"{said.program} on {said.machine}",
            )
        except RLayError as error:
            if not again:
                self._reject(offer, name, error)
            return
        mirror = Mirror(self, server)
        if ARMED:
            reach("mirror.made")
        self.mirrors[name] = mirror
        mirror.attach(link, offer.channel)
        if link.with_bridge:
            _log.info(
                "channel %r is mirrored from %s",
                name,
                link.name,
                extra={"channel": name, "peer": link.name},
            )
        else:
            _log.info(
                "channel %r is held for %s",
                name,
                link.name,
                extra={"channel": name, "peer": link.name},
            )
            self.scan()

    def _reject(self, offer: _Offer, name: str, error: RLayError) -> None:
        remedy = ""
        if isinstance(error, ChannelBusy):
            remedy = (
                f". {offer.announcement.machine} and {self.identity.machine} both "
                f"have a channel {name!r}: start the bridge on "
                f"{self.identity.machine} with --prefix"
            )
        text = f"{error}{remedy}"
        _log.warning(
            "channel %r of %s is refused: %s",
            name,
            offer.link.name,
            text,
            extra={
                "channel": name,
                "peer": offer.link.name,
                "reason": type(error).__name__,
            },
        )
        note = Note(int(self.code_of(error)), text[:1000])
        offer.link.sender.control(
            pack_frame(FrameType.REJECT, note.encode(), offer.channel)
        )

    def all_announced(self, link: "Link") -> None:
        """Give up mirrors of this peer's channels that it has not any more."""
        peer = link.peer.id if link.peer else 0
        for mirror in list(self.mirrors.values()):
            if mirror.link is None and mirror.peer_id == peer:
                # It went while the link was down, and left no last word.
                mirror.withdrawn(Ending(PeerState.LOST, CloseReason.LINK_DOWN))

    def mirror_closed(self, mirror: Mirror) -> None:
        """Forget a mirror."""
        if self.mirrors.get(mirror.name) is mirror:
            del self.mirrors[mirror.name]
            origin = self.origins.get(mirror.name)
            if origin is not None:
                origin.look()

    # --------------------------------------------------------------------- questions

    def find(self, link: "Link", sequence: int, body: memoryview) -> None:
        """Answer a direct peer's question for a channel."""
        name = Question.decode(body).name
        self.scan()
        origin = self._find(name, link)
        if origin is None:
            text = (
                f"there is no channel {name!r} at the bridge on "
                f"{self.identity.machine}; it has {sorted(self._visible()) or 'none'}"
            )
            note = Note(int(ErrorCode.NOT_FOUND), text[:1000])
            link.sender.control(
                pack_frame(FrameType.NOT_FOUND, note.encode(), 0, 0, 0, sequence)
            )
            return
        origin.announce(link, sequence)

    def _visible(self) -> list[str]:
        return [*self.origins, *self.mirrors]

    def _find(self, name: str, link: "Link") -> Origin | None:
        prefix = group_prefix(name)
        if prefix is None:
            return self._origin(name)
        members = [
            (number, each)
            for each in set(self._visible())
            if (number := group_member(prefix, each)) is not None
        ]
        found = [
            origin
            for _, each in sorted(members)
            if (origin := self._origin(each)) is not None
        ]
        free = [origin for origin in found if not origin.occupied]
        return next(iter(free or found), None)

    def _origin(self, name: str) -> Origin | None:
        """Return a channel that can be opened here; a mirror is one too."""
        origin = self.origins.get(name)
        if origin is None and name in self.mirrors:
            try:
                origin = self.origins[name] = Origin(self, name)
            except RLayError as error:
                _log.warning(
                    "mirror %r cannot be opened: %s",
                    name,
                    error,
                    extra={"channel": name, "reason": type(error).__name__},
                )
        return origin
