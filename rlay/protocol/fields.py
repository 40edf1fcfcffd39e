"""Maps from a peer, read field by field."""

from typing import Any, Final

from rlay.errors import DecodeError
from rlay.protocol.spaces import Description, unpack_space

AUTORESET_MODES: Final = frozenset({"NextStep", "SameStep", "Disabled"})
"""Gymnasium's own names."""


class Fields:
    """A map from a peer: every field is checked when it is read.

    All methods raise DecodeError with the field's path where it is missing or of
    another type. Keys that nobody asks for are ignored.
    """

    def __init__(self, data: Any, path: str) -> None:
        """Cover ``data``, which must be a map; ``path`` is where it came from."""
        if type(data) is not dict:
            raise DecodeError("expected a map", path)
        self._data = data
        self._path = path

    def get(self, key: str, kind: type) -> Any:
        """Return a field that must be there, of exactly this type."""
        value = self._data.get(key)
        if type(value) is not kind:
            raise DecodeError(
                f"expected {kind.__name__}, got {type(value).__name__}",
                f"{self._path}.{key}",
            )
        return value

    def optional(self, key: str, kind: type) -> Any:
        """Return a field of this type, or None where it is missing or nil."""
        return None if self._data.get(key) is None else self.get(key, kind)

    def count(self, key: str, limit: int = 2**63 - 1, *, least: int = 0) -> int:
        """Return an integer from ``least`` to ``limit``."""
        value: int = self.get(key, int)
        if not least <= value <= limit:
            raise DecodeError(f"{value} is out of range", f"{self._path}.{key}")
        return value

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
