"""Names of channels, and addresses that contain one."""

import re
from typing import Final

from rlay.errors import ChannelError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_GROUP: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,61})\.\*\Z")


def check_name(name: str) -> str:
    r"""Return ``name`` if it may name a channel.

    The rule is ``[A-Za-z0-9][A-Za-z0-9._-]{0,63}``: no separators, no leading
    dot, so that a name can never point outside its directory.

    Raises:
        ChannelError: It may not. Nothing was opened.
    """
    if not isinstance(name, str):
        raise ChannelError(f"a channel's name is a str, not {type(name).__name__}")
    if not _NAME.match(name):
        raise ChannelError(
            f"{name[:80]!r} cannot name a channel: use 1 to 64 letters, digits, "
            "dots, dashes and underscores, the first a letter or a digit"
        )
    return name


def group_prefix(name: str) -> str | None:
    """Return ``n`` of a channel group ``n.*``, or None if it is no group."""
    match = _GROUP.match(name) if isinstance(name, str) else None
    return match.group(1) if match else None


def group_member(prefix: str, name: str) -> int | None:
    """Return K if ``name`` is ``<prefix>.K`` with decimal digits, else None."""
    head, dot, digits = name.rpartition(".")
    if dot and head == prefix and digits.isascii() and digits.isdigit():
        return int(digits)
    return None
