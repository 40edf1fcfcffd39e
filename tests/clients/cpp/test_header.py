"""The single header: made from its parts, compiled, and held against the vectors."""

import runpy
import subprocess

import pytest

from tests.clients.cpp.programs import HERE, SANITIZED, compiled, compilers
from tests.support.children import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
VECTORS = ROOT / "tests" / "conformance" / "vectors"


def run(program, *arguments):
    """Run a program; return its exit code and what it printed."""
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_header_is_what_the_parts_give():
    """Nobody has changed the single header, or forgotten to make it again."""
    module = runpy.run_path(str(HERE / "amalgamate.py"))
    assert (HERE / "rlay.hpp").read_text() == module["amalgamated"]()


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_header_compiles_without_a_warning(compiler, standard):
    """Both compilers take it, without exceptions and RTTI, in both standards."""
    if compiler not in compilers():
        pytest.skip(f"{compiler} is not installed: make test-clients installs it")
    compiled(
        HERE / "tests" / "mirror.cpp", compiler=compiler, standard=standard, link=False
    )


def test_header_can_be_included_by_two_files(tmp_path):
    """No function of the header is defined twice."""
    for name, body in (
        ("one", "int other(); int main() { return other(); }"),
        ("two", "int other() { return rlay::Value(0).integer(); }"),
    ):
        (tmp_path / f"{name}.cpp").write_text(f'#include "rlay.hpp"\n{body}\n')
    files = [str(tmp_path / f"{name}.cpp") for name in ("one", "two")]
    subprocess.run(
        ["g++", "-std=c++17", f"-I{HERE}", *files, "-o", tmp_path / "both"],
        check=True,
        timeout=280,
    )
    assert run(tmp_path / "both")[0] == 0


def test_vectors_are_written_and_read():
    """Every vector that this client's roles have is written and read byte for byte."""
    code, text = run(compiled(HERE / "tests" / "vectors.cpp", *SANITIZED), VECTORS)
    assert code == 0, text
    compared = int(text.splitlines()[-1].split()[0])
    assert compared > 700


def test_vector_that_is_wrong_is_noticed(tmp_path):
    """The comparison can fail: one changed byte of one vector is told of."""
    for file in VECTORS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "values.json").read_text()
    assert '"hex": "c3"' in text
    (tmp_path / "values.json").write_text(text.replace('"hex": "c3"', '"hex": "c2"', 1))
    code, text = run(compiled(HERE / "tests" / "vectors.cpp", *SANITIZED), tmp_path)
    assert code == 1
    assert "value written, true" in text
