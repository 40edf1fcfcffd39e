"""The Unity package: its files, and its sample played without Unity."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest

import rlay
from clients.unity import make_meta
from tests.support.children import ROOT

TESTS = ROOT / "clients" / "unity" / "Tests~"
STEPS = 10_000
MAX_STEP = 400
PERIOD = 2
CHANNEL = "--rlay-channel=pendulum"


def test_package_files():
    """Every file and folder has a .meta of its own, and package.json is sound."""
    assert make_meta.problems() == []
    assert len(make_meta.assets()) > 20


def test_missing_meta_is_found(tmp_path, monkeypatch):
    """A file without .meta, a .meta without file, and a GUID twice are each named."""
    package = tmp_path / "unity"
    shutil.copytree(make_meta.PACKAGE, package, ignore=shutil.ignore_patterns("bin"))
    monkeypatch.setattr(make_meta, "PACKAGE", package)
    runtime = package / "Runtime"
    (runtime / "New.cs").write_text("")
    (runtime / "Gone.cs.meta").write_text("guid: 0\n")
    (runtime / "Core.meta").write_text((package / "Runtime.meta").read_text())
    found = "\n".join(make_meta.problems())
    assert "New.cs: there is no New.cs.meta" in found
    assert "Gone.cs.meta: its asset is gone" in found
    assert "Core.meta: the guid of" in found


@pytest.fixture(scope="module")
def player():
    """The sample's player, compiled."""
    if shutil.which("mcs") is None:
        pytest.skip("mcs is not installed: apt-get install mono-mcs")
    done = subprocess.run(
        [TESTS / "build"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return TESTS / "bin" / "PendulumPlayer.exe"


def command(runtime):
    """Return what starts a program on a runtime."""
    if runtime == "mono":
        return ["mono"]
    look = subprocess.run(
        [TESTS / "run_dotnet", "--look"], capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    if look.returncode:
        pytest.skip(look.stderr.strip())
    return [TESTS / "run_dotnet"]


def play(children, program, steps):
    """Step the sample with actions drawn from a seed; return a digest of all of it."""
    digest, episodes = hashlib.sha256(), 1
    actions = np.random.default_rng(3).uniform(-1, 1, (steps, 1)).astype(np.float32)
    with rlay.ServerEnv("pendulum", connect_timeout=20) as env:
        child = children.start_command([*program, str(PERIOD), str(MAX_STEP), CHANNEL])
        env.reset(seed=7)
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(action)
            digest.update(observation["direction"].tobytes())
            digest.update(observation["speed"].tobytes() + np.float64(reward).tobytes())
            if terminated or truncated:
                episodes += 1
                env.reset(seed=episodes)
    child.wait()
    return digest.hexdigest(), episodes


@pytest.mark.clients
@pytest.mark.timeout(200)
@pytest.mark.parametrize("runtime", ["mono", "dotnet"])
def test_lockstep(player, children, runtime):
    """10,000 steps of a seeded episode are the same in a second run."""
    program = [*command(runtime), player]
    first = play(children, program, STEPS)
    assert first == play(children, program, STEPS)
    assert first[1] == 1 + STEPS // (MAX_STEP // PERIOD)


@pytest.mark.clients
def test_parameter(player, children):
    """The time scale is read and written by name while the game runs."""
    with rlay.ServerEnv("pendulum", connect_timeout=20) as env:
        child = children.start_command(["mono", player, CHANNEL])
        env.reset(seed=1)
        assert env.time_scale == 20.0
        env.time_scale = 3
        assert env.time_scale == 3.0
        env.step(np.zeros(1, np.float32))
    child.wait()
