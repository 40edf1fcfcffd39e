"""Which clients there are: ``clients.toml``."""

import shutil
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""The repository: where programs are started."""

REGISTRY: Final = Path(__file__).with_name("clients.toml")
ROLES: Final = ("vectors", "environment", "game")
PLACES: Final = ("mapped", "tcp", "ws")
_KEYS: Final = {"program", "roles", "places", "needs", "build", "start_s", "lacks"}


@dataclass(frozen=True)
class Client:
    """One client and its test program.

    Attributes:
        name: As in the table.
        program: The command that starts the test program.
        roles: Which of :data:`ROLES` it has.
        places: Which of :data:`PLACES` it attaches by.
        needs: Programs that must be installed.
        build: What to run once before, or empty.
        start_s: Seconds that a start may take.
        lacks: Why it has not the other roles, by role.
    """

    name: str
    program: tuple[str, ...]
    roles: tuple[str, ...]
    places: tuple[str, ...]
    needs: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    start_s: float = 10.0
    lacks: dict[str, str] = field(default_factory=dict)

    def missing(self) -> str:
        """Return what is not installed here, as a reason; empty if nothing is."""
        absent = [name for name in self.needs if shutil.which(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else ""


def read_registry(path: Path = REGISTRY) -> list[Client]:
    """Return the clients of a file, in its order.

    Raises:
        ValueError: An entry is not as ``clients/README.md`` says.
    """
    return [
        _client(name, entry) for name, entry in tomllib.loads(path.read_text()).items()
    ]


def _client(name: str, entry: dict[str, Any]) -> Client:
    unknown = set(entry) - _KEYS
    if unknown:
        raise ValueError(f"client {name}: unknown keys {sorted(unknown)}")
    for key, known in (("roles", ROLES), ("places", PLACES)):
        odd = set(entry[key]) - set(known)
        if odd or not entry[key]:
            raise ValueError(f"client {name}: {key} are of {known}, got {entry[key]}")
    for role in ROLES:
        if role not in entry["roles"] and role not in entry.get("lacks", {}):
            raise ValueError(f"client {name}: say in lacks why there is no {role}")
    return Client(
        name,
        _command(entry["program"]),
        tuple(entry["roles"]),
        tuple(entry["places"]),
        tuple(entry.get("needs", ())),
        _command(entry.get("build", ())),
        float(entry.get("start_s", 10.0)),
        dict(entry.get("lacks", {})),
    )


def _command(words: Any) -> tuple[str, ...]:
    return tuple(word.replace("{python}", sys.executable) for word in words)
