"""What lasts: attaching again and again, busy CPUs, sequences that wrap: row F."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

import rlay
from rlay.protocol.delivery import Requester, Responder
from rlay.testing.environments import HashChainEnv
from tests.faults.stage import Player, Stage
from tests.support.children import Children
from tests.support.threads import serving

pytestmark = pytest.mark.timeout(120)

ATTACHED = 300
HOGS = 8
LAST = 2**32 - 1


def _held() -> tuple[int, int, int]:
    """Return how many descriptors, mappings and threads this process has."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text().splitlines()
    return (
        len(os.listdir("/proc/self/fd")),
        sum("/rlay" in line or "channel" in line for line in maps),
        len(os.listdir("/proc/self/task")),
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="counts in /proc")
def test_f5_attached_and_left_again_and_again(channel_directory: Path):
    """F5: what the first client leaves is nothing, and so is what the last leaves."""
    with serving(HashChainEnv, name="f", sessions=None):
        counts = []
        for number in range(ATTACHED):
            with rlay.ClientEnv("f") as env:
                player = Player(env)
                player.reset(number)
                player.step()
            if number in (ATTACHED // 10, ATTACHED - 1):
                counts.append(_held())
        files = sorted(os.listdir(channel_directory))
        assert counts[0] == counts[1]
        assert files == ["f"]


def hog() -> None:
    """Want a CPU, for ever."""
    while True:
        pass


def test_f7_busy_cpus_are_nobodys_death(stage: Stage, children: Children):
    """F7: eight programs that want all CPUs: it takes longer, and nobody is lost."""
    hogs = [children.start(hog, forever=True) for _ in range(HOGS)]
    env, _ = stage.pair()
    player = Player(env)
    player.play(seed=1, steps=200)
    assert all(each.exit_code is None for each in hogs)
    for each in hogs:
        each.kill()


@pytest.mark.parametrize("first", [LAST - 5, LAST - 4])
def test_f8_sequences_wrap(channel_directory: Path, monkeypatch, first: int):
    """F8: 0 is left out, and an odd and an even sequence may follow the last one."""
    for machine in (Requester, Responder):
        monkeypatch.setattr(machine, "__init__", _starting_at(machine, first))
    with serving(HashChainEnv, name="f"), rlay.ClientEnv("f") as env:
        player = Player(env)
        player.reset(1)
        for _ in range(20):
            player.step()


def _starting_at(machine: type, first: int) -> object:
    begin = machine.__init__  # type: ignore[misc]

    def start(self: Requester | Responder) -> None:
        begin(self)
        self.sequence = first

    return start
