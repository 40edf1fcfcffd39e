"""Compile and run the C ping-pong, the floor that no other process can go below."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from measure.placement import placement

_SOURCE = Path(__file__).parent.parent / "floor" / "pingpong.c"
_RUN_TIMEOUT_S = 150
# Where RLay keeps its channels by default; a disk file would measure write-back.
SHARED_MEMORY = Path("/dev/shm")

# Kept until the interpreter ends, which removes the directory.
_build_directory = tempfile.TemporaryDirectory(prefix="rlay-floor-")


@cache
def program() -> Path:
    """Compile the ping-pong with gcc, once, and return its path.

    Raises:
        FileNotFoundError: There is no gcc.
        subprocess.CalledProcessError: It does not compile; gcc has said why.
    """
    target = Path(_build_directory.name) / "pingpong"
    options = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]
    subprocess.run(["gcc", *options, "-o", str(target), str(_SOURCE)], check=True)
    return target


def command(spec: dict[str, Any]) -> list[str]:
    """Return the command line of one run of the floor."""
    place = placement(spec["placement"])
    words = [
        str(program()),
        spec["mode"],
        spec["memory"],
        str(spec["bytes"]),
        str(spec["buffers"]),
        str(spec["seconds"]),
        str(spec["warmup_s"]),
        str(SHARED_MEMORY),
    ]
    if place.client_cpu is not None:
        words += [str(place.client_cpu), str(place.server_cpu)]
    return words
