"""The measured process of one run.

Usage: ``python -m measure.pair JSON``. Opens the contender, warms up, measures and
prints one line of JSON. With ``"wait_for_start"`` it prints ``ready`` after the
warm-up and goes on when a line arrives on its standard input, so that several pairs
can be measured at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from measure import machine, timing
from measure.contenders import open_contender
from measure.opened import Opened
from measure.placement import placement
from measure.timing import Budget


def _measure(opened: Opened, spec: dict[str, Any], seconds: float) -> dict[str, float]:
    pids = [os.getpid(), *opened.pids]
    between = [bridge.pid for bridge in opened.bridges.values()]
    before = sum(map(machine.cpu_s, pids))
    before_between = sum(map(machine.cpu_s, between))
    result = timing.measure(opened, spec, Budget(seconds, spec["steps"]))
    spent = sum(map(machine.cpu_s, pids)) - before
    spent_between = sum(map(machine.cpu_s, between)) - before_between
    return {
        **result,
        "cpu_us_per_step": spent / result["steps"] * 1e6,
        "bridges_cpu_us_per_step": spent_between / result["steps"] * 1e6,
        "loop_ns": timing.loop_ns(),
    }


def _idle(opened: Opened, seconds: float) -> dict[str, float]:
    """Leave the pair alone and return how much of a core each end uses."""
    began = time.monotonic()
    before = machine.cpu_s(os.getpid()), sum(map(machine.cpu_s, opened.pids))
    time.sleep(seconds)
    here = machine.cpu_s(os.getpid()) - before[0]
    there = sum(map(machine.cpu_s, opened.pids)) - before[1]
    elapsed = time.monotonic() - began
    return {"here_cores": here / elapsed, "there_cores": there / elapsed}


def main() -> None:
    """Measure one contender once."""
    spec = json.loads(sys.argv[1])
    opened = open_contender(spec, placement(spec["placement"]))
    opened.reset(seed=0)
    _measure(opened, spec, spec["warmup_s"])
    if spec["wait_for_start"]:
        print("ready", flush=True)
        sys.stdin.readline()
    if spec["idle"]:
        result = _idle(opened, spec["seconds"])
    else:
        result = _measure(opened, spec, spec["seconds"])
    opened.close()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
