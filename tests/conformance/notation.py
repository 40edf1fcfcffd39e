"""Values in JSON: exact, and readable by any language.

null, true, false, small integers, str and lists stand for themselves. Everything else
is an object with one key that says what it is::

    {"$int": "18446744073709551615"}        an integer beyond 2**53
    {"$float": 1.5}                         a finite float, in its shortest decimals
    {"$float": "7ff8000000000001"}          any other float: its 64 bits, high first
    {"$bytes": "00ff"}                      bytes, in hex
    {"$tuple": [...]}                       a tuple
    {"$map": [[key, value], ...]}           a dict, in its order
    {"$scalar": [dtype, data]}              a NumPy scalar; data little-endian, in hex
    {"$array": [dtype, shape, data]}        an array; data in C order, little-endian
    {"$object_array": [shape, [...]]}       an object array, its items in C order
    {"$graph": [nodes, edges, edge_links]}  a graph
"""

import math
import struct
from typing import Any

import numpy as np

from rlay.protocol.values import GraphValue
from rlay.testing.info_strategies import object_array

_LARGEST_EXACT = 2**53


def to_json(value: Any) -> Any:
    """Return a value in this notation."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= _LARGEST_EXACT else {"$int": str(value)}
        case np.ndarray() if value.dtype == object:
            items = [to_json(item) for item in value.reshape(-1)]
            return {"$object_array": [list(value.shape), items]}
        case np.ndarray():
            value = value.astype(value.dtype.newbyteorder("<"))
            data = value.tobytes().hex()
            return {"$array": [str(value.dtype), list(value.shape), data]}
        case np.generic():  # before float: numpy.float64 is one
            return {"$scalar": [str(value.dtype), value.tobytes().hex()]}
        case float():
            plain = math.isfinite(value) and not (
                value == 0 and math.copysign(1, value) < 0
            )
            return {"$float": value if plain else struct.pack(">d", value).hex()}
        case bytes():
            return {"$bytes": value.hex()}
        case dict():
            return {"$map": [[key, to_json(item)] for key, item in value.items()]}
        case list():
            return [to_json(item) for item in value]
        case tuple() if getattr(value, "_fields", ()) == GraphValue._fields:
            return {"$graph": [to_json(item) for item in value]}
        case tuple():
            return {"$tuple": [to_json(item) for item in value]}
        case _:
            raise TypeError(f"no notation for {type(value).__name__}")


def from_json(noted: Any) -> Any:
    """Return the value that a notation stands for."""
    if isinstance(noted, list):
        return [from_json(item) for item in noted]
    if not isinstance(noted, dict):
        return noted
    ((kind, content),) = noted.items()
    match kind:
        case "$int":
            return int(content)
        case "$float":
            if isinstance(content, str):
                return struct.unpack(">d", bytes.fromhex(content))[0]
            return float(content)
        case "$bytes":
            return bytes.fromhex(content)
        case "$tuple":
            return tuple(from_json(item) for item in content)
        case "$map":
            return {key: from_json(item) for key, item in content}
        case "$scalar":
            return np.frombuffer(bytes.fromhex(content[1]), np.dtype(content[0]))[0]
        case "$array":
            data = np.frombuffer(bytes.fromhex(content[2]), np.dtype(content[0]))
            return data.reshape(content[1]).copy()
        case "$object_array":
            return object_array(from_json(content[1])).reshape(content[0])
        case "$graph":
            return GraphValue(from_json(item) for item in content)
        case _:
            raise ValueError(f"unknown notation {kind}")
