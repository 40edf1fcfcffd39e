"""pyzmq: a REQ and a REP socket, and steps as bytes."""

from __future__ import annotations

import sys
from typing import Any

import zmq
from measure import environments, far, step_bytes
from measure.opened import Opened, draw_actions


def _serve(spec: dict[str, Any], address: str) -> None:
    env = environments.make(spec["environment"])
    replier = zmq.Context().socket(zmq.REP)
    replier.bind(address)
    far.ready()
    while True:
        # Without a copy where that pays, which pyzmq decides by the size.
        replier.send_multipart(step_bytes.answer(env, replier.recv()), copy=False)


def _open(spec: dict[str, Any]) -> Opened:
    if spec["transport"] == "unix":
        address = f"ipc://{far.socket_path(spec)}"
    else:
        address = f"tcp://127.0.0.1:{far.free_port()}"
    process = far.start(spec, address)
    context = zmq.Context()
    asker = context.socket(zmq.REQ)
    asker.connect(address)

    def exchange(request: bytes) -> Any:
        asker.send(request)
        return asker.recv_multipart()

    def close() -> None:
        asker.close(linger=0)
        context.term()
        far.end(process)

    env = step_bytes.BytesEnv(spec["environment"], exchange)
    return Opened(env.reset, env.step, close, draw_actions())


if __name__ == "__main__":
    sys.exit(far.run(_open, _serve))
