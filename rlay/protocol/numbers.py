"""Numbers with their type: eight bytes and a type code.

Rewards and discrete observations and actions are plain Python or NumPy numbers,
and training code can tell ``1`` from ``numpy.int64(1)``. So a number travels as
the bits of its own type, zero-padded to eight bytes, beside a code::

    code   type                   eight bytes
    0      not a number here      the value is in the tail
    1-13   numpy scalar           of the dtype with this code, from the first byte on,
                                  little-endian
    64     int                    signed 64-bit
    65     float                  IEEE 754 binary64
    66     bool                   0 or 1 as signed 64-bit
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rlay.protocol.buffers import MessageBuffer

DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("?"),
    2: np.dtype("<i1"),
    3: np.dtype("<u1"),
    4: np.dtype("<i2"),
    5: np.dtype("<u2"),
    6: np.dtype("<i4"),
    7: np.dtype("<u4"),
    8: np.dtype("<i8"),
    9: np.dtype("<u8"),
    10: np.dtype("<f2"),
    11: np.dtype("<f4"),
    12: np.dtype("<f8"),
    13: np.dtype("<c8"),
    14: np.dtype("<c16"),
}
"""The dtypes that travel. A peer never names a dtype by text."""

DTYPE_CODES: Final[dict[np.dtype[Any], int]] = {d: c for c, d in DTYPES.items()}

ABSENT: Final = 0
INT: Final = 64
FLOAT: Final = 65
BOOL: Final = 66

SCALAR_CODES: Final[dict[type, int]] = {
    dtype.type: code for code, dtype in DTYPES.items() if dtype.itemsize <= 8
}
_CELL_DTYPES: Final = {c: d for c, d in DTYPES.items() if d.itemsize <= 8}
_NUMPY_BOOL: Final = SCALAR_CODES[np.bool_]
_FLOAT64: Final = SCALAR_CODES[np.float64]
_INT64: Final = SCALAR_CODES[np.int64]


def dtype_code(dtype: npt.DTypeLike) -> int | None:
    """Return the code of ``dtype``, whatever its byte order, or None."""
    return DTYPE_CODES.get(np.dtype(dtype).newbyteorder("<"))


def is_bool(raw: Any) -> bool:
    """Return whether an array of uint8 holds only 0 and 1."""
    return not raw.size or raw.item(raw.argmax()) <= 1


def make_number_store(cell: memoryview) -> Callable[[Any], int]:
    """Compile the function that writes a number into ``cell``.

    Args:
        cell: Eight writable bytes.

    Returns:
        A function of the number that returns its type code, or 0 where it is no
        number of a known type; the cell then holds nothing of use.
    """
    doubles = cell.cast("d")
    integers = cell.cast("q")
    view = _make_views(cell)

    def store(value: Any) -> int:
        kind = type(value)
        if kind is float:
            doubles[0] = value
            return FLOAT
        if kind is np.int64:
            integers[0] = value
            return _INT64
        if kind is int:
            if not -(2**63) <= value < 2**63:
                return ABSENT
            integers[0] = value
            return INT
        if kind is np.float64:
            doubles[0] = value
            return _FLOAT64
        if kind is bool:
            integers[0] = value
            return BOOL
        code = SCALAR_CODES.get(kind, ABSENT)
        if code:
            integers[0] = 0
            # From a scalar of the same type: the bits go over, NaN payloads too.
            view(code)[()] = value
        return code

    return store


def make_number_load(cell: memoryview) -> Callable[[int], Any]:
    """Compile the function that reads a number of a given code from ``cell``.

    Args:
        cell: Eight readable bytes.

    Returns:
        A function of the type code that returns the number in its own type, and
        raises KeyError for a code that is not in the table or a bool that is
        neither 0 nor 1.
    """
    doubles = cell.cast("d")
    integers = cell.cast("q")
    int64, float64 = np.int64, np.float64
    view = _make_views(cell)

    def load(code: int) -> Any:
        if code == FLOAT:
            return doubles[0]
        if code == _INT64:
            return int64(integers[0])
        if code == INT:
            return integers[0]
        if code == _FLOAT64:
            return float64(doubles[0])
        if code == BOOL:
            if integers[0] not in (0, 1):
                raise KeyError(code)
            return integers[0] == 1
        number = view(code)
        if code == _NUMPY_BOOL and cell[0] > 1:
            raise KeyError(code)
        return number[()]

    return load


def bind_reward(buffer: MessageBuffer) -> None:
    """Compile how the reward of ``buffer`` is written, where it can be, and read."""
    if not buffer.cell.readonly:
        buffer.store_number = make_number_store(buffer.cell)
    buffer.load_number = make_number_load(buffer.cell)


def _make_views(cell: memoryview) -> Callable[[int], Any]:
    """Return a function that gives ``cell`` as a 0-d array of a code's dtype.

    Each view is made once, when it is first wanted: most buffers need none.
    """
    views: dict[int, Any] = {}

    def view(code: int) -> Any:
        found = views.get(code)
        if found is None:
            found = views[code] = np.ndarray((), _CELL_DTYPES[code], cell)
        return found

    return view
