"""What ``rlay doctor`` looks at on this machine: versions, directory, memory."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from rlay.cli.findings import Finding, info, ok, problem, warning
from rlay.errors import ChannelNotFound, RLayError
from rlay.transport.directory import ChannelDirectory, default_path
from rlay.transport.inspection import list_channels
from rlay.transport.software import VERSION

MIB: Final = 1024 * 1024
DOCKERS_SHM_BYTES: Final = 64 * MIB
"""What /dev/shm has in a container of which nobody said otherwise."""
_ROOM_BYTES: Final = 64 * MIB
_MANY_SLOT_BYTES: Final = 64 * MIB
_FEW_DESCRIPTORS: Final = 1024
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_FIRST_USER_ID: Final = 1000
_NEEDED: Final = {"msgpack": (1, 2, 1), "gymnasium": (1, 1), "numpy": (1, 21)}
_LISTED: Final = ("uvloop", "websockets", "cryptography", "prometheus-client")


def mib(size_bytes: float) -> str:
    """Return a size for people."""
    return f"{size_bytes / MIB:,.0f} MiB"


# ------------------------------------------------------------------------ versions


def versions() -> Iterator[Finding]:
    """Python, and the packages that RLay needs."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield ok("versions", f"rlay {VERSION}, Python {python}")
    found = {}
    for name in (*_NEEDED, *_LISTED):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    for name, least in _NEEDED.items():
        have = tuple(map(int, re.findall(r"\d+", found[name])[: len(least)]))
        if have < least:
            wanted = ".".join(map(str, least))
            yield problem(
                "versions",
                f"{name} {found[name] or 'is missing'}, and {wanted} is needed",
                f"pip install '{name}>={wanted}'",
            )
    if not found["uvloop"]:
        yield warning(
            "versions", "uvloop is missing: a bridge is slower", "pip install uvloop"
        )
    listed = (f"{name} {number}" for name, number in found.items() if number)
    yield ok("versions", ", ".join(listed))


# ----------------------------------------------------------------------- directory


def directory(path: str | None) -> Iterator[Finding]:
    """The directory of channels: whose, on what, with how much room."""
    named = os.path.abspath(path or default_path())
    try:
        with ChannelDirectory.open(path, create=False) as root:
            facts, where = os.fstat(root.fd), root.path
    except ChannelNotFound:
        yield info("directory", f"{named} is not there yet: the first channel makes it")
        where = os.path.dirname(named)
        if not os.path.isdir(where):
            yield problem(
                "directory",
                f"nor is {where}",
                "make it, or name another directory with RLAY_DIR",
            )
            return
    except RLayError as error:
        yield problem("directory", str(error), "see the message; or set RLAY_DIR")
        return
    else:
        yield ok("directory", f"{where} is ours alone ({stat.filemode(facts.st_mode)})")
        yield info(
            "directory",
            f"it is device {facts.st_dev}, inode {facts.st_ino}: two containers share "
            "it only if both see the same two numbers",
        )
    yield from _file_system(where)
    yield from _who_removes_it(named)


def _file_system(where: str) -> Iterator[Finding]:
    kind = file_system_of(where)
    if kind in _IN_MEMORY or not kind:
        yield ok("file system", f"{where} is in memory ({kind or 'unknown'})")
    else:
        yield warning(
            "file system",
            f"{where} is on {kind}, which may write slots to a disk",
            "set RLAY_DIR to a tmpfs, such as /dev/shm/rlay; in compose a volume with "
            "driver_opts type=tmpfs",
        )
    room = os.statvfs(where)
    free, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    fix = (
        "remove dead channels with rlay clean; in Docker raise --shm-size, or the size "
        "of the tmpfs volume"
    )
    if free < _ROOM_BYTES:
        yield problem("space", f"{mib(free)} of {mib(whole)} are free in {where}", fix)
    elif whole <= DOCKERS_SHM_BYTES:
        yield warning(
            "space", f"{where} has {mib(whole)} in all, Docker's default", fix
        )
    else:
        yield ok("space", f"{mib(free)} of {mib(whole)} are free in {where}")


def file_system_of(path: str, mounts: str | None = None) -> str:
    """Return the kind of file system that holds a path; "" where nobody tells.

    Args:
        path: It exists.
        mounts: What ``/proc/self/mounts`` says; None to read it.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="replace")
        except OSError:
            return ""
    real, best, kind = os.path.realpath(path), "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].encode().decode("unicode_escape")  # \040 is a space
        within = real == point or real.startswith(point.rstrip("/") + "/")
        if within and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _who_removes_it(where: str) -> Iterator[Finding]:
    """Services of systemd that remove files which they think nobody needs."""
    if not os.path.isdir("/run/systemd/system"):
        return
    if where.startswith(("/tmp/", "/var/tmp/")):
        yield warning(
            "ageing",
            f"systemd removes what is old in {os.path.dirname(where)}: after 10 days "
            "or 30",
            "set RLAY_DIR to a directory elsewhere",
        )
    user = os.geteuid()
    if where.startswith("/dev/shm/") and user >= _FIRST_USER_ID:
        yield from _remove_ipc(user)


def _remove_ipc(user: int) -> Iterator[Finding]:
    import pwd

    settings = ""
    for path in [
        Path("/etc/systemd/logind.conf"),
        *sorted(Path("/etc/systemd/logind.conf.d").glob("*.conf")),
    ]:
        if path.is_file():
            settings += path.read_text(errors="replace") + "\n"
    said = re.findall(r"^\s*RemoveIPC\s*=\s*(\w+)", settings, re.MULTILINE)
    kept = bool(said) and said[-1].lower() in ("no", "false", "0", "off")
    name = pwd.getpwuid(user).pw_name
    if not kept and not Path(f"/var/lib/systemd/linger/{name}").exists():
        yield warning(
            "RemoveIPC",
            "systemd removes your files in /dev/shm when you log out everywhere",
            f"loginctl enable-linger {name}, or RemoveIPC=no in logind.conf",
        )


# -------------------------------------------------------------------------- limits


def limits() -> Iterator[Finding]:
    """Open files, and the memory of a container."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A bridge takes as many as it gets by itself.
        if hard != resource.RLIM_INFINITY and hard < _FEW_DESCRIPTORS:
            yield warning(
                "open files",
                f"a process may have {hard}: each channel of a bridge needs some",
                "ulimit -n 65536; in compose: ulimits: {nofile: 65536}",
            )
        else:
            yield ok("open files", f"{soft} now, {hard} for who asks")
    yield from memory_limit(Path("/sys/fs/cgroup"))


def memory_limit(group: Path) -> Iterator[Finding]:
    """The memory of this control group, which slots count towards.

    Args:
        group: Where its files are.
    """
    for limit_name, usage_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = (group / limit_name).read_text().strip()
            usage = int((group / usage_name).read_text())
        except (OSError, ValueError):
            continue
        if limit == "max" or int(limit) >= 2**62:
            break
        free = int(limit) - usage
        text = f"{mib(usage)} of {mib(int(limit))} are used in this container"
        if free < 4 * _ROOM_BYTES:
            yield warning(
                "memory",
                f"{text}; slots count too, and who exceeds it is killed (code 137)",
                "raise mem_limit, or use smaller observations",
            )
        else:
            yield ok("memory", text)
        return
    yield ok("memory", "no limit of a container")


# ------------------------------------------------------------------------ channels


def channels(path: str | None) -> Iterator[Finding]:
    """Channels that are dead, broken, or large."""
    try:
        views = list_channels(path)
    except RLayError:
        return  # the check of the directory has said so
    stale = [view.name for view in views if view.status == "stale"]
    if stale:
        yield warning("channels", f"nobody holds {_listed(stale)}", "rlay clean")
    for view in views:
        for text in filter(None, (view.problem, *view.warnings)):
            yield problem(
                "channels",
                f"{view.name}: {text}",
                f"rlay inspect {view.name}; restart both its ends",
            )
    total = sum(sum((view.files or {}).values()) for view in views)
    text = f"{len(views)} channels with {mib(total)}"
    if total > _MANY_SLOT_BYTES:
        yield warning(
            "channels", f"{text} of slots", "see that memory and /dev/shm have room"
        )
    else:
        yield ok("channels", text)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
