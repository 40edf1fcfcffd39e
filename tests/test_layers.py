"""The import contracts of pyproject.toml hold, and each of them can be broken.

Every forbidden import is planted once in a copy of the package; import-linter must then
name the contracts that forbid it.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
}

# All of this is written out again, not derived from the contracts: a contract that
# forgot something would pass then.
LAYERS = [
    "errors", "protocol", "transport", "processes", "bridge", "envs", "testing", "cli",
    "__main__",
]  # fmt: skip
SANS_IO = [
    "asyncio", "socket", "selectors", "mmap", "threading", "multiprocessing", "time",
    "os", "uvloop", "gymnasium",
]  # fmt: skip
PICKLES = ["pickle", "marshal", "shelve", "dill", "cloudpickle"]
HEAVY = ["gymnasium", "numpy", "msgpack", "asyncio", "uvloop", "click", "rich"]
LOOPS = ["asyncio", "uvloop"]


def others(*names: str) -> list[str]:
    return [layer for layer in LAYERS if layer not in names]


def pairs(
    importers: Iterable[str], modules: Iterable[str]
) -> Iterator[tuple[str, str]]:
    return ((importer, module) for importer in importers for module in modules)


FORBIDDEN = {
    "layers": [
        *(
            (low, f"rlay.{high}")
            for n, low in enumerate(LAYERS)
            for high in LAYERS[n + 1 :]
        ),
        ("envs", "rlay.bridge"),
    ],
    "sans-io": pairs(["errors", "protocol"], SANS_IO),
    "transport": pairs(["transport"], [*LOOPS, "gymnasium"]),
    "bridge": pairs(["bridge"], ["gymnasium", "numpy"]),
    "asyncio": pairs(others("bridge"), LOOPS),
    "sockets": pairs(others("bridge"), ["socket", "ssl"]),
    "gymnasium": pairs(others("envs", "testing", "cli"), ["gymnasium"]),
    "pickle": pairs([*LAYERS, "__init__"], PICKLES),
    "root": pairs(["__init__"], HEAVY),
    "names": pairs(others("envs", "testing", "cli", "__main__"), ["rlay"]),
}


def cases() -> list[tuple[str, str, set[str]]]:
    """Importer, module, and the ids of the contracts that forbid this import."""
    merged: dict[tuple[str, str], set[str]] = {}
    for contract, forbidden in FORBIDDEN.items():
        for case in forbidden:
            merged.setdefault(case, set()).add(contract)
    return [(*case, contracts) for case, contracts in merged.items()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A directory with the package and its configuration, for breaking."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rlay", tmp_path / "rlay", ignore=ignored)
    return tmp_path


def plant(copy: Path, importer: str, statement: str) -> None:
    """Add an import to a layer, in a new module if the layer is a package."""
    single = copy / "rlay" / f"{importer}.py"
    if single.exists():
        with single.open("a") as file:
            file.write(f"\n{statement}\n")
    else:
        package(copy, importer)
        (copy / "rlay" / importer / "planted.py").write_text(f"{statement}\n")


def package(copy: Path, name: str) -> None:
    """Make sure that a package is there: the bridge may not have been written."""
    directory = copy / "rlay" / name
    directory.mkdir(exist_ok=True)
    (directory / "__init__.py").touch()


def broken_contracts(copy: Path) -> set[str]:
    """Run import-linter on a copy; the ids of the contracts that are broken."""
    code = "from importlinter.cli import lint_imports_command as run; run()"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=copy,
        env={**environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = r"^(.+) (KEPT|BROKEN)(?: \(\d+ ignored imports?\))?$"
    found = re.findall(verdict, result.stdout, re.MULTILINE)
    verdicts = dict(found)
    names = {contract["name"]: id_ for id_, contract in CONTRACTS.items()}
    assert verdicts.keys() == names.keys(), result.stdout + result.stderr
    broken = {names[name] for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert result.returncode == (1 if broken else 0), result.stdout
    return broken


def test_layers_of_unmodified_package_hold(copy):
    """The package as it is breaks no contract."""
    assert broken_contracts(copy) == set()


@pytest.mark.parametrize(
    ("importer", "module", "contracts"),
    [pytest.param(*case, id=f"{case[0]}-imports-{case[1]}") for case in cases()],
)
def test_layers_with_forbidden_import_break(copy, importer, module, contracts):
    """One forbidden import, wherever it stands, breaks the contract that forbids it."""
    target = module.removeprefix("rlay.")
    if target == "bridge":
        package(copy, target)
    plant(copy, importer, f"import {module}")
    assert contracts <= broken_contracts(copy)


def test_layers_with_import_for_type_checking_only_break(copy):
    """A dependency in the types is a dependency."""
    guarded = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rlay.envs"
    )
    plant(copy, "transport", guarded)
    assert "layers" in broken_contracts(copy)


@pytest.mark.parametrize(
    ("importer", "module"),
    [("bridge", "asyncio"), ("envs", "gymnasium"), ("testing", "gymnasium"),
     ("cli", "gymnasium"), ("cli", "rlay.bridge"), ("protocol", "numpy"),
     ("transport", "mmap"), ("bridge", "ssl")],
)  # fmt: skip
def test_layers_with_allowed_import_hold(copy, importer, module):
    """What the design allows breaks nothing: the contracts are not too wide."""
    if module == "rlay.bridge":
        package(copy, "bridge")
        plant(copy, "bridge", "import asyncio")
    plant(copy, importer, f"import {module}")
    assert broken_contracts(copy) == set()


def test_layers_with_new_top_level_module_break_until_placed(copy):
    """A module that is in no layer breaks the build until somebody places it."""
    (copy / "rlay" / "misc.py").write_text("")
    assert broken_contracts(copy) == {"layers"}
    configuration = copy / "pyproject.toml"
    text = configuration.read_text()
    placed = text.replace(
        '    "errors",\n]\nexhaustive', '    "errors | misc",\n]\nexhaustive'
    )
    assert placed != text
    configuration.write_text(placed)
    assert broken_contracts(copy) == set()


def test_layers_are_those_that_the_tests_know():
    """A layer that is placed later joins the lists here, and so the contracts."""
    layers = re.findall(r"\w+", " ".join(CONTRACTS["layers"]["layers"]))
    assert sorted(layers) == sorted(LAYERS)
    assert CONTRACTS.keys() == FORBIDDEN.keys()
