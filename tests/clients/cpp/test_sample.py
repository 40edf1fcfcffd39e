"""The physics sample: in lockstep, and the same in every run."""

import hashlib
import re
import shutil
import subprocess

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlay
from tests.clients.cpp.programs import FAST, HERE, compiled
from tests.support.children import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
STEPS = 10_000


@pytest.fixture(scope="session")
def sample():
    """The program, optimised as people build it."""
    return compiled(HERE / "samples" / "cart_chain.cpp", *FAST)


def run_seeded(env):
    """Step 10,000 times; return a digest of all that was seen, and the episodes."""
    digest, episodes = hashlib.sha256(), 1
    actions = np.random.default_rng(5).uniform(-1, 1, (STEPS, 1)).astype(np.float32)

    def add(observation, reward):
        for key in ("cart", "masses"):
            digest.update(observation[key].tobytes())
        digest.update(np.float64(reward).tobytes())

    add(env.reset(seed=7)[0], 0.0)
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        add(observation, reward)
        if terminated or truncated:
            episodes += 1
            add(env.reset(seed=episodes)[0], 0.0)
    return digest.hexdigest(), episodes


def run_in(sample, children, how):
    """Run the sample once, in a process of its own."""
    if how == "serve":
        child = children.start_command([sample, "chain"], forever=True)
        with rlay.ClientEnv("chain", connect_timeout=20) as env:
            result = run_seeded(env)
        child.end_orderly()
    else:
        with rlay.ServerEnv("chain", connect_timeout=20) as env:
            child = children.start_command([sample, "chain", "--ask"])
            result = run_seeded(env)
        child.wait()
    return result


def test_ten_thousand_steps_are_equal_in_every_run(sample, children):
    """Two runs that answer and one that asks: three processes, the same bits."""
    first, episodes = run_in(sample, children, "serve")
    assert episodes > 10
    assert run_in(sample, children, "serve") == (first, episodes)
    assert run_in(sample, children, "ask") == (first, episodes)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sample_passes_gymnasiums_check(sample, children):
    """``check_env`` finds nothing, also where it makes more of them."""
    programs = [
        children.start_command([sample, f"chain.{index}"], forever=True)
        for index in range(4)
    ]
    env = gymnasium.make("rlay/ClientEnv-v0", name="chain.*", connect_timeout=20)
    check_env(env.unwrapped)
    env.close()
    for program in programs:
        program.end_orderly()


def test_cmake_target_builds_the_sample(tmp_path):
    """A project that links ``rlay::rlay`` needs nothing else."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed: make test-clients installs it")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(game LANGUAGES CXX)\n"
        f"add_subdirectory({HERE} rlay)\nadd_executable(game game.cpp)\n"
        "target_link_libraries(game PRIVATE rlay::rlay)\n"
    )
    (tmp_path / "game.cpp").write_text(
        '#include "rlay.hpp"\nint main() { return rlay::Backend().is_open(); }\n'
    )
    for words in (["-S", tmp_path, "-B", tmp_path / "b"], ["--build", tmp_path / "b"]):
        done = subprocess.run(
            ["cmake", *words], capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (
        subprocess.run([tmp_path / "b" / "game"], timeout=20, check=False).returncode
        == 0
    )


def test_programs_of_the_readme_compile(tmp_path):
    """What the tutorial shows is what the compiler takes."""
    text = (ROOT / "clients" / "cpp" / "README.md").read_text()
    programs = re.findall(r"```cpp\n// (\w+\.cpp)\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2
    for name, program in programs:
        (tmp_path / name).write_text(program)
        compiled(tmp_path / name, link=False)
