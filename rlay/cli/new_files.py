"""Writing files that are new: a secret that is in use is never lost by a typo."""

import contextlib
import os
import secrets
from typing import Final

from rlay.cli.words import Failed

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


def write_new(path: str, content: bytes, mode: int, *, force: bool) -> None:
    """Write a file that others see whole or not at all.

    Args:
        path: Where. Its directory must be there.
        content: What.
        mode: The file's mode, whatever the umask.
        force: Whether to replace a file that is there.

    Raises:
        Failed: There is such a file, or it cannot be written. Nothing is left behind.
    """
    hidden = os.path.join(
        os.path.dirname(path), f".{os.path.basename(path)}-{secrets.token_hex(4)}"
    )
    try:
        _write(hidden, content, mode)
        try:
            if force:
                os.replace(hidden, path)
            else:
                os.link(hidden, path)  # which, unlike a rename, never replaces
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden)
    except FileExistsError:
        raise Failed(
            f"{path} is there already, and whatever uses it would stop working. "
            "Choose another path, or replace it with --force"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Failed(f"{path!r} cannot be written: {reason}") from error


def _write(path: str, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    fd = os.open(path, flags, PRIVATE)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            if hasattr(os, "fchmod"):  # modes say nothing on Windows
                os.fchmod(fd, mode)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
