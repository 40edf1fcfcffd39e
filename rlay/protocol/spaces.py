"""Descriptions of spaces: plain data that any language can read.

A description is a frozen dataclass here and a msgpack array on the wire, its
first item the kind::

    ["box", dtype code, shape, low, high, bounded_below, bounded_above]
                                               arrays of that shape, or of shape ()
                                               where all elements are equal; the
                                               last two of bool
    ["discrete", dtype code, n, start]
    ["multi_binary", shape, n is an int]       MultiBinary(3) is not MultiBinary([3])
    ["multi_discrete", dtype code, shape, nvec, start]
    ["text", min_length, max_length, charset]  charset: a str, in the space's order
    ["dict", sort_keys, key, space, key, space, ...]    in the space's order
    ["tuple", space, ...]
    ["sequence", space, stack]
    ["graph", node_space, edge_space or nil]
    ["one_of", space, ...]
    ["opaque", type name, representation]      a space class that RLay does not know

Gymnasium's spaces are translated in ``rlay.envs.spaces``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rlay.errors import DecodeError
from rlay.protocol.constants import (
    MAX_DEPTH,
    MAX_DIMENSIONS,
    MAX_SLOT_PAYLOAD_BYTES,
)
from rlay.protocol.numbers import DTYPES
from rlay.protocol.values import decode_value, encode_value

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """An array of ``dtype`` and ``shape`` between two bounds."""

    dtype: int
    shape: Shape
    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    bounded_below: npt.NDArray[Any]
    bounded_above: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Discrete:
    """An integer from ``start`` to ``start + n - 1``."""

    dtype: int
    n: int
    start: int


@dataclass(frozen=True, slots=True)
class MultiBinary:
    """An int8 array of ``shape`` of zeros and ones.

    ``flat`` says whether the space was made from an int and not from a shape.
    """

    shape: Shape
    flat: bool


@dataclass(frozen=True, slots=True)
class MultiDiscrete:
    """An integer array of ``shape``, each element with a range of its own."""

    dtype: int
    shape: Shape
    nvec: npt.NDArray[Any]
    start: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Text:
    """A str of ``min_length`` to ``max_length`` characters of ``charset``."""

    min_length: int
    max_length: int
    charset: str


@dataclass(frozen=True, slots=True)
class Dict:
    """A dict with these keys, in this order.

    ``sort_keys`` is Gymnasium's own: whether it was to sort them.
    """

    entries: tuple[tuple[str, "Description"], ...]
    sort_keys: bool


@dataclass(frozen=True, slots=True)
class Tuple:
    """A tuple with these members."""

    items: tuple["Description", ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Any number of elements of one space, as a tuple or stacked."""

    feature: "Description"
    stack: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes, edges and the links between them."""

    node: "Description"
    edge: "Description | None"


@dataclass(frozen=True, slots=True)
class OneOf:
    """An index, and an element of the space at that index."""

    items: tuple["Description", ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A space class that RLay does not know: values travel, the space does not."""

    type_name: str
    representation: str


Description = (
    Box
    | Discrete
    | MultiBinary
    | MultiDiscrete
    | Text
    | Dict
    | Tuple
    | Sequence
    | Graph
    | OneOf
    | Opaque
)


# ---------------------------------------------------------------------- encode


def pack_space(space: Description) -> list[Any]:
    """Return the description as the plain list that travels."""
    match space:
        case Box():
            bounds = (space.low, space.high, space.bounded_below, space.bounded_above)
            return ["box", space.dtype, list(space.shape), *map(_compact, bounds)]
        case Discrete():
            return ["discrete", space.dtype, space.n, space.start]
        case MultiBinary():
            return ["multi_binary", list(space.shape), space.flat]
        case MultiDiscrete():
            nvec, start = _compact(space.nvec), _compact(space.start)
            return ["multi_discrete", space.dtype, list(space.shape), nvec, start]
        case Text():
            return ["text", space.min_length, space.max_length, space.charset]
        case Dict():
            pairs = [(key, pack_space(item)) for key, item in space.entries]
            return ["dict", space.sort_keys, *[part for pair in pairs for part in pair]]
        case Tuple():
            return ["tuple", *map(pack_space, space.items)]
        case Sequence():
            return ["sequence", pack_space(space.feature), space.stack]
        case Graph():
            edge = None if space.edge is None else pack_space(space.edge)
            return ["graph", pack_space(space.node), edge]
        case OneOf():
            return ["one_of", *map(pack_space, space.items)]
    return ["opaque", space.type_name, space.representation]


def _compact(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return one element where all are equal bit by bit, else the array."""
    if array.size > 1 and not any(array.strides):
        one: npt.NDArray[Any] = array[(slice(1),) * array.ndim].reshape(())
        return one  # it was broadcast: the others are this very element
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.size > 1:
        raw = flat.view(np.uint8).reshape(flat.size, -1)
        if (raw == raw[0]).all():
            return flat[:1].reshape(())
    return array


def same_space(one: Description, other: Description) -> bool:
    """Return whether two descriptions say the same, bit by bit."""
    return encode_value(pack_space(one)) == encode_value(pack_space(other))


# ---------------------------------------------------------------------- decode


def unpack_space(data: Any, path: str = "$", depth: int = 0) -> Description:
    """Return the description that a list from a peer stands for.

    Every length, code and count is checked before it is used.

    Raises:
        DecodeError: It is no description.
    """
    if depth > MAX_DEPTH:
        raise DecodeError(f"a space is nested deeper than {MAX_DEPTH} levels", path)
    if type(data) is not list or not data or type(data[0]) is not str:
        raise DecodeError("expected the description of a space", path)
    kind, *fields = data
    unpack = _UNPACK.get(kind)
    if unpack is None:
        raise DecodeError(f"unknown kind of space {kind[:40]!r}", path)
    try:
        return unpack(fields, path, depth + 1)
    except (ValueError, TypeError) as error:
        raise DecodeError(f"malformed {kind} space: {error}", path) from error


def _unpack_box(fields: list[Any], path: str, _depth: int) -> Box:
    code, sizes, low, high, below, above = fields
    dtype = _dtype(code, "biufc")
    shape = _shape(sizes, dtype.itemsize)
    boolean = np.dtype(bool)
    return Box(
        code,
        shape,
        _bound(low, shape, dtype),
        _bound(high, shape, dtype),
        _bound(below, shape, boolean),
        _bound(above, shape, boolean),
    )


def _unpack_discrete(fields: list[Any], path: str, _depth: int) -> Discrete:
    code, n, start = fields
    _dtype(code, "iu")
    if type(n) is not int or type(start) is not int or n <= 0:
        raise ValueError(f"n={n!r}, start={start!r}")
    return Discrete(code, n, start)


def _unpack_multi_binary(fields: list[Any], path: str, _depth: int) -> MultiBinary:
    sizes, flat = fields
    if type(flat) is not bool:
        raise TypeError("whether n is an int is a bool")
    shape = _shape(sizes, 1)
    if flat and len(shape) != 1:
        raise ValueError(f"n is an int, the shape is {shape}")
    return MultiBinary(shape, flat)


def _unpack_multi_discrete(fields: list[Any], path: str, _depth: int) -> MultiDiscrete:
    code, sizes, nvec, start = fields
    dtype = _dtype(code, "iu")
    shape = _shape(sizes, dtype.itemsize)
    return MultiDiscrete(
        code, shape, _bound(nvec, shape, dtype), _bound(start, shape, dtype)
    )


def _unpack_text(fields: list[Any], path: str, _depth: int) -> Text:
    minimum, maximum, charset = fields
    if type(charset) is not str or type(minimum) is not int or type(maximum) is not int:
        raise TypeError("expected two integers and a str")
    if not 0 <= minimum <= maximum:
        raise ValueError(f"lengths from {minimum} to {maximum}")
    return Text(minimum, maximum, charset)


def _unpack_dict(fields: list[Any], path: str, depth: int) -> Dict:
    sort_keys, *fields = fields
    if type(sort_keys) is not bool:
        raise TypeError("sort_keys is a bool")
    if len(fields) % 2 or any(type(key) is not str for key in fields[::2]):
        raise ValueError("expected pairs of a str and a space")
    if len(set(fields[::2])) * 2 != len(fields):
        raise ValueError("a key occurs twice")
    return Dict(
        tuple(
            (key, unpack_space(item, f"{path}.{key}", depth))
            for key, item in zip(fields[::2], fields[1::2], strict=True)
        ),
        sort_keys,
    )


def _unpack_items(fields: list[Any], path: str, depth: int) -> tuple[Description, ...]:
    return tuple(
        unpack_space(item, f"{path}[{index}]", depth)
        for index, item in enumerate(fields)
    )


def _unpack_sequence(fields: list[Any], path: str, depth: int) -> Sequence:
    feature, stack = fields
    if type(stack) is not bool:
        raise TypeError("stack is a bool")
    return Sequence(unpack_space(feature, f"{path}[*]", depth), stack)


def _unpack_graph(fields: list[Any], path: str, depth: int) -> Graph:
    node, edge = fields
    return Graph(
        unpack_space(node, f"{path}.nodes", depth),
        None if edge is None else unpack_space(edge, f"{path}.edges", depth),
    )


def _unpack_opaque(fields: list[Any], path: str, _depth: int) -> Opaque:
    type_name, representation = fields
    if type(type_name) is not str or type(representation) is not str:
        raise TypeError("expected two str")
    return Opaque(type_name, representation)


_Unpack = Callable[[list[Any], str, int], Description]
_UNPACK: Final[dict[str, _Unpack]] = {
    "box": _unpack_box,
    "discrete": _unpack_discrete,
    "multi_binary": _unpack_multi_binary,
    "multi_discrete": _unpack_multi_discrete,
    "text": _unpack_text,
    "dict": _unpack_dict,
    "tuple": lambda fields, path, depth: Tuple(_unpack_items(fields, path, depth)),
    "sequence": _unpack_sequence,
    "graph": _unpack_graph,
    "one_of": lambda fields, path, depth: OneOf(_unpack_items(fields, path, depth)),
    "opaque": _unpack_opaque,
}


def _dtype(code: Any, kinds: str) -> np.dtype[Any]:
    dtype = DTYPES.get(code) if type(code) is int else None
    if dtype is None or dtype.kind not in kinds:
        raise ValueError(f"dtype code {code!r}")
    return dtype


def _shape(sizes: Any, itemsize: int) -> Shape:
    # One dimension less than an array may have: a batch puts one in front.
    if type(sizes) is not list or len(sizes) >= MAX_DIMENSIONS:
        raise ValueError("malformed shape")
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError(f"shape {sizes}")
    # NumPy computes the product of a shape without its zeros, and may overflow.
    if math.prod(size or 1 for size in sizes) * itemsize > MAX_SLOT_PAYLOAD_BYTES:
        raise ValueError(
            f"shape {sizes} takes more than {MAX_SLOT_PAYLOAD_BYTES} bytes"
        )
    return tuple(sizes)


def _bound(value: Any, shape: Shape, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a bound as an array of ``shape`` that takes no more than it sent."""
    if type(value) is not np.ndarray or value.dtype != dtype:
        raise TypeError(f"a bound is an array of {dtype}")
    if value.shape == shape:
        return value
    if value.shape != ():
        raise ValueError(f"a bound has shape {value.shape}, the space {shape}")
    return np.broadcast_to(value, shape)


def encode_space(space: Description) -> bytes:
    """Return the description as bytes."""
    return encode_value(pack_space(space))


def decode_space(data: bytes | memoryview) -> Description:
    """Return the description that ``data`` stands for.

    Raises:
        DecodeError: It is no description.
    """
    return unpack_space(decode_value(data))
