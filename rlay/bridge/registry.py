"""The channels that a bridge knows: those of this machine, and mirrors of others."""

import fnmatch
import functools
import logging
import os
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rlay.bridge.ends import BridgeServer
from rlay.bridge.inotify import CLOSE_WRITE, CREATED, REMOVED, Inotify
from rlay.bridge.metrics import Counts
from rlay.bridge.mirror import Mirror
from rlay.bridge.offers import Offers
from rlay.bridge.origin import Origin
from rlay.bridge.questions import Questions
from rlay.bridge.wakefulness import Wakefulness
from rlay.errors import (
    ChannelBusy,
    ChannelNoSpace,
    ChannelNotFound,
    Draining,
    MessageTooLarge,
    ProtocolError,
    RLayError,
    VersionMismatch,
)
from rlay.protocol.constants import (
    CloseReason,
    ErrorCode,
    Holder,
    PeerState,
)
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_greeting import LinkIdentity
from rlay.protocol.link_messages import Ending, Note
from rlay.protocol.names import check_name
from rlay.transport.directory import ChannelDirectory
from rlay.transport.file_store import FileStore
from rlay.transport.header import ChannelHeader
from rlay.transport.spinning import WaitPolicy
from rlay.transport.stores import End

if TYPE_CHECKING:
    from rlay.bridge.link import Link

_log = logging.getLogger("rlay.bridge.registry")

LOOKS_S: Final = (0.0, 0.01, 0.05)
"""When to look after a lock file was closed: the kernel tells of it just before it
lets go of the lock."""
LOCAL_WINDOW_S: Final = 1.0
"""How long a session waits for a direct peer whose process is on this machine: if that
lived it would be back at once."""
_FEW: Final = 64
_IDLE_TICKS: Final = 4
_CODES: Final[tuple[tuple[type[RLayError], ErrorCode], ...]] = (
    (ChannelBusy, ErrorCode.BUSY),
    (ChannelNoSpace, ErrorCode.NO_SPACE),
    (ChannelNotFound, ErrorCode.ENVIRONMENT_GONE),
    (VersionMismatch, ErrorCode.VERSION),
    (MessageTooLarge, ErrorCode.TOO_LARGE),
    (Draining, ErrorCode.DRAINING),
    (ProtocolError, ErrorCode.PROTOCOL),
)


def contained(what: object, callback: Callable[[], None]) -> bool:
    """Call something for the loop, to which nothing may be raised.

    Returns:
        False where it raised what it should not: that is told in full.
    """
    try:
        callback()
    except Exception:
        _log.exception("a fault of this bridge, at %r", what)
        return False
    return True


class Registry:
    """Knows every channel, and which link it goes over.

    Attributes:
        loop: The bridge's.
        root: The directory of channels.
        identity: Who this bridge is.
        counts: What is counted.
        prefix: What stands before the names of this machine's channels elsewhere.
        window_s: How long a session outlives its link.
        max_slot_bytes: Room for payload that another machine may have in a slot here.
        draining: Whether no new sessions are taken.
        origins: Channels whose server is on this machine, by name.
        mirrors: Channels whose server is elsewhere, by name.
        links: All links that are up.
        offers: Channels of other machines.
        questions: Answers direct peers.
        wakefulness: Keeps the loop awake while messages follow one another.
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
        max_slot_bytes: int,
    ) -> None:
        """Start without channels; :meth:`scan` looks for them."""
        self.loop = loop
        self.root = directory.path
        self.identity = identity
        self.counts = Counts()
        self.window_s = window_s
        self.max_slot_bytes = max_slot_bytes
        self.prefix = prefix
        self.draining = False
        self.origins: dict[str, Origin] = {}
        self.mirrors: dict[str, Mirror] = {}
        self.links: list[Link] = []
        self._directory = directory
        self._share = share
        self.offers = Offers(self, max_channels)
        self.questions = Questions(self)
        self._max_channels = max_channels
        self._scans = False  # soon
        self._tick = 0
        self._is_gone = self._closed = False
        self._left_alone: dict[str, tuple[int, int]] = {}
        self.wakefulness = Wakefulness(loop, WaitPolicy.bridged())
        self._inotify = Inotify(loop)
        self._inotify.watch(self.root, CREATED | REMOVED, self.scan)

    def close(self) -> None:
        """Let go of everything that is left."""
        self._closed = True
        ending = Ending(PeerState.CLOSED, CloseReason.DRAINING)
        for mirror in list(self.mirrors.values()):
            self.contain(mirror, functools.partial(mirror.withdrawn, ending))
        for origin in list(self.origins.values()):
            self.contain(origin, functools.partial(origin.close, ending))
        self._inotify.close()

    def code_of(self, error: RLayError) -> ErrorCode:
        """Return the number that stands for an error."""
        for kind, code in _CODES:
            if isinstance(error, kind):
                return code
        return ErrorCode.UNSUPPORTED

    # ----------------------------------------------------------------------- watching

    def contain(self, holder: "Origin | Mirror", callback: Callable[[], None]) -> None:
        """Call something for the loop; a fault of it ends this one channel."""
        try:
            callback()
        except Exception:
            _log.exception("a fault of this bridge, at %r", holder.name)
            contained(holder.name, holder.fail)

    def later(
        self, seconds: float, holder: "Origin | Mirror", callback: Callable[[], None]
    ) -> TimerHandle:
        """Call something after so many seconds; a fault of it ends this channel."""
        return self.loop.call_later(seconds, self.contain, holder, callback)

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
            self.contain(holder, holder.look)

    def look_at(self, name: str) -> None:
        """Look whether the server of a channel of this machine is still there."""
        origin = self.origins.get(name)
        if origin is not None:
            self._look(origin)

    def holders(self) -> "list[Origin | Mirror]":
        """Return everything that may have a session."""
        return [*self.origins.values(), *self.mirrors.values()]

    def tick(self) -> None:
        """Look around: what an event did not tell is found here.

        Sessions are looked at each time, channels without one more rarely: there may be
        a thousand of them, and nobody waits.
        """
        self._take_stock()
        self._tick = (self._tick + 1) % _IDLE_TICKS
        for holder in self.holders():
            if (
                holder.session is not None
                or hash(holder.name) % _IDLE_TICKS == self._tick
            ):
                self._look(holder)
        self.offers.again(self.loop.time())

    def _scan_soon(self) -> None:
        if not self._scans:
            self._scans = True
            self.loop.call_soon(self._scan_now)

    def _scan_now(self) -> None:
        self._scans = False
        contained(self.root, self.scan)

    def scan(self) -> None:
        """Look for channels that came and went."""
        for origin in list(self.origins.values()):
            if not origin.is_current:
                self._look(origin)
        self._take_stock()

    def _take_stock(self) -> None:
        """Compare what is known with what the directory holds."""
        if self._closed:
            return
        try:
            names = self._directory.names()
        except RLayError as error:
            _log.warning("cannot look for channels: %s", error)
            return
        self._tell_if_gone()
        there = set(names)
        for holder in self.holders():
            if holder.name not in there:
                self._look(holder)
        for name in names:
            if name not in self.origins and not self._is_mirrored(name):
                self._found(name)
        if len(self._left_alone) > 2 * len(names) + _FEW:
            left = self._left_alone
            self._left_alone = {name: left[name] for name in names if name in left}

    def _is_mirrored(self, name: str) -> bool:
        """Return whether a channel is a bridge's, and none of this machine."""
        mirror = self.mirrors.get(name)
        return mirror is not None and mirror.facts.mirror

    def _tell_if_gone(self) -> None:
        """Say once that the directory itself was removed: nobody finds it any more."""
        gone = os.fstat(self._directory.fd).st_nlink == 0
        if gone and not self._is_gone:
            _log.error(
                "%s was removed: new channels are not found. Start this bridge anew",
                self.root,
            )
        self._is_gone = gone

    def _found(self, name: str) -> None:
        identity = self.identity_of(name)
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

    def identity_of(self, name: str) -> tuple[int, int] | None:
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
        if mirror.waits_for_client:  # before anybody looks who holds that end
            self._make_origin(name)

    def _add_origin(self, name: str) -> None:
        if self.is_full:
            raise ChannelNoSpace(
                f"{self._max_channels} channels are the limit: raise --max-channels"
            )
        self._make_origin(name)

    def _make_origin(self, name: str) -> None:
        """Offer a channel to others, and take over the session there, if any."""
        origin = self.origins[name] = Origin(self, name)
        try:
            origin.adopt()
        except RLayError as error:
            _log.debug("no session to take over on %r: %s", name, error)
        if origin.facts.mirror or not self._shares(name):
            return  # it is for direct peers only
        _log.info("channel %r is here", name, extra={"channel": name})
        for link in list(self.links):
            if link.with_bridge:
                origin.announce(link)
                link.flush()

    def origin_closed(self, origin: Origin) -> None:
        """Forget a channel of this machine."""
        if self.origins.get(origin.name) is origin:
            del self.origins[origin.name]
            _log.info("channel %r is gone", origin.name, extra={"channel": origin.name})
            self._scan_soon()  # its name may be another's already

    # -------------------------------------------------------------------------- links

    def link_up(self, link: "Link") -> None:
        """Tell a new link of every channel."""
        self._replace_older(link)
        self.links.append(link)
        self.scan()
        if link.with_bridge:
            for origin in list(self.origins.values()):
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
        self.offers.forget(link)
        mirrors = list(link.mirrors.values())
        for mirror in mirrors:
            self.contain(mirror, mirror.link_ended)
        link.mirrors.clear()
        for mirror in mirrors:  # a second link to that machine may stand by
            self.loop.call_soon(self._name_is_free, mirror.name)
        for origin in set(link.origins.values()):
            self.contain(origin, functools.partial(origin.link_ended, link))
        link.origins.clear()

    def window_after(self, link: "Link") -> float:
        """Return how long sessions wait for a link like the one that ended."""
        peer = link.peer
        if peer is not None and not link.with_bridge and link.is_local:
            return min(self.window_s, LOCAL_WINDOW_S)
        return self.window_s

    # ------------------------------------------------------------------------ mirrors

    @property
    def is_full(self) -> bool:
        """Whether there are as many channels as there may be."""
        return len(self.origins) + len(self.mirrors) >= self._max_channels

    def mirror_made(self, mirror: Mirror) -> None:
        """Take note of a mirror. One for a direct peer is this machine's channel."""
        self.mirrors[mirror.name] = mirror
        if not mirror.facts.mirror:
            self._scan_soon()

    def mirror_closed(self, mirror: Mirror) -> None:
        """Forget a mirror."""
        if self.mirrors.get(mirror.name) is mirror:
            del self.mirrors[mirror.name]
            self.look_at(mirror.name)
            self.loop.call_soon(self._name_is_free, mirror.name)

    def _name_is_free(self, name: str) -> None:
        contained("offers", lambda: self.offers.of_name(name))
