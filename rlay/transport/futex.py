"""Sleeping on a 32-bit word in shared memory, through the futex system call.

Shared, not private, so that it works between processes. ctypes lets go of the
GIL during the call.
"""

import ctypes
import platform
import sys
from typing import Any, Final

# Numbers of SYS_futex. From the kernel's syscall tables; 32-bit systems are left
# out, where time_t makes it two calls.
_SYS_FUTEX: Final = {
    "x86_64": 202,
    "aarch64": 98,
    "riscv64": 98,
    "loongarch64": 98,
    "ppc64le": 221,
}
_FUTEX_WAIT: Final = 0
_FUTEX_WAKE: Final = 1
_EVERYBODY: Final = 2**31 - 1


_Timespec = ctypes.c_int64 * 2  # seconds, nanoseconds


def _load() -> tuple[Any, int]:
    number = _SYS_FUTEX.get(platform.machine())
    if not sys.platform.startswith("linux") or number is None or sys.maxsize < 2**32:
        return None, 0
    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None, 0
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    call.argtypes += [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
    word = ctypes.c_uint32(0)
    # A seccomp filter may forbid it: try once, on a word that nobody awaits.
    woken = call(number, ctypes.addressof(word), _FUTEX_WAKE, 1, None, None, 0)
    return (call, number) if woken == 0 else (None, 0)


_timespecs: Final[dict[float, Any]] = {}
"""Almost every sleep has the same length."""
_MAX_TIMESPECS: Final = 64
_syscall, _number = _load()
AVAILABLE: Final = _syscall is not None
"""Whether this system has futexes that we can reach."""


def address_of(memory: memoryview, offset: int) -> int:
    """Return the address of a byte of writable memory; it must be kept alive."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory, offset))


def wait(address: int, expected: int, timeout_s: float) -> None:
    """Sleep while the word at ``address`` is ``expected``, at most ``timeout_s``.

    Returns for no reason at times, and on a signal: the caller looks again.
    """
    limit = _timespecs.get(timeout_s)
    if limit is None:
        nanoseconds = max(0, int(timeout_s * 1e9))
        limit = _Timespec(nanoseconds // 10**9, nanoseconds % 10**9)
        if len(_timespecs) < _MAX_TIMESPECS:
            _timespecs[timeout_s] = limit
    _syscall(_number, address, _FUTEX_WAIT, expected, ctypes.byref(limit), None, 0)


def wake(address: int) -> None:
    """Wake everybody who sleeps on the word at ``address``."""
    _syscall(_number, address, _FUTEX_WAKE, _EVERYBODY, None, None, 0)
