"""Maps from a peer, read field by field."""

from typing import Final

from rlay.errors import DecodeError
from rlay.protocol.control import MapFields
from rlay.protocol.spaces import Description, unpack_space

AUTORESET_MODES: Final = frozenset({"NextStep", "SameStep", "Disabled"})
"""Gymnasium's own names."""


class Fields(MapFields):
    """A map from a peer that may hold spaces: checked as :class:`MapFields`."""

    def optional_count(self, key: str, limit: int, *, least: int) -> int | None:
        """Return an integer from ``least`` to ``limit``, or None."""
        absent = self._data.get(key) is None
        return None if absent else self.count(key, limit, least=least)

    def optional_space(self, key: str) -> Description | None:
        """Return the description of a space, or None."""
        packed = self.optional(key, list)
        return None if packed is None else unpack_space(packed, f"$.{key}")

    def autoreset_mode(self) -> str | None:
        """Return one of Gymnasium's names of modes, or None."""
        mode: str | None = self.optional("autoreset_mode", str)
        if mode is not None and mode not in AUTORESET_MODES:
            raise DecodeError(
                f"unknown mode {mode[:40]!r}", f"{self._path}.autoreset_mode"
            )
        return mode
