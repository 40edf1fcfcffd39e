"""EnvPool: environments written in C++, stepped by threads of this process."""

from __future__ import annotations

import sys
from typing import Any

import envpool
from measure import learner
from measure.answering import answer
from measure.opened import Opened, draw_actions


def _open(spec: dict[str, Any]) -> Opened:
    lanes = spec["num_envs"]
    envs = envpool.make_gymnasium(spec["environment"], num_envs=lanes)
    actions = [batch.astype(envs.action_space.dtype) for batch in draw_actions(lanes)]

    def reset(seed: int) -> Any:
        return envs.reset()  # it takes its seed where it is made

    opened = Opened(reset, envs.step, envs.close, actions, False, envs=lanes)
    return learner.learning(opened) if spec["learns"] else opened


if __name__ == "__main__":
    sys.exit(answer(_open))
