"""The image that the image of RLay is built on: pulled, or made with debootstrap."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docker.engine import Docker, NoDocker, provide, run
from tests.support.children import ROOT

_MADE = "rlay-test-base"
_SUITE = "bookworm"
_PACKAGES = "ca-certificates,python3-venv"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PULL_S = 120.0
_BOOTSTRAP_S = 300.0


def base_image(docker: Docker) -> str:
    """Return the name of a base image that the engine has.

    ``$BASE_IMAGE`` or the Dockerfile's own, if the engine has it or can pull it.
    Otherwise a small Debian, made once and kept in ``build/``.

    Raises:
        NoDocker: It cannot be pulled, and cannot be made.
    """
    wanted = os.environ.get("BASE_IMAGE") or _default()
    if docker.succeeds("image", "inspect", wanted):
        return wanted
    if docker.succeeds("pull", wanted, timeout=_PULL_S):
        return wanted
    docker("import", str(_archive(wanted)), _MADE, timeout=_BOOTSTRAP_S)
    return _MADE


def _default() -> str:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE)
    assert found, "docker/Dockerfile names no default for BASE_IMAGE"
    return found.group(1)


def _archive(wanted: str) -> Path:
    """Return the file of a Debian with Python, and make it where there is none."""
    path = ROOT / "build" / f"docker-base-{_recipe()}.tar"
    if path.exists():
        return path
    if os.geteuid() != 0:
        raise NoDocker(f"{wanted} cannot be pulled, and only root can make an image")
    provide("debootstrap", "debootstrap")
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rlay-base-") as directory:
        tree, packed = Path(directory) / "tree", Path(directory) / "packed.tar"
        run(
            [
                *("debootstrap", "--variant=minbase", f"--include={_PACKAGES}"),
                *(_SUITE, str(tree)),
            ],
            timeout=_BOOTSTRAP_S,
        )
        _configure(tree)
        run(["tar", "--create", "--directory", str(tree), "--file", str(packed), "."])
        shutil.move(packed, path)
    return path


def _recipe() -> str:
    """What the image is made of, in few letters: a change makes a new one."""
    certificates = _CERTIFICATES.read_bytes() if _CERTIFICATES.exists() else b""
    content = Path(__file__).read_bytes() + certificates
    return hashlib.sha256(content).hexdigest()[:12]


def _configure(tree: Path) -> None:
    """Let pip in the image reach what pip on this machine reaches."""
    for used_up in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(tree / used_up)
    settings = {"index-url": _pip_setting("index-url")}
    if _CERTIFICATES.exists():
        inside = tree / _CERTIFICATES.relative_to("/")
        inside.unlink(missing_ok=True)
        shutil.copyfile(_CERTIFICATES, inside)
        settings["cert"] = str(_CERTIFICATES)
    lines = [f"{name} = {value}\n" for name, value in settings.items() if value]
    (tree / "etc" / "pip.conf").write_text("[global]\n" + "".join(lines))


def _pip_setting(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", f"global.{name}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip()
