"""The measured process of an endurance run.

Usage: ``python -m measure.endurance JSON``. Steps a pair and prints one line of JSON
with what all processes hold at the start, at every sample and at the end.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

from measure.bridges import Helper
from measure.contenders import open_contender
from measure.opened import Opened
from measure.placement import placement

# The fields of /proc/PID/status, in KiB. Shared pages are the mapped slots.
_MEMORY = {"private_kib": "RssAnon", "shared_kib": "RssShmem"}


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {key: int(fields[name].split()[0]) for key, name in _MEMORY.items()}


def _files(directory: str) -> int:
    found = (path for path in Path(directory).rglob("*") if path.suffix != ".log")
    return sum(1 for path in found if not path.is_dir())


def _sample(
    steps: int, pids: dict[str, int], bridges: dict[str, Helper], directory: str
) -> dict[str, Any]:
    sample: dict[str, Any] = {"steps": steps, "files": _files(directory)}
    pids = {**pids, **{end: bridge.pid for end, bridge in bridges.items()}}
    for end, pid in pids.items():
        sample[end] = {
            **_memory(pid),
            "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        }
    for end, bridge in bridges.items():
        sample[end]["tasks"] = bridge.tasks()
    return sample


def _step(opened: Opened, steps: int, actions: Any) -> None:
    step = opened.step
    for _ in range(steps):
        step(next(actions))


def main() -> None:
    """Step, and look at both processes at equal distances."""
    spec = json.loads(sys.argv[1])
    opened = open_contender(spec, placement(spec["placement"]))
    opened.reset(seed=0)
    pids = {"algorithm": os.getpid(), "environment": opened.pids[0]}
    actions = itertools.cycle(opened.actions)
    samples = [_sample(0, pids, opened.bridges, spec["directory"])]
    for number in range(1, spec["samples"] + 1):
        _step(opened, spec["every"], actions)
        steps = number * spec["every"]
        samples.append(_sample(steps, pids, opened.bridges, spec["directory"]))
    opened.close()
    left = _files(spec["directory"])
    print(json.dumps({"samples": samples, "files_after_close": left}), flush=True)


if __name__ == "__main__":
    main()
