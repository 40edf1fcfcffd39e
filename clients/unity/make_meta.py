"""Writes the ``.meta`` file of each file and folder of this package, or checks them.

Unity ignores what has no ``.meta`` in a package that was installed by a URL. A GUID
must never change, since scenes refer to scripts by it: it is made of the path at first
and then kept.

    python clients/unity/make_meta.py            writes those that are missing
    python clients/unity/make_meta.py --check    exits with 1 where something is wrong
"""

import hashlib
import json
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_GUID = re.compile(r"^guid: ([0-9a-f]{32})$", re.MULTILINE)
_IMPORTERS = {".cs": "MonoImporter", ".asmdef": "AssemblyDefinitionImporter"}
_NO_ASSETS = {"make_meta.py"}


def assets() -> list[Path]:
    """Return every file and folder that Unity imports, in order."""
    return sorted(path for path in PACKAGE.rglob("*") if _is_asset(path))


def _is_asset(path: Path) -> bool:
    parts = path.relative_to(PACKAGE).parts
    hidden = any(part.startswith(".") or part.endswith("~") for part in parts)
    return not hidden and path.suffix != ".meta" and path.name not in _NO_ASSETS


def meta_of(path: Path) -> Path:
    """Return where the ``.meta`` file of an asset is."""
    return path.with_name(path.name + ".meta")


def contents(path: Path) -> str:
    """Return what the ``.meta`` file of a new asset holds."""
    name = path.relative_to(PACKAGE).as_posix()
    guid = hashlib.md5(f"rlay/{name}".encode(), usedforsecurity=False).hexdigest()
    lines = ["fileFormatVersion: 2", f"guid: {guid}"]
    if path.is_dir():
        lines.append("folderAsset: yes")
    importer = "DefaultImporter"
    if path.is_file():
        importer = _IMPORTERS.get(path.suffix, "TextScriptImporter")
    lines += [f"{importer}:", "  externalObjects: {}"]
    if path.suffix == ".cs":
        lines += ["  serializedVersion: 2", "  defaultReferences: []"]
        lines += ["  executionOrder: 0", "  icon: {instanceID: 0}"]
    lines += ["  userData: ", "  assetBundleName: ", "  assetBundleVariant: "]
    return "\n".join(lines) + "\n"


def problems() -> list[str]:
    """Return what is wrong with the package's files, one line each."""
    found = _problems_of_package()
    seen: dict[str, Path] = {}
    for path in assets():
        if not meta_of(path).is_file():
            found.append(f"{path}: there is no {meta_of(path).name}")
            continue
        match = _GUID.search(meta_of(path).read_text())
        if match is None:
            found.append(f"{meta_of(path)}: there is no guid")
        elif match[1] in seen:
            found.append(f"{meta_of(path)}: the guid of {seen[match[1]]}")
        else:
            seen[match[1]] = path
    known = {meta_of(path) for path in assets()}
    found += [
        f"{path}: its asset is gone"
        for path in sorted(PACKAGE.rglob("*.meta"))
        if path not in known
    ]
    return found


def _problems_of_package() -> list[str]:
    package = json.loads((PACKAGE / "package.json").read_text())
    found = []
    for key, pattern in {
        "name": r"com\.[a-z0-9-]+\.[a-z0-9-]+",
        "version": r"\d+\.\d+\.\d+",
        "unity": r"20\d\d\.\d|6000\.\d",
        "displayName": ".+",
        "description": ".+",
    }.items():
        if not re.fullmatch(pattern, str(package.get(key, ""))):
            found.append(f"package.json: {key} is {package.get(key)!r}")
    found += [
        f"package.json: there is no sample {sample['path']}"
        for sample in package.get("samples", [])
        if not (PACKAGE / sample["path"]).is_dir()
    ]
    names = set()
    for path in sorted(PACKAGE.rglob("*.asmdef")):
        definition = json.loads(path.read_text())
        names.add(definition["name"])
        if path.stem != definition["name"]:
            found.append(f"{path}: its name is {definition['name']}")
    for path in sorted(PACKAGE.rglob("*.asmdef")):
        found += [
            f"{path}: there is no assembly {reference}"
            for reference in json.loads(path.read_text())["references"]
            if reference not in names
        ]
    return found


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    if arguments == ["--check"]:
        for problem in problems():
            print(problem)
        return bool(problems())
    for path in assets():
        if not meta_of(path).exists():
            meta_of(path).write_text(contents(path))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
