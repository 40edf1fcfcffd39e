"""What a forked child must not inherit.

A child shares its parent's mapped slots and, until it closes them, its locks.
Were it to step, two processes would speak with one voice; were it merely to live
on, the lock would outlast its owner. So in a child every lock descriptor is
closed at once, and every channel refuses to work.
"""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that a forked child must give up."""

    def abandon(self) -> None:
        """Give up, without touching what belongs to the parent."""


_open: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def close_in_child(thing: Forkable) -> None:
    """Call ``thing.abandon()`` in every child that is forked while it lives."""
    _open.add(thing)


def _after_fork() -> None:
    for thing in list(_open):
        thing.abandon()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
