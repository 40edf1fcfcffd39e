"""Rows F1, F2: clocks that jump, and clocks that differ."""

import subprocess
import sys
import time

import pytest

from tests.support.bridged import FAST

YEAR_S = 365 * 24 * 3600


def test_f1_wall_clock_that_jumps_by_a_year(stage):
    """Nothing that a bridge decides depends on the time of day."""
    for bridge in (stage.near, stage.far):
        bridge.oddity = f"clock:{YEAR_S}"
    player, _ = stage.playing(**FAST)
    stage.proxy.cut()
    for _ in range(20):
        player.step()
    assert stage.proxy.connections == 2


SHIFT_S = 100_000
# No --fork: signals must reach the bridge itself. It moves into the new time when it is
# executed, which systems before Linux 6.1 do not do.
OTHER_CLOCK = ["unshare", "--time", "--monotonic", str(SHIFT_S)]


def why_no_other_clock():
    """Return why a program cannot be given another clock, or None if it can."""
    look = [sys.executable, "-c", "import time; print(time.monotonic())"]
    try:
        done = subprocess.run(
            [*OTHER_CLOCK, *look],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return done.stderr
    shifted = float(done.stdout) > time.monotonic() + SHIFT_S / 2
    return None if shifted else "the clock stayed as it was"


def test_f2_machines_with_different_clocks(stage):
    """Each judges by its own clock, and by nothing that the other says of the time."""
    why = why_no_other_clock()
    if why is not None:
        pytest.skip(f"no time namespaces here: {why}")
    stage.far.prefix = OTHER_CLOCK
    stage.environment(prefix=OTHER_CLOCK)
    stage.connect(**FAST)
    player = stage.player()
    player.play(seed=1, steps=5)
    stage.proxy.cut()
    for _ in range(20):
        player.step()
    assert stage.proxy.connections == 2
