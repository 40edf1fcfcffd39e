"""dm_env_rpc: its messages, its stream and its adaptor, with a small server."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dm_env
import grpc
from dm_env_rpc.v1 import (
    connection,
    dm_env_adaptor,
    dm_env_rpc_pb2,
    dm_env_rpc_pb2_grpc,
    spec_manager,
    tensor_utils,
)
from measure import environments, far
from measure.opened import Opened, draw_actions

_WORLD, _ACTION, _OBSERVATION, _REWARD = "bench", "action", "observation", "reward"
_CONNECT_LIMIT_S = 30.0
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


class _World(dm_env_rpc_pb2_grpc.EnvironmentServicer):
    """One environment as a world that one agent creates, joins, steps and resets."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._first = True
        space = env.observation_space
        dtype = tensor_utils.np_type_to_data_type(space.dtype)
        spec = dm_env_rpc_pb2.TensorSpec
        self._specs = dm_env_rpc_pb2.ActionObservationSpecs()
        self._specs.actions[1].CopyFrom(spec(name=_ACTION, dtype=dm_env_rpc_pb2.INT64))
        self._specs.observations[1].CopyFrom(
            spec(name=_OBSERVATION, dtype=dtype, shape=space.shape)
        )
        self._specs.observations[2].CopyFrom(
            spec(name=_REWARD, dtype=dm_env_rpc_pb2.DOUBLE)
        )
        self._actions = spec_manager.SpecManager(self._specs.actions)
        self._observations = spec_manager.SpecManager(self._specs.observations)

    def Process(self, requests: Iterable[Any], context: Any) -> Iterator[Any]:
        """Answer each request of a stream."""
        for request in requests:
            kind = request.WhichOneof("payload")
            response = dm_env_rpc_pb2.EnvironmentResponse()
            getattr(self, f"_{kind}")(getattr(request, kind), getattr(response, kind))
            yield response

    def _create_world(self, request: Any, response: Any) -> None:
        response.world_name = _WORLD

    def _join_world(self, request: Any, response: Any) -> None:
        response.specs.CopyFrom(self._specs)

    def _reset(self, request: Any, response: Any) -> None:
        self._first = True
        response.specs.CopyFrom(self._specs)

    def _leave_world(self, request: Any, response: Any) -> None:
        response.SetInParent()

    def _step(self, request: Any, response: Any) -> None:
        if self._first:
            self._first = False
            observation, _ = self._env.reset()
            reward, over = 0.0, False
        else:
            action = self._actions.unpack(request.actions)[_ACTION]
            observation, reward, terminated, truncated, _ = self._env.step(action)
            over = terminated or truncated
        self._first = over
        state = dm_env_rpc_pb2.EnvironmentStateType
        response.state = state.TERMINATED if over else state.RUNNING
        values = {_OBSERVATION: observation, _REWARD: float(reward)}
        packed = self._observations.pack(values)
        for uid in request.requested_observations:
            response.observations[uid].CopyFrom(packed[uid])


def _serve(spec: dict[str, Any], address: str) -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=_OPTIONS)
    world = _World(environments.make(spec["environment"]))
    dm_env_rpc_pb2_grpc.add_EnvironmentServicer_to_server(world, server)
    server.add_insecure_port(address)
    server.start()
    far.ready()
    server.wait_for_termination()


def _open(spec: dict[str, Any]) -> Opened:
    if spec["transport"] == "unix":
        address = f"unix:{far.socket_path(spec)}"
    else:
        address = f"127.0.0.1:{far.free_port()}"
    process = far.start(spec, address)
    channel = grpc.insecure_channel(address, options=_OPTIONS)
    grpc.channel_ready_future(channel).result(_CONNECT_LIMIT_S)
    link = connection.Connection(channel)
    env, _ = dm_env_adaptor.create_and_join_world(link, {}, {})
    last = dm_env.StepType.LAST

    def reset(seed: int | None = None) -> Any:
        return env.reset().observation[_OBSERVATION], {}

    def step(action: Any) -> Any:
        kind, reward, _, observation = env.step({_ACTION: action})
        return observation[_OBSERVATION], reward, kind is last, False, {}

    def close() -> None:
        env.close()
        link.close()
        channel.close()
        far.end(process)

    return Opened(reset, step, close, draw_actions())


if __name__ == "__main__":
    sys.exit(far.run(_open, _serve))
