"""What the compose files promise about each container, read without an engine."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.children import ROOT

FILES = sorted((ROOT / "docker").glob("*/compose.yaml"))


def services():
    for path in FILES:
        for name, service in yaml.safe_load(path.read_text())["services"].items():
            yield pytest.param(service, id=f"{path.parent.name}-{name}")


@pytest.mark.parametrize("service", list(services()))
def test_every_container_is_confined(service):
    """Not root, no capability, nothing to write to but its volumes."""
    assert service["user"] == "1000:1000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc"} & set(service)


@pytest.mark.parametrize("service", list(services()))
def test_every_service_is_restarted_and_may_end_in_peace(service):
    """All but the trainer, a job. A bridge takes 10 s to drain."""
    is_trainer = "/app/train.py" in service.get("entrypoint", [])
    assert service["restart"] == ("no" if is_trainer else "unless-stopped")
    assert service["stop_grace_period"] == "30s"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_volume_is_in_memory_and_private(path):
    """Channels live on a tmpfs that belongs to the containers' user."""
    for volume in yaml.safe_load(path.read_text())["volumes"].values():
        options = volume["driver_opts"]
        assert options["type"] == options["device"] == "tmpfs"
        assert "mode=0700,uid=1000,gid=1000" in options["o"]


def test_every_compose_file_is_run_and_explained():
    """None can be added without a test that runs it, and a how-to."""
    folders = {path.parent.name for path in FILES}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*"))
    assert set(re.findall(r'^FOLDER = "([\w-]+)"', tests, re.MULTILINE)) == folders
    guide = (ROOT / "docs" / "guide" / "docker.md").read_text()
    assert set(re.findall(r"docker/([\w-]+)/compose\.yaml", guide)) == folders
