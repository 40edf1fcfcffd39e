"""The reading half of :mod:`rlay.protocol.values`: msgpack from a peer to values.

Rule 1: no length is believed. msgpack is held to the size of its input, and an
array's shape must multiply to the bytes that are there.
Rule 2: extension types that hold values are opened here, level by level, and not
inside msgpack's callback: msgpack takes tens of kilobytes of C stack for each
call within a call, so a few hundred nested tuples would overflow it.
Rule 3: what :func:`~rlay.protocol.values.lower` would refuse to send is refused.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, Final

import msgpack
import numpy as np

from rlay.errors import DecodeError
from rlay.protocol.constants import (
    MAX_BIG_INT_BYTES,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    MAX_ITEMS,
    ExtensionType,
)
from rlay.protocol.numbers import DTYPES, is_bool

_OPENED_LATER: Final = frozenset(
    {ExtensionType.TUPLE, ExtensionType.OBJECT_ARRAY, ExtensionType.GRAPH}
)
_UNSETTLED: Final = frozenset({list, dict, msgpack.ExtType, msgpack.Timestamp})


def decode_value(data: bytes | memoryview, *, big_ints: bool = False) -> Any:
    """Return the value that msgpack ``data`` stands for.

    Arrays are new, writeable and aligned. Graphs come as :class:`GraphValue`
    until :func:`set_graph_type` says otherwise.

    Args:
        data: One whole value.
        big_ints: Whether integers beyond 64 bits may be in it, as in a Reset.

    Raises:
        DecodeError: The bytes are not one whole value of the kinds that travel.
    """
    hook = _raise_leaf_or_big_int if big_ints else _raise_leaf
    try:
        return _settle(_unpack(data, hook), 0, hook)
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


_Hook = Callable[[int, bytes], Any]


def _unpack(data: bytes | memoryview, hook: _Hook) -> Any:
    # msgpack's limits are the size of the input itself: each item takes at least
    # one byte, and the input's size is bounded by max_message_bytes.
    return msgpack.unpackb(
        data,
        raw=False,
        strict_map_key=True,
        use_list=True,
        ext_hook=hook,
        object_pairs_hook=_make_dict,
    )


def _make_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DecodeError("a key occurs twice in a map")
    return made


def _settle(value: Any, depth: int, hook: _Hook) -> Any:
    """Open the extension types in ``value`` and check what msgpack does not.

    Lists and dicts are changed in place. The recursion is at most ``MAX_DEPTH``.
    """
    kind = type(value)
    if kind not in _UNSETTLED:
        return value
    if kind is msgpack.Timestamp:
        raise DecodeError("a timestamp is no value that travels")
    if depth >= MAX_DEPTH:
        raise DecodeError(f"a value is nested deeper than {MAX_DEPTH} levels")
    if kind is list:
        return _settle_list(value, depth, hook)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise DecodeError(f"a map's key is {type(key).__name__}, not str")
            if type(item) in _UNSETTLED:
                value[key] = _settle(item, depth + 1, hook)
        return value
    items = _unpack(value.data, hook)
    if type(items) is not list:
        raise DecodeError(f"expected an array, got {type(items).__name__}")
    if value.code == ExtensionType.TUPLE:
        return tuple(_settle_list(items, depth, hook))
    if value.code == ExtensionType.OBJECT_ARRAY:
        return _raise_object_array(items, depth, hook)
    if len(items) != 3:
        raise DecodeError(f"a graph has 3 parts, here are {len(items)}")
    return _graph_type(*_settle_list(items, depth, hook))


def _settle_list(items: list[Any], depth: int, hook: _Hook) -> list[Any]:
    for index, item in enumerate(items):
        if type(item) in _UNSETTLED:
            items[index] = _settle(item, depth + 1, hook)
    return items


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


def _raise_leaf(code: int, data: bytes) -> Any:
    if code == ExtensionType.ARRAY:
        return _raise_array(data)
    if code == ExtensionType.SCALAR:
        return _raise_scalar(data)
    if code in _OPENED_LATER:
        return msgpack.ExtType(code, data)
    if code == ExtensionType.BIG_INT:
        raise DecodeError("an integer beyond 64 bits belongs into a Reset only")
    raise DecodeError(f"unknown extension type {code}")


def _raise_leaf_or_big_int(code: int, data: bytes) -> Any:
    if code != ExtensionType.BIG_INT:
        return _raise_leaf(code, data)
    if not 0 < len(data) <= MAX_BIG_INT_BYTES:
        raise DecodeError(f"a big integer of {len(data)} bytes")
    return int.from_bytes(data, "little", signed=True)


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
    if any(size > MAX_ITEMS for size in shape):
        raise DecodeError(f"array shape {shape} is out of range")
    expected = math.prod(shape) * itemsize
    if expected != data_bytes:
        raise DecodeError(
            f"array shape {shape} takes {expected} bytes, {data_bytes} are here"
        )


def _check_bool(dtype: np.dtype[Any], data: bytes | memoryview) -> None:
    if dtype.kind == "b" and not is_bool(np.frombuffer(data, np.uint8)):
        raise DecodeError("a bool is a byte 0 or 1")


def _raise_object_array(items: list[Any], depth: int, hook: _Hook) -> Any:
    shape = items.pop(0) if items else None
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise DecodeError("malformed object array")
    if any(type(size) is not int or size < 0 for size in shape):
        raise DecodeError("malformed object array")
    check_shape(tuple(shape), 1, len(items))
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(_settle_list(items, depth, hook)):
        array[index] = item
    return array.reshape(shape)
