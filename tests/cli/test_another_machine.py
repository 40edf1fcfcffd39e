"""Two machines linked by the commands that ``rlay cert new`` prints."""

import re
import shlex
import socket
import sys

import gymnasium
import numpy as np
import pytest

import rlay
from rlay.cli import main
from tests.support.waiting import wait_until

LIMIT_S = 30.0


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory to type commands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port():
    """One that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_commands_as_they_are_printed_link_two_machines(
    children, home, channel_directory, port, capsys
):
    """Same program, same trajectory; and the doctor finds the way."""
    for machine in ("sim", "trainer"):
        (channel_directory / machine).mkdir(mode=0o700)
    assert main(["token", "new"]) == 0
    assert main(["cert", "new", "--host", "127.0.0.1"]) == 0
    printed = re.findall("^  (rlay bridge .*)$", capsys.readouterr().out, re.MULTILINE)
    here, there = (
        shlex.split(line.replace(":7450", f":{port}")) for line in printed[-2:]
    )

    def start(machine, words):
        words = [sys.executable, "-m", *words, "--directory"]
        place = channel_directory / machine
        return children.start_command([*words, place], cwd=home, forever=True)

    start("trainer", there)
    start("sim", ["rlay", "serve", "CartPole-v1", "--name", "cartpole"])
    start("sim", here)
    env = rlay.ClientEnv("cartpole", directory=channel_directory / "trainer")
    with gymnasium.make("CartPole-v1") as same:
        assert np.array_equal(env.reset(seed=7)[0], same.reset(seed=7)[0])
        for _ in range(5):
            found, expected = env.step(1), same.step(1)
            assert np.array_equal(found[0], expected[0])
            assert found[1:4] == expected[1:4]
    env.close()
    options = there[there.index("--tls-fingerprint") :]
    capsys.readouterr()
    where = ["--peer", f"127.0.0.1:{port}", "--channel", "cartpole"]
    assert main(["doctor", *where, *options]) == 0

    def links():
        capsys.readouterr()
        main(["ls", "--directory", str(channel_directory / "trainer")])
        return "(bridge, TLS)" in capsys.readouterr().out

    wait_until(links, LIMIT_S)
    for child in reversed(children.started):
        child.end()
    for machine in ("sim", "trainer"):
        (channel_directory / machine).rmdir()
