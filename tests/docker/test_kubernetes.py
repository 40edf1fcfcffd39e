"""The manifests for Kubernetes: checked against its schemas; nothing runs them."""

import copy

import kubernetes_validate
import pytest
import yaml

from tests.support.children import ROOT

FILES = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))
# The oldest that the files name, and the newest that the package of schemas knows.
VERSIONS = ("1.29", ".".join(kubernetes_validate.latest_version().split(".")[:2]))


def objects():
    for path in FILES:
        for each in yaml.safe_load_all(path.read_text()):
            yield pytest.param(each, id=f"{each['kind']}-{each['metadata']['name']}")


def pods():
    for each in objects():
        (found,) = each.values
        if "template" in found["spec"]:
            yield pytest.param(found["spec"]["template"]["spec"], id=each.id)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", list(objects()))
def test_manifest_has_the_form_of_its_kind(manifest, version):
    """Kubernetes knows every field, and has it of that type."""
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("manifest", list(objects()))
def test_the_schemas_find_a_field_that_is_misspelt(manifest):
    """The test above can fail."""
    broken = copy.deepcopy(manifest)
    broken["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


@pytest.mark.parametrize("pod", list(pods()))
def test_every_container_is_confined(pod):
    """Not root, no capability, nothing to write to but its volumes."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("pod", list(pods()))
def test_every_volume_that_a_container_mounts_is_there(pod):
    """The schemas do not compare names. Channels are in memory."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    assert volumes["channels"]["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_says_that_it_was_not_run(path):
    """A reader must know what the checks here are worth."""
    assert "NOT RUN" in path.read_text()
