"""What this process may do, for tests that need more than an ordinary user."""

import functools
import os
import subprocess
import sys

import pytest

NOBODY = 65_534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="needs root, to become another user in a child process",
)

_MOUNT = "mount -t tmpfs -o size=64k,mode=0700 tmpfs"


@functools.cache
def unshare_command() -> tuple[str, ...] | None:
    """Return a command after which mounts are private, or None if there is none."""
    for command in (("unshare", "-m"), ("unshare", "-rm")):
        probe = f"{_MOUNT} /tmp"
        try:
            done = subprocess.run(
                [*command, "sh", "-c", probe],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return command
    return None


def python_with_tmpfs(size: str, mount_point: object, *arguments: str) -> list[str]:
    """Return a command: mount a tmpfs where only it sees that, then run Python.

    The test is skipped, with a reason, where the system does not allow it.
    """
    command = unshare_command()
    if command is None:
        pytest.skip("no private mounts here: neither unshare -m nor -rm is allowed")
    script = f'mount -t tmpfs -o size={size},mode=0700 tmpfs "$0" && exec "$@"'
    return [*command, "sh", "-c", script, str(mount_point), sys.executable, *arguments]
