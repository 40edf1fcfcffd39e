"""Answers to direct peers that look for a channel."""

import logging
from typing import TYPE_CHECKING

from rlay.bridge.origin import Origin
from rlay.errors import RLayError
from rlay.protocol.constants import ErrorCode
from rlay.protocol.frames import FrameType, pack_frame
from rlay.protocol.link_messages import Note, Question
from rlay.protocol.names import group_member, group_prefix

if TYPE_CHECKING:
    from rlay.bridge.link import Link
    from rlay.bridge.registry import Registry

_log = logging.getLogger("rlay.bridge.registry")


class Questions:
    """Finds channels, and free members of groups."""

    def __init__(self, registry: "Registry") -> None:
        """Look in ``registry``."""
        self._registry = registry

    def answer(self, link: "Link", sequence: int, body: memoryview) -> None:
        """Answer a FIND: with an ANNOUNCE, or with NOT_FOUND.

        Raises:
            DecodeError: It names nothing that may be a channel.
        """
        name = Question.decode(body).name
        origin = self._find(name)
        if origin is None:
            self._registry.scan()
            origin = self._find(name)
        if origin is not None:
            origin.announce(link, sequence)
            return
        text = (
            f"there is no channel {name!r} at the bridge on "
            f"{self._registry.identity.machine}; it has "
            f"{sorted(self._visible()) or 'none'}"
        )
        note = Note(int(ErrorCode.NOT_FOUND), text[:1000])
        link.sender.control(
            pack_frame(FrameType.NOT_FOUND, note.encode(), 0, 0, 0, sequence)
        )

    def _visible(self) -> set[str]:
        return {*self._registry.origins, *self._registry.mirrors}

    def _find(self, name: str) -> Origin | None:
        prefix = group_prefix(name)
        if prefix is None:
            return self._origin(name)
        members = [
            (number, each)
            for each in self._visible()
            if (number := group_member(prefix, each)) is not None
        ]
        found = [
            origin
            for _, each in sorted(members)
            if (origin := self._origin(each)) is not None
        ]
        free = [origin for origin in found if not origin.occupied]
        # What is free here may be taken at the other side of a mirror: who was told so
        # is to find another one.
        free.sort(key=lambda origin: origin.refused_at)
        return next(iter(free or found), None)

    def _origin(self, name: str) -> Origin | None:
        """Return a channel that can be opened here; a mirror is one too."""
        registry = self._registry
        origin = registry.origins.get(name)
        if origin is not None:
            origin.look()  # its server may have gone a moment ago
            origin = registry.origins.get(name)
        if origin is None and name in registry.mirrors:
            try:
                origin = registry.origins[name] = Origin(registry, name)
            except RLayError as error:
                _log.warning("mirror %r cannot be opened: %s", name, error)
        return origin
