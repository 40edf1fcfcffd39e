"""A batch of observations, filled row by row: what Gymnasium's ``concatenate`` makes.

Gymnasium concatenates all elements of a batch at once. Here they come from several
channels, one by one or as batches of their own, and some rows stay as they are.
"""

import copy
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces


class Rows(Protocol):
    """The rows of a batch."""

    def put(self, index: int, element: Any) -> None:
        """Set one row."""

    def put_batch(self, rows: slice, batch: Any) -> None:
        """Set some rows from a batch of as many."""

    def row(self, index: int) -> Any:
        """Return a copy of one row, as an element of the single space."""

    def snapshot(self) -> Any:
        """Return a copy of the whole, as an element of the batched space."""

    def view(self) -> Any:
        """Return the whole without a copy where that is possible."""


def make_rows(space: spaces.Space[Any], count: int) -> Rows:
    """Return rows for ``count`` elements of ``space``."""
    match space:
        case (
            spaces.Box()
            | spaces.Discrete()
            | spaces.MultiDiscrete()
            | spaces.MultiBinary()
        ):
            return ArrayRows(space, count)
        case spaces.Dict():
            return DictRows(space, count)
        case spaces.Tuple():
            return TupleRows(space, count)
        case _:
            return ItemRows(count)


class ArrayRows:
    """Rows of one array."""

    def __init__(self, space: spaces.Space[Any], count: int) -> None:
        """Begin with zeros."""
        self._array = np.zeros((count, *(space.shape or ())), dtype=space.dtype)

    def put(self, index: int, element: Any) -> None:
        """Set one row."""
        self._array[index] = element

    def put_batch(self, rows: slice, batch: Any) -> None:
        """Set some rows."""
        self._array[rows] = batch

    def row(self, index: int) -> Any:
        """Return a copy of one row."""
        return copy.copy(self._array[index])

    def snapshot(self) -> Any:
        """Return a copy of the array."""
        return self._array.copy()

    def view(self) -> Any:
        """Return the array itself."""
        return self._array


class DictRows:
    """Rows of each entry."""

    def __init__(self, space: spaces.Dict, count: int) -> None:
        """Begin with what the entries begin with."""
        self._entries = {
            key: make_rows(inner, count) for key, inner in space.spaces.items()
        }

    def put(self, index: int, element: Any) -> None:
        """Set one row of each entry."""
        for key, rows in self._entries.items():
            rows.put(index, element[key])

    def put_batch(self, rows: slice, batch: Any) -> None:
        """Set some rows of each entry."""
        for key, entry in self._entries.items():
            entry.put_batch(rows, batch[key])

    def row(self, index: int) -> Any:
        """Return a copy of one row of each entry."""
        return {key: rows.row(index) for key, rows in self._entries.items()}

    def snapshot(self) -> Any:
        """Return a copy of each entry."""
        return {key: rows.snapshot() for key, rows in self._entries.items()}

    def view(self) -> Any:
        """Return each entry."""
        return {key: rows.view() for key, rows in self._entries.items()}


class TupleRows:
    """Rows of each member."""

    def __init__(self, space: "spaces.Tuple[Any]", count: int) -> None:
        """Begin with what the members begin with."""
        self._members = tuple(make_rows(inner, count) for inner in space.spaces)

    def put(self, index: int, element: Any) -> None:
        """Set one row of each member."""
        for rows, item in zip(self._members, element, strict=True):
            rows.put(index, item)

    def put_batch(self, rows: slice, batch: Any) -> None:
        """Set some rows of each member."""
        for member, items in zip(self._members, batch, strict=True):
            member.put_batch(rows, items)

    def row(self, index: int) -> Any:
        """Return a copy of one row of each member."""
        return tuple(rows.row(index) for rows in self._members)

    def snapshot(self) -> Any:
        """Return a copy of each member."""
        return tuple(rows.snapshot() for rows in self._members)

    def view(self) -> Any:
        """Return each member."""
        return tuple(rows.view() for rows in self._members)


class ItemRows:
    """Rows of a space without a batched form: Gymnasium makes a tuple of them."""

    def __init__(self, count: int) -> None:
        """Begin with nothing in each."""
        self._items: list[Any] = [None] * count

    def put(self, index: int, element: Any) -> None:
        """Set one row. The element is copied: it may lie in memory of a channel."""
        self._items[index] = copy.deepcopy(element)

    def put_batch(self, rows: slice, batch: Any) -> None:
        """Set some rows."""
        self._items[rows] = [copy.deepcopy(item) for item in batch]

    def row(self, index: int) -> Any:
        """Return a copy of one row."""
        return copy.deepcopy(self._items[index])

    def snapshot(self) -> Any:
        """Return a copy of all rows."""
        return tuple(copy.deepcopy(item) for item in self._items)

    def view(self) -> Any:
        """Return the rows."""
        return tuple(self._items)
