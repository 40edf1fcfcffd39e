"""Whether an observation is what its space promised: structure, dtype, shape.

An observation that is exactly of its leaves' types never comes here. The others do:
a NumPy scalar for a Box of shape (), a dict in another order, a list for a tuple
travel as they are; a wrong dtype or shape is refused with its path, where in the
same process Gymnasium would have warned. Bounds are not checked unless asked for.
"""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from rlay.errors import SpaceMismatch
from rlay.protocol import spaces as plain
from rlay.protocol.numbers import DTYPES

_REMEDY = "; or pass cast_observations=True to the backend"


def check(space: plain.Description, value: Any, path: str = "$") -> None:
    """Raise SpaceMismatch unless ``value`` is built as ``space`` promises."""
    match space:
        case plain.Box() | plain.MultiDiscrete():
            _check_array(DTYPES[space.dtype], space.shape, value, path)
        case plain.MultiBinary():
            _check_array(np.dtype(np.int8), space.shape, value, path)
        case plain.Discrete():
            _check_discrete(value, path)
        case plain.Text():
            if not isinstance(value, str):
                _refuse("a str", value, path)
        case plain.Dict():
            _check_dict(space, value, path)
        case plain.Tuple():
            _check_members(space.items, value, path)
        case plain.Sequence():
            _check_sequence(space, value, path)
        case plain.Graph():
            if getattr(value, "_fields", None) != ("nodes", "edges", "edge_links"):
                _refuse("a GraphInstance", value, path)
        case plain.OneOf():
            _check_one_of(space, value, path)
        case plain.Opaque():
            pass


def _check_array(
    dtype: np.dtype[Any], shape: tuple[int, ...], value: Any, path: str
) -> None:
    is_scalar = isinstance(value, np.generic) and shape == ()
    if not isinstance(value, np.ndarray) and not is_scalar:
        _refuse(f"an array of {dtype} {shape}", value, path)
    if value.dtype.newbyteorder("<") != dtype or value.shape != shape:
        _refuse(f"{dtype} {shape}", value, path, _REMEDY)


def _check_discrete(value: Any, path: str) -> None:
    if isinstance(value, (int, np.integer, np.bool_)):
        return
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iu":
        return
    _refuse("an integer", value, path, _REMEDY)


def _check_dict(space: plain.Dict, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        _refuse("a dict", value, path)
    wanted = dict(space.entries)
    if value.keys() != wanted.keys():
        missing = sorted(wanted.keys() - value.keys())
        surplus = sorted(map(str, value.keys() - wanted.keys()))
        raise SpaceMismatch(
            f"the observation's keys differ from its space's, at {path}: "
            f"missing {missing}, surplus {surplus}"
        )
    for key, item in value.items():
        check(wanted[key], item, f"{path}.{key}")


def _check_members(
    members: tuple[plain.Description, ...], value: Any, path: str
) -> None:
    if not isinstance(value, (tuple, list)) or len(value) != len(members):
        _refuse(f"a tuple of {len(members)}", value, path)
    for index, (member, item) in enumerate(zip(members, value, strict=True)):
        check(member, item, f"{path}[{index}]")


def _check_sequence(space: plain.Sequence, value: Any, path: str) -> None:
    if space.stack:
        return  # a stacked sequence has the feature's batched form, of any length
    if not isinstance(value, (tuple, list)):
        _refuse("a tuple", value, path)
    for index, item in enumerate(value):
        check(space.feature, item, f"{path}[{index}]")


def _check_one_of(space: plain.OneOf, value: Any, path: str) -> None:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        _refuse("a tuple of index and element", value, path)
    index, item = value
    if not isinstance(index, (int, np.integer)) or not 0 <= index < len(space.items):
        _refuse(f"an index below {len(space.items)}", index, f"{path}[0]")
    check(space.items[index], item, f"{path}[1]")


def _refuse(expected: str, value: Any, path: str, remedy: str = "") -> NoReturn:
    raise SpaceMismatch(
        f"the observation does not fit its space: expected {expected}, got "
        f"{_of(value)}, at {path}. Mend the environment, or the space that it "
        f"declares{remedy}"
    )


def _of(value: Any) -> str:
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{value.dtype} {value.shape}"
    return f"{type(value).__name__} {str(value)[:60]}"


# ------------------------------------------------------------------------ cast


def cast(space: plain.Description, value: Any, path: str = "$") -> Any:
    """Return ``value`` in the types that ``space`` promises.

    Raises:
        SpaceMismatch: It cannot be cast: another structure or number of elements.
    """
    match space:
        case plain.Box() | plain.MultiDiscrete():
            return _cast_array(DTYPES[space.dtype], space.shape, value, path)
        case plain.MultiBinary():
            return _cast_array(np.dtype(np.int8), space.shape, value, path)
        case plain.Discrete():
            return _cast_discrete(space, value, path)
        case plain.Dict() if isinstance(value, dict):
            if value.keys() == dict(space.entries).keys():
                return {k: cast(s, value[k], f"{path}.{k}") for k, s in space.entries}
        case plain.Tuple() if isinstance(value, (tuple, list)):
            if len(value) == len(space.items):
                return tuple(
                    cast(member, item, f"{path}[{i}]")
                    for i, (member, item) in enumerate(
                        zip(space.items, value, strict=True)
                    )
                )
        case _:
            pass
    check(space, value, path)
    return value


def _cast_array(
    dtype: np.dtype[Any], shape: tuple[int, ...], value: Any, path: str
) -> Any:
    try:
        array = np.asarray(value)
        if array.size == math.prod(shape) and array.dtype.kind in "biufc":
            return array.astype(dtype).reshape(shape)
    except (ValueError, TypeError):
        pass
    _refuse(f"{dtype} {shape}", value, path)


def _cast_discrete(space: plain.Discrete, value: Any, path: str) -> Any:
    try:
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "biuf":
            return DTYPES[space.dtype].type(array.item())
    except (ValueError, TypeError, OverflowError):
        pass
    _refuse("an integer", value, path)


def make_admit(
    space: plain.Description,
    *,
    batched: bool,
    cast_observations: bool = False,
) -> Callable[[Any], Any]:
    """Return what decides about observations that are not exactly of their types.

    Args:
        space: Of one environment.
        batched: Whether observations are batches; their structure was made by
            Gymnasium from checked ones, so they pass.
        cast_observations: Whether to cast what would be refused.
    """
    if batched:
        return lambda observation: observation
    if cast_observations:
        return lambda observation: cast(space, observation)

    def admit(observation: Any) -> Any:
        check(space, observation)
        return observation

    return admit
