"""The Unreal plugin against stub headers: what can be known without the engine."""

import json

import numpy as np
import pytest

import rlay
from tests.clients.cpp.programs import SANITIZED, compiled
from tests.support.children import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
FOLDER = ROOT / "clients" / "unreal"
PLUGIN = FOLDER / "RLay"
INCLUDES = [
    f"-I{path}"
    for path in (
        FOLDER / "stubs",
        PLUGIN / "Source" / "RLay" / "Public",
        PLUGIN / "Source" / "ThirdParty" / "RLay",
    )
]


@pytest.fixture(scope="session")
def level():
    """A level in which the plugin's actor is ticked, with sanitizers."""
    actor = PLUGIN / "Source" / "RLay" / "Private" / "RLayEnvironment.cpp"
    flags = [*INCLUDES, *SANITIZED, f"-include{actor}"]
    return compiled(FOLDER / "stubs" / "level.cpp", *flags)


@pytest.mark.parametrize("name", ["RLayEnvironment.cpp", "RLayModule.cpp"])
def test_plugin_compiles_without_a_warning(name):
    """As the engine builds: no exceptions, no RTTI, its macro ``check`` in the way."""
    source = PLUGIN / "Source" / "RLay" / "Private" / name
    compiled(source, *INCLUDES, link=False)


def test_descriptor_names_the_module():
    """The descriptor is JSON, says experimental, and names the folder of the module."""
    descriptor = json.loads((PLUGIN / "RLay.uplugin").read_text())
    assert descriptor["IsExperimentalVersion"] is True
    (module,) = descriptor["Modules"]
    build = PLUGIN / "Source" / module["Name"] / f"{module['Name']}.Build.cs"
    assert f"class {module['Name']} : ModuleRules" in build.read_text()


def test_actor_plays_what_the_trainer_decides(level, children):
    """Actions are repeated, an end in the midst of one is told, and idle is played."""
    child = children.start_command([level, "level"])
    with rlay.ServerEnv("level", connect_timeout=20) as env:
        observation, _ = env.reset(seed=5)
        assert observation.tolist() == [2.0, 0.0]
        for place in (5.0, 8.0):
            observation, reward, terminated, _, _ = env.step(np.int64(1))
            assert (observation[0], reward, terminated) == (place, 0.0, False)
        observation, reward, terminated, truncated, _ = env.step(np.int64(1))
        assert (observation[0], reward) == (9.0, 1.0)  # after the first of three ticks
        assert (terminated, truncated) == (True, False)
        observation, _ = env.reset()
        assert observation.tolist() == [0.0, 0.0]
        assert env.step(np.int64(0))[0][0] == -3.0
    child.wait()
    assert child.stdout == "idle 1\n"
