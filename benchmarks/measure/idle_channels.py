"""What two bridges use while nothing happens on many channels.

Usage: ``python -m measure.idle_channels JSON`` with ``channels``, ``sessions``,
``seconds``, ``settle_s`` and ``directory``. One process holds all servers, and with
``sessions`` all clients too. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from measure import machine
from measure.bridges import Bridges
from rlay.protocol.constants import Paradigm
from rlay.protocol.greeting import Hello, Welcome, Wishes
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer

_MIRROR_LIMIT_S = 60.0
_GREETING_LIMIT_S = 30.0
_LOOK_S = 0.02
_CAPACITIES = (64, 64)


class NotMirrored(Exception):
    """The channels of one machine did not appear on the other one."""


def _wait_for_mirrors(directory: str, number: int) -> None:
    deadline = time.monotonic() + _MIRROR_LIMIT_S
    while (found := len(list(Path(directory).glob("idle.*")))) < number:
        if time.monotonic() > deadline:
            raise NotMirrored(f"{found} of {number} after {_MIRROR_LIMIT_S:g} s")
        time.sleep(_LOOK_S)


def _accept(server: MemServer, number: int) -> None:
    buffer, _ = server.receive_hello(_GREETING_LIMIT_S)
    server.accept(buffer, Welcome(0), (number + 1, buffer.session), _CAPACITIES)


def _attach(server: MemServer, directory: str, number: int) -> MemClient:
    """Begin a session between a server and a new client at the other machine."""
    client = MemClient.open(server.name, directory)
    accepting = threading.Thread(target=_accept, args=(server, number))
    accepting.start()
    hello = Hello(Paradigm.CLIENT_ENV, wishes=Wishes())
    ids, welcome = client.greet(hello, (0, number + 1), _GREETING_LIMIT_S)
    client.attach(welcome, ids)
    accepting.join()
    return client


def main() -> None:
    """Leave the channels alone and say what the bridges use."""
    spec = json.loads(sys.argv[1])
    channels = spec["channels"]
    bridges = Bridges(spec["directory"], spec["bridge"])
    try:
        servers = [
            MemServer.create(f"idle.{number}", bridges.far, num_envs=1)
            for number in range(channels)
        ]
        _wait_for_mirrors(bridges.near, channels)
        clients = []
        if spec["sessions"]:
            clients = [
                _attach(server, bridges.near, number)
                for number, server in enumerate(servers)
            ]
        time.sleep(spec["settle_s"])
        print(json.dumps(_look(bridges, spec["seconds"])), flush=True)
        for end in [*clients, *servers]:
            end.close()
    except BaseException:
        bridges.kill()
        raise
    bridges.end()


def _look(bridges: Bridges, seconds: float) -> dict[str, Any]:
    """Return how much of a core each bridge uses, over so many seconds."""
    pids = {name: bridge.pid for name, bridge in bridges.bridges.items()}
    began = time.monotonic()
    before = {name: machine.cpu_s(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    return {
        name: (machine.cpu_s(pid) - before[name]) / elapsed
        for name, pid in pids.items()
    }


if __name__ == "__main__":
    main()
