"""What orders stores and loads between two processes. See decision 0001.

x86-64 keeps stores in order and loads in order; only a store may be overtaken by
a later load. ARM keeps neither. A lock that nobody else wants, released and taken
again, is a full fence on both: what came before is ordered before the release,
what comes after is ordered after the acquire, and a release is ordered before an
acquire that follows it.
"""

import platform
import threading
from collections.abc import Callable
from typing import Final

STORES_ARE_ORDERED: Final = platform.machine() in ("x86_64", "AMD64", "i686", "i386")
"""Whether the machine keeps stores in order, and loads in order, by itself."""


def make_fence() -> Callable[[], None]:
    """Return a full fence. Each thread that uses it needs one of its own."""
    lock = threading.Lock()
    lock.acquire()
    release, acquire = lock.release, lock.acquire

    def fence() -> None:
        try:
            release()
        except RuntimeError:  # Ctrl-C came between the two calls of the last fence
            acquire()
            release()
        acquire()

    return fence
