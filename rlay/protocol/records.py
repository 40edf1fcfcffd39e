"""Info of unchanged scalar keys, compiled: no msgpack in a steady-state step.

Many environments return the same few numbers under the same keys each step. Such
an info travels as a record::

    0   4              schema_bytes
    4   4              values_bytes
    8   schema_bytes   msgpack array of key, type code, key, type code ...
    .   (to 8)         zero
    .   values_bytes   eight bytes per value, as in numbers.py

The schema travels every time: it costs a memcpy, and no message depends on an
earlier one that may have been discarded. Both ends keep the compiled form of
the last schema and compare bytes.
"""

import struct
from typing import Any, Final

import msgpack
import numpy as np

from rlay.errors import DecodeError
from rlay.protocol.numbers import BOOL, DTYPES, FLOAT, INT, SCALAR_CODES
from rlay.protocol.slot_layout import align
from rlay.protocol.value_decoding import decode_value

_HEAD: Final = struct.Struct("<II")
_MAX_KEYS: Final = 256
_PYTHON_CODES: Final[dict[type, int]] = {int: INT, float: FLOAT, bool: BOOL}
_RAW: Final = "8s"
# How a value stands in its eight bytes: the bits of its own type, then zeros. Where
# struct would round or change bits (a NaN's payload) they are copied as they are.
_FORMATS: Final = {
    INT: "q",
    FLOAT: "d",
    BOOL: "q",
    **dict.fromkeys(SCALAR_CODES.values(), _RAW),
    SCALAR_CODES[np.int8]: "b7x",
    SCALAR_CODES[np.uint8]: "B7x",
    SCALAR_CODES[np.int16]: "h6x",
    SCALAR_CODES[np.uint16]: "H6x",
    SCALAR_CODES[np.int32]: "i4x",
    SCALAR_CODES[np.uint32]: "I4x",
    SCALAR_CODES[np.int64]: "q",
    SCALAR_CODES[np.uint64]: "Q",
    SCALAR_CODES[np.float64]: "d",
}
_BOOLS: Final = {0: False, 1: True}
_MAKERS: Final[dict[int, Any]] = {
    INT: int,
    FLOAT: float,
    BOOL: _BOOLS.__getitem__,
    **{code: kind for kind, code in SCALAR_CODES.items()},
}


class RecordWriter:
    """Packs infos that look like the one before.

    Only the second info in a row with the same keys and types becomes a record,
    so infos that change all the time cost one comparison.
    """

    def __init__(self) -> None:
        """Start without a schema."""
        self._keys: list[str] = []
        self._types: list[type] = []
        self._head = b""
        self._values = struct.Struct("<")
        self._raw: tuple[int, ...] = ()

    def pack(self, info: dict[str, Any]) -> bytes | None:
        """Return ``info`` as a record, or None where it must go as a value."""
        if list(info) != self._keys or _types(info) != self._types:
            self._learn(info)
            return None
        if not self._head:
            return None
        try:
            if not self._raw:
                return self._head + self._values.pack(*info.values())
            values = list(info.values())
            for index in self._raw:
                values[index] = values[index].tobytes()
            return self._head + self._values.pack(*values)
        except struct.error:
            return None  # an int beyond 63 bits: the value path carries or refuses it

    def _learn(self, info: dict[str, Any]) -> None:
        self._keys = list(info)
        self._types = _types(info)
        self._head = b""
        if len(info) > _MAX_KEYS or any(type(key) is not str for key in info):
            return
        codes = [
            _PYTHON_CODES.get(type(value)) or SCALAR_CODES.get(type(value), 0)
            for value in info.values()
        ]
        if 0 in codes:
            return
        self._raw = tuple(i for i, code in enumerate(codes) if _FORMATS[code] == _RAW)
        self._values = struct.Struct("<" + "".join(_FORMATS[code] for code in codes))
        try:
            schema = msgpack.packb(
                [x for pair in zip(self._keys, codes, strict=True) for x in pair]
            )
        except UnicodeEncodeError:
            return
        padding = bytes(align(len(schema), 8) - len(schema))
        self._head = _HEAD.pack(len(schema), self._values.size) + schema + padding


def _types(info: dict[str, Any]) -> list[type]:
    """Return the types of keys and values: an equal key may be of another type."""
    return [*map(type, info), *map(type, info.values())]


class RecordReader:
    """Unpacks records, and keeps the compiled form of the last schema."""

    def __init__(self) -> None:
        """Start without a schema."""
        self._schema: Any = None  # bytes, once there is one
        self._keys: list[str] = []
        self._makers: list[Any] = []
        self._values = struct.Struct("<")

    def unpack(self, record: memoryview) -> dict[str, Any]:
        """Return the info that ``record`` stands for.

        Raises:
            DecodeError: The record is malformed.
        """
        if len(record) < 8:
            raise DecodeError("a record of less than 8 bytes", "$.info")
        schema_bytes, values_bytes = _HEAD.unpack_from(record)
        start = 8 + align(schema_bytes, 8)
        if start + values_bytes != len(record):
            raise DecodeError("a record's lengths do not add up", "$.info")
        schema = record[8 : 8 + schema_bytes]
        if schema != self._schema:
            self._learn(bytes(schema))
        if values_bytes != self._values.size:
            raise DecodeError("a record's values do not fit its schema", "$.info")
        values = self._values.unpack_from(record, start)
        try:
            return {
                key: make(value)
                for key, make, value in zip(
                    self._keys, self._makers, values, strict=True
                )
            }
        except KeyError:
            raise DecodeError("a bool is 0 or 1", "$.info") from None

    def _learn(self, schema: bytes) -> None:
        try:
            items = decode_value(schema)
        except DecodeError as error:
            raise DecodeError("a record's schema is malformed", "$.info") from error
        if type(items) is not list or len(items) % 2 or len(items) > 2 * _MAX_KEYS:
            raise DecodeError("a record's schema is malformed", "$.info")
        keys, codes = items[::2], items[1::2]
        if any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
            raise DecodeError("a record's keys are malformed", "$.info")
        if any(type(code) is not int or code not in _FORMATS for code in codes):
            raise DecodeError("a record's type codes are malformed", "$.info")
        self._keys = keys
        self._makers = [
            _raw_maker(code) if _FORMATS[code] == _RAW else _MAKERS[code]
            for code in codes
        ]
        self._values = struct.Struct("<" + "".join(_FORMATS[code] for code in codes))
        self._schema = schema


def _raw_maker(code: int) -> Any:
    dtype = DTYPES[code]
    if dtype.kind == "b":
        return lambda raw: np.bool_(_BOOLS[raw[0]])
    return lambda raw: np.frombuffer(raw, dtype, 1)[0]
