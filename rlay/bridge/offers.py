"""What other machines announced, and the mirrors that are made of it."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rlay.bridge.ends import BridgeServer, facts_of
from rlay.bridge.fault_points import ARMED, reach
from rlay.bridge.mirror import Mirror
from rlay.errors import ChannelBusy, ChannelError, RemoteProtocolError, RLayError
from rlay.protocol.constants import Capability, CloseReason, PeerState
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_messages import Announcement, Ending, Note
from rlay.protocol.names import check_name
from rlay.protocol.slot_layout import END_PROGRAM_BYTES

if TYPE_CHECKING:
    from rlay.bridge.link import Link
    from rlay.bridge.registry import Registry

_log = logging.getLogger("rlay.bridge.registry")

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 8.0
_ON: Final = " on "


@dataclass(slots=True)
class _Offer:
    """A channel that another machine announced.

    Attributes:
        link: Over which.
        channel: Its number there.
        announcement: What was said of it.
        name: What its mirror is called here.
        pause_s: How long to wait after the next attempt that fails.
        next_at: Not to be tried before, on the loop's clock.
        taken_by: Who had the name at the last attempt; None for nobody.
    """

    link: "Link"
    channel: int
    announcement: Announcement
    name: str
    pause_s: float = _FIRST_PAUSE_S
    next_at: float = 0.0
    taken_by: tuple[int, int] | None = None


class Offers:
    """Channels of other machines, mirrored here where that is possible."""

    def __init__(self, registry: "Registry", most: int) -> None:
        """Start with none.

        Args:
            registry: Knows the channels and mirrors of this machine.
            most: How many channels there may be, and how many offers of one link.
        """
        self._registry = registry
        self._most = most
        self._of_link: dict[Link, dict[int, _Offer]] = {}

    # ------------------------------------------------------------- what a link says

    def announced(self, link: "Link", channel: int, said: Announcement) -> None:
        """Make a mirror of a channel of another machine, or take up the old one.

        Raises:
            RemoteProtocolError: Its number is another channel's.
        """
        offers = self._of_link.setdefault(link, {})
        name = said.name
        known = offers.get(channel)
        if known is not None and known.name != name:
            raise RemoteProtocolError(
                f"channel {channel} is {known.announcement.name!r} already, "
                f"and not {said.name!r}"
            )
        offer = _Offer(link, channel, said, name)
        if known is None and len(offers) >= self._most:
            self._reject(offer, self._too_many())
            return
        offers[channel] = offer
        self._take_up(offer)

    def withdrawn(self, link: "Link", channel: int) -> None:
        """Forget an offer."""
        self._of_link.get(link, {}).pop(channel, None)

    def all_announced(self, link: "Link") -> None:
        """Give up mirrors of this peer's channels that it has not any more."""
        peer = link.peer.id if link.peer else 0
        for mirror in list(self._registry.mirrors.values()):
            if mirror.link is None and mirror.peer_id == peer:
                # It went while the link was down, and left no last word.
                mirror.withdrawn(Ending(PeerState.LOST, CloseReason.LINK_DOWN))

    def forget(self, link: "Link") -> None:
        """Forget everything that a link offered."""
        self._of_link.pop(link, None)

    # ------------------------------------------------------------------- once more

    def of_name(self, name: str) -> None:
        """Take up an offer of a name that is free again."""
        for offer in self._all():
            if offer.name == name and offer.channel not in offer.link.mirrors:
                self._take_up(offer)

    def again(self, now: float) -> None:
        """Try those once more that could not be taken up; seldom, if in vain."""
        for offer in self._all():
            if offer.channel in offer.link.mirrors:
                continue
            changed = self._registry.identity_of(offer.name) != offer.taken_by
            if changed or now >= offer.next_at:
                self._take_up(offer, again=True)

    def _all(self) -> list[_Offer]:
        return [offer for offers in self._of_link.values() for offer in offers.values()]

    # --------------------------------------------------------------------- mirrors

    def _take_up(self, offer: _Offer, *, again: bool = False) -> None:
        """Have the channel mirrored over the link that offers it.

        Args:
            offer: What is offered.
            again: Whether it was refused before: it is not told once more.
        """
        mirror = self._registry.mirrors.get(offer.name)
        try:
            if mirror is None:
                mirror = self._make(offer)
            elif mirror.link is not None:
                if _same_peer(mirror.link, offer.link):
                    return  # two links to one peer: the second one stands by
                raise ChannelBusy(self._both_have(mirror.machine, offer))
            elif not _same_owner(mirror, offer.link):
                raise ChannelBusy(self._both_have(mirror.machine, offer))
        except RLayError as error:
            self._put_off(offer)
            if not again:
                self._reject(offer, error)
            return
        mirror.attach(offer.link, offer.channel)

    def _put_off(self, offer: _Offer) -> None:
        offer.next_at = self._registry.loop.time() + offer.pause_s
        offer.pause_s = min(2 * offer.pause_s, _LONGEST_PAUSE_S)
        offer.taken_by = self._registry.identity_of(offer.name)

    def _make(self, offer: _Offer) -> Mirror:
        registry, link, said = self._registry, offer.link, offer.announcement
        check_name(offer.name)
        registry.look_at(offer.name)
        if offer.name in registry.origins:
            remedy = "give one of the two another name"
            if link.with_bridge:
                remedy = f"start the bridge on {said.machine} with --prefix"
            raise ChannelBusy(
                f"{self._both_have(registry.identity.machine, offer)}: {remedy}"
            )
        if registry.is_full:
            raise self._too_many()
        server = BridgeServer.create(
            registry.loop,
            registry.root,
            offer.name,
            facts_of(said.paradigm, said.num_envs, mirror=link.with_bridge),
            Capability(said.capabilities),
            _held_for(said),
        )
        mirror = Mirror(registry, server)
        if ARMED:
            reach("mirror.made")
        how = "mirrored from" if link.with_bridge else "held for"
        _log.info(
            "channel %r is %s %s",
            offer.name,
            how,
            link.name,
            extra={"channel": offer.name, "peer": link.name},
        )
        registry.mirror_made(mirror)
        return mirror

    def _too_many(self) -> ChannelError:
        return ChannelError(
            f"{self._most} channels are the limit of the bridge on "
            f"{self._registry.identity.machine}: raise its --max-channels"
        )

    @staticmethod
    def _both_have(machine: str, offer: _Offer) -> str:
        return (
            f"{machine or 'another machine'} and {offer.announcement.machine} both "
            f"have a channel {offer.name!r}, and the older one stays"
        )

    def _reject(self, offer: _Offer, error: RLayError) -> None:
        link, text = offer.link, str(error)
        _log.warning(
            "channel %r of %s is refused: %s",
            offer.name,
            link.name,
            text,
            extra={
                "channel": offer.name,
                "peer": link.name,
                "reason": type(error).__name__,
            },
        )
        note = Note(int(self._registry.code_of(error)), text[:1000])
        link.sender.control(pack_frame(FrameType.REJECT, note.encode(), offer.channel))


def _same_peer(one: "Link", other: "Link") -> bool:
    return (
        one.peer is not None
        and other.peer is not None
        and (one.peer.id == other.peer.id)
    )


def _same_owner(mirror: Mirror, link: "Link") -> bool:
    """Return whether a mirror without a link waits for this peer.

    A bridge whose directory is gone has another number, but still its machine's name.
    """
    peer = link.peer
    return peer is not None and (
        mirror.peer_id in (0, peer.id) or mirror.machine == peer.machine
    )


def _held_for(said: Announcement) -> str:
    """Return what people read in the header; the machine's name is whole in it."""
    room = END_PROGRAM_BYTES - 1 - len((_ON + said.machine).encode())
    program = said.program.encode()[: max(room, 0)].decode("utf-8", "ignore")
    return f"{program}{_ON}{said.machine}"
