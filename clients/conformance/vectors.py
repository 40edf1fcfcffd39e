"""The golden vectors for programs in any language, and what a program says of them.

Their one source is ``tests/conformance/vectors``: nothing here is kept, it is made anew
for each run.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from clients.conformance.programs import Program
from clients.conformance.registry import ROOT, Client
from rlay.protocol.values import encode_value
from tests.conformance.notation import from_json

SOURCE: Final = ROOT / "tests" / "conformance" / "vectors"
PACKED: Final = "vectors.msgpack"
LIMIT_S: Final = 60.0
_HEX: Final = {
    "hex", "header", "payload", "body", "token", "certificate",
    "dialer's nonce", "listener's nonce", "HELLO", "CHALLENGE", "PROOF", "WELCOME",
}  # fmt: skip
_NOTED: Final = {"value", "description", "space", "says", "fields"}


def each_vector() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield id, group and fields of every vector."""
    for path in sorted(SOURCE.glob("*.json")):
        for group, vectors in json.loads(path.read_text()).items():
            if isinstance(vectors, list):
                for vector in vectors:
                    yield f"{path.stem}/{vector['name']}", group, vector


def write_directory(directory: Path) -> None:
    """Fill a directory as ``clients/README.md`` says."""
    for path in SOURCE.glob("*.json"):
        shutil.copy(path, directory)
    packed = [
        {"id": name, "group": group, **{k: _pack(k, v) for k, v in fields.items()}}
        for name, group, fields in each_vector()
    ]
    # A vector of a RESET may hold integers beyond 64 bits, so all of it may.
    (directory / PACKED).write_bytes(encode_value(packed, big_ints=True))


def _pack(key: str, field: Any) -> Any:
    if key in _HEX and isinstance(field, str):
        return bytes.fromhex(field)
    if key == "parts":
        return [{k: _pack(k, v) for k, v in part.items()} for part in field]
    if key == "files":
        return {
            name: {
                "size": image["size"],
                "lines": [
                    [int(start), bytes.fromhex(data)]
                    for start, data in image["lines"].items()
                ],
            }
            for name, image in field.items()
        }
    if key in _NOTED and key != "description":
        return _from_noted(field)
    if key == "description" and not isinstance(field, str):
        return from_json(field)
    return field


def _from_noted(field: Any) -> Any:
    """Return a field with the notations within it replaced."""
    if isinstance(field, list):
        return [_from_noted(item) for item in field]
    if not isinstance(field, dict):
        return field
    if len(field) == 1 and next(iter(field)).startswith("$"):
        return from_json(field)
    return {key: _from_noted(value) for key, value in field.items()}


def run_vectors(client: Client, directory: Path) -> dict[str, tuple[str, str]]:
    """Run a client's program over the vectors.

    Args:
        client: Whose.
        directory: A new one, for the vectors and what the program writes.

    Returns:
        For each vector's id what the program says, and why. ``fail`` where it says
        nothing.

    Raises:
        Unsupported: It cannot do this.
        AssertionError: It failed, or did not end.
    """
    write_directory(directory)
    program = Program(client, ["vectors", str(directory)], directory, {})
    try:
        program.wait(LIMIT_S)
        return _verdicts(program.stdout)
    finally:
        program.kill()


def _verdicts(stdout: str) -> dict[str, tuple[str, str]]:
    verdicts = {name: ("fail", "not a word about it") for name, _, _ in each_vector()}
    for line in stdout.splitlines():
        word, _, rest = line.partition("\t")
        name, _, reason = rest.partition("\t")
        if word in ("ok", "fail", "unsupported"):
            known = name in verdicts
            verdicts[name] = (word, reason) if known else ("fail", "no such vector")
    return verdicts
