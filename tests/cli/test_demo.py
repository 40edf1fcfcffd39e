"""``rlay demo``, with real processes."""

import importlib

import gymnasium
import pytest
from click.testing import CliRunner

from rlay.cli import demo_contest, machines, main

# The package has the command under the same name.
demo_module = importlib.import_module("rlay.cli.demo")

ROWS = [
    "in this process",
    "RLay, ClientEnv",
    "RLay, ServerEnv",
    "RLay, two bridges",
    "AsyncVectorEnv(1)",
]


@pytest.mark.timeout(180)
def test_demo_proves_and_measures(rlay_command, channel_directory):
    """Exit code 0, a sentence on exactness, a rate for each contender, no files."""
    demo = rlay_command("demo")
    demo.wait(150)
    assert "4. Exact: the same 2,000 actions gave the same 2,000" in demo.stdout
    lines = demo.stdout.splitlines()
    for name in ROWS:
        (row,) = [line for line in lines if line.startswith(name)]
        rate, share, times = row.removeprefix(name).split()
        assert float(rate.replace(",", "")) > 0
        assert float(share.removesuffix("%")) >= 0
        assert float(times) >= 0
    assert demo.stderr == ""
    assert list(channel_directory.iterdir()) == []


class Cheat(gymnasium.Wrapper):
    """Pays a little more in the 100th step."""

    steps = 0

    def step(self, action):
        observation, reward, *others = self.env.step(action)
        self.steps += 1
        if self.steps == 100:
            reward = float(reward) + 1e-9
        return observation, reward, *others


def test_demo_fails_where_trajectories_differ(channel_directory, monkeypatch, capsys):
    """Exit code 1, and the first step that differs; nothing is measured then."""
    make = demo_contest.make_cartpole
    monkeypatch.setattr(demo_contest, "make_cartpole", lambda: Cheat(make()))
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert err == (
        "Error: ClientEnv differs from the same environment here: at step 100, the "
        "reward of the step is 1.0 (float) instead of 1.000000001 (float)\n"
    )
    assert "Exact" not in out
    assert "STEPS/S" not in out


def test_demo_in_a_directory_that_cannot_be_used_says_so(rlay_command, here):
    """Exit code 1 or 78, and not a traceback."""
    (here / "file").write_text("")
    demo = rlay_command("demo", "--directory", str(here / "file" / "inner"))
    demo.wait(exit_code=None)
    assert demo.exit_code in (1, 78)
    assert "Traceback" not in demo.stderr


def test_demo_without_bridges_says_so_and_goes_on(channel_directory, monkeypatch):
    """One clear line on stderr, exit code 0, and the local rows are proved."""
    measured = []
    monkeypatch.setattr(demo_module, "_measure", lambda _, envs: measured.extend(envs))
    monkeypatch.setattr(machines, "_start", refuse)
    result = CliRunner().invoke(demo_module.demo, [])
    assert result.exit_code == 0
    assert result.stderr == "   Left out: the environment's bridge: no\n"
    assert measured == ["ClientEnv", "ServerEnv"]


def refuse(what, words):
    raise machines.NotStarted(f"the {what}: no")
