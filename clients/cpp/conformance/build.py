"""Compile the test program of the C++ client into ``build/clients-cpp/conformance``.

With sanitizers, so that a case also fails where the program reads what it must not.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[2] / "build" / "clients-cpp" / "conformance"
WORDS = (
    "g++",
    "-std=c++17",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-fno-exceptions",
    "-fno-rtti",
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
_LIMIT_S = 280


def main() -> int:
    """Compile, unless the program is newer than all that it is made of."""
    sources = [HERE.parent / "rlay.hpp", *HERE.glob("*.[ch]pp")]
    newest = max(path.stat().st_mtime for path in sources)
    if TARGET.exists() and TARGET.stat().st_mtime > newest:
        return 0
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    words = [*WORDS, f"-I{HERE.parent}", str(HERE / "program.cpp"), "-o", str(TARGET)]
    return subprocess.run(words, timeout=_LIMIT_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
