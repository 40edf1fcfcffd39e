"""The fixed area of a message: which array lies where.

Two layouts are compiled from the spaces at the greeting, one for decisions (what
the algorithm says) and one for reports (what the environment says). A leaf is a
part of a space whose size never changes. The others (text, sequence, graph,
one_of, opaque) are variable: their values travel in the tail, in order.

A leaf of one environment is an array, or for Discrete a number cell of 16 bytes
(eight bytes of value, a 32-bit type code, zero). In a batch of N each
leaf is an array with N in front of its shape, and these follow: in reports
``$reward`` f8, ``$terminated`` bool, ``$truncated`` bool, ``$status`` u1, and in
decisions ``$reset_mask`` bool, each of shape (N,).

Rule: leaves lie in the order of the spaces, each at the next multiple of 64 bytes
if it takes 64 or more, else of 8.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

from rlay.errors import DecodeError, MessageTooLarge
from rlay.protocol import spaces
from rlay.protocol.constants import MAX_SLOT_PAYLOAD_BYTES
from rlay.protocol.numbers import DTYPES
from rlay.protocol.slot_layout import align
from rlay.protocol.spaces import Description

NUMBER_CELL: Final = 0
"""In place of a dtype code: a number cell."""
NUMBER_CELL_BYTES: Final = 16
_INT8: Final = 2


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array, or one number cell, at a fixed place in a message's payload.

    Attributes:
        path: Where in the space, such as ``$.camera``.
        dtype: Its dtype code, or ``NUMBER_CELL``.
        shape: Its shape, ``num_envs`` in front of a batch.
        offset: In bytes, from the start of the payload.
    """

    path: str
    dtype: int
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes."""
        if self.dtype == NUMBER_CELL:
            return NUMBER_CELL_BYTES
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """The fixed area of one direction.

    Attributes:
        leaves: In order.
        fixed_bytes: Size of the fixed area, a multiple of 8.
        variable: Whether the space has parts that travel in the tail.
    """

    leaves: tuple[Leaf, ...]
    fixed_bytes: int
    variable: bool

    def pack(self) -> list[Any]:
        """Return the table as it stands in the greeting."""
        return [
            self.fixed_bytes,
            [[x.path, x.dtype, list(x.shape), x.offset] for x in self.leaves],
        ]

    def check(self, theirs: Any, what: str) -> None:
        """Compare with the peer's table.

        Raises:
            DecodeError: They differ; the message names the first difference.
        """
        size, rows = _unpack_table(theirs, what)
        for leaf, row in zip(self.leaves, rows, strict=False):
            if leaf != row:
                raise DecodeError(
                    f"{what} layout: ours is {leaf}, theirs {row}", leaf.path
                )
        if size != self.fixed_bytes or len(rows) != len(self.leaves):
            raise DecodeError(
                f"{what} layout: ours has {len(self.leaves)} leaves in "
                f"{self.fixed_bytes} bytes, theirs {len(rows)} in {size}"
            )


def _unpack_table(table: Any, what: str) -> tuple[int, list[Leaf]]:
    """Return size and leaves of a table from a peer, all of them plain data."""
    try:
        size, rows = table
        leaves = [
            Leaf(path, dtype, tuple(shape), offset)
            for path, dtype, shape, offset in rows
        ]
    except (TypeError, ValueError):
        raise DecodeError(f"the {what} layout is malformed") from None
    numbers = [size, *(n for x in leaves for n in (x.dtype, x.offset, *x.shape))]
    if any(type(n) is not int for n in numbers) or any(
        type(leaf.path) is not str for leaf in leaves
    ):
        raise DecodeError(f"the {what} layout is malformed")
    return size, leaves


def compile_layout(
    space: Description,
    num_envs: int = 1,
    extra: tuple[tuple[str, int], ...] = (),
    *,
    batched: bool = False,
) -> Layout:
    """Return the fixed area for elements of ``space``.

    Args:
        space: The space of one environment.
        num_envs: Number of environments in one message.
        extra: Name and dtype code of the arrays of shape (num_envs,) that follow
            the space's own leaves.
        batched: Whether messages carry batches, also where ``num_envs`` is 1.

    Raises:
        MessageTooLarge: The area would exceed 1 GiB.
    """
    found: list[tuple[str, int, tuple[int, ...]]] = []
    variable = _collect(space, "$", found, batched)
    if batched:
        found = [(path, dtype, (num_envs, *shape)) for path, dtype, shape in found]
        found += [(name, dtype, (num_envs,)) for name, dtype in extra]
    leaves: list[Leaf] = []
    offset = 0
    for path, dtype, shape in found:
        size = Leaf(path, dtype, shape, 0).size_bytes
        offset = align(offset, 64 if size >= 64 else 8)
        leaves.append(Leaf(path, dtype, shape, offset))
        offset += size
    fixed_bytes = align(offset, 8)
    if fixed_bytes > MAX_SLOT_PAYLOAD_BYTES:
        raise MessageTooLarge(fixed_bytes, MAX_SLOT_PAYLOAD_BYTES)
    return Layout(tuple(leaves), fixed_bytes, variable)


REPORT_EXTRA: Final = (
    ("$reward", 12),
    ("$terminated", 1),
    ("$truncated", 1),
    ("$status", 3),
)
DECISION_EXTRA: Final = (("$reset_mask", 1),)


def _collect(
    space: Description,
    path: str,
    found: list[tuple[str, int, tuple[int, ...]]],
    batched: bool,
) -> bool:
    """Append the leaves of ``space``; return whether it has variable parts."""
    match space:
        case spaces.Box() | spaces.MultiDiscrete():
            found.append((path, space.dtype, space.shape))
        case spaces.Discrete():
            # A batch of numbers is an array: its elements have one type.
            found.append((path, space.dtype if batched else NUMBER_CELL, ()))
        case spaces.MultiBinary():
            found.append((path, _INT8, space.shape))
        case spaces.Dict():
            members = [(f"{path}.{key}", item) for key, item in space.entries]
            return _collect_all(members, found, batched)
        case spaces.Tuple():
            members = [(f"{path}[{i}]", item) for i, item in enumerate(space.items)]
            return _collect_all(members, found, batched)
        case _:
            return True
    return False


def _collect_all(
    members: list[tuple[str, Description]],
    found: list[tuple[str, int, tuple[int, ...]]],
    batched: bool,
) -> bool:
    variable = False
    for path, space in members:
        variable |= _collect(space, path, found, batched)
    return variable
