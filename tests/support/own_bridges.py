"""Bridges that an object started with ``listen=``, seen from outside."""

from pathlib import Path

from rlay.transport.bridge_status import read_status
from tests.support.waiting import wait_until

LIMIT_S = 30.0
LISTEN = "127.0.0.1:0"


def processes_of(directory: Path) -> list[int]:
    """Return the ids of the bridge of a directory and of its keeper, while they run."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            if b"bridge" in words and str(directory).encode() in words:
                found.append(int(place.name))
    return sorted(found)


def address() -> str:
    """Wait until the bridge of ``$RLAY_DIR`` listens; return the address of ``x``."""
    status = wait_until(read_status, LIMIT_S, "a bridge listens")
    assert status is not None
    return f"tcp://{status['listening'][0]}/x"
