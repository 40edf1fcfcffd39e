"""Whether what came back is what was sent, down to the bits.

A client MAY read a NumPy scalar as a plain number and a tuple as a list, and so send
these: :func:`assert_same` lets both pass, and nothing else; :func:`assert_exact` lets
neither pass.
"""

import struct
from typing import Any

import numpy as np
from gymnasium.spaces.graph import GraphInstance


def assert_same(actual: Any, expected: Any, path: str = "$") -> None:
    """Assert equal values, but for the types that a client may lack.

    Raises:
        AssertionError: They differ; the message has the path.
    """
    _compare(_plain(actual), _plain(expected), path, _plain)


def assert_exact(actual: Any, expected: Any, path: str = "$") -> None:
    """Assert equal values of equal types.

    Raises:
        AssertionError: They differ; the message has the path.
    """
    _compare(actual, expected, path, lambda value: value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) and not np.iscomplexobj(value):
        return value.item()
    if isinstance(value, tuple) and not isinstance(value, GraphInstance):
        return list(value)
    return value


def _compare(actual: Any, expected: Any, path: str, prepare: Any) -> None:
    assert type(actual) is type(expected), (
        f"at {path}: {type(actual).__name__} {actual!r}, expected "
        f"{type(expected).__name__} {expected!r}"
    )
    if isinstance(expected, dict):
        assert list(actual) == list(expected), (
            f"at {path}: keys {list(actual)}, expected {list(expected)}"
        )
        for key, item in expected.items():
            _compare(prepare(actual[key]), prepare(item), f"{path}.{key}", prepare)
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), (
            f"at {path}: {len(actual)} items, expected {len(expected)}"
        )
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            _compare(prepare(one), prepare(other), f"{path}[{index}]", prepare)
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        assert actual.shape == expected.shape, (
            f"at {path}: shape {actual.shape}, expected {expected.shape}"
        )
        _compare(list(actual.reshape(-1)), list(expected.reshape(-1)), path, prepare)
    elif isinstance(expected, (np.ndarray, np.generic)):
        ours, theirs = (actual.dtype, actual.shape), (expected.dtype, expected.shape)
        assert ours == theirs, f"at {path}: {ours}, expected {theirs}"
        assert actual.tobytes() == expected.tobytes(), (
            f"at {path}: {actual!r}, expected {expected!r}"
        )
    elif isinstance(expected, float):
        assert struct.pack("<d", actual) == struct.pack("<d", expected), (
            f"at {path}: {actual!r}, expected {expected!r}"
        )
    else:
        assert actual == expected, f"at {path}: {actual!r}, expected {expected!r}"
