"""Looks for inputs that make a fault: ``python -m tests.fuzz.program TARGET SECONDS``.

``make fuzz`` runs it for every target. It needs atheris, which counts the branches that
an input takes and changes what leads to new ones. What it finds is printed, and kept in
``results/fuzz/``; add it to ``tests/fuzz/corpus/TARGET/`` once it is mended.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["rlay", "websockets", "msgpack"]):
    from tests.fuzz import seeds
    from tests.fuzz.targets import run

FOUND = Path("results") / "fuzz"
_MOST_BYTES = 4096
_MEMORY_MB = 1024
_INPUT_S = 5


def main(target: str, seconds: str) -> None:
    """Look for so many seconds; the process ends with 0 where nothing was found."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(seeds.seeds(target)):
            (Path(directory) / f"seed-{number}").write_bytes(seed[:_MOST_BYTES])
        arguments = [
            sys.argv[0],
            directory,
            f"-max_total_time={int(seconds)}",
            f"-max_len={_MOST_BYTES}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-timeout={_INPUT_S}",
            f"-artifact_prefix={FOUND}/{target}-",
            "-print_final_stats=1",
        ]
        fuzz: Any = atheris
        fuzz.Setup(arguments, lambda data: run(target, data) and None)
        fuzz.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
