"""Two machines with a bridge process each, which are joined."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.bridge_child import BridgeChild
from tests.support.children import Children
from tests.support.waiting import wait_until


class Machines(NamedTuple):
    """Two channel directories with a bridge each, and where the far one listens."""

    near: str
    far: str
    address: str


@contextmanager
def joined_machines(children: Children, root: Path) -> Iterator[Machines]:
    """Make both machines in ``root``; nothing may be left in them."""
    near, far = root / "near", root / "far"
    for directory in (near, far):
        directory.mkdir(mode=0o700)
    listening = BridgeChild(children, "--directory", far)
    address = f"127.0.0.1:{listening.port}"
    command = [sys.executable, "-m", "rlay", "bridge", "--directory", str(near)]
    dialing = children.start_command([*command, "--connect", address], forever=True)
    wait_until(lambda: "is up" in dialing.stderr)
    yield Machines(str(near), str(far), address)
    dialing.end_orderly()
    listening.end()
    for directory in (near, far):
        directory.rmdir()
