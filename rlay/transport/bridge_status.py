"""What the bridge of a directory of channels says of itself to programs of its machine.

It holds the lock of one file for as long as it lives, and writes another one. That
counts only while the lock is held: what a killed bridge leaves behind is not believed.
"""

import json
import os
from typing import Any, Final

from rlay.errors import ChannelError, ChannelNotFound
from rlay.transport.directory import ChannelDirectory, open_file
from rlay.transport.locks import Probe

PRESENCE_FILE: Final = ".bridge"
STATUS_FILE: Final = ".bridge.json"
VERSION: Final = 1
MAX_BYTES: Final = 4 * 1024 * 1024
"""A thousand links, and room."""


def read_status(
    directory: str | os.PathLike[str] | None = None,
) -> dict[str, Any] | None:
    """Return what the bridge of a directory says of itself; None where there is none.

    Args:
        directory: Of channels; None for the default.

    Raises:
        ChannelError: The directory or a file in it is not ours alone.
    """
    try:
        root = ChannelDirectory.open(directory, create=False)
    except ChannelNotFound:
        return None
    with root:
        return status_in(root)


def status_in(root: ChannelDirectory) -> dict[str, Any] | None:
    """Return the same as :func:`read_status`, for a directory that is open."""
    if not is_served(root):
        return None
    try:
        path = os.path.join(root.path, STATUS_FILE)
        with open(open_file(root.fd, STATUS_FILE, path, writable=False), "rb") as file:
            found = json.loads(file.read(MAX_BYTES))
    except (ChannelNotFound, ValueError):  # it has just begun, or just ends
        return None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return None
    return found


def is_served(root: ChannelDirectory) -> bool:
    """Return whether a bridge serves this directory now."""
    path = os.path.join(root.path, PRESENCE_FILE)
    try:
        probe = Probe(open_file(root.fd, PRESENCE_FILE, path, writable=False), path)
    except ChannelError:
        return False
    try:
        return probe()
    finally:
        probe.close()
