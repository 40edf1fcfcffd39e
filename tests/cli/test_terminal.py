"""What people see on a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys

import pytest

import rlay
from tests.support.waiting import wait_until

LIMIT_S = 30.0


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *words, cwd):
        self._master, inner = pty.openpty()
        os.set_blocking(self._master, False)
        command = [sys.executable, "-m", "rlay", *words]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(inner)
        self._text = b""

    @property
    def text(self) -> str:
        """What it has shown so far, without colours and movements."""
        try:
            while data := os.read(self._master, 65_536):
                self._text += data
        except OSError:  # nothing now, or nothing any more
            pass
        plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self._text)
        return plain.decode(errors="replace")

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(here):
    """Start ``rlay WORD...`` on a terminal."""
    opened = []

    def start(*words):
        opened.append(Terminal(*words, cwd=here))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_serve_on_a_terminal_shows_live_rates(terminal, channel_directory):
    """Of a client that steps; Ctrl-C ends it, exit code 0, no files."""
    shown = terminal("serve", "CartPole-v1", "--name", "cart")
    env = rlay.ClientEnv("cart")
    env.reset()

    def step_and_look():
        env.reset()
        for _ in range(5):
            env.step(0)
        return re.search(r"cart +attached +\d+ .*? [\d,]+ +[1-9][\d,]* *\r", shown.text)

    wait_until(step_and_look, LIMIT_S)
    assert "serving CartPole-v1 on channel 'cart'" in shown.text
    shown.press_ctrl_c()
    assert shown.process.wait(LIMIT_S) == 0
    assert "stopped by SIGINT" in shown.text
    assert "Traceback" not in shown.text
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    env.close()
    assert list(channel_directory.iterdir()) == []


def test_group_on_a_terminal_shows_every_channel(terminal, channel_directory):
    """With what its process is doing."""
    shown = terminal("serve", "game:Game", "-n", "game", "--channels", "2", "--restart")
    wait_until(
        lambda: all(
            re.search(rf"game\.{n} +waiting +- .* running", shown.text) for n in (0, 1)
        ),
        LIMIT_S,
    )
    shown.press_ctrl_c()
    assert shown.process.wait(LIMIT_S) == 0
    assert list(channel_directory.iterdir()) == []


def test_ls_on_a_terminal_is_a_table(terminal, channel_directory):
    """Drawn, with the same texts."""
    env = rlay.ServerEnv("game")
    shown = terminal("ls")
    assert shown.process.wait(LIMIT_S) == 0
    env.close()
    assert re.search(r"CHANNEL +CLASS", shown.text)
    assert re.search(r"game +ServerEnv", shown.text)


def test_bench_on_a_terminal_shows_its_rounds_and_stops(terminal, channel_directory):
    """Ctrl-C ends it with the figures so far, exit code 0, no files."""
    where = ["--directory", str(channel_directory)]
    rounds = ["--seconds", "500", "--rounds", "1000", "--warmup", "0"]
    shown = terminal("bench", *where, *rounds)
    wait_until(lambda: "round 3 of 1000" in shown.text, LIMIT_S)
    shown.press_ctrl_c()
    assert shown.process.wait(LIMIT_S) == 0
    assert re.search(r"Stopped after \d+ of 1000 rounds", shown.text)
    assert re.search(r"environment +[\d.]+ +\d+ %", shown.text)
    assert "Traceback" not in shown.text
    assert list(channel_directory.iterdir()) == []
