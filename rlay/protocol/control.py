"""Maps in control frames: msgpack within limits.

Rule 1: nothing but plain data: nil, bool, int, float, str, bytes, lists and maps with
str keys. No extension types, no key twice, no deep nesting.
Rule 2: a field is checked when it is read, and what is text is safe to be shown.
Keys that nobody asks for are ignored, so that a newer peer may say more.
"""

from typing import Any, Final, NoReturn

import msgpack

from rlay.errors import DecodeError, LocalProtocolError, MessageTooLarge

MAX_MAP_BYTES: Final = 64 * 1024
MAX_MAP_DEPTH: Final = 4

_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})


def pack_map(fields: dict[str, Any]) -> bytes:
    """Return ``fields`` as msgpack.

    Raises:
        LocalProtocolError: They are not plain data, or take more than 64 KiB.
    """
    try:
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise LocalProtocolError(f"a map that cannot be packed: {error}") from error
    if len(packed) > MAX_MAP_BYTES:
        raise LocalProtocolError(
            f"a map of {len(packed)} bytes exceeds the limit of {MAX_MAP_BYTES}"
        )
    return packed


def unpack_map(
    body: bytes | memoryview, limit_bytes: int = MAX_MAP_BYTES
) -> "MapFields":
    """Return the map in ``body``.

    Args:
        body: One whole map.
        limit_bytes: The most that it may take.

    Raises:
        DecodeError: It is no map of plain data, or nested deeper than 4 levels.
        MessageTooLarge: It takes more than the limit. Nothing was unpacked.
    """
    if len(body) > limit_bytes:
        raise MessageTooLarge(len(body), limit_bytes)
    try:
        # msgpack's limits are the size of the input: each item takes a byte of it.
        data = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            ext_hook=_refuse_extension,
            object_pairs_hook=_make_map,
        )
    except DecodeError:
        raise
    except (
        ValueError,  # msgpack's FormatError, StackError and ExtraData, bad UTF-8
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
        msgpack.UnpackException,
    ) as error:
        raise DecodeError(f"malformed value: {str(error)[:200]}") from error
    _check_plain(data, 0)
    return MapFields(data)


def _refuse_extension(code: int, _data: bytes) -> NoReturn:
    raise DecodeError(f"extension type {code} in a map of plain data")


def _make_map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DecodeError("a key occurs twice in a map")
    return made


def _check_plain(value: Any, depth: int) -> None:
    """Check what msgpack does not; the recursion is at most ``MAX_MAP_DEPTH``."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if depth >= MAX_MAP_DEPTH:
        raise DecodeError(f"a map is nested deeper than {MAX_MAP_DEPTH} levels")
    if kind is list:
        for item in value:
            _check_plain(item, depth + 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise DecodeError(f"a map's key is {type(key).__name__}, not str")
            _check_plain(item, depth + 1)
    else:  # msgpack makes a Timestamp without asking the hook
        raise DecodeError(f"a {kind.__name__} in a map of plain data")


def printable(text: str, most_chars: int) -> str:
    """Return ``text`` as it may be sent, logged and shown.

    Args:
        text: Any text, from anybody.
        most_chars: Where it is cut.

    Returns:
        One line, without control characters or lone surrogates: each is a ``?``.
    """
    return "".join(c if c.isprintable() else "?" for c in text[:most_chars])


class MapFields:
    """A map from a peer: every field is checked when it is read.

    All methods raise DecodeError with the field's path where it is missing or of
    another type. Keys that nobody asks for are ignored.
    """

    def __init__(self, data: Any, path: str = "$") -> None:
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

    def count(self, key: str, most: int = 2**63 - 1, least: int = 0) -> int:
        """Return an integer from ``least`` to ``most``."""
        value: int = self.get(key, int)
        if not least <= value <= most:
            raise DecodeError(f"{value} is out of range", f"{self._path}.{key}")
        return value

    def text(self, key: str, most_chars: int) -> str:
        """Return a text of at most so many characters, as :func:`printable`."""
        value: str = self.get(key, str)
        if len(value) > most_chars:
            raise DecodeError(
                f"a text of {len(value)} characters exceeds {most_chars}",
                f"{self._path}.{key}",
            )
        return printable(value, most_chars)
