"""A network that is late.

Usage: ``python -m measure.proxy HOST PORT SECONDS``. Passes TCP connections on to HOST
and PORT, every byte so many seconds late in each direction, until SIGTERM.
"""

from __future__ import annotations

import signal
import sys

from rlay.testing import ChaosProxy

# What is on its way at 5 ms and 2 GB/s is 10 MB; more than that is never needed here.
_BUFFER_BYTES = 16 * 1024 * 1024


def main() -> None:
    """Run the proxy; say on stderr where it listens, as a bridge does."""
    host, port, latency_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with ChaosProxy((host, port), buffer_bytes=_BUFFER_BYTES) as proxy:
        proxy.degrade(latency_s=latency_s)
        address, number = proxy.address
        print(f"listening on {address}:{number}", file=sys.stderr, flush=True)
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
