"""Linux's inotify, as far as a bridge needs it: who came, and who let go of a file.

Where there is none the bridge looks by itself, once in a while: it does so in any case,
so nothing depends on an event.
"""

import ctypes
import logging
import os
import struct
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Final

CLOSE_WRITE: Final = 0x00000008
CREATED: Final = 0x00000100 | 0x00000080  # made, or renamed into place
REMOVED: Final = 0x00000200 | 0x00000040
_IGNORED: Final = 0x00008000
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 16 * 1024

_log = logging.getLogger("rlay.bridge.inotify")

Changed = Callable[[], None]


def _load() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.inotify_add_watch.argtypes = [
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_uint32,
        ]
    except (OSError, AttributeError):
        return None
    return library


class Inotify:
    """Calls back when something happens to a path; silent where that is impossible."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        """Start to listen."""
        self._loop = loop
        self._library = _load()
        self._callbacks: dict[int, Changed] = {}
        self._fd = -1
        if self._library is not None:
            self._fd = self._library.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._ready)

    def watch(self, path: str, mask: int, changed: Changed) -> int:
        """Call ``changed`` when one of the events of ``mask`` happens to ``path``.

        Returns:
            A number for :meth:`forget`; negative where it cannot be watched.
        """
        if self._fd < 0:
            return -1
        number: int = self._library.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if number >= 0:
            self._callbacks[number] = changed
        return number

    def forget(self, number: int) -> None:
        """Stop watching. Twice is harmless."""
        if self._callbacks.pop(number, None) is not None and self._fd >= 0:
            self._library.inotify_rm_watch(self._fd, number)

    def close(self) -> None:
        """Stop listening. Twice is harmless."""
        fd, self._fd = self._fd, -1
        self._callbacks.clear()
        if fd >= 0:
            self._loop.remove_reader(fd)
            os.close(fd)

    def _ready(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        changed: dict[Changed, None] = {}
        offset = 0
        while offset + _EVENT.size <= len(data):
            number, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            if mask & _IGNORED:  # the file is gone, its watch with it
                self._callbacks.pop(number, None)
                continue
            callback = self._callbacks.get(number)
            if callback is not None:
                changed[callback] = None
        for callback in changed:
            try:
                callback()
            except Exception:
                _log.exception("a fault of this bridge, at a change of a file")
