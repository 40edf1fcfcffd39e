"""What a forked child must not inherit.

A child shares its parent's mapped slots and, until it closes them, its locks.
Were it to step, two processes would speak with one voice; were it merely to live
on, the lock would outlast its owner. So in a child every lock descriptor is
closed at once, and every channel refuses to work.
"""

import itertools
import os
import weakref
from typing import Final, Protocol


class Forkable(Protocol):
    """Something that a forked child must give up."""

    def abandon(self) -> None:
        """Give up, without touching what belongs to the parent."""


# No WeakSet: its callback is Python code that runs when a thing goes, and what a signal
# handler raises there (KeyboardInterrupt, SystemExit) the interpreter throws away.
_open: "dict[int, weakref.ref[Forkable]]" = {}
_numbers = itertools.count()
_MANY: Final = 64
_purge_at = _MANY


def close_in_child(thing: Forkable) -> None:
    """Call ``thing.abandon()`` in every child that is forked while it lives."""
    global _purge_at
    _open[next(_numbers)] = weakref.ref(thing)
    if len(_open) >= _purge_at:
        for number, reference in list(_open.items()):
            if reference() is None:
                _open.pop(number, None)
        _purge_at = max(_MANY, 2 * len(_open))


def _after_fork() -> None:
    for reference in list(_open.values()):
        thing = reference()
        if thing is not None:
            thing.abandon()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
