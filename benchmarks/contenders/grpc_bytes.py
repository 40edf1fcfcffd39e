"""gRPC without protobuf: steps as bytes, over one stream or by one call each."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from measure import environments, far, step_bytes
from measure.opened import Opened, draw_actions

_SERVICE = "bench.Environment"
_CONNECT_LIMIT_S = 30.0
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def _serve(spec: dict[str, Any], address: str) -> None:
    env = environments.make(spec["environment"])

    def reply(request: bytes) -> bytes:
        return b"".join(step_bytes.answer(env, request))

    def stream(requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        return map(reply, requests)

    def call(request: bytes, context: Any) -> bytes:
        return reply(request)

    handlers = {
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
        "Call": grpc.unary_unary_rpc_method_handler(call),
    }
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=_OPTIONS)
    handler = grpc.method_handlers_generic_handler(_SERVICE, handlers)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(address)
    server.start()
    far.ready()
    server.wait_for_termination()


def _stream(channel: Any) -> Callable[[bytes], bytes]:
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    replies = channel.stream_stream(f"/{_SERVICE}/Stream")(iter(requests.get, None))

    def ask(request: bytes) -> bytes:
        requests.put(request)
        reply: bytes = next(replies)
        return reply

    return ask


def _open(spec: dict[str, Any]) -> Opened:
    if spec["transport"] == "unix":
        address = f"unix:{far.socket_path(spec)}"
    else:
        address = f"127.0.0.1:{far.free_port()}"
    process = far.start(spec, address)
    channel = grpc.insecure_channel(address, options=_OPTIONS)
    grpc.channel_ready_future(channel).result(_CONNECT_LIMIT_S)
    unary = spec.get("unary", False)
    ask = channel.unary_unary(f"/{_SERVICE}/Call") if unary else _stream(channel)

    def exchange(request: bytes) -> Any:
        reply = memoryview(ask(request))
        return reply[: step_bytes.HEAD_BYTES], reply[step_bytes.HEAD_BYTES :]

    def close() -> None:
        channel.close()
        far.end(process)

    env = step_bytes.BytesEnv(spec["environment"], exchange)
    return Opened(env.reset, env.step, close, draw_actions())


if __name__ == "__main__":
    sys.exit(far.run(_open, _serve))
