"""ML-Agents: its Python environment, and a program in the place of the Unity player.

The player speaks what a game would, from Python: so what is measured is the protocol
and the package, and no engine. Frames travel as PNG, as those of a camera do.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import grpc
import numpy as np
from measure import environments, far
from measure.opened import Opened, draw_actions
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.communicator_objects.agent_info_pb2 import AgentInfoProto
from mlagents_envs.communicator_objects.brain_parameters_pb2 import (
    ActionSpecProto,
    BrainParametersProto,
)
from mlagents_envs.communicator_objects.command_pb2 import RESET
from mlagents_envs.communicator_objects.observation_pb2 import (
    NONE,
    PNG,
    ObservationProto,
)
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.communicator_objects.unity_rl_initialization_output_pb2 import (
    UnityRLInitializationOutputProto,
)
from mlagents_envs.communicator_objects.unity_to_external_pb2_grpc import (
    UnityToExternalProtoStub,
)
from mlagents_envs.environment import UnityEnvironment
from PIL import Image

_BEHAVIOUR = "bench?team=0"
_OK = 200
_CONNECT_LIMIT_S = 60


class _Player:
    """One agent in one environment, which starts its next episode by itself."""

    def __init__(self, name: str, address: str) -> None:
        self._env = environments.make(name)
        channel = grpc.insecure_channel(address)
        self._exchange = UnityToExternalProtoStub(channel).Exchange
        self._agent = 0

    def play(self) -> None:
        """Introduce the player, then answer until the other side closes."""
        hello = self._message()
        hello.unity_output.rl_initialization_output.CopyFrom(
            UnityRLInitializationOutputProto(
                name=_BEHAVIOUR, communication_version=UnityEnvironment.API_VERSION
            )
        )
        self._exchange(hello, wait_for_ready=True, timeout=_CONNECT_LIMIT_S)
        asked = self._exchange(self._message())
        while asked.header.status == _OK:
            asked = self._exchange(self._answer(asked.unity_input.rl_input))

    @staticmethod
    def _message() -> Any:
        message = UnityMessageProto()
        message.header.status = _OK
        return message

    def _answer(self, asked: Any) -> Any:
        message = self._message()
        output = message.unity_output
        agents = output.rl_output.agentInfos[_BEHAVIOUR].value
        if asked.command == RESET:
            observation, _ = self._env.reset()
            actions = ActionSpecProto(num_discrete_actions=1, discrete_branch_sizes=[2])
            behaviour = BrainParametersProto(
                brain_name=_BEHAVIOUR, is_training=True, action_spec=actions
            )
            parameters = output.rl_initialization_output.brain_parameters
            parameters.append(behaviour)
            agents.append(self._report(observation))
            return message
        action = asked.agent_actions[_BEHAVIOUR].value[0].discrete_actions[0]
        observation, reward, terminated, truncated, _ = self._env.step(action)
        if not (terminated or truncated):
            agents.append(self._report(observation, reward=reward))
            return message
        over = {"done": True, "max_step_reached": truncated}
        agents.append(self._report(observation, reward=reward, **over))
        self._agent += 1
        observation, _ = self._env.reset()
        agents.append(self._report(observation))
        return message

    def _report(self, observation: Any, **more: Any) -> Any:
        if observation.ndim == 3:
            seen = _camera(observation)
        else:
            seen = ObservationProto(shape=observation.shape, compression_type=NONE)
            seen.float_data.data.extend(observation.ravel().tolist())
        return AgentInfoProto(id=self._agent, observations=[seen], **more)


def _camera(frame: Any) -> Any:
    height, width, channels = frame.shape
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "PNG")
    return ObservationProto(
        shape=(channels, height, width),
        compression_type=PNG,
        compressed_data=data.getvalue(),
    )


def _serve(spec: dict[str, Any], address: str) -> None:
    _Player(spec["environment"], address).play()


def _open(spec: dict[str, Any]) -> Opened:
    port = far.free_port()
    process = far.start(spec, f"127.0.0.1:{port}", waits=False)
    env = UnityEnvironment(base_port=port, timeout_wait=_CONNECT_LIMIT_S)

    def reset(seed: int | None = None) -> Any:
        env.reset()
        (name,) = env.behavior_specs
        return env.get_steps(name)[0].obs[0][0], {}

    reset()
    (name,) = env.behavior_specs

    def step(action: Any) -> Any:
        env.set_actions(name, ActionTuple(discrete=action))
        env.step()
        waiting, over = env.get_steps(name)
        ended = len(over) > 0
        reward = over.reward[0] if ended else waiting.reward[0]
        return waiting.obs[0][0], reward, ended, False, {}

    def close() -> None:
        env.close()
        far.end(process)

    actions = [np.full((1, 1), action, np.int32) for action in draw_actions()]
    # The player has begun the next episode by itself, as agents of Unity do.
    return Opened(reset, step, close, actions, episodic=False)


if __name__ == "__main__":
    sys.exit(far.run(_open, _serve))
