"""An echo whose messages are as large as a test asks for."""

from typing import Any

import numpy as np
from gymnasium import spaces

import rlay
from rlay.testing.environments import EchoEnv
from tests.faults.chains import say
from tests.faults.stage import LIMIT_S, NAME

FRAME_BYTES = 200_000


def echo(paradigm: str, kind: str, options: dict[str, Any]) -> None:
    """Serve an echo of the named kind of space: the child's main function."""
    env = PayloadEnv(SPACES[kind])
    if paradigm == "ClientEnv":
        rlay.ServerBackend(env, name=NAME, **options).run()
    else:
        rlay.ClientBackend(env, name=NAME, connect_timeout=LIMIT_S, **options).run()


class PayloadEnv(EchoEnv):
    """An echo whose infos are as large as the last reset's options say.

    The observation of a step is its action; a Sequence or a Text may be of any length.
    """

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        options = options or {}
        self.step_info = {"padding": bytes(options.get("step_bytes", 0))}
        say(f"reset with {sorted(options)}")
        observation, _ = super().reset(seed=seed)
        if isinstance(self.observation_space, spaces.Text):
            observation = ""  # a sample is megabytes long
        return observation, {"padding": bytes(options.get("reset_bytes", 0))}

    def step(self, action: Any) -> Any:
        say("step")
        result = super().step(action)
        say("stepped")
        return result

    def render(self) -> Any:
        return bytes(FRAME_BYTES)


SPACES: dict[str, spaces.Space[Any]] = {
    "number": spaces.Box(-1.0, 1.0, (4,), np.float64),
    "text": spaces.Text(10**7, charset="ab"),
    "sequence": spaces.Sequence(spaces.Box(0, 255, (1000,), np.uint8)),
    "empty": spaces.Box(0, 255, (0,), np.uint8),
    "empty dict": spaces.Dict({"a": spaces.Box(0, 1, (3, 0), np.float32)}),
}
