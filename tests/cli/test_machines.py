"""Machines played by this one: what works, what does not, and what is left."""

import os
import socket
import tempfile

import pytest

from rlay.cli import demo_machines, machines
from rlay.cli.demo_machines import environment_behind_bridges
from rlay.cli.machines import NotStarted


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """Where the machines have their directories."""
    monkeypatch.setattr(machines, "_memory", lambda: str(tmp_path))
    return tmp_path


def test_environment_behind_bridges_is_another_process_and_leaves_nothing(memory):
    """It steps; its channel is a mirror in another directory, removed at the end."""
    with environment_behind_bridges("CartPole-v1") as env:
        observation, _ = env.reset(seed=3)
        assert env.observation_space.contains(observation)
        (root,) = memory.iterdir()
        for machine in ("near", "far"):  # what a bridge says of itself is hidden
            names = os.listdir(root / machine)
            assert [name for name in names if not name.startswith(".")] == ["demo"]
    assert list(memory.iterdir()) == []


def test_environment_behind_bridges_names_what_did_not_start(memory, monkeypatch):
    """A bridge that cannot listen: its last line is in the message; nothing stays."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(machines, "_free_port", lambda: port)
        with (
            pytest.raises(
                NotStarted, match=r"(?s)environment's bridge.*cannot listen on"
            ),
            environment_behind_bridges("CartPole-v1"),
        ):
            pass
    assert list(memory.iterdir()) == []


def test_environment_behind_bridges_names_an_environment_that_ended(memory):
    """An unknown environment: the message has what `rlay serve` said."""
    with (
        pytest.raises(NotStarted, match=r"(?s)the environment exited.*NoSuch"),
        environment_behind_bridges("NoSuch-v0"),
    ):
        pass
    assert list(memory.iterdir()) == []


def test_environment_behind_bridges_gives_up_after_its_limit(memory, monkeypatch):
    """A channel that never appears is not waited for longer than the limit."""
    monkeypatch.setattr(demo_machines, "_CHANNEL", "other")
    monkeypatch.setattr(machines, "START_LIMIT_S", 0.1)
    begin = machines._start

    def start(what, words):
        return begin(what, [word.replace("other", "demo") for word in words])

    monkeypatch.setattr(machines, "_start", start)
    with (
        pytest.raises(NotStarted, match="no channel 'other' appeared"),
        environment_behind_bridges("CartPole-v1"),
    ):
        pass
    assert list(memory.iterdir()) == []


def test_bridges_of_the_demo_ignore_the_settings_of_the_user(memory, monkeypatch):
    """Variables meant for the user's own bridge would make the demo's one fail."""
    monkeypatch.setenv("RLAY_BRIDGE_TOKEN_FILE", "/no/such/file")
    monkeypatch.setenv("RLAY_BRIDGE_LISTEN", "203.0.113.1:1")
    with environment_behind_bridges("CartPole-v1") as env:
        env.reset(seed=0)


def test_memory_is_a_directory_that_can_be_written():
    """What it names exists; None leaves the choice to the system."""
    with tempfile.TemporaryDirectory(dir=machines._memory()) as made:
        assert os.path.isdir(made)
