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
    BIG_INT       6   signed, little-endian; only in seeds

Arrays in other orders or byte orders are normalised to C order, little-endian.
Nothing here is ever evaluated, unpickled or looked up by a peer's text.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgpack
import numpy as np

from rlay.errors import DecodeError
from rlay.protocol.constants import (
    MAX_BIG_INT_BYTES,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    ExtensionType,
)
from rlay.protocol.numbers import DTYPE_CODES, DTYPES, dtype_code

_PLAIN: Final = frozenset({type(None), bool, float, bytes})
_SCALARS: Final = {dtype.type: code for code, dtype in DTYPES.items()}
_MAX_ITEMS: Final = 2**31 - 1


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
        big_ints: Whether integers beyond 64 bits may travel, as seeds may.

    Raises:
        Unsendable: A part of it is of another kind. It names the path.
    """
    return _pack(lower(value, 0, big_ints))


def _pack(lowered: Any) -> bytes:
    packed: bytes = msgpack.packb(lowered, use_bin_type=True)
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
    if getattr(value, "_fields", None) == ("nodes", "edges", "edge_links"):
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
    data: bytes = value.astype(DTYPES[code], copy=False).tobytes()
    return data


def _refuse(value: Any) -> NoReturn:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else _full_name(kind)
    remedy = "convert it to plain data or to an array"
    if hasattr(value, "detach"):
        remedy = "convert it with .detach().cpu().numpy()"
    elif isinstance(value, (dict, list, tuple, str, int, float)):
        base = next(c.__name__ for c in kind.__mro__ if c.__module__ == "builtins")
        remedy = f"convert it with {base}(...)"
    raise Unsendable(f"a value of type {name} cannot travel; {remedy}", value)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# ---------------------------------------------------------------------- decode


def decode_value(data: bytes | memoryview) -> Any:
    """Return the value that msgpack ``data`` stands for.

    Arrays are new, writeable and aligned. Graphs come as :class:`GraphValue`
    until :func:`set_graph_type` says otherwise.

    Raises:
        DecodeError: The bytes are not one whole value of the kinds above.
    """
    try:
        value = _unpack(data)
        _check_depth(value)
    except DecodeError:
        raise
    except (
        ValueError,  # msgpack's FormatError, StackError and ExtraData, bad UTF-8
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
        struct.error,
        msgpack.UnpackException,
    ) as error:
        raise DecodeError(f"malformed value: {str(error)[:200]}") from error
    return value


def _unpack(data: bytes | memoryview) -> Any:
    # The limits are the size of the input itself: each item takes at least one
    # byte, and the input's size is bounded by max_message_bytes.
    return msgpack.unpackb(
        data, raw=False, strict_map_key=True, use_list=True, ext_hook=_raise_extension
    )


def _check_depth(value: Any) -> None:
    """Refuse what :func:`lower` would have refused to send."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for outer in level for item in _items(outer)]
        if not level:
            return
    raise DecodeError(f"a value is nested deeper than {MAX_DEPTH} levels")


def _items(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return value.values()
    if kind is list or kind is tuple:
        return value
    return ()


class GraphValue(tuple[Any, Any, Any]):
    """A graph where nobody has set a better type: (nodes, edges, edge_links)."""

    __slots__ = ()
    _fields = ("nodes", "edges", "edge_links")


_graph_type: Callable[[Any, Any, Any], Any] = lambda *items: GraphValue(items)  # noqa: E731


def set_graph_type(graph_type: Callable[[Any, Any, Any], Any]) -> None:
    """Set what graphs are decoded to.

    ``rlay.envs`` sets Gymnasium's ``GraphInstance``, which this layer may not
    import.
    """
    global _graph_type
    _graph_type = graph_type


def _raise_extension(code: int, data: bytes) -> Any:
    if code == ExtensionType.ARRAY:
        return _raise_array(data)
    if code == ExtensionType.SCALAR:
        return _raise_scalar(data)
    if code == ExtensionType.TUPLE:
        return tuple(_raise_list(data))
    if code == ExtensionType.OBJECT_ARRAY:
        return _raise_object_array(data)
    if code == ExtensionType.GRAPH:
        items = _raise_list(data)
        if len(items) != 3:
            raise DecodeError(f"a graph has 3 parts, here are {len(items)}")
        return _graph_type(*items)
    if code == ExtensionType.BIG_INT:
        if not 0 < len(data) <= MAX_BIG_INT_BYTES:
            raise DecodeError(f"a big integer of {len(data)} bytes")
        return int.from_bytes(data, "little", signed=True)
    raise DecodeError(f"unknown extension type {code}")


def _raise_list(data: bytes) -> list[Any]:
    items = _unpack(data)
    if type(items) is not list:
        raise DecodeError(f"expected an array, got {type(items).__name__}")
    return items


def _raise_scalar(data: bytes) -> Any:
    dtype = DTYPES.get(data[0]) if data else None
    if dtype is None or len(data) != 1 + dtype.itemsize:
        raise DecodeError(f"malformed scalar of {len(data)} bytes")
    _check_bool(dtype, data[1:])
    return np.frombuffer(data, dtype, 1, 1)[0]


def _raise_array(data: bytes) -> Any:
    if len(data) < 2 or data[0] not in DTYPES or data[1] > MAX_DIMENSIONS:
        raise DecodeError("malformed array head")
    dtype, dimensions = DTYPES[data[0]], data[1]
    start = 2 + 8 * dimensions
    if len(data) < start:
        raise DecodeError("malformed array head")
    shape = struct.unpack_from(f"<{dimensions}Q", data, 2)
    check_shape(shape, dtype.itemsize, len(data) - start)
    body = memoryview(data)[start:]
    _check_bool(dtype, body)
    return np.frombuffer(body, dtype).reshape(shape).copy()


def check_shape(shape: tuple[int, ...], itemsize: int, data_bytes: int) -> None:
    """Check that an array of ``shape`` takes exactly ``data_bytes``.

    Python's integers do not wrap, NumPy's product would.

    Raises:
        DecodeError: It does not, or a dimension is out of range.
    """
    if any(size > _MAX_ITEMS for size in shape):
        raise DecodeError(f"array shape {shape} is out of range")
    expected = math.prod(shape) * itemsize
    if expected != data_bytes:
        raise DecodeError(
            f"array shape {shape} takes {expected} bytes, {data_bytes} are here"
        )


def _check_bool(dtype: np.dtype[Any], data: bytes | memoryview) -> None:
    if dtype.kind == "b" and len(data) and max(data) > 1:
        raise DecodeError("a bool is a byte 0 or 1")


def _raise_object_array(data: bytes) -> Any:
    items = _raise_list(data)
    shape = items.pop(0) if items else None
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise DecodeError("malformed object array")
    if any(type(size) is not int or size < 0 for size in shape):
        raise DecodeError("malformed object array")
    check_shape(tuple(shape), 1, len(items))
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array.reshape(shape)
