"""Identity of values, of transitions and of spaces, down to the bits."""

from __future__ import annotations

import copy
import struct
from typing import Any

import numpy as np
from gymnasium import spaces


def assert_identical(actual: Any, expected: Any, path: str = "$") -> None:
    """Assert that ``actual`` is what ``expected`` is: types, order and bits.

    Compared are the exact types of everything, the order of dict keys, the bits of
    floats (so -0.0, infinities and NaN payloads count), dtype, shape and bits of
    arrays. Of an array's memory nothing is: neither its layout nor the writeable flag,
    nor the byte order, so that a ``>f4`` array is a ``<f4`` array of the same numbers.

    Raises:
        AssertionError: They differ; the message begins with the path.
    """
    same_type = type(actual) is type(expected)
    assert same_type, (
        f"at {path}: type {_name(actual)}, expected {_name(expected)} "
        f"({actual!r}, expected {expected!r})"
    )
    if isinstance(expected, dict):
        _assert_same_dict(actual, expected, path)
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), (
            f"at {path}: length {len(actual)}, expected {len(expected)}"
        )
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_identical(one, other, f"{path}[{index}]")
    elif isinstance(expected, np.ndarray):
        _assert_same_array(actual, expected, path)
    elif isinstance(expected, np.generic):
        assert actual.dtype == expected.dtype, (
            f"at {path}: dtype {actual.dtype}, expected {expected.dtype}"
        )
        assert actual.tobytes() == expected.tobytes(), (
            f"at {path}: {actual!r}, expected {expected!r}"
        )
    elif isinstance(expected, float):
        assert struct.pack("<d", actual) == struct.pack("<d", expected), (
            f"at {path}: {actual!r}, expected {expected!r}, or other bits of a NaN"
        )
    else:
        assert actual == expected, f"at {path}: {actual!r}, expected {expected!r}"


def identical(actual: Any, expected: Any) -> bool:
    """Return whether :func:`assert_identical` passes."""
    try:
        assert_identical(actual, expected)
    except AssertionError:
        return False
    return True


def assert_same_space(actual: Any, expected: Any, path: str = "$") -> None:
    """Assert that a space that travelled is the space that was sent.

    Compared are the kind, every public attribute (bounds by their bits, where a Box is
    bounded, charset and key order), the flattened space, and equally seeded samples
    with their flattened form. Both spaces are copied first, so no generator moves.
    """
    assert_same_attributes(actual, expected, path)
    actual, expected = copy.deepcopy(actual), copy.deepcopy(expected)
    flat_actual = _outcome(spaces.flatten_space, actual)
    flat_expected = _outcome(spaces.flatten_space, expected)
    if isinstance(flat_expected, spaces.Space):
        assert_same_attributes(flat_actual, flat_expected, f"flat {path}")
    else:
        assert_identical(flat_actual, flat_expected, f"flat {path}")
    assert_identical(actual.seed(17), expected.seed(17), f"seeds of {path}")
    for index in range(3):
        one, other = _outcome(actual.sample), _outcome(expected.sample)
        assert_identical(one, other, f"sample {index} of {path}")
        flat_one = _outcome(spaces.flatten, actual, one)
        flat_other = _outcome(spaces.flatten, expected, other)
        assert_identical(flat_one, flat_other, f"flat sample {index} of {path}")


def assert_same_attributes(actual: Any, expected: Any, path: str = "$") -> None:
    """Assert that two spaces have the same kind and attributes, at every depth."""
    assert type(actual) is type(expected), (
        f"at {path}: {_name(actual)}, expected {_name(expected)}"
    )
    assert actual.shape == expected.shape, f"at {path}: shape {actual.shape}"
    assert actual.dtype == expected.dtype, f"at {path}: dtype {actual.dtype}"
    for name in _VALUES.get(type(expected), ()):
        one, other = getattr(actual, name, None), getattr(expected, name, None)
        if name.startswith("bounded"):  # a 0-d Box has a numpy.bool or a 0-d array
            one, other = np.asarray(one), np.asarray(other)
        assert_identical(one, other, f"{path}.{name}")
    for name in _SUBSPACES.get(type(expected), ()):
        one, other = getattr(actual, name), getattr(expected, name)
        _assert_same_parts(one, other, f"{path}.{name}")


_VALUES: dict[type, tuple[str, ...]] = {
    spaces.Box: ("low", "high", "bounded_below", "bounded_above"),
    spaces.Discrete: ("n", "start"),
    spaces.MultiDiscrete: ("nvec", "start"),
    spaces.MultiBinary: ("n",),
    spaces.Text: (
        "min_length",
        "max_length",
        "character_set",
        "character_list",
        "characters",
    ),
    spaces.Dict: ("sort_keys",),  # since Gymnasium 1.3; None before
    spaces.Sequence: ("stack",),
}

_SUBSPACES: dict[type, tuple[str, ...]] = {
    spaces.Dict: ("spaces",),
    spaces.Tuple: ("spaces",),
    spaces.OneOf: ("spaces",),
    spaces.Sequence: ("feature_space",),
    spaces.Graph: ("node_space", "edge_space"),
}


def _assert_same_parts(actual: Any, expected: Any, path: str) -> None:
    if isinstance(expected, spaces.Space):
        assert_same_attributes(actual, expected, path)
        return
    assert type(actual) is type(expected), f"at {path}: {_name(actual)}"
    if expected is None:
        return
    if isinstance(expected, dict):
        assert list(actual) == list(expected), f"at {path}: keys {list(actual)}"
        actual, expected = tuple(actual.values()), tuple(expected.values())
    assert len(actual) == len(expected), f"at {path}: {len(actual)} parts"
    for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert_same_attributes(one, other, f"{path}[{index}]")


def _assert_same_dict(actual: Any, expected: Any, path: str) -> None:
    names, wanted = list(actual), list(expected)
    assert names == wanted, f"at {path}: keys {names}, expected {wanted}"
    for name, other in zip(names, wanted, strict=True):
        assert type(name) is type(other), f"at {path}: key {name!r} is {_name(name)}"
        assert_identical(actual[name], expected[other], f"{path}.{other}")


def _assert_same_array(actual: Any, expected: Any, path: str) -> None:
    actual, expected = _native(actual), _native(expected)
    assert actual.dtype == expected.dtype, (
        f"at {path}: dtype {actual.dtype.str}, expected {expected.dtype.str}"
    )
    assert actual.shape == expected.shape, (
        f"at {path}: shape {actual.shape}, expected {expected.shape}"
    )
    if expected.dtype == object:
        for index in np.ndindex(expected.shape):
            at = ", ".join(map(str, index))
            assert_identical(actual[index], expected[index], f"{path}[{at}]")
        return
    if actual.tobytes() != expected.tobytes():
        flat, wanted = actual.reshape(-1), expected.reshape(-1)
        for place in range(wanted.size):
            assert flat[place].tobytes() == wanted[place].tobytes(), (
                f"at {path}, flat index {place}: {flat[place]!r}, "
                f"expected {wanted[place]!r}"
            )


def _native(array: Any) -> Any:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _outcome(function: Any, *args: Any) -> Any:
    """Return the result, or the type of what was raised."""
    try:
        return function(*args)
    except Exception as error:  # what gymnasium raises for a space it cannot flatten
        return ("raised", type(error))


def _name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
