"""Hypothesis strategies of this layer: descriptions of spaces, and their elements.

They build descriptions directly, without Gymnasium, which this layer does not know.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from rlay.protocol import spaces
from rlay.protocol.numbers import DTYPES
from rlay.protocol.values import GraphValue
from rlay.testing.info_strategies import object_array, plain_values, random_bits

REAL_CODES = tuple(code for code, dtype in DTYPES.items() if dtype.kind in "biuf")
INTEGER_CODES = tuple(code for code, dtype in DTYPES.items() if dtype.kind in "iu")
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
KEYS = st.text(max_size=4)


def generator(seed: int) -> np.random.Generator:
    """Return a generator: what holds many numbers is drawn as a seed."""
    return np.random.default_rng(seed)


@st.composite
def bounds(draw: st.DrawFn, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """Draw a bound: an array of any bits, or one element everywhere."""
    bits = random_bits(generator(draw(SEEDS)), dtype, shape or (1,))
    if draw(st.booleans()):
        return bits.reshape(shape) if shape else bits[0:1].reshape(())
    one = bits.reshape(-1)[:1]
    return np.full(shape, one[0] if one.size else 0, dtype)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    """Draw a box of any dtype and rank, 0-d and empty ones included."""
    code, shape = draw(st.sampled_from(REAL_CODES)), draw(SHAPES)
    dtype, boolean = DTYPES[code], np.dtype(bool)
    return spaces.Box(
        code,
        shape,
        draw(bounds(dtype, shape)),
        draw(bounds(dtype, shape)),
        draw(bounds(boolean, shape)),
        draw(bounds(boolean, shape)),
    )


@st.composite
def discretes(draw: st.DrawFn) -> spaces.Discrete:
    """Draw a discrete space of any integer dtype."""
    code = draw(st.sampled_from(INTEGER_CODES))
    return spaces.Discrete(
        code, draw(st.integers(1, 2**63)), draw(st.integers(-(2**63), 2**63))
    )


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    """Draw a multi-discrete space of any integer dtype and rank."""
    code, shape = draw(st.sampled_from(INTEGER_CODES)), draw(SHAPES)
    dtype = DTYPES[code]
    return spaces.MultiDiscrete(
        code, shape, draw(bounds(dtype, shape)), draw(bounds(dtype, shape))
    )


def multi_binaries() -> st.SearchStrategy[spaces.MultiBinary]:
    """Draw a multi-binary space made from an int or from a shape."""
    flat = st.integers(0, 5).map(lambda n: spaces.MultiBinary((n,), flat=True))
    return flat | SHAPES.map(lambda shape: spaces.MultiBinary(shape, flat=False))


@st.composite
def texts(draw: st.DrawFn) -> spaces.Text:
    """Draw a text space of any charset that is UTF-8."""
    least = draw(st.integers(0, 3))
    return spaces.Text(
        least, least + draw(st.integers(0, 3)), draw(st.text(min_size=1, max_size=5))
    )


def opaques() -> st.SearchStrategy[spaces.Opaque]:
    """Draw a space that only the other end knows."""
    return st.builds(spaces.Opaque, st.text(max_size=5), st.text(max_size=5))


def leaves() -> st.SearchStrategy[Any]:
    """Draw a space that holds no other."""
    return st.one_of(
        boxes(),
        discretes(),
        multi_discretes(),
        multi_binaries(),
        texts(),
        opaques(),
    )


@st.composite
def _dicts(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> spaces.Dict:
    entries = draw(st.dictionaries(KEYS, parts, max_size=3))
    return spaces.Dict(tuple(entries.items()), draw(st.booleans()))


def descriptions() -> st.SearchStrategy[Any]:
    """Draw a space of any of the ten kinds, or an opaque one, nested."""
    return st.recursive(
        leaves(),
        lambda parts: st.one_of(
            _dicts(parts),
            st.lists(parts, max_size=3).map(lambda items: spaces.Tuple(tuple(items))),
            st.lists(parts, min_size=1, max_size=3).map(
                lambda items: spaces.OneOf(tuple(items))
            ),
            st.builds(spaces.Sequence, parts, st.booleans()),
            st.builds(spaces.Graph, parts, st.none() | parts),
        ),
        max_leaves=6,
    )


@st.composite
def elements(draw: st.DrawFn, space: Any) -> Any:
    """Draw an element of a space, of exactly its types and of any bits.

    Bounds are not kept: they are no business of this layer.
    """
    match space:
        case spaces.Box() | spaces.MultiDiscrete():
            return random_bits(
                generator(draw(SEEDS)), DTYPES[space.dtype], space.shape
            ).reshape(space.shape)
        case spaces.MultiBinary():
            return np.asarray(
                generator(draw(SEEDS)).integers(0, 2, space.shape, np.int8)
            )
        case spaces.Discrete():
            return draw(discrete_numbers())
        case spaces.Text():
            return draw(st.text(max_size=4))
        case spaces.Dict():
            return {key: draw(elements(item)) for key, item in space.entries}
        case spaces.Tuple():
            return tuple(draw(elements(item)) for item in space.items)
        case spaces.Sequence():
            items = draw(st.lists(elements(space.feature), max_size=2))
            return object_array(items) if space.stack else tuple(items)
        case spaces.Graph():
            edges = None if space.edge is None else draw(elements(space.edge))
            return GraphValue((draw(elements(space.node)), edges, None))
        case spaces.OneOf():
            index = draw(st.integers(0, len(space.items) - 1))
            return (np.int64(index), draw(elements(space.items[index])))
        case _:
            return draw(plain_values(4))


def discrete_numbers() -> st.SearchStrategy[Any]:
    """Draw what a discrete space's element may be: any whole number or bool."""
    numpy_numbers = st.sampled_from(
        [DTYPES[code].type for code in (1, *INTEGER_CODES)]
    ).flatmap(
        lambda kind: SEEDS.map(
            lambda seed: random_bits(generator(seed), np.dtype(kind), (1,))[0]
        )
    )
    return st.integers(-(2**63), 2**63 - 1) | st.booleans() | numpy_numbers


@st.composite
def spaces_with_elements(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw a space and an element of it."""
    space = draw(descriptions())
    return space, draw(elements(space))
