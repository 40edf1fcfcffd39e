"""Hypothesis strategies: any space of Gymnasium, and its elements.

For property tests of whatever carries Gymnasium's values: a wrapper, a client in
another language, RLay itself. The spaces are of all ten kinds, nested, with the dtypes,
bounds, starts, charsets and orders that are easily lost on the way. Info is in
:mod:`rlay.testing.info_strategies`, whose public names are here as well.

What holds many numbers is built by numpy from a seed that Hypothesis draws, so a
failing example shrinks in its structure, not in each number.

Needs Hypothesis: ``pip install hypothesis``.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from numpy.typing import NDArray

from rlay.testing.info_strategies import (
    DTYPES,
    Unsendable,
    arrays,
    infos,
    lookalikes,
    numpy_scalars,
    plain_values,
    random_bits,
    st,
    unsendables,
)

__all__ = [
    "Unsendable",
    "arrays",
    "boxes",
    "dicts",
    "discretes",
    "elements",
    "graphs",
    "infos",
    "lookalikes",
    "multi_binaries",
    "multi_discretes",
    "numpy_scalars",
    "one_ofs",
    "plain_values",
    "sequences",
    "spaces_of_any_kind",
    "texts",
    "tuples",
    "unsendables",
]

REAL_DTYPES = tuple(dtype for dtype in DTYPES if dtype.kind in "biuf")
INTEGER_DTYPES = tuple(dtype for dtype in DTYPES if dtype.kind in "iu")

_DISCRETE_HAS_DTYPE = "dtype" in inspect.signature(spaces.Discrete).parameters
_DICT_HAS_SORT_KEYS = "sort_keys" in inspect.signature(spaces.Dict).parameters

_SEEDS = st.integers(0, 2**32 - 1)
_SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


# --- spaces ---------------------------------------------------------------------------


@st.composite
def boxes(
    draw: st.DrawFn,
    dtypes: tuple[np.dtype[Any], ...] = REAL_DTYPES,
    shapes: st.SearchStrategy[tuple[int, ...]] = _SHAPES,
) -> spaces.Box[Any]:
    """Draw a Box of any dtype and rank, 0-d and empty ones included.

    Bounds are one number or an array of them, finite, at the dtype's limits, or
    infinite on either side. An infinite bound of a signed integer Box is remembered by
    Gymnasium apart from the bound's value, and changes its samples.
    """
    dtype, shape = draw(st.sampled_from(dtypes)), draw(shapes)
    generator = np.random.default_rng(draw(_SEEDS))
    if dtype.kind == "b":
        high = random_bits(generator, dtype, shape)
        low = high & random_bits(generator, dtype, shape)
        return _make_box(low, high, dtype)
    kinds = ["array", "uniform"]
    kinds += ["limits"] if dtype.kind in "iu" else []
    kinds += ["unbounded", "below", "above"] if dtype.kind in "if" else []
    kind = draw(st.sampled_from(kinds))
    if kind == "limits":
        info = np.iinfo(dtype)
        return spaces.Box(int(info.min), int(info.max), shape, dtype.type)
    if kind in ("unbounded", "below", "above"):
        floor = 0 if kind == "below" else -np.inf
        ceiling = 0 if kind == "above" else np.inf
        return spaces.Box(floor, ceiling, shape, dtype.type)
    if kind == "uniform":
        least = 0 if dtype.kind == "u" else draw(st.integers(-100, 0))
        most = draw(st.integers(0, 100))
        return spaces.Box(least, most, shape, dtype.type)
    one, other = (_random_bounds(generator, dtype, shape) for _ in range(2))
    low, high = np.minimum(one, other), np.maximum(one, other)
    if dtype.kind == "f":
        low = np.where(generator.random(shape) < 0.2, -np.inf, low).astype(dtype)
        high = np.where(generator.random(shape) < 0.2, np.inf, high).astype(dtype)
    return _make_box(low, high, dtype)


def _make_box(low: Any, high: Any, dtype: np.dtype[Any]) -> spaces.Box[Any]:
    # Arithmetic on 0-d arrays gives scalars, which Gymnasium does not take for bounds.
    low, high = np.asarray(low), np.asarray(high)
    return spaces.Box(low, high, low.shape, dtype.type)


@st.composite
def discretes(draw: st.DrawFn, limit: int = 2**63 - 1) -> spaces.Discrete[Any]:
    """Draw a Discrete with any start, and any dtype where Gymnasium has it.

    Args:
        draw: Given by Hypothesis.
        limit: The largest start, either way.
    """
    dtype = draw(st.sampled_from(INTEGER_DTYPES)) if _DISCRETE_HAS_DTYPE else None
    info = np.iinfo(dtype or np.int64)
    n = draw(st.integers(1, 100))  # flatten() makes an array of this length
    least, most = max(int(info.min), -limit), min(int(info.max) - n, limit)
    start = draw(st.integers(least, most))
    if dtype is None:
        return spaces.Discrete(n, start=start)
    return spaces.Discrete(n, start=start, dtype=dtype.type)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    """Draw a MultiDiscrete of rank 1 to 3 with any start and dtype."""
    dtype = draw(st.sampled_from(INTEGER_DTYPES))
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple))
    generator = np.random.default_rng(draw(_SEEDS))
    nvec = generator.integers(1, 50, shape).astype(dtype)
    starts = generator.integers(0 if dtype.kind == "u" else -50, 50, shape)
    start = starts.astype(dtype) if draw(st.booleans()) else None
    return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)


@st.composite
def multi_binaries(draw: st.DrawFn) -> spaces.MultiBinary:
    """Draw a MultiBinary made of a number or of a shape."""
    if draw(st.booleans()):
        return spaces.MultiBinary(draw(st.integers(1, 20)))
    return spaces.MultiBinary(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))


@st.composite
def texts(draw: st.DrawFn) -> spaces.Text:
    """Draw a Text with a charset of any characters but surrogates, in any order."""
    alphabet = st.characters(codec="utf-8")
    characters = draw(st.lists(alphabet, min_size=1, max_size=8, unique=True))
    least = draw(st.integers(0, 5))
    most = least + draw(st.integers(0, 10))
    if draw(st.booleans()):
        return spaces.Text(most, min_length=least, charset="".join(characters))
    return spaces.Text(most, min_length=least, charset=frozenset(characters))


@st.composite
def graphs(draw: st.DrawFn) -> spaces.Graph:
    """Draw a Graph of Box or Discrete nodes, with Box, Discrete or no edges."""
    # Old releases of Gymnasium flatten a Discrete node to start + n numbers.
    parts = (boxes() | discretes(limit=10)).filter(_is_sampled_in_batches)
    return spaces.Graph(draw(parts), draw(st.none() | parts))


def _is_sampled_in_batches(space: spaces.Space[Any]) -> bool:
    """Return whether Gymnasium samples many nodes of this space at once.

    It does not where an integer Box is unbounded towards the limit of 64 bits.
    """
    try:
        with np.errstate(all="ignore"):
            batch_space(space, 2).sample()
    except ValueError:
        return False
    return True


@st.composite
def dicts(draw: st.DrawFn, parts: st.SearchStrategy[spaces.Space[Any]]) -> spaces.Dict:
    """Draw a Dict whose keys are sorted, or in the order in which they were given."""
    given = draw(st.dictionaries(st.text(max_size=6), parts, max_size=4))
    kind = draw(st.sampled_from(["sorted", "ordered", "unsorted"]))
    if kind == "sorted":
        return spaces.Dict(given)
    if kind == "unsorted" and _DICT_HAS_SORT_KEYS:
        return spaces.Dict(given, sort_keys=False)
    return spaces.Dict(OrderedDict(given))


def tuples(
    parts: st.SearchStrategy[spaces.Space[Any]],
) -> st.SearchStrategy[spaces.Tuple[Any]]:
    """Draw a Tuple of up to four parts."""
    return st.lists(parts, max_size=4).map(spaces.Tuple)


def sequences(
    parts: st.SearchStrategy[spaces.Space[Any]],
) -> st.SearchStrategy[spaces.Sequence]:
    """Draw a Sequence, plain or stacked."""
    return st.builds(_sequence, parts, st.booleans())


def one_ofs(
    parts: st.SearchStrategy[spaces.Space[Any]],
) -> st.SearchStrategy[spaces.OneOf[Any]]:
    """Draw a OneOf of one to four parts."""
    return st.lists(parts, min_size=1, max_size=4).map(spaces.OneOf)


def spaces_of_any_kind(max_leaves: int = 6) -> st.SearchStrategy[spaces.Space[Any]]:
    """Draw a space of any of the ten kinds, nested up to ``max_leaves`` leaves."""
    leaves = st.one_of(
        boxes(), discretes(), multi_discretes(), multi_binaries(), texts(), graphs()
    )
    nested = st.recursive(
        leaves,
        lambda parts: st.one_of(
            dicts(parts), tuples(parts), sequences(parts), one_ofs(parts)
        ),
        max_leaves=max_leaves,
    )
    # Drawn alone, the second would hardly ever be a leaf.
    return st.booleans().flatmap(lambda nest: nested if nest else leaves)


# --- elements of a space --------------------------------------------------------------


def elements(
    space: spaces.Space[Any], *, bounded: bool = True
) -> st.SearchStrategy[Any]:
    """Draw elements of ``space``, of exactly the types that the space promises.

    Unlike ``space.sample()`` they include empty sequences, edge-less graphs, and 0-d
    arrays where Gymnasium samples a number instead (integer Boxes of shape ()).

    Args:
        space: A space of Gymnasium's ten kinds.
        bounded: False fills float Boxes with any bits (NaN payloads, infinities, -0.0,
            subnormals) and integer Boxes with any numbers, out of bounds too.
    """

    def element(seed: int) -> Any:
        return _element(space, np.random.default_rng(seed), bounded)

    return _SEEDS.map(element)


def _element(space: Any, generator: np.random.Generator, bounded: bool) -> Any:
    """Return one element, from ``generator`` alone."""
    return _ELEMENTS[type(space)](space, generator, bounded)


def _box_element(space: spaces.Box, generator: Any, bounded: bool) -> NDArray[Any]:
    dtype, shape = space.dtype, space.shape
    if not bounded:
        return random_bits(generator, dtype, shape)
    if dtype.kind == "b":
        bits = random_bits(generator, dtype, shape)
        return np.asarray((bits | space.low) & space.high, dtype=dtype)
    if dtype.kind in "iu":
        drawn = generator.integers(space.low, space.high, dtype=dtype, endpoint=True)
        return np.asarray(drawn, dtype=dtype)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 1, -1.0))
    high = np.where(np.isfinite(high), high, low + 1)
    share = generator.random(shape)
    mixed = np.asarray(low * (1 - share) + high * share).astype(dtype)
    return np.asarray(np.clip(mixed, space.low, space.high), dtype=dtype)


def _discrete_element(space: Any, generator: Any, bounded: bool) -> Any:
    return space.dtype.type(int(space.start) + int(generator.integers(int(space.n))))


def _multi_discrete_element(space: Any, generator: Any, bounded: bool) -> Any:
    drawn = generator.integers(0, space.nvec, dtype=space.dtype)
    return (drawn + space.start).astype(space.dtype)


def _multi_binary_element(space: Any, generator: Any, bounded: bool) -> Any:
    return generator.integers(0, 2, space.shape, dtype=np.int8)


def _text_element(space: spaces.Text, generator: Any, bounded: bool) -> str:
    length = int(generator.integers(space.min_length, space.max_length + 1))
    characters = space.character_list
    indices = generator.integers(0, len(characters), length) if length else ()
    return "".join(characters[index] for index in indices)


def _dict_element(space: spaces.Dict, generator: Any, bounded: bool) -> dict[str, Any]:
    return {
        name: _element(part, generator, bounded) for name, part in space.spaces.items()
    }


def _tuple_element(space: spaces.Tuple[Any], generator: Any, bounded: bool) -> Any:
    return tuple(_element(part, generator, bounded) for part in space.spaces)


def _sequence_element(space: spaces.Sequence, generator: Any, bounded: bool) -> Any:
    part = space.feature_space
    length = int(generator.integers(0, 5))
    items = tuple(_element(part, generator, bounded) for _ in range(length))
    return _stack(part, items) if space.stack else items


def _graph_element(space: spaces.Graph, generator: Any, bounded: bool) -> Any:
    def several(part: Any, count: int) -> Any:
        return _stack(part, [_element(part, generator, bounded) for _ in range(count)])

    node_count, edge_count = (int(n) for n in generator.integers(1, 6, 2))
    nodes = several(space.node_space, node_count)
    if space.edge_space is None or generator.random() < 0.2:
        return spaces.GraphInstance(nodes, None, None)
    edges = several(space.edge_space, edge_count)
    links = generator.integers(0, node_count, (edge_count, 2), dtype=np.int32)
    return spaces.GraphInstance(nodes, edges, links)


def _one_of_element(space: spaces.OneOf[Any], generator: Any, bounded: bool) -> Any:
    index = generator.integers(0, len(space.spaces), dtype=np.int64)
    return index, _element(space.spaces[index], generator, bounded)


_ELEMENTS: dict[type, Any] = {
    spaces.Box: _box_element,
    spaces.Discrete: _discrete_element,
    spaces.MultiDiscrete: _multi_discrete_element,
    spaces.MultiBinary: _multi_binary_element,
    spaces.Text: _text_element,
    spaces.Dict: _dict_element,
    spaces.Tuple: _tuple_element,
    spaces.Sequence: _sequence_element,
    spaces.Graph: _graph_element,
    spaces.OneOf: _one_of_element,
}


def _sequence(part: spaces.Space[Any], stack: bool) -> spaces.Sequence:
    return spaces.Sequence(part, stack=stack)


def _stack(part: spaces.Space[Any], items: Any) -> Any:
    """Return ``items`` as one batch, as a stacked Sequence of Gymnasium holds them."""
    empty: Any = create_empty_array(part, len(items))
    return concatenate(part, items, empty) if items else empty


def _random_bounds(generator: Any, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return finite bounds between which Gymnasium can sample."""
    if dtype.kind == "f":
        return np.asarray(generator.normal(0, 100, shape), dtype=dtype)
    return np.asarray(random_bits(generator, dtype, shape) >> 1, dtype=dtype)
