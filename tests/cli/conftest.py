"""Running ``rlay`` in a process of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.children import Child, Children

GAME = """
import ctypes, os, signal, sys, time
import gymnasium

class Game(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(10)
    action_space = gymnasium.spaces.Discrete(10)
    level = 7

    def __init__(self, title="untitled", at_start="nothing"):
        self.title = title
        self.happen(at_start)

    def happen(self, what):
        if what == "exit 3":
            sys.exit(3)
        if what == "_exit 4":
            os._exit(4)
        if what == "segfault":
            ctypes.string_at(0)
        if what == "raise":
            raise ValueError("no such level")
        if what == "sleep":
            time.sleep(1000)

    def reset(self, *, seed=None, options=None):
        self.what = (options or {}).get("what", "nothing")
        return 0, {"title": self.title, "pid": os.getpid()}

    def step(self, action):
        self.happen(self.what)
        return 1, 0.5, False, False, {}

def crash():
    os._exit(9)

def needy():
    raise gymnasium.error.DependencyNotInstalled("run: pip install simulator")

class NotAnEnvironment:
    pass
"""
Rlay = Callable[..., Child]


@pytest.fixture
def here(tmp_path: Path, channel_directory: Path) -> Path:
    """An empty directory but for the module ``game``."""
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "game.py").write_text(GAME)
    return directory


@pytest.fixture
def rlay_command(children: Children, here: Path) -> Rlay:
    """Start ``rlay WORD...`` in that directory."""

    def start(*words: str, **options: bool) -> Child:
        command = [sys.executable, "-m", "rlay", *words]
        return children.start_command(command, cwd=here, **options)  # type: ignore[arg-type]

    return start
