"""The virtual environments of the packages that RLay is compared with.

Each package has one of its own, so that none is a dependency of RLay and their pins do
not meet. ``python benchmarks/make_peers.py`` makes them; the benchmarks only use those
that are there, and list the others with the reason why they are not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DIRECTORY = Path(__file__).parents[2] / ".venv-peers"
_STAMP, _REASON = "installed.json", "reason.txt"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
_PIP_TIMEOUT_S = 1800
_NOT_MADE = "not installed: `make bench-peers` installs it"


@dataclass(frozen=True)
class Peer:
    """A package and what pip must be told to install it.

    Attributes:
        name: Of the virtual environment.
        package: Whose version the tables show.
        installs: The words after ``pip install``, of one call after the other.
    """

    name: str
    package: str
    installs: tuple[tuple[str, ...], ...]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("pyzmq", "pyzmq", (("pyzmq", "gymnasium"),)),
        Peer("grpc", "grpcio", (("grpcio", "gymnasium"),)),
        Peer("dm-env-rpc", "dm-env-rpc", (("dm-env-rpc", "gymnasium"),)),
        Peer("rlmesh", "rlmesh", (("rlmesh[gymnasium,numpy]",),)),
        Peer("envpool", "envpool", (("envpool", "gymnasium"),)),
        Peer("rlay-0.0.1", "rlay", (("rlay==0.0.1", "gymnasium"),)),
        # Its metadata asks for Python 3.10.1 to 3.10.12 and for old builds of half a
        # dozen packages. With the newest that still work it runs on later versions.
        Peer(
            "mlagents",
            "mlagents-envs",
            (
                ("--no-deps", "--ignore-requires-python", "mlagents-envs==1.1.0"),
                ("protobuf<3.21", "grpcio", "gymnasium", "cloudpickle", "attrs"),
                ("numpy", "pillow", "pyyaml", "filelock", "setuptools<81"),
            ),
        ),
    )
}


class NotInstalled(Exception):
    """A peer has no virtual environment that can be used; the message says why."""


def make(directory: Path, peer: Peer) -> None:
    """Make the virtual environment of a peer, or do nothing where there is one.

    Args:
        directory: Of all virtual environments.
        peer: Which one.

    Raises:
        NotInstalled: pip, or the package, refused; the reason is kept for the tables.
    """
    place = directory / peer.name
    if (place / _STAMP).exists():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    python = place / "bin" / "python"
    for words in peer.installs:
        done = subprocess.run(
            [python, *_PIP, *words],
            capture_output=True,
            text=True,
            timeout=_PIP_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            reason = f"pip: {_error_line(done.stderr)}"
            (place / _REASON).write_text(reason + "\n")
            raise NotInstalled(reason)
    (place / _REASON).unlink(missing_ok=True)
    (place / _STAMP).write_text(json.dumps({"version": _version(python, peer)}))


def _error_line(output: str) -> str:
    """Return what pip says first about its failure."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "error:"))]
    return (errors or lines or ["no output"])[0]


def _version(python: Path, peer: Peer) -> str:
    program = "import sys; from importlib import metadata as m"
    program += "; print(m.version(sys.argv[1]))"
    words = [python, "-c", program, peer.package]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def python_of(directory: Path, name: str) -> str:
    """Return the interpreter of a peer's virtual environment.

    Raises:
        NotInstalled: There is none that can be used.
    """
    place = directory / name
    if (place / _STAMP).exists():
        return str(place / "bin" / "python")
    reason = place / _REASON
    raise NotInstalled(reason.read_text().strip() if reason.exists() else _NOT_MADE)


def versions(directory: Path) -> str:
    """Return the packages that are installed with their versions, in one line."""
    found = []
    for peer in PEERS.values():
        stamp = directory / peer.name / _STAMP
        if stamp.exists():
            version = json.loads(stamp.read_text())["version"]
            found.append(f"{peer.package} {version}")
    return ", ".join(found) or "none is installed"
