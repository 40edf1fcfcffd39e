"""Hypothesis strategies: any info, and info that cannot travel.

Info and options are dicts of anything, so this is where values are lost: bool that
becomes int, float that is rounded, a tuple that returns as a list, an array that was a
view. :func:`infos` draws what RLay carries; :func:`unsendables` draws what it refuses,
with the path at which it sits; :func:`lookalikes` draws what is almost plain, and must
arrive as it was or be refused.

Needs Hypothesis: ``pip install hypothesis``.
"""

from __future__ import annotations

import decimal
import enum
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "the strategies of rlay.testing need Hypothesis: pip install hypothesis"
    ) from error

__all__ = [
    "DTYPES",
    "Unsendable",
    "arrays",
    "infos",
    "lookalikes",
    "numpy_scalars",
    "object_array",
    "plain_values",
    "random_bits",
    "st",
    "unsendables",
]

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
)
"""Every dtype that an array or a numpy number may have to travel."""

_SEEDS = st.integers(0, 2**32 - 1)
_SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
_NAMES = st.text("abcdefghij", min_size=1, max_size=4)


# --- what travels ---------------------------------------------------------------------


@st.composite
def numpy_scalars(draw: st.DrawFn) -> np.generic:
    """Draw a numpy scalar of any supported dtype, with any bits."""
    dtype = draw(st.sampled_from(DTYPES))
    generator = np.random.default_rng(draw(_SEEDS))
    scalar: np.generic = random_bits(generator, dtype, (1,))[0]
    return scalar


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Draw an array of any supported dtype, with any bits and any memory layout.

    Layouts: C and Fortran order, strided and reversed views, read-only, byte-swapped,
    0-d and empty.
    """
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(_SHAPES)
    array = random_bits(np.random.default_rng(draw(_SEEDS)), dtype, shape)
    layouts = ["C", "F", "strided", "reversed", "frozen", "swapped"]
    layout = draw(st.sampled_from(layouts))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided" and shape:
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "reversed" and shape:
        return array[..., ::-1]
    if layout == "frozen":
        array.flags.writeable = False
    if layout == "swapped":
        return array.byteswap().view(dtype.newbyteorder())
    return array


def plain_values(max_leaves: int = 12) -> st.SearchStrategy[Any]:
    """Draw any value that RLay carries in info and options, nested.

    None, bool, int from -2**63 to 2**64 - 1, float of any bits, str, bytes, numpy
    scalars and arrays; lists, tuples, dicts with str keys, and object arrays of them.
    """
    leaves = _leaves()
    nested = st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.lists(parts, max_size=4),
            st.lists(parts, max_size=4).map(tuple),
            st.dictionaries(st.text(max_size=8), parts, max_size=4),
            st.lists(parts, max_size=3).map(object_array),
        ),
        max_leaves=max_leaves,
    )
    # Drawn alone, the second would hardly ever be a leaf.
    return st.booleans().flatmap(lambda nest: nested if nest else leaves)


def infos(max_leaves: int = 12) -> st.SearchStrategy[dict[str, Any]]:
    """Draw an info: a dict of :func:`plain_values` without RLay's own key ``rlay``."""
    names = st.text(max_size=8).filter(lambda name: name != "rlay")
    return st.dictionaries(names, plain_values(max_leaves), max_size=5)


def _leaves() -> st.SearchStrategy[Any]:
    edges = [0, 1, -1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
    return st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(edges),
        st.integers(-(2**63), 2**64 - 1),
        _floats(),
        st.text(max_size=20),
        st.binary(max_size=20),
        numpy_scalars(),
        arrays(),
    )


def _floats() -> st.SearchStrategy[float]:
    """Draw a float of any bits: NaN payloads, infinities, -0.0 and subnormals."""
    edges = [0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 2.0**-1022]
    bits = st.integers(0, 2**64 - 1)
    nans = st.integers(1, 2**51 - 1).map(lambda payload: 0x7FF8 << 48 | payload)
    return st.sampled_from(edges) | (bits | nans).map(_float_of_bits)


def _float_of_bits(bits: int) -> float:
    return float(np.array(bits, np.uint64).view(np.float64))


def object_array(items: list[Any]) -> NDArray[Any]:
    """Return a 1-d object array of ``items``, whatever they are."""
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def random_bits(
    generator: np.random.Generator, dtype: Any, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return an array of any bits that are a value of ``dtype``."""
    if dtype.kind == "b":
        return np.asarray(generator.random(shape) < 0.5)
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(generator.bytes(count), dtype).reshape(shape).copy()


# --- what does not --------------------------------------------------------------------


@dataclass(frozen=True)
class Unsendable:
    """An info that cannot travel.

    Attributes:
        kind: What is wrong with it, in words.
        info: The info.
        path: Where in it the fault sits, such as ``$.a.b[2]``. An error may name a
            place below it, as the key of a dict or a turn of a cycle.
    """

    kind: str
    info: dict[str, Any]
    path: str


class _Mode(enum.IntEnum):
    FAST = 1


class _Name(str):
    __slots__ = ()


class _Count(int):
    pass


class _Share(float):
    pass


class _Grid(np.ndarray):
    pass


_Point = namedtuple("_Point", ["x", "y"])


def _cyclic_list() -> list[Any]:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return cycle


def _cyclic_dict() -> dict[str, Any]:
    cycle: dict[str, Any] = {}
    cycle["again"] = [cycle]
    return cycle


def _cyclic_array() -> NDArray[Any]:
    cycle = np.empty(1, dtype=object)
    cycle[0] = cycle
    return cycle


UNSENDABLE_KINDS: dict[str, Callable[[], Any]] = {
    "int above 64 bits": lambda: 2**64,
    "int below 64 bits": lambda: -(2**63) - 1,
    "int of 1000 bits": lambda: 2**1000,
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset((1, 2)),
    "object": object,
    "function": lambda: len,
    "class": lambda: int,
    "complex": lambda: 1j,
    "decimal": lambda: decimal.Decimal("0.1"),
    "bytearray": lambda: bytearray(b"x"),
    "memoryview": lambda: memoryview(b"x"),
    "range": lambda: range(3),
    "generator": lambda: (item for item in (1, 2)),
    "int key": lambda: {1: 2},
    "int key beside its text": lambda: {"1": 2, 1: 3},
    "tuple key": lambda: {("a", "b"): 2},
    "None key": lambda: {None: 2},
    "cyclic list": _cyclic_list,
    "cyclic dict": _cyclic_dict,
    "cyclic array": _cyclic_array,
    "longdouble": lambda: np.longdouble(1) / 3,
    "longdouble array": lambda: np.ones(2, np.longdouble) / 3,
    "structured array": lambda: np.zeros(2, [("a", "i4"), ("b", "f8")]),
    "array of a set": lambda: object_array([{1}]),
}
"""What cannot travel, by kind; each value makes a fresh one."""

LOOKALIKES: dict[str, Callable[[], Any]] = {
    "enumeration": lambda: _Mode.FAST,
    "subclass of int": lambda: _Count(3),
    "subclass of float": lambda: _Share(0.5),
    "subclass of str": lambda: _Name("x"),
    "named tuple": lambda: _Point(1, 2),
    "ordered dict": lambda: OrderedDict(b=1, a=2),
    "default dict": lambda: defaultdict(int, a=1),
    "numpy str": lambda: np.str_("x"),
    "numpy bytes": lambda: np.bytes_(b"x\0y"),
    "str array": lambda: np.array(["a", "bc"]),
    "bytes array": lambda: np.array([b"a", b"bc"]),
    "masked array": lambda: np.ma.masked_array([1, 2], mask=[True, False]),
    "subclass of ndarray": lambda: np.zeros(2).view(_Grid),
    "datetime64": lambda: np.datetime64("2024-02-29"),
    "timedelta64 array": lambda: np.zeros(2, "m8[s]"),
    "longlong": lambda: np.longlong(3),
    "lone surrogate": lambda: "a\ud800b",
    "surrogate key": lambda: {"a\ud800b": 1},
    "deep list": lambda: _nested(200),
    "empty object array": lambda: np.empty((0, 3), dtype=object),
    "object array of rank 2": lambda: np.array([[1, None], ["a", b"b"]], dtype=object),
    "0-d object array": lambda: np.array(None, dtype=object),
    "array of rank 20": lambda: np.zeros((1,) * 20, np.int8),
}
"""What is almost plain, by kind; each value makes a fresh one."""


def _nested(depth: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(depth):
        nest = [nest]
    return nest


def unsendables() -> st.SearchStrategy[Unsendable]:
    """Draw an info with exactly one part that cannot travel, anywhere in it."""
    return _hidden(UNSENDABLE_KINDS)


def lookalikes() -> st.SearchStrategy[Unsendable]:
    """Draw an info with one part that must arrive exactly as it is, or be refused."""
    return _hidden(LOOKALIKES)


@st.composite
def _hidden(draw: st.DrawFn, kinds: dict[str, Callable[[], Any]]) -> Unsendable:
    """Hide a value of one of ``kinds`` in an info of plain values."""
    kind = draw(st.sampled_from(sorted(kinds)))
    value, path = kinds[kind](), ""
    for container in draw(
        st.lists(st.sampled_from(["dict", "list", "tuple"]), max_size=3)
    ):
        value, step = _wrapped(draw, value, container)
        path = step + path
    info, step = _wrapped(draw, value, "dict")
    return Unsendable(kind, info, "$" + step + path)


def _wrapped(draw: st.DrawFn, value: Any, container: str) -> tuple[Any, str]:
    """Return ``value`` in a container among plain values, and the step to it."""
    if container == "dict":
        siblings = draw(st.dictionaries(_NAMES, _leaves(), max_size=2))
        name = draw(_NAMES)
        return {**siblings, name: value}, f".{name}"
    before = draw(st.lists(_leaves(), max_size=2))
    items = [*before, value, *draw(st.lists(_leaves(), max_size=1))]
    return (items if container == "list" else tuple(items)), f"[{len(before)}]"
