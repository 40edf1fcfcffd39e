"""Compile the programs in C: the floors that nothing goes below, and a late network.

They are compiled with gcc where they are first needed.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from measure.placement import placement

_SOURCES = Path(__file__).parent.parent / "floor"
_RUN_TIMEOUT_S = 150
# Where RLay keeps its channels by default; a disk file would measure write-back.
SHARED_MEMORY = Path("/dev/shm")

# Kept until the interpreter ends, which removes the directory.
_build_directory = tempfile.TemporaryDirectory(prefix="rlay-floor-")


@cache
def program(name: str) -> Path:
    """Compile a program of the folder ``floor``, once, and return its path.

    Args:
        name: Without its ending.

    Raises:
        FileNotFoundError: There is no gcc.
        subprocess.CalledProcessError: It does not compile; gcc has said why.
    """
    target, source = Path(_build_directory.name) / name, _SOURCES / f"{name}.c"
    options = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]
    subprocess.run(["gcc", *options, "-o", str(target), str(source)], check=True)
    return target


def command(spec: dict[str, Any]) -> list[str]:
    """Return the command line of one run of the floor, in memory or over TCP."""
    if spec["contender"] == "tcp-floor":
        numbers = (spec["reply_bytes"], spec["seconds"], spec["warmup_s"])
        return [str(program("tcp")), *map(str, numbers)]
    place = placement(spec["placement"])
    words = [
        str(program("pingpong")),
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
