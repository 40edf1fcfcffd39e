"""The process that holds the environment in a run over RLay.

Usage: ``python -m measure.backend JSON`` with the keys ``kind`` ("server" or
"client"), ``environment``, ``channel``, ``directory``, ``cpu`` and ``waiting``.
"""

from __future__ import annotations

import functools
import json
import sys

import rlay
from measure import environments, strategy
from measure.placement import pin


def main() -> None:
    """Serve one session and end with it."""
    spec = json.loads(sys.argv[1])
    pin(spec["cpu"])
    strategy.apply(spec["waiting"])
    place = {"name": spec["channel"], "directory": spec["directory"]}
    backend: rlay.ServerBackend | rlay.ClientBackend
    if spec["kind"] == "server":
        factory = functools.partial(environments.make, spec["environment"])
        backend = rlay.ServerBackend(factory, **place)
    else:
        backend = rlay.ClientBackend(environments.make(spec["environment"]), **place)
    with backend:
        backend.run(sessions=1)


if __name__ == "__main__":
    main()
