"""C++ programs of ``clients/cpp``, compiled once for each set of flags."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.children import ROOT

HERE = ROOT / "clients" / "cpp"
BUILD = ROOT / "build" / "clients-cpp"
WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wpedantic",
    "-Werror",
)
PLAIN = ("-fno-exceptions", "-fno-rtti")
"""As game engines build."""
SANITIZED = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FAST = ("-O2",)
_COMPILE_S = 280


def compilers() -> list[str]:
    """Return the C++ compilers that are here."""
    return [name for name in ("g++", "clang++") if shutil.which(name)]


def compiled(
    source: Path,
    *flags: str,
    compiler: str = "g++",
    standard: str = "c++17",
    link: bool = True,
) -> Path:
    """Compile a program, unless that was done before, and return its path.

    Raises:
        AssertionError: The compiler refused it; its messages are in the error.
    """
    words = [compiler, f"-std={standard}", *WARNINGS, *PLAIN, *flags, f"-I{HERE}"]
    words += [] if link else ["-fsyntax-only"]
    digest = hashlib.sha256(" ".join([*words, os.fspath(source)]).encode())
    parts = [*HERE.glob("conformance/*.[ch]pp"), *source.parent.glob("*.[ch]pp")]
    parts += [path for path in HERE.parent.glob("unreal/**/*.*") if path.is_file()]
    for file in (HERE / "rlay.hpp", *sorted(parts)):
        digest.update(file.read_bytes())
    target = BUILD / f"{source.stem}-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    BUILD.mkdir(parents=True, exist_ok=True)
    made = target.with_suffix(f".{os.getpid()}")
    if not link:
        made.touch()
    done = subprocess.run(
        [*words, os.fspath(source), "-o", os.fspath(made)],
        capture_output=True,
        text=True,
        timeout=_COMPILE_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[:8000]}"
    made.rename(target)
    return target
