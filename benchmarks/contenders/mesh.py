"""RLMesh: its server of an environment and its remote environment."""

from __future__ import annotations

import sys
from typing import Any

import rlmesh
from measure import environments, far
from measure.opened import Opened, draw_actions
from rlmesh.numpy import RemoteEnv


def _serve(spec: dict[str, Any], address: str) -> None:
    server = rlmesh.EnvServer(environments.make(spec["environment"]), address)
    server.start()
    far.ready()
    server.wait()


def _open(spec: dict[str, Any]) -> Opened:
    if spec["transport"] == "unix":
        address = f"unix://{far.socket_path(spec)}"
    else:
        address = f"tcp://127.0.0.1:{far.free_port()}"
    process = far.start(spec, address)
    env = RemoteEnv(address)

    def close() -> None:
        env.close()
        far.end(process)

    return Opened(env.reset, env.step, close, draw_actions())


if __name__ == "__main__":
    sys.exit(far.run(_open, _serve))
