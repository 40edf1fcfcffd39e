"""Gymnasium's spaces to plain descriptions, and back."""

import inspect
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.spaces.graph import GraphInstance

from rlay.errors import SpaceMismatch
from rlay.protocol import spaces as plain
from rlay.protocol.numbers import DTYPES, dtype_code
from rlay.protocol.values import Unsendable, encode_value, set_graph_type

set_graph_type(GraphInstance)

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_DISCRETE_DTYPE: Final = (
    "dtype" in inspect.signature(spaces.Discrete.__init__).parameters
)


class OpaqueSpace(gymnasium.Space[Any]):
    """Stands for a space of a class that exists only at the environment's end.

    Its elements arrive as they are; it cannot be sampled.

    Attributes:
        type_name: Name of the remote class.
        representation: Its ``repr`` at the environment's end.
    """

    def __init__(self, type_name: str, representation: str) -> None:
        """Remember what the remote space is."""
        super().__init__(None, None)
        self.type_name = type_name
        self.representation = representation

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """Refuse: only the remote class knows its elements."""
        raise NotImplementedError(
            f"{self.representation} is of class {self.type_name}, which only the "
            "environment's end knows; wrap the environment there so that it uses "
            "Gymnasium's own spaces"
        )

    def contains(self, x: Any) -> bool:
        """Return True: membership is not known here."""
        return True

    @property
    def is_np_flattenable(self) -> bool:
        """Return False."""
        return False

    def __repr__(self) -> str:
        """Show what it stands for."""
        return f"OpaqueSpace({self.representation})"

    def __eq__(self, other: object) -> bool:
        """Compare what they stand for."""
        return isinstance(other, OpaqueSpace) and (
            self.type_name,
            self.representation,
        ) == (other.type_name, other.representation)

    __hash__ = None  # type: ignore[assignment]


# -------------------------------------------------------------------- describe


def describe(space: gymnasium.Space[Any], path: str = "$") -> plain.Description:
    """Return the description of ``space``.

    Raises:
        SpaceMismatch: It cannot travel; the message names path and remedy.
    """
    kind = type(space)
    try:
        describer = _DESCRIBERS[kind]
    except KeyError:
        return _opaque(space)
    return describer(space, path)


def _code(dtype: Any, path: str) -> int:
    code = None if np.dtype(dtype).hasobject else dtype_code(dtype)
    if code is None:
        raise SpaceMismatch(
            f"a space of dtype {np.dtype(dtype)} cannot travel, at {path}; use bool, "
            "int8 to int64, uint8 to uint64, float16 to float64 or complex"
        )
    return code


def _box(space: Any, path: str) -> plain.Box:
    return plain.Box(
        _code(space.dtype, path),
        tuple(space.shape),
        space.low,
        space.high,
        np.asarray(space.bounded_below),
        np.asarray(space.bounded_above),
    )


def _discrete(space: Any, path: str) -> plain.Discrete:
    return plain.Discrete(_code(space.dtype, path), int(space.n), int(space.start))


def _multi_binary(space: Any, path: str) -> plain.MultiBinary:
    return plain.MultiBinary(
        tuple(int(size) for size in space.shape), isinstance(space.n, (int, np.integer))
    )


def _multi_discrete(space: Any, path: str) -> plain.MultiDiscrete:
    return plain.MultiDiscrete(
        _code(space.dtype, path), tuple(space.shape), space.nvec, space.start
    )


def _text(space: Any, path: str) -> plain.Text:
    charset = "".join(space.character_list)
    try:
        encode_value(charset)
    except Unsendable as error:
        raise SpaceMismatch(
            f"the charset of a Text space: {error}, at {path}"
        ) from None
    return plain.Text(int(space.min_length), int(space.max_length), charset)


def _dict(space: Any, path: str) -> plain.Dict:
    for key in space.spaces:
        if type(key) is not str:
            raise SpaceMismatch(
                f"a Dict space's keys must be str, {key!r} is not, at {path}"
            )
    return plain.Dict(
        tuple(
            (key, describe(item, f"{path}.{key}")) for key, item in space.spaces.items()
        ),
        bool(getattr(space, "sort_keys", True)),
    )


def _items(space: Any, path: str) -> tuple[plain.Description, ...]:
    return tuple(
        describe(item, f"{path}[{index}]") for index, item in enumerate(space.spaces)
    )


def _sequence(space: Any, path: str) -> plain.Sequence:
    return plain.Sequence(
        describe(space.feature_space, f"{path}[*]"), bool(space.stack)
    )


def _graph(space: Any, path: str) -> plain.Graph:
    edge = space.edge_space
    return plain.Graph(
        describe(space.node_space, f"{path}.nodes"),
        None if edge is None else describe(edge, f"{path}.edges"),
    )


def _opaque(space: Any) -> plain.Opaque:
    kind = type(space)
    # An address in a repr would make two equal spaces of two processes differ.
    text = _ADDRESS.sub("", repr(space))[:4096]
    return plain.Opaque(f"{kind.__module__}.{kind.__qualname__}", text)


_DESCRIBERS: Final[dict[type, Callable[[Any, str], plain.Description]]] = {
    spaces.Box: _box,
    spaces.Discrete: _discrete,
    spaces.MultiBinary: _multi_binary,
    spaces.MultiDiscrete: _multi_discrete,
    spaces.Text: _text,
    spaces.Dict: _dict,
    spaces.Tuple: lambda space, path: plain.Tuple(_items(space, path)),
    spaces.Sequence: _sequence,
    spaces.Graph: _graph,
    spaces.OneOf: lambda space, path: plain.OneOf(_items(space, path)),
    OpaqueSpace: lambda space, _: plain.Opaque(space.type_name, space.representation),
}


# ----------------------------------------------------------------------- build


def build(space: plain.Description) -> gymnasium.Space[Any]:
    """Return the Gymnasium space that a description stands for."""
    match space:
        case plain.Box():
            return _build_box(space)
        case plain.Discrete():
            return _build_discrete(space)
        case plain.MultiBinary():
            n = space.shape[0] if space.flat else list(space.shape)
            return spaces.MultiBinary(n)
        case plain.MultiDiscrete():
            return spaces.MultiDiscrete(
                space.nvec, dtype=DTYPES[space.dtype].type, start=space.start
            )
        case plain.Text():
            return spaces.Text(
                space.max_length, min_length=space.min_length, charset=space.charset
            )
        case plain.Dict():
            return _build_dict(space)
        case plain.Tuple():
            return spaces.Tuple(tuple(build(item) for item in space.items))
        case plain.Sequence():
            return spaces.Sequence(build(space.feature), stack=space.stack)
        case plain.Graph():
            edge = None if space.edge is None else build(space.edge)
            return spaces.Graph(build(space.node), edge)
        case plain.OneOf():
            return spaces.OneOf(tuple(build(item) for item in space.items))
        case plain.Opaque():
            return OpaqueSpace(space.type_name, space.representation)


def _build_box(space: plain.Box) -> gymnasium.Space[Any]:
    box: Any = spaces.Box(
        space.low, space.high, shape=space.shape, dtype=DTYPES[space.dtype].type
    )
    # An integer Box made from infinite bounds has the limits of its dtype as bounds
    # and yet samples as an unbounded one: only these two arrays say so.
    box.bounded_below = space.bounded_below.copy()
    box.bounded_above = space.bounded_above.copy()
    return box  # type: ignore[no-any-return]


def _build_discrete(space: plain.Discrete) -> gymnasium.Space[Any]:
    if not _DISCRETE_DTYPE:
        return spaces.Discrete(space.n, start=space.start)
    dtype = DTYPES[space.dtype].type
    return spaces.Discrete(space.n, start=space.start, dtype=dtype)


def _build_dict(space: plain.Dict) -> gymnasium.Space[Any]:
    # A plain dict would be sorted, an OrderedDict never is.
    built: Any = spaces.Dict(
        OrderedDict((key, build(item)) for key, item in space.entries)
    )
    if hasattr(built, "sort_keys"):
        built.sort_keys = space.sort_keys
    return built  # type: ignore[no-any-return]


def mismatch(
    ours: plain.Description, theirs: plain.Description, what: str
) -> SpaceMismatch | None:
    """Return the error that says how two descriptions differ, or None."""
    if plain.same_space(ours, theirs):
        return None
    return SpaceMismatch(
        f"the {what} differ: this end has {build(ours)}, the other {build(theirs)}. "
        "Make both ends use the same space, or leave it out at the algorithm's end"
    )
