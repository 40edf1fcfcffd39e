"""Every example runs alone, ends by itself, and does what it says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.support.bridge_child import BridgeChild

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None,
    reason="needs the extra `examples`; run by `make test-examples`",
)


@pytest.fixture
def run(children):
    """Run an example to its end; what it printed. Its exit code must be 0."""

    def run_example(name, *arguments):
        command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
        child = children.start_command(command)
        child.wait(240)
        return child.stdout

    return run_example


def number_after(text, output):
    """Return the number that follows ``text`` in what an example printed."""
    found = re.search(re.escape(text) + r"(-?\d+(?:\.\d+)?)", output)
    assert found, f"{text!r} is not in:\n{output}"
    return float(found.group(1))


def test_every_example_is_tested_here():
    """No example can be added without a test that runs it."""
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_cartpole_client_plays_the_same_episode_as_in_process(run):
    """The environment answers, and its trajectory is the in-process one."""
    output = run("cartpole_client.py", "--steps", 1000)
    assert "the same episode in this process is equal: True" in output
    assert "CartPole-v1" in output


def test_cartpole_server_env_plays_the_same_episode_as_in_process(run):
    """The game asks, its trajectory is the in-process one, and it ends by itself."""
    output = run("cartpole_server_env.py", "--steps", 1000)
    assert "the same episode in this process is equal: True" in output
    assert "the game ended with exit code 0" in output


def test_game_loop_plays_by_itself_and_learns_from_its_trainer(run):
    """The heuristic plays without a trainer; with one the paddle learns to catch."""
    output = run("game_loop.py", "--steps", 10_000)
    assert "game: nobody is there, the heuristic plays" in output
    assert "game: the trainer left (closed)" in output
    first = number_after("mean return of the first 100 ", output)
    last = number_after(", the last ", output)
    assert last > first + 0.5


def test_vector_steps_a_batch_and_ends_the_backend(run):
    """Eight environments are stepped over one channel; the backend ends by itself."""
    output = run("vector.py", "--steps", 8000)
    assert "observations: float32 (8, 4)" in output
    assert number_after("8000 steps, ", output) > 0
    assert "the other process ended with exit code 0" in output


def test_two_machines_are_the_same_two_programs_behind_bridges(children, tmp_path):
    """Two directories and two bridges; the trajectory is the in-process one."""
    near, far = tmp_path / "near", tmp_path / "far"
    listener = BridgeChild(children, "--directory", far)
    address = f"127.0.0.1:{listener.port}"
    dial = ["-m", "rlay", "bridge", "--connect", address, "--directory", near]
    dialer = children.start_command([sys.executable, *dial], forever=True)

    def start(directory, *words):
        command = [sys.executable, EXAMPLES / "two_machines.py", *words]
        return children.start_command(command, env={"RLAY_DIR": str(directory)})

    simulator = start(far, "simulator", "--sessions", "1")
    trainer = start(near, "trainer", "--steps", "500")
    trainer.wait(60)
    simulator.wait()
    assert "the same episode in this process is equal: True" in trainer.stdout
    assert number_after("trainer: 5", trainer.stdout) >= 0
    assert "simulator: done" in simulator.stdout
    dialer.end_orderly()
    listener.end()


@needs_torch
@pytest.mark.timeout(300)
def test_stable_baselines_learns_through_client_env(run):
    """After 8,000 steps PPO of Stable-Baselines3 balances twice as long as before."""
    output = run("sb3_ppo.py", "--steps", 8000)
    before = number_after("mean return before training: ", output)
    after = number_after(" steps: ", output)
    assert after > 2 * before


@needs_torch
@pytest.mark.timeout(300)
def test_cleanrl_ppo_learns_through_client_env(run):
    """After 12,000 steps the single-file PPO balances twice as long as before."""
    output = run("cleanrl_ppo.py", "--steps", 12_288)
    first = number_after("mean return: first 20 episodes ", output)
    last = number_after(", last 20 episodes ", output)
    assert last > 2 * first
