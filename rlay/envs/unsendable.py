"""Info with parts that cannot travel: refuse it, or pass the rest and say so."""

from typing import Any, Final, Literal

import numpy as np

from rlay.protocol.values import Unsendable, encode_value, path_text

Policy = Literal["raise", "repr", "drop"]
POLICIES: Final = ("raise", "repr", "drop")
MARK: Final = "rlay"
"""The one key that RLay adds to an info."""
_MAX_PARTS: Final = 1000


def mended(info: Any, policy: Policy) -> Any:
    """Return ``info`` without its unsendable parts, and marked.

    ``info["rlay"]["unsendable"]`` maps the path of each part to its type.

    Args:
        info: Any info.
        policy: "repr" puts a part's ``repr`` in its place; "drop" leaves a dict's
            item out and puts None in place of a list's or tuple's.

    Raises:
        Unsendable: The info itself is no dict, or has too many such parts.
    """
    marks: dict[str, str] = {}
    for _ in range(_MAX_PARTS):
        try:
            encode_value(info)
        except Unsendable as error:
            if not error.keys:
                raise
            marks[path_text(error.keys)] = type(error.value).__qualname__
            info = _mend(info, error.keys, policy)
        else:
            break
    if marks and type(info) is dict:
        info = {**info, MARK: {**info.get(MARK, {}), "unsendable": marks}}
    return info


def _mend(value: Any, keys: list[str | int], policy: Policy) -> Any:
    """Return a copy of ``value`` in which the part at ``keys`` is mended."""
    key, *rest = keys
    if isinstance(value, dict):
        return _mend_dict(value, key, rest, policy)
    items = list(value.ravel()) if isinstance(value, np.ndarray) else list(value)
    index = int(key)
    if rest:
        items[index] = _mend(items[index], rest, policy)
    else:
        items[index] = repr(items[index])[:1000] if policy == "repr" else None
    if isinstance(value, np.ndarray):
        mended_array = np.empty(len(items), dtype=object)
        mended_array[:] = items
        return mended_array.reshape(value.shape)
    return tuple(items) if isinstance(value, tuple) else items


def _mend_dict(
    value: dict[Any, Any], key: str | int, rest: list[str | int], policy: Policy
) -> dict[Any, Any]:
    copy = dict(value)
    if key not in copy:  # a key that is no str stands in the path by its repr
        original = next(k for k in copy if repr(k)[:40] == key)
        item = copy.pop(original)
        if policy == "repr":
            copy[repr(original)] = item
        return copy
    if rest:
        copy[key] = _mend(copy[key], rest, policy)
    elif policy == "repr":
        copy[key] = repr(copy[key])[:1000]
    else:
        del copy[key]
    return copy
