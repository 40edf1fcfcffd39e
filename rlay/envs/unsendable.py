"""Info with parts that cannot travel: refuse it, or pass the rest and say so."""

from typing import Any, Final, Literal

import numpy as np

from rlay.protocol.constants import MAX_DEPTH
from rlay.protocol.values import Unsendable, lower, path_text

Policy = Literal["raise", "repr", "drop"]
POLICIES: Final = ("raise", "repr", "drop")
MARK: Final = "rlay"
"""The one key that RLay adds to an info."""

_DEPTH_IN_MESSAGE: Final = 2
"""An info stands in an array of one, and that in the tail."""
_MAX_TEXT: Final = 1000
_DROPPED: Final = object()


def mended(info: Any, policy: Policy) -> Any:
    """Return ``info`` without its unsendable parts, and marked.

    ``info["rlay"]["unsendable"]`` maps the path of each part to its type. What the
    environment itself put under ``rlay``, if anything, gives way.

    Args:
        info: Any info, or a list of them: of a batch, each marked by itself.
        policy: "repr" puts a part's ``repr`` in its place; "drop" leaves a dict's
            item out and puts None in place of a list's or tuple's.

    Raises:
        Unsendable: The info itself is no dict.
    """
    if type(info) is list:
        return [_mended(each, _DEPTH_IN_MESSAGE + 1, policy) for each in info]
    return _mended(info, _DEPTH_IN_MESSAGE, policy)


def _mended(info: Any, depth: int, policy: Policy) -> dict[str, Any]:
    if type(info) is not dict:
        raise Unsendable("an info is a dict", info)
    marks: dict[str, str] = {}
    whole: dict[str, Any] = _mend(info, depth, [], marks, policy)
    return {**whole, MARK: {"unsendable": marks}} if marks else whole


def _mend(
    value: Any, depth: int, keys: list[str | int], marks: dict[str, str], policy: Policy
) -> Any:
    """Return ``value``, or what stands for it, noting in ``marks`` what was changed."""
    try:
        lower(value, depth)
    except Unsendable:
        pass
    else:
        return value
    kind = type(value)
    if depth < MAX_DEPTH - 1:
        if kind is dict:
            return _mend_dict(value, depth, keys, marks, policy)
        if kind in (list, tuple):
            return kind(_mend_items(value, depth, keys, marks, policy))
        if kind is np.ndarray and value.dtype == object:
            return _mend_array(value, depth, keys, marks, policy)
    marks[_sendable_text(path_text(keys))] = kind.__qualname__
    return _text_of(value) if policy == "repr" else _DROPPED


def _mend_dict(
    value: dict[Any, Any],
    depth: int,
    keys: list[str | int],
    marks: dict[str, str],
    policy: Policy,
) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    odd: list[tuple[str, Any]] = []
    for key, item in value.items():
        name = key if type(key) is str else _text_of(key)
        part = _mend(item, depth + 1, [*keys, name], marks, policy)
        if type(key) is str and _sendable_text(key) == key:
            if part is not _DROPPED:
                whole[key] = part
            continue
        marks[_sendable_text(path_text([*keys, name]))] = type(key).__qualname__
        odd.append((_sendable_text(name), part))
    if policy == "repr":
        for name, part in odd:
            whole.setdefault(name, part)
    return whole


def _mend_items(
    value: Any,
    depth: int,
    keys: list[str | int],
    marks: dict[str, str],
    policy: Policy,
) -> list[Any]:
    parts = [
        _mend(item, depth + 1, [*keys, index], marks, policy)
        for index, item in enumerate(value)
    ]
    return [None if part is _DROPPED else part for part in parts]


def _mend_array(
    value: Any,
    depth: int,
    keys: list[str | int],
    marks: dict[str, str],
    policy: Policy,
) -> Any:
    whole = np.empty(value.size, dtype=object)
    items = _mend_items(value.ravel().tolist(), depth, keys, marks, policy)
    for index, item in enumerate(items):
        whole[index] = item
    return whole.reshape(value.shape)


def _text_of(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__qualname__}, whose repr raised {type(error).__name__}>"
    return _sendable_text(text[:_MAX_TEXT])


def _sendable_text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
