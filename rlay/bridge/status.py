"""What a bridge says of itself to programs of its machine, such as ``rlay ls``.

A file beside the channels, replaced whole, at most once a second and only when
something changed. ``rlay.transport.bridge_status`` reads it.
"""

import contextlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final

from rlay.errors import ChannelNotFound
from rlay.transport.bridge_status import PRESENCE_FILE, STATUS_FILE, VERSION
from rlay.transport.directory import ChannelDirectory, create_file, open_file
from rlay.transport.failures import translated
from rlay.transport.inspection import Removal
from rlay.transport.locks import kept_free
from rlay.transport.software import SOFTWARE

if TYPE_CHECKING:
    from rlay.bridge.link import Link
    from rlay.bridge.program import Bridge

_log = logging.getLogger("rlay.bridge.status")

EVERY_S: Final = 1.0
_HIDDEN: Final = STATUS_FILE + ".new"
_MEDIAN, _ALMOST_ALL = 0.5, 0.99


def status_of(bridge: "Bridge") -> dict[str, Any]:
    """Return what there is to know of a bridge, as plain data."""
    registry, counts = bridge.registry, bridge.registry.counts
    return {
        "version": VERSION,
        "pid": os.getpid(),
        "software": SOFTWARE,
        "machine": registry.identity.machine,
        "listening": [listener.address for listener in bridge.listeners],
        "draining": registry.draining,
        "shared": len(registry.origins),
        "mirrored": len(registry.mirrors),
        "links": [_link(link) for link in registry.links],
        "dialed": [
            {
                "where": dialer.where,
                "problem": dialer.problem,
                "resumes": bridge.history.resumes_of(dialer.where),
            }
            for dialer in bridge.dialers
        ],
        "sessions": counts.sessions,
        "resumes": counts.resumes,
        "reconnects": counts.reconnects.total(),
        "last_error": bridge.last_error,
    }


def _link(link: "Link") -> dict[str, Any]:
    peer = link.peer
    return {
        "where": link.where,
        "machine": peer.machine if peer is not None else "",
        "role": peer.role.value if peer is not None else "",
        "dialed": link.dialed,
        "secure": link.stream.secure,
        "round_trip_p50_s": link.counts.round_trip_s(_MEDIAN),
        "round_trip_p99_s": link.counts.round_trip_s(_ALMOST_ALL),
        "channels": len(set(link.origins)) + len(link.mirrors),
        "resumes": link.counts.resumes,
        "last_error": link.counts.last_error,
    }


class StatusFile:
    """The file that this bridge writes."""

    def __init__(self, directory: ChannelDirectory) -> None:
        """Write into a directory of channels."""
        self._directory = directory
        self._written = b""
        self._due = 0.0
        self._told = False

    def write(self, bridge: "Bridge") -> None:
        """Write how the bridge fares, if it is time and anything changed.

        A file that cannot be written is told once: channels matter more.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY_S
        content = json.dumps(status_of(bridge)).encode()
        if content == self._written:
            return
        try:
            self._replace(content)
        except OSError as error:
            if not self._told:
                _log.warning("the file for rlay ls is not written: %s", error.strerror)
            self._told = True
        else:
            self._written, self._told = content, False

    def _replace(self, content: bytes) -> None:
        fd = self._directory.fd
        with contextlib.suppress(FileNotFoundError):  # of one that was killed
            os.unlink(_HIDDEN, dir_fd=fd)
        with open(create_file(fd, _HIDDEN), "wb") as file:
            file.write(content)
        os.rename(_HIDDEN, STATUS_FILE, src_dir_fd=fd, dst_dir_fd=fd)

    def remove(self) -> None:
        """Remove the file. Twice is harmless."""
        for name in (_HIDDEN, STATUS_FILE):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory.fd)


def clean_status(
    directory: str | os.PathLike[str] | None = None, *, dry_run: bool = False
) -> list[Removal]:
    """Remove what a killed bridge has said of itself.

    Its number stays: it is for the next bridge, which takes over its sessions.

    Args:
        directory: Of channels; None for the default. It may be missing.
        dry_run: Only say what would be removed.

    Returns:
        What was, or would be, removed.

    Raises:
        ChannelError: The directory or a file in it is not ours alone.
    """
    with contextlib.ExitStack() as stack:
        try:
            root = stack.enter_context(ChannelDirectory.open(directory, create=False))
        except ChannelNotFound:
            return []
        path = os.path.join(root.path, PRESENCE_FILE)
        try:
            fd = open_file(root.fd, PRESENCE_FILE, path, writable=False)
        except ChannelNotFound:
            pass  # without it there is no bridge
        else:
            stack.callback(os.close, fd)
            if not stack.enter_context(kept_free(fd, path)):
                return []
        found = (_remove(root, name, dry_run) for name in (_HIDDEN, STATUS_FILE))
        return [removal for removal in found if removal is not None]


def _remove(root: ChannelDirectory, name: str, dry_run: bool) -> Removal | None:
    path = os.path.join(root.path, name)
    with translated(path):
        try:
            size_bytes = os.stat(name, dir_fd=root.fd, follow_symlinks=False).st_size
            if not dry_run:
                os.unlink(name, dir_fd=root.fd)
        except FileNotFoundError:
            return None
    return Removal(name, path, "no bridge holds its lock", size_bytes)
