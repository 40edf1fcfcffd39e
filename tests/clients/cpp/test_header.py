"""The single header: made from its parts, compiled, and held against the vectors."""

import json
import re
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
    for name in ("SINGLE", "PLUGIN"):
        assert module[name].read_text() == module["amalgamated"]()


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_header_compiles_without_a_warning(compiler, standard):
    """Both compilers take it, without exceptions and RTTI, in both standards."""
    if compiler not in compilers():
        pytest.skip(f"{compiler} is not installed: make test-clients installs it")
    for source in ("tests/mirror.cpp", "tests/stepper.cpp", "conformance/program.cpp"):
        compiled(HERE / source, compiler=compiler, standard=standard, link=False)


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


def verdicts(directory):
    """Return what the program says of each vector of a directory."""
    program = compiled(HERE / "conformance" / "program.cpp", *SANITIZED)
    code, text = run(program, "vectors", directory)
    assert code == 0, text
    lines = [line.split("\t") for line in text.splitlines()]
    return {line[1]: (line[0], line[2:]) for line in lines}


def test_vectors_are_written_and_read():
    """Every vector but that of TLS is written and read byte for byte."""
    found = verdicts(VECTORS)
    others = {name: said for name, said in found.items() if said[0] != "ok"}
    tls = "frames/with a token and a certificate"
    assert others == {tls: ("unsupported", ["this client speaks no TLS"])}
    everything = {
        f"{path.stem}/{vector['name']}"
        for path in VECTORS.iterdir()
        for group in json.loads(path.read_text()).values()
        if isinstance(group, list)
        for vector in group
    }
    assert set(found) == everything


def test_vector_that_is_wrong_is_noticed(tmp_path):
    """The comparison can fail: one changed byte of one vector is told of."""
    for file in VECTORS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "values.json").read_text()
    assert '"hex": "c3"' in text
    (tmp_path / "values.json").write_text(text.replace('"hex": "c3"', '"hex": "c2"', 1))
    found = verdicts(tmp_path)
    assert [name for name, said in found.items() if said[0] == "fail"] == [
        "values/true"
    ]


def test_bytes_that_are_wrong_are_refused_in_order():
    """Golden bytes cut anywhere, or changed, end in a status and not in a crash."""
    program = compiled(HERE / "tests" / "hostile.cpp", *SANITIZED)
    code, text = run(program, VECTORS)
    assert code == 0, text
    read, refused = (int(word) for word in re.findall(r"\d+", text))
    assert read > 1000
    assert refused > 10_000
