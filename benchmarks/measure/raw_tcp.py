"""A blocking TCP ping-pong of the bytes of a step: what bridges are measured against.

Usage of the other end: ``python -m measure.raw_tcp JSON`` with ``reply_bytes``,
``stream`` and ``cpu``. It accepts one connection. To every request it gives one reply;
with ``stream`` it sends replies without being asked, until the connection ends.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys

from measure.placement import pin
from rlay.cli.raw_tcp import tune

REQUEST_BYTES = 16
_READ_BYTES = 64 * 1024


def _answer(sock: socket.socket, reply: bytes) -> None:
    waiting = 0
    while data := sock.recv(_READ_BYTES):
        requests, waiting = divmod(waiting + len(data), REQUEST_BYTES)
        # Of large replies one at a time: a list of views copies nothing.
        if requests == 1:
            sock.sendall(reply)
        else:
            sock.sendall(reply * requests)


def main() -> None:
    """Answer one connection and end with it."""
    spec = json.loads(sys.argv[1])
    pin(spec["cpu"])
    reply = bytes(spec["reply_bytes"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        print(f"listening on {host}:{port}", file=sys.stderr, flush=True)
        sock, _ = listener.accept()
    with sock:
        tune(sock)
        if not spec["stream"]:
            _answer(sock, reply)
            return
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(reply)


if __name__ == "__main__":
    main()
