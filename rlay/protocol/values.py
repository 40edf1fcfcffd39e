"""Values of no agreed shape, such as info: msgpack with six extension types.

A value is None, bool, int (64 bits), float, str, bytes, list, tuple, dict with
str keys, a NumPy scalar or array of a dtype in the table, an object array of
these, or a graph. What arrives equals what was sent, types included; anything
else is refused with its path, before a byte is sent. Extension types (numbers
in brackets are bytes)::

    TUPLE         1   msgpack array of its items
    ARRAY         2   dtype code [1], dimensions n [1], n x size [8], raw data, C order
    SCALAR        3   dtype code [1], raw data
    OBJECT_ARRAY  4   msgpack array: shape, then the items in C order
    GRAPH         5   msgpack array: nodes, edges, edge_links
    BIG_INT       6   signed, little-endian; only in a Reset

Arrays in other orders or byte orders are normalised to C order, little-endian,
their bools to 0 and 1. Nothing here is ever evaluated, unpickled or looked up by
a peer's text. The reading half is :mod:`rlay.protocol.value_decoding`.
"""

import struct
from typing import Any, Final, NoReturn

import msgpack
import numpy as np

from rlay.protocol.constants import (
    MAX_BIG_INT_BYTES,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    MAX_ITEMS,
    ExtensionType,
)
from rlay.protocol.numbers import DTYPE_CODES, DTYPES, dtype_code
from rlay.protocol.value_decoding import (
    GraphValue,
    check_shape,
    decode_value,
    set_graph_type,
)

__all__ = [
    "GraphValue",
    "Unsendable",
    "array_data",
    "array_head",
    "check_shape",
    "decode_value",
    "dtype_code_of",
    "encode_value",
    "lower",
    "path_text",
    "set_graph_type",
]

_PLAIN: Final = frozenset({type(None), bool, float, bytes})
_SCALARS: Final = {dtype.type: code for code, dtype in DTYPES.items()}
_GRAPH_FIELDS: Final = GraphValue._fields


class Unsendable(Exception):
    """A value that cannot travel. The path is collected while it propagates.

    Attributes:
        keys: Steps from the root to the value, outermost first.
        reason: What is wrong with it, and what to do.
        value: The value.
    """

    def __init__(self, reason: str, value: object) -> None:
        """Start with an empty path."""
        super().__init__(reason)
        self.reason = reason
        self.value = value
        self.keys: list[str | int] = []

    def at(self, key: str | int) -> "Unsendable":
        """Prepend one step of the path and return self, to be raised again."""
        self.keys.insert(0, key)
        return self

    @property
    def path(self) -> str:
        """The place of the value, such as ``$.camera[2]``."""
        return path_text(self.keys)


def path_text(keys: list[str | int]) -> str:
    """Write a path as ``$.camera[2]``."""
    return "$" + "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys)


# ---------------------------------------------------------------------- encode


def encode_value(value: Any, *, big_ints: bool = False) -> bytes:
    """Return ``value`` as msgpack.

    Args:
        value: Any value of the kinds above.
        big_ints: Whether integers beyond 64 bits may travel, as in a Reset.

    Raises:
        Unsendable: A part of it is of another kind. It names the path.
    """
    return _pack(lower(value, 0, big_ints))


def _pack(lowered: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(lowered, use_bin_type=True)
    except (ValueError, OverflowError) as error:
        raise Unsendable(f"it is too large for msgpack: {error}", lowered) from error
    return packed


def lower(value: Any, depth: int = 0, big_ints: bool = False) -> Any:
    """Return ``value`` in terms that msgpack packs as they are."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return _lower_int(value, big_ints)
    if kind is str:
        return _lower_str(value)
    code = _SCALARS.get(kind)
    if code is not None:
        return msgpack.ExtType(ExtensionType.SCALAR, bytes((code,)) + value.tobytes())
    if kind is np.ndarray or kind is np.memmap:
        return _lower_array(value, depth, big_ints)
    if depth >= MAX_DEPTH:
        raise Unsendable(
            f"it is nested deeper than {MAX_DEPTH} levels, or contains itself", value
        )
    if kind is dict:
        return _lower_dict(value, depth, big_ints)
    if kind is list:
        return _lower_items(value, depth, big_ints)
    if kind is tuple:
        items = _pack(_lower_items(value, depth, big_ints))
        return msgpack.ExtType(ExtensionType.TUPLE, items)
    if isinstance(value, tuple) and getattr(value, "_fields", ()) == _GRAPH_FIELDS:
        items = _pack(_lower_items(value, depth, big_ints))
        return msgpack.ExtType(ExtensionType.GRAPH, items)
    return _refuse(value)


def _lower_int(value: int, big_ints: bool) -> Any:
    if -(2**63) <= value < 2**64:
        return value
    if not big_ints:
        raise Unsendable("an integer beyond 64 bits cannot be carried exactly", value)
    size = value.bit_length() // 8 + 1
    if size > MAX_BIG_INT_BYTES:
        raise Unsendable(f"an integer of more than {MAX_BIG_INT_BYTES} bytes", value)
    data = value.to_bytes(size, "little", signed=True)
    return msgpack.ExtType(ExtensionType.BIG_INT, data)


def _lower_str(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unsendable("a str with lone surrogates is no UTF-8", value) from None
    return value


def _lower_dict(value: dict[Any, Any], depth: int, big_ints: bool) -> dict[str, Any]:
    lowered = {}
    for key, item in value.items():
        if type(key) is not str:
            raise Unsendable(
                f"a dict's keys must be str, here is {type(key).__name__}", key
            ).at(repr(key)[:40])
        try:
            lowered[_lower_str(key)] = lower(item, depth + 1, big_ints)
        except Unsendable as error:
            raise error.at(key) from None
    return lowered


def _lower_items(value: Any, depth: int, big_ints: bool) -> list[Any]:
    lowered = []
    for index, item in enumerate(value):
        try:
            lowered.append(lower(item, depth + 1, big_ints))
        except Unsendable as error:
            raise error.at(index) from None
    return lowered


def _lower_array(value: Any, depth: int, big_ints: bool) -> msgpack.ExtType:
    _check_extent(value)
    if value.dtype == object:
        if depth >= MAX_DEPTH:
            raise Unsendable(
                f"it is nested deeper than {MAX_DEPTH} levels, or contains itself",
                value,
            )
        items = _lower_items(value.ravel().tolist(), depth, big_ints)
        return msgpack.ExtType(
            ExtensionType.OBJECT_ARRAY, _pack([list(value.shape), *items])
        )
    code = DTYPE_CODES.get(value.dtype) or dtype_code_of(value)
    return msgpack.ExtType(
        ExtensionType.ARRAY, array_head(code, value.shape) + array_data(value, code)
    )


def _check_extent(value: Any) -> None:
    if value.ndim > MAX_DIMENSIONS:
        raise Unsendable(f"an array of more than {MAX_DIMENSIONS} dimensions", value)
    # A dimension can exceed it beside a smaller size only where another is 0.
    if value.nbytes > MAX_ITEMS or (not value.size and max(value.shape) > MAX_ITEMS):
        raise Unsendable(
            f"an array of shape {value.shape} takes {value.nbytes} bytes; no array, "
            f"and none of its dimensions, may exceed {MAX_ITEMS}",
            value,
        )


def dtype_code_of(value: Any) -> int:
    """Return the dtype code of an array of any byte order.

    Raises:
        Unsendable: The dtype is not in the table.
    """
    code = None if value.dtype.hasobject else dtype_code(value.dtype)
    if code is None:
        raise Unsendable(
            f"an array of dtype {value.dtype} cannot travel: use bool, int8 to int64, "
            "uint8 to uint64, float16 to float64 or complex",
            value,
        )
    return code


def array_head(code: int, shape: tuple[int, ...]) -> bytes:
    """Return dtype code, number of dimensions and shape as they travel."""
    return struct.pack(f"<BB{len(shape)}Q", code, len(shape), *shape)


def array_data(value: Any, code: int) -> bytes:
    """Return the elements of an array in C order, little-endian."""
    if value.dtype.kind == "b":
        # True may be any byte but 0, as in an array of bytes viewed as bools.
        value = value.view(np.uint8) != 0
    data: bytes = value.astype(DTYPES[code], copy=False).tobytes()
    return data


def _refuse(value: Any) -> NoReturn:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else _full_name(kind)
    remedy = "convert it to plain data or to an array"
    if hasattr(value, "detach"):
        remedy = "convert it with .detach().cpu().numpy()"
    elif isinstance(value, (dict, list, tuple, str, bytes, int, float)):
        base = next(c.__name__ for c in kind.__mro__ if c.__module__ == "builtins")
        remedy = f"convert it with {base}(...)"
    raise Unsendable(f"a value of type {name} cannot travel; {remedy}", value)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
