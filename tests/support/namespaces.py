"""Two machines that are network namespaces, and the wire between them.

A test asks for the fixture ``machines``::

    def test_something(children, machines):
        far = children.start_command(machines.far.command(sys.executable, ...))
        near = children.start_command(machines.near.command(sys.executable, ...))
        machines.blackhole()          # packets vanish, nobody is told
        machines.heal()

Programs see the same files, processes and users as ever; only their network is that
of the machine. All of it is gone at the test's end. A run that was killed leaves
namespaces behind; the next one takes them away.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WIRE = "eth0"
_PREFIX = "rlay-"
_LIMIT_S = 20.0
_TO_FAR, _TO_NEAR, _BOTH = "to_far", "to_near", "both"


class NoNamespaces(Exception):
    """The system does not let us make namespaces."""


@dataclass(frozen=True)
class Machine:
    """One of the two.

    Attributes:
        namespace: Its name for ``ip netns``.
        address: Its IPv4 address on the wire.
    """

    namespace: str
    address: str

    def command(self, *words: object) -> list[str]:
        """Return a command that runs another one on this machine."""
        return ["ip", "netns", "exec", self.namespace, *(str(word) for word in words)]

    def run(self, *words: object) -> str:
        """Run a short command here; return what it printed."""
        return _run(*self.command(*words))

    def drop(self, chain: str, probability: float | None = None) -> None:
        """Lose what comes in (chain INPUT) or goes out (OUTPUT) by the wire."""
        some = (
            ("-m", "statistic", "--mode", "random", "--probability", probability)
            if probability is not None
            else ()
        )
        way = "-i" if chain == "INPUT" else "-o"
        self.run("iptables", "-w", "5", "-A", chain, way, WIRE, *some, "-j", "DROP")

    def heal(self) -> None:
        """Lose nothing more."""
        self.run("iptables", "-w", "5", "-F")


@dataclass(frozen=True)
class Machines:
    """Two machines and one wire."""

    near: Machine
    far: Machine

    def blackhole(self, direction: str = _BOTH) -> None:
        """Lose every packet that goes ``to_far``, ``to_near`` or both."""
        if direction not in (_TO_FAR, _TO_NEAR, _BOTH):
            raise ValueError(direction)
        # Where it comes in: the sender's own system must not be told by an error.
        if direction in (_TO_FAR, _BOTH):
            self.far.drop("INPUT")
        if direction in (_TO_NEAR, _BOTH):
            self.near.drop("INPUT")

    def lose(self, probability: float) -> None:
        """Lose each packet with a probability, in both directions."""
        for machine in (self.near, self.far):
            machine.drop("INPUT", probability)

    def heal(self) -> None:
        """Lose nothing more."""
        for machine in (self.near, self.far):
            machine.heal()


@functools.cache
def why_not() -> str | None:
    """Return why there can be no machines here, or None if there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "iptables") if shutil.which(name) is None]
    if missing:
        return (
            f"not installed: {', '.join(missing)} (apt-get install iproute2 iptables)"
        )
    try:
        with two_machines() as machines:
            machines.lose(0.5)
    except NoNamespaces as error:
        return str(error)
    return None


@contextlib.contextmanager
def two_machines() -> Iterator[Machines]:
    """Make two machines with a wire between them, and take them away afterwards.

    Raises:
        NoNamespaces: The system does not allow it; what it said.
    """
    _sweep()
    with _claim() as token:
        near = Machine(f"{_PREFIX}{token}-near", "10.77.0.1")
        far = Machine(f"{_PREFIX}{token}-far", "10.77.0.2")
        try:
            for machine in (near, far):
                _run("ip", "netns", "add", machine.namespace)
            one, other = (("name", WIRE, "netns", end.namespace) for end in (near, far))
            _run("ip", "link", "add", *one, "type", "veth", "peer", *other)
            for machine in (near, far):
                on = ("ip", "-n", machine.namespace)
                _run(*on, "address", "add", f"{machine.address}/24", "dev", WIRE)
                _run(*on, "link", "set", "lo", "up")
                _run(*on, "link", "set", WIRE, "up")
            yield Machines(near, far)
        finally:
            _remove(token)


def _run(*words: object) -> str:
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoNamespaces(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise NoNamespaces(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


# ------------------------------------------------------------------- whose they are
#
# Each pair of machines has a file whose lock its owner holds. A free lock means that
# the owner is dead, whatever its process id is today.


def _claims() -> Path:
    directory = Path(tempfile.gettempdir()) / f"rlay-namespaces-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


@contextlib.contextmanager
def _claim() -> Iterator[str]:
    """Give a token that nobody else has, until the end."""
    while True:
        path = _claims() / secrets.token_hex(4)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(descriptor) and path.exists():  # else a sweep was faster
            break
        os.close(descriptor)
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep() -> None:
    """Remove the machines of owners that are dead."""
    for path in _claims().iterdir():
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _lock(descriptor):
                _remove(path.name)
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def namespaces() -> Sequence[str]:
    """Return the names of all namespaces of this system that look like ours."""
    lines = _run("ip", "netns", "list").splitlines()
    return [line.split()[0] for line in lines if line.startswith(_PREFIX)]


def _remove(token: str) -> None:
    for name in (f"{_PREFIX}{token}-near", f"{_PREFIX}{token}-far"):
        if name in namespaces():
            _run("ip", "netns", "delete", name)
